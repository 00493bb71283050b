//! One direction of an exchange: a body read from one connection in one framing and written to another in its own.
//! Reads nothing while the writer is behind, so a slow reader holds at most one read's worth of memory.

use crate::buffer::{Buffer, poll_read};
use crate::h1::body::{Decoder, Encoder, Truncated};
use crate::h1::chunk::ChunkError;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes that are gathered before a write when they come in small pieces.
const GATHERED_BYTES: usize = 64 << 10;

/// Bytes of a body that are copied behind the head before them; more than that are not worth a copy.
const FIRST_BYTES: usize = 16 << 10;

/// Why a body could not be passed on.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// Reading failed.
    #[error("read failed: {0}")]
    Source(io::Error),
    /// The sender ended the connection within the body.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// The body breaks its framing.
    #[error(transparent)]
    Malformed(#[from] ChunkError),
    /// Writing failed.
    #[error("write failed: {0}")]
    Sink(io::Error),
}

/// What a flow that is not done waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// Bytes from the sender.
    Source,
    /// Room at the receiver.
    Sink,
}

/// A body on its way.
#[derive(Debug)]
pub struct Flow {
    decoder: Decoder,
    encoder: Encoder,
    out: Buffer,
    ended: bool,
    unflushed: bool,
    waits_for: WaitsFor,
    read_bytes: u64,
}

impl Flow {
    /// A flow that first writes what is in `out`.
    pub fn new(decoder: Decoder, encoder: Encoder, out: Buffer) -> Flow {
        let unflushed = !out.is_empty();
        Flow {
            decoder,
            encoder,
            out,
            ended: false,
            unflushed,
            waits_for: WaitsFor::Source,
            read_bytes: 0,
        }
    }

    /// Bytes of the body so far, without framing.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Bytes that have moved, in whatever form: grows as long as there is progress.
    pub fn moved_bytes(&self) -> u64 {
        self.read_bytes.saturating_sub(self.out.len() as u64)
    }

    /// What the flow waited for when it was polled last.
    pub fn waits_for(&self) -> WaitsFor {
        self.waits_for
    }

    /// Bytes of the body that are not read, if it is passed on as it comes and they are known.
    pub fn left(&self) -> Option<u64> {
        match (&self.decoder, self.encoder) {
            (Decoder::Length(left), Encoder::Raw) => Some(*left),
            _ => None,
        }
    }

    /// Writes what is to be written before the rest of the body.
    pub fn poll_out<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        sink: &mut W,
    ) -> Poll<Result<(), FlowError>> {
        self.waits_for = WaitsFor::Sink;
        self.out
            .poll_write_to(context, sink)
            .map_err(FlowError::Sink)
    }

    /// So many bytes of the body, whose end is known, were passed on by other means.
    pub fn moved(&mut self, bytes: usize) {
        if let Decoder::Length(left) = &mut self.decoder {
            *left = left.saturating_sub(bytes as u64);
            self.read_bytes += bytes as u64;
        }
    }

    /// What whoever moves the body by other means waits for.
    pub fn waits(&mut self, waits_for: WaitsFor) {
        self.waits_for = waits_for;
    }

    /// Takes what was read together with the head that comes before the body, so that both go out in one write; more
    /// than is worth gathering is written at once.
    pub fn begin<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        input: &[u8],
        inbox: &mut Buffer,
        sink: &mut W,
    ) -> Result<(), FlowError> {
        let read = self.gather(input, FIRST_BYTES)?;
        self.unflushed |= !self.out.is_empty();
        if self.ended || read == input.len() {
            inbox.append(&input[read..]);
            return Ok(());
        }
        if let Poll::Ready(Err(error)) = self.out.poll_write_to(context, sink) {
            return Err(FlowError::Sink(error));
        }
        self.pass(context, &input[read..], inbox, sink)
    }

    /// Moves what can be moved. Ready when the whole body is written and flushed. Bytes that follow the body are
    /// left in `inbox`.
    pub fn poll<R, W>(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
        (source, inbox): (&mut R, &mut Buffer),
        sink: &mut W,
    ) -> Poll<Result<(), FlowError>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            self.take_from(inbox)?;
            self.waits_for = WaitsFor::Sink;
            ready!(self.out.poll_write_to(context, sink)).map_err(FlowError::Sink)?;
            if self.ended || inbox.is_empty() {
                if self.unflushed {
                    ready!(Pin::new(&mut *sink).poll_flush(context)).map_err(FlowError::Sink)?;
                    self.unflushed = false;
                }
                if self.ended {
                    return Poll::Ready(Ok(()));
                }
            } else {
                continue;
            }
            self.waits_for = WaitsFor::Source;
            match ready!(poll_read(context, source, scratch)).map_err(FlowError::Source)? {
                0 => {
                    self.decoder.connection_ended()?;
                    self.end_if_read();
                }
                read => self.pass(context, &scratch[..read], inbox, sink)?,
            }
        }
    }

    /// Decodes what has already been read, as much as is worth gathering for one write.
    fn take_from(&mut self, inbox: &mut Buffer) -> Result<(), FlowError> {
        let read = self.gather(inbox.unread(), GATHERED_BYTES)?;
        inbox.consume(read);
        self.unflushed |= !self.out.is_empty();
        Ok(())
    }

    /// Decodes `input` until there are `bytes` to be written; answers how much of it was read.
    fn gather(&mut self, input: &[u8], bytes: usize) -> Result<usize, FlowError> {
        self.end_if_read();
        let mut at = 0;
        while !self.ended && at < input.len() && self.out.len() < bytes {
            let rest = &input[at..];
            let (read, data) = self.decoder.decode(&rest[..rest.len().min(bytes)])?;
            self.read_bytes += data.len() as u64;
            self.encoder.data(&rest[data], self.out.tail());
            at += read;
            self.end_if_read();
        }
        Ok(at)
    }

    /// Passes on what was just read: straight to the receiver where that needs no framing, to save a copy.
    fn pass<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        mut input: &[u8],
        inbox: &mut Buffer,
        sink: &mut W,
    ) -> Result<(), FlowError> {
        while !input.is_empty() && !self.ended {
            let (read, data) = self.decoder.decode(input)?;
            let mut piece = &input[data];
            self.read_bytes += piece.len() as u64;
            self.unflushed = true;
            while self.encoder == Encoder::Raw && self.out.is_empty() && !piece.is_empty() {
                match Pin::new(&mut *sink).poll_write(context, piece) {
                    Poll::Ready(Ok(0)) => {
                        return Err(FlowError::Sink(io::ErrorKind::WriteZero.into()));
                    }
                    Poll::Ready(Ok(written)) => piece = &piece[written..],
                    Poll::Ready(Err(error)) => return Err(FlowError::Sink(error)),
                    Poll::Pending => break,
                }
            }
            if !piece.is_empty() {
                self.encoder.data(piece, self.out.tail());
            }
            input = &input[read..];
            self.end_if_read();
        }
        inbox.append(input);
        Ok(())
    }

    fn end_if_read(&mut self) {
        if !self.ended && self.decoder.ended() {
            self.ended = true;
            self.encoder.end(self.decoder.trailers(), self.out.tail());
            self.unflushed |= !self.out.is_empty();
        }
    }
}
