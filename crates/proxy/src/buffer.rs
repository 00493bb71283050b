//! Bytes between a reader and a writer. Empty buffers own no memory worth keeping: an idle connection holds none.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Memory an empty buffer may keep for its next use, in bytes.
const KEPT_BYTES_MAX: usize = 16 << 10;

/// Bytes that were produced and not yet consumed.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// What has not been consumed.
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Bytes not consumed.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether everything has been consumed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes `count` bytes off the front.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.bytes.len());
        if self.is_empty() {
            self.start = 0;
            match self.bytes.capacity() > KEPT_BYTES_MAX {
                true => self.bytes = Vec::new(),
                false => self.bytes.clear(),
            }
        }
    }

    /// The vector to append to.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        &mut self.bytes
    }

    /// Appends bytes; none cost nothing.
    pub fn append(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.tail().extend_from_slice(bytes);
        }
    }

    /// Gives back the memory of an empty buffer.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Buffer::default();
        }
    }

    /// Writes everything to `sink`.
    pub fn poll_write_to<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        sink: &mut W,
    ) -> Poll<std::io::Result<()>> {
        while !self.is_empty() {
            let written = ready!(Pin::new(&mut *sink).poll_write(context, self.unread()))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.consume(written);
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads what `source` has into `scratch`; zero is the end.
pub fn poll_read<R: AsyncRead + Unpin>(
    context: &mut Context<'_>,
    source: &mut R,
    scratch: &mut [u8],
) -> Poll<std::io::Result<usize>> {
    let mut room = ReadBuf::new(scratch);
    ready!(Pin::new(source).poll_read(context, &mut room))?;
    Poll::Ready(Ok(room.filled().len()))
}
