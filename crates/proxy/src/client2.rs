//! A client's HTTP/2 connection. Its streams are polled within the connection's own task: no channels, no wake-ups
//! between tasks, and a connection that ends takes its streams with it.

mod exchange;
mod grpc;
pub mod intake;
mod meter;
mod side;
mod stream;
mod tunnel;

use crate::deadline::Deadline;
use crate::visit::Visitor;
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::Reason;
use h2::server::{Builder, Connection};
use meter::{Meter, Spent};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Requests of one connection at the same time.
pub const STREAMS_MAX: u32 = 128;

/// Bytes of one request's body that may be on their way, and of all bodies of a connection.
pub const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Bytes of one response that wait to be written.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// Requests a client may abandon before its connection is ended. Each finished request makes up for one, so that only
/// clients that do little else are meant (CVE-2023-44487).
pub const ABANDONED_MAX: u32 = 100;

/// Longest time until the client's preface and settings are there.
const PREFACE_MAX: Duration = Duration::from_secs(10);

/// How long a connection without a request is kept, and how long its end may take.
const IDLE_MAX: Duration = Duration::from_secs(75);
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// With an answer, whole or not.
    Answered,
    /// The client abandoned it.
    Abandoned,
}

type Streams = FuturesUnordered<Pin<Box<dyn Future<Output = Ended>>>>;

struct Client2<C> {
    visitor: Rc<Visitor>,
    connection: Connection<Meter<C>, Bytes>,
    spent: Spent,
    streams: Streams,
    deadline: Deadline,
    refused: bool,
    abandoned: u32,
    leaving: bool,
    sent_away: bool,
}

/// Serves the requests of a connection until it ends.
pub fn serve<C: AsyncRead + AsyncWrite + Unpin>(
    visitor: Visitor,
    stream: C,
    refused: bool,
) -> impl Future<Output = ()> {
    // The future that is kept for as long as the connection holds it once and nothing of how it came to be.
    let begun = Box::pin(begin(visitor, stream, refused));
    async move {
        if let Some(mut client) = begun.await {
            std::future::poll_fn(|context| client.poll(context)).await;
        }
    }
}

/// Waits for the client's preface.
async fn begin<C: AsyncRead + AsyncWrite + Unpin>(
    mut visitor: Visitor,
    stream: C,
    refused: bool,
) -> Option<Box<Client2<C>>> {
    visitor.http2 = true;
    let deadline = visitor.worker.sweep.register();
    deadline.set_phase(Some(PREFACE_MAX));
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(crate::h1::HEAD_BYTES_MAX as u32)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .enable_connect_protocol();
    let (stream, spent) = Meter::new(stream, &visitor.worker.sweep);
    let connection = deadline.bound(Box::pin(builder.handshake(stream))).await;
    deadline.set_phase(None);
    Some(Box::new(Client2 {
        visitor: Rc::new(visitor),
        connection: connection.ok()?.ok()?,
        spent,
        streams: Streams::new(),
        deadline,
        refused,
        abandoned: 0,
        leaving: false,
        sent_away: false,
    }))
}

impl<C: AsyncRead + AsyncWrite + Unpin> Client2<C> {
    /// Ready when the connection has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.visitor.worker.retiring() && !self.leaving {
            self.leave();
        }
        loop {
            while let Poll::Ready(Some(ended)) = self.streams.poll_next_unpin(context) {
                self.count(ended);
            }
            match self.connection.poll_accept(context) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let visitor = Rc::clone(&self.visitor);
                    self.streams.push(Box::pin(stream::serve(
                        visitor,
                        request,
                        respond,
                        self.refused,
                    )));
                }
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        if self.spent.get() {
            self.send_away();
            if let Poll::Ready(None | Some(Err(_))) = self.connection.poll_accept(context) {
                return Poll::Ready(());
            }
        }
        self.bound_idle();
        match self.deadline.expired(context) {
            Some(_) if self.leaving => Poll::Ready(()),
            Some(_) => {
                self.leave();
                // The farewell is written when the connection is polled again.
                context.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }

    /// Lets what is under way end and takes nothing new.
    fn leave(&mut self) {
        self.leaving = true;
        self.connection.graceful_shutdown();
        self.deadline.set_phase(None);
    }

    fn bound_idle(&mut self) {
        if !self.streams.is_empty() {
            self.deadline.set_phase(None);
        } else if !self.deadline.has_phase() {
            self.deadline
                .set_phase(Some(if self.leaving { FAREWELL_MAX } else { IDLE_MAX }));
        }
    }

    /// Ends the connection of a client that does nothing but make work, whether it reads the farewell or not.
    fn send_away(&mut self) {
        if !self.sent_away {
            (self.leaving, self.sent_away) = (true, true);
            self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            self.deadline.set_total(Some(FAREWELL_MAX));
        }
    }

    fn count(&mut self, ended: Ended) {
        match ended {
            Ended::Answered => self.abandoned = self.abandoned.saturating_sub(1),
            Ended::Abandoned => self.abandoned += 1,
        }
        if self.abandoned > ABANDONED_MAX {
            self.send_away();
        }
    }
}
