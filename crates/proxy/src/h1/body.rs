//! Bodies: reading them by their framing and writing them in another.

use super::Framing;
use super::chunk::{ChunkError, Chunked};
use std::io::Write;
use std::ops::Range;

/// Reads one body.
#[derive(Clone, Debug)]
pub enum Decoder {
    /// So many bytes are left.
    Length(u64),
    /// Chunks; boxed because few bodies have them.
    Chunked(Box<Chunked>),
    /// Everything until the connection ends.
    UntilClose {
        /// The connection has ended.
        ended: bool,
    },
}

/// A body whose connection ended too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("connection ended within a body")]
pub struct Truncated;

impl Decoder {
    /// A decoder for a body with this framing.
    pub fn new(framing: Framing) -> Decoder {
        match framing {
            Framing::None => Decoder::Length(0),
            Framing::Length(length) => Decoder::Length(length),
            Framing::Chunked => Decoder::Chunked(Box::default()),
            Framing::UntilClose => Decoder::UntilClose { ended: false },
        }
    }

    /// Whether the body has been read to its end.
    pub fn ended(&self) -> bool {
        match self {
            Decoder::Length(left) => *left == 0,
            Decoder::Chunked(chunked) => chunked.ended(),
            Decoder::UntilClose { ended } => *ended,
        }
    }

    /// Reads from `input` up to the end of the next piece of data, of the input or of the body. Answers how many bytes
    /// were read and where in `input` the data is. Bytes after the end of the body are left.
    pub fn decode(&mut self, input: &[u8]) -> Result<(usize, Range<usize>), ChunkError> {
        match self {
            Decoder::Length(left) => {
                let length = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(input.len());
                *left -= length as u64;
                Ok((length, 0..length))
            }
            Decoder::Chunked(chunked) => chunked.decode(input),
            Decoder::UntilClose { .. } => Ok((input.len(), 0..input.len())),
        }
    }

    /// The connection has ended: right for a body that goes until then, and for one that was complete.
    pub fn connection_ended(&mut self) -> Result<(), Truncated> {
        match self {
            Decoder::UntilClose { ended } => *ended = true,
            decoder if decoder.ended() => {}
            _ => return Err(Truncated),
        }
        Ok(())
    }

    /// The trailer fields to pass on, when the body has ended.
    pub fn trailers(&self) -> &[u8] {
        match self {
            Decoder::Chunked(chunked) => chunked.trailers(),
            _ => &[],
        }
    }
}

/// Writes one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    /// As it is: its length is known, or the end of the connection ends it.
    Raw,
    /// In chunks.
    Chunked,
}

impl Encoder {
    /// Writes a piece of data. An empty piece writes nothing: it would end a chunked body.
    pub fn data(self, piece: &[u8], out: &mut Vec<u8>) {
        match self {
            Encoder::Raw => out.extend_from_slice(piece),
            Encoder::Chunked if piece.is_empty() => {}
            Encoder::Chunked => {
                // Writing to a vector cannot fail.
                let _ = write!(out, "{:x}\r\n", piece.len());
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Writes the end of the body.
    pub fn end(self, trailers: &[u8], out: &mut Vec<u8>) {
        if self == Encoder::Chunked {
            out.extend_from_slice(b"0\r\n");
            out.extend_from_slice(trailers);
            out.extend_from_slice(b"\r\n");
        }
    }
}
