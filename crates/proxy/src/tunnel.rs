//! A connection that has become something else than HTTP: a WebSocket, or whatever else a client asked for with
//! `Upgrade` and an instance agreed to. The proxy moves bytes; of a WebSocket it also follows where frames begin, so that
//! it can close it in order when time is up.

pub mod frames;

use crate::deadline::Deadline;
use crate::reason::Reason;
use crate::service::Finished;
use crate::worker::Worker;
use bytes::Bytes;
use frames::Frames;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Longest time in which no byte moves in either direction, for services that set none.
pub const IDLE_MAX: Duration = Duration::from_secs(3_600);

/// Longest time the rest of what is on its way to a client, and a farewell, may take to be taken.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// One end of a tunnel.
pub trait End {
    /// What has arrived; `None` at the end.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>>;

    /// Sends what is taken of `piece`, and off it. Ready when nothing is left of it and everything is on its way.
    fn poll_write(&mut self, context: &mut Context<'_>, piece: &mut Bytes) -> Poll<io::Result<()>>;

    /// Ends what is sent. Ready when the end is on its way.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    piece: Bytes,
    read: bool,
    ended: bool,
    bytes: u64,
}

impl Way {
    /// Moves what can be moved. `sees` is given each piece before it is sent, and at the end nothing; the end is passed on
    /// if it answers yes. A source that breaks has ended.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl End,
        sink: &mut impl End,
        mut sees: impl FnMut(&[u8]) -> bool,
    ) -> Poll<io::Result<()>> {
        while !self.ended {
            ready!(sink.poll_write(context, &mut self.piece))?;
            if self.read {
                ready!(sink.poll_end(context))?;
                self.ended = true;
                break;
            }
            match ready!(source.poll_read(context)) {
                Ok(Some(piece)) => {
                    sees(&piece);
                    self.bytes += piece.len() as u64;
                    self.piece = piece;
                }
                Ok(None) | Err(_) => {
                    self.read = true;
                    if !sees(&[]) {
                        break;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Both sides, or what the client is to get, have ended in order.
    InOrder,
    /// The client has left or takes nothing.
    Broken,
}

/// A tunnel under way.
#[derive(Debug)]
pub struct Tunnel<'a, D, U> {
    /// The client's end.
    pub client: D,
    /// The instance's.
    pub instance: U,
    /// Its frames, if it is a WebSocket.
    pub frames: Option<Frames>,
    /// The worker it belongs to.
    pub worker: Rc<Worker>,
    /// The deadlines of the request it began as.
    pub deadline: &'a Deadline,
    /// Longest time in which no byte moves.
    pub idle: Duration,
}

impl<D: End, U: End> Tunnel<'_, D, U> {
    /// Moves bytes until both sides have ended, nothing moved for too long, or the process ends.
    pub async fn run(mut self, finished: &mut Finished) -> Closed {
        let (mut up, mut down) = (Way::default(), Way::default());
        self.deadline.set_total(None);
        self.deadline.set_phase(Some(self.idle));
        let moved = std::future::poll_fn(|context| self.poll(context, &mut up, &mut down)).await;
        finished.bytes_in += up.bytes;
        finished.bytes_out += down.bytes;
        finished.delivered = moved.is_ok() && down.ended;
        if moved.is_ok() && !down.ended {
            finished.cut(self.why_cut(&down));
        }
        match moved {
            Err(_) => Closed::Broken,
            Ok(()) if down.ended => Closed::InOrder,
            Ok(()) => self.say_farewell(down).await,
        }
    }

    /// Ready when both directions have ended, or when it is time for the last words.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        up: &mut Way,
        down: &mut Way,
    ) -> Poll<io::Result<()>> {
        let before = up.bytes + down.bytes;
        // An instance that takes nothing more may still have something to say.
        let moved = up.poll(context, &mut self.client, &mut self.instance, |_| true);
        if matches!(moved, Poll::Ready(Err(_))) {
            up.ended = true;
        }
        let frames = &mut self.frames;
        let moved = down.poll(context, &mut self.instance, &mut self.client, |piece| {
            frames.as_mut().is_none_or(|frames| {
                frames.pass(piece);
                frames.closed()
            })
        });
        // A WebSocket that its instance ended without a word gets one from the proxy.
        if matches!(moved, Poll::Ready(Err(_))) || (down.read && moved.is_ready() && !down.ended) {
            return moved;
        }
        if up.ended && down.ended {
            return Poll::Ready(Ok(()));
        }
        if up.bytes + down.bytes != before {
            self.deadline.set_phase(Some(self.idle));
        }
        if self.worker.parting() || self.deadline.expired(context).is_some() {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    /// Why the client's direction ends although it has not ended by itself.
    fn why_cut(&self, down: &Way) -> Reason {
        match down.read {
            true => Reason::InstanceCut,
            false if self.worker.parting() => Reason::Retired,
            false => Reason::IdleTimeout,
        }
    }

    /// Sends the client the rest of what is on its way, a Close frame if a frame may begin there, and the end.
    async fn say_farewell(mut self, mut down: Way) -> Closed {
        self.deadline.set_phase(Some(FAREWELL_MAX));
        let mut close = match &self.frames {
            Some(frames) if frames.at_boundary() && !frames.closed() => {
                Bytes::from_static(&frames::GOING_AWAY)
            }
            _ => Bytes::new(),
        };
        let client = &mut self.client;
        let farewell = std::future::poll_fn(|context| {
            ready!(client.poll_write(context, &mut down.piece))?;
            ready!(client.poll_write(context, &mut close))?;
            client.poll_end(context)
        });
        match self.deadline.bound(farewell).await {
            Ok(Ok(())) => Closed::InOrder,
            Ok(Err(_)) | Err(_) => Closed::Broken,
        }
    }
}
