//! A client's connection as everything above it writes to it: first as if there were room, which there nearly always is.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes of a write that is simply tried. A longer one may be taken in part, and then the runtime should know that there is
/// no more room.
const TRIED_BYTES_MAX: usize = 16 << 10;

/// A connection.
#[derive(Debug)]
pub struct Socket(pub TcpStream);

/// Writes what the connection takes. Without the runtime's bookkeeping if it takes it at once; otherwise the task is woken
/// when it may.
pub fn poll_write(
    context: &mut Context<'_>,
    stream: &mut TcpStream,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    if bytes.len() <= TRIED_BYTES_MAX
        && let Some(written) = tried(stream.try_write(bytes))
    {
        return Poll::Ready(written);
    }
    Pin::new(stream).poll_write(context, bytes)
}

fn tried(written: io::Result<usize>) -> Option<io::Result<usize>> {
    match written {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        written => Some(written),
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, room)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        poll_write(context, &mut self.0, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // One piece, as every short answer over TLS is, is sent for less than several.
        if let [piece] = pieces {
            return poll_write(context, &mut self.0, piece);
        }
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        if bytes <= TRIED_BYTES_MAX
            && let Some(written) = tried(self.0.try_write_vectored(pieces))
        {
            return Poll::Ready(written);
        }
        Pin::new(&mut self.0).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
