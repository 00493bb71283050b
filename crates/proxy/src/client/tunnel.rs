//! A WebSocket: after the switch the proxy moves bytes and does not look at them.

use super::{Client, ClientIo, Next};
use crate::buffer::Buffer;
use crate::flow::{Flow, FlowError};
use crate::h1::Framing;
use crate::h1::body::{Decoder, Encoder};
use crate::service::Finished;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Longest time in which no byte moves in either direction.
pub const TUNNEL_IDLE_MAX: Duration = Duration::from_secs(600);

/// One direction; its end is passed on as the end of the receiver's direction.
struct Half {
    flow: Flow,
    read: bool,
    ended: bool,
}

impl Half {
    fn new(out: Buffer) -> Half {
        Half {
            flow: Flow::new(Decoder::new(Framing::UntilClose), Encoder::Raw, out),
            read: false,
            ended: false,
        }
    }

    fn poll<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
        source: (&mut R, &mut Buffer),
        sink: &mut W,
    ) -> Result<(), FlowError> {
        if !self.read && self.flow.poll(context, scratch, source, sink)?.is_ready() {
            self.read = true;
        }
        if self.read
            && !self.ended
            && Pin::new(sink)
                .poll_shutdown(context)
                .map_err(FlowError::Sink)?
                .is_ready()
        {
            self.ended = true;
        }
        Ok(())
    }
}

/// Moves bytes until both sides have ended. `inbox` has what the instance sent already, `out` what the client is to get first.
pub(super) async fn tunnel<C: ClientIo>(
    client: &mut Client<C>,
    mut upstream: TcpStream,
    mut inbox: Buffer,
    out: Buffer,
    finished: &mut Finished,
) -> Next {
    let (mut up, mut down) = (Half::new(Buffer::default()), Half::new(out));
    let mut moved = u64::MAX;
    client.deadline.set_total(None);
    let next = std::future::poll_fn(|context| {
        let Client {
            visitor,
            stream,
            inbox: client_inbox,
            deadline,
            ..
        } = &mut *client;
        let mut scratch = visitor.worker.scratch();
        let polled = up
            .poll(context, &mut scratch, (stream, client_inbox), &mut upstream)
            .and_then(|()| down.poll(context, &mut scratch, (&mut upstream, &mut inbox), stream));
        if polled.is_err() {
            return Poll::Ready(Next::Reset);
        }
        if up.ended && down.ended {
            return Poll::Ready(Next::Close);
        }
        let now = up.flow.moved_bytes() + down.flow.moved_bytes();
        if now != moved {
            moved = now;
            deadline.set_phase(Some(TUNNEL_IDLE_MAX));
        }
        deadline
            .expired(context)
            .map_or(Poll::Pending, |_| Poll::Ready(Next::Reset))
    })
    .await;
    finished.bytes_in += up.flow.read_bytes();
    finished.bytes_out += down.flow.read_bytes();
    next
}
