//! The chunked transfer coding (RFC 9112 section 7.1), decoded strictly: CRLF only, no blanks around the size,
//! extensions read and dropped, trailers parsed and filtered.

use super::name::allowed_in_trailers;
use super::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_LINE_BYTES_MAX, HEADERS_MAX, TRAILER_BYTES_MAX};
use std::ops::Range;

/// What is wrong with a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// No hexadecimal digits where a size must be, or too many.
    #[error("invalid chunk size")]
    Size,
    /// A line that does not end in CRLF, or control bytes in it.
    #[error("invalid chunk line")]
    Line,
    /// More extension bytes than [`CHUNK_EXTENSION_BYTES_MAX`] in the body or [`CHUNK_LINE_BYTES_MAX`] in a line.
    #[error("chunk extensions are too long")]
    Extensions,
    /// Chunk data that does not end in CRLF.
    #[error("chunk data is not followed by a line end")]
    DataEnd,
    /// Trailer fields that cannot be parsed or are over the bounds.
    #[error("invalid trailers")]
    Trailers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Ended,
}

/// A decoder of one chunked body. Feed it bytes as they come; it gives the same data however they are cut.
#[derive(Clone, Debug)]
pub struct Chunked {
    state: State,
    size: u64,
    line_bytes: usize,
    extension_bytes: usize,
    trailers: Vec<u8>,
    trailer_line: usize,
}

/// Most hexadecimal digits of a chunk size: within 60 bits, so sizes cannot overflow.
const SIZE_DIGITS_MAX: usize = 15;

impl Default for Chunked {
    fn default() -> Chunked {
        Chunked {
            state: State::Size,
            size: 0,
            line_bytes: 0,
            extension_bytes: 0,
            trailers: Vec::new(),
            trailer_line: 0,
        }
    }
}

impl Chunked {
    /// Whether the last chunk and the trailers have been read.
    pub fn ended(&self) -> bool {
        self.state == State::Ended
    }

    /// The trailer fields that may be passed on, each with its line end. Complete once the body has ended.
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Reads from `input` up to the end of the next piece of data, of the input or of the body. Answers how many bytes
    /// were read and where in `input` the data is.
    pub fn decode(&mut self, input: &[u8]) -> Result<(usize, Range<usize>), ChunkError> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.state {
                State::Data => {
                    let length = usize::try_from(self.size)
                        .unwrap_or(usize::MAX)
                        .min(input.len() - at);
                    self.size -= length as u64;
                    if self.size == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok((at + length, at..at + length));
                }
                State::Trailers => at += self.trailer_bytes(&input[at..])?,
                State::Ended => break,
                _ => {
                    self.line_byte(byte)?;
                    at += 1;
                }
            }
        }
        Ok((at, at..at))
    }

    fn line_byte(&mut self, byte: u8) -> Result<(), ChunkError> {
        match (self.state, byte) {
            (State::Size, digit) if digit.is_ascii_hexdigit() => {
                self.line_bytes += 1;
                if self.line_bytes > SIZE_DIGITS_MAX {
                    return Err(ChunkError::Size);
                }
                let value = (digit as char).to_digit(16).map_or(0, u64::from);
                self.size = self.size << 4 | value;
            }
            (State::Size, _) if self.line_bytes == 0 => return Err(ChunkError::Size),
            (State::Size, b';') => self.state = State::Extension,
            (State::Size | State::Extension, b'\r') => self.state = State::SizeLf,
            (State::Size, _) => return Err(ChunkError::Size),
            (State::Extension, b'\t' | 0x20..=0x7e | 0x80..) => {
                self.line_bytes += 1;
                self.extension_bytes += 1;
                if self.line_bytes > CHUNK_LINE_BYTES_MAX
                    || self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX
                {
                    return Err(ChunkError::Extensions);
                }
            }
            (State::SizeLf, b'\n') => {
                self.state = if self.size == 0 {
                    State::Trailers
                } else {
                    State::Data
                };
                self.line_bytes = 0;
            }
            (State::DataCr, b'\r') => self.state = State::DataLf,
            (State::DataLf, b'\n') => self.state = State::Size,
            (State::DataCr | State::DataLf, _) => return Err(ChunkError::DataEnd),
            _ => return Err(ChunkError::Line),
        }
        Ok(())
    }

    fn trailer_bytes(&mut self, input: &[u8]) -> Result<usize, ChunkError> {
        let line = memchr::memchr(b'\n', input).map(|at| at + 1);
        let length = line.unwrap_or(input.len());
        if self.trailers.len() + length > TRAILER_BYTES_MAX {
            return Err(ChunkError::Trailers);
        }
        self.trailers.extend_from_slice(&input[..length]);
        if line.is_some() {
            let whole = &self.trailers[self.trailer_line..];
            if !whole.ends_with(b"\r\n") {
                return Err(ChunkError::Trailers);
            }
            if whole.len() == 2 {
                self.trailers = filtered(&self.trailers)?;
                self.state = State::Ended;
            }
            self.trailer_line = self.trailers.len();
        }
        Ok(length)
    }
}

/// Parses a block of trailer fields and writes those that may be passed on.
fn filtered(block: &[u8]) -> Result<Vec<u8>, ChunkError> {
    let mut out = Vec::new();
    if block == b"\r\n" {
        return Ok(out);
    }
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    match httparse::parse_headers(block, &mut slots) {
        Ok(httparse::Status::Complete((length, headers))) if length == block.len() => {
            for header in headers
                .iter()
                .filter(|header| allowed_in_trailers(header.name.as_bytes()))
            {
                super::rewrite::field(&mut out, header.name.as_bytes(), header.value);
            }
            Ok(out)
        }
        _ => Err(ChunkError::Trailers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Decoded = (Vec<u8>, Vec<u8>, usize);

    fn decode(parts: &[&[u8]]) -> Result<Decoded, ChunkError> {
        let (mut decoder, mut data, mut consumed) = (Chunked::default(), Vec::new(), 0);
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() && !decoder.ended() {
                let (read, range) = decoder.decode(rest)?;
                data.extend_from_slice(&rest[range]);
                consumed += read;
                rest = &rest[read..];
            }
        }
        assert!(decoder.ended(), "body has not ended");
        Ok((data, decoder.trailers().to_vec(), consumed))
    }

    #[test]
    fn a_body_means_the_same_however_it_is_cut() {
        let body =
            b"5;name=value\r\nhello\r\n00a\r\n, world...\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\nGET";
        let expected = (
            b"hello, world...".to_vec(),
            b"X-Sum: 1\r\n".to_vec(),
            body.len() - 3,
        );
        for cut in 0..body.len() {
            assert_eq!(
                decode(&[&body[..cut], &body[cut..]]),
                Ok(expected.clone()),
                "cut at {cut}"
            );
        }
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(decode(&bytes), Ok(expected));
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let long = format!("1;{}\r\n", "x".repeat(CHUNK_LINE_BYTES_MAX + 1));
        let many = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(17);
        let trailers = format!("0\r\na: {}\r\n\r\n", "x".repeat(TRAILER_BYTES_MAX));
        let cases: [(&str, ChunkError); 18] = [
            ("x\r\n", ChunkError::Size),
            ("\r\n", ChunkError::Size),
            ("-1\r\n", ChunkError::Size),
            ("0x1\r\n", ChunkError::Size),
            (" 1\r\n", ChunkError::Size),
            ("1 \r\n", ChunkError::Size),
            ("1\n", ChunkError::Size),
            ("1\r\r\n", ChunkError::Line),
            ("1;a\nb\r\n", ChunkError::Line),
            ("1;a\0\r\n", ChunkError::Line),
            ("1\r\nab\r\n", ChunkError::DataEnd),
            ("1\r\na\n", ChunkError::DataEnd),
            ("1000000000000000\r\n", ChunkError::Size),
            ("0\r\na: b\n\r\n", ChunkError::Trailers),
            ("0\r\n folded\r\n\r\n", ChunkError::Trailers),
            (&long, ChunkError::Extensions),
            (&many, ChunkError::Extensions),
            (&trailers, ChunkError::Trailers),
        ];
        for (body, error) in cases {
            assert_eq!(decode(&[body.as_bytes()]), Err(error), "{body:?}");
        }
    }
}
