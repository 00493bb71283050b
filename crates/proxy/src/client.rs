//! A client's HTTP/1 connection: one request after the other.

pub mod exchange;
pub mod forward;
mod side;
pub mod socket;
pub mod tunnel;

use crate::buffer::{Buffer, poll_read};
use crate::clock::date_now;
use crate::deadline::{Deadline, Expired};
use crate::h1::field::Room;
use crate::h1::head::{Search, find_end, leading_empty_lines};
use crate::h1::request::{self, Refusal};
use crate::h1::rewrite::{self, Answer};
use crate::reason::Reason;
use crate::visit::Visitor;
use crate::visit::intake::Decision;
use crate::visit::sticky::Cookie;
use crate::worker::Worker;
use socket::Socket;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest time from the first byte of a head to its last, however slowly it drips.
pub const HEAD_MAX: Duration = Duration::from_secs(30);

/// How long a connection without a request is kept.
pub const IDLE_MAX: Duration = Duration::from_secs(75);

/// How long an idle connection is kept when the process retires: a request may be on its way.
const RETIRING_IDLE_MAX: Duration = Duration::from_secs(1);

/// Longest time the platform's own answer or the end of a connection may take to be taken by the client.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// Longest time and most bytes that are read and dropped after the last response, so that the client gets to read it
/// before the system resets the connection (RFC 9112 section 9.6).
const LINGER_MAX: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 4 << 20;

/// Bytes of a body or of following requests that are read while a request waits for its instance or its answer.
const READ_AHEAD_BYTES_MAX: usize = 64 << 10;

/// A client's connection, with TLS or without.
pub trait ClientIo: AsyncRead + AsyncWrite + Unpin {
    /// The connection below.
    fn tcp(&self) -> &TcpStream;

    /// The connection, if what is written to it is what is sent.
    fn plain(&self) -> Option<&TcpStream> {
        None
    }
}

impl ClientIo for Socket {
    fn tcp(&self) -> &TcpStream {
        &self.0
    }

    fn plain(&self) -> Option<&TcpStream> {
        Some(&self.0)
    }
}

impl ClientIo for tokio_rustls::server::TlsStream<Socket> {
    fn tcp(&self) -> &TcpStream {
        &self.get_ref().0.0
    }
}

/// A client's connection.
#[derive(Debug)]
pub struct Client<C> {
    visitor: Visitor,
    stream: C,
    inbox: Buffer,
    deadline: Deadline,
    refused: bool,
    /// The response that is under way sets this cookie.
    cookie: Option<Cookie>,
}

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It takes another request.
    Request,
    /// It is closed in order.
    Close,
    /// It is closed in order; the client may still be sending.
    Linger,
    /// It is reset: what the client got is not whole and must not look as if.
    Reset,
}

/// Why there is no further head.
enum NoHead {
    /// The client is gone, or it was time for the connection to end.
    Ended,
    /// It cannot be a head, or took too long.
    Refused(Reason),
}

impl<C: ClientIo> Client<C> {
    /// A connection that was just made; a `refused` one gets an answer that says so to its first request.
    pub fn new(visitor: Visitor, stream: C, refused: bool) -> Client<C> {
        let deadline = visitor.worker.sweep.register();
        Client {
            visitor,
            stream,
            inbox: Buffer::default(),
            deadline,
            refused,
            cookie: None,
        }
    }

    /// Serves requests until the connection ends. What is rare is in memory of its own, so that an idle connection holds
    /// no room for it.
    pub async fn serve(&mut self) {
        let next = loop {
            let next = match self.next_request().await {
                Ok(decision) => self.follow(decision).await,
                Err(NoHead::Ended) => Next::Close,
                Err(NoHead::Refused(reason)) => Box::pin(self.refuse(reason)).await,
            };
            if next != Next::Request {
                break next;
            }
        };
        Box::pin(self.end(next)).await;
    }

    /// Understands a head and decides what becomes of the request.
    fn understand(&self, head: &[u8]) -> Result<Decision, Reason> {
        if self.refused {
            return Err(Reason::TooManyConnections);
        }
        let mut room = Room::new();
        let request = request::parse(head, &mut room).map_err(Reason::Refused)?;
        Ok(self.visitor.decide(&request))
    }

    /// Understands the head at the beginning of what was read, and answers its length, too; `None` if it is to be looked at
    /// more closely.
    fn understand_first(&self, read: &[u8]) -> Option<(usize, Result<Decision, Reason>)> {
        if self.refused {
            return None;
        }
        let mut room = Room::new();
        let (length, request) = request::parse_first(read, &mut room)?;
        let request = request.map_err(Reason::Refused);
        Some((length, request.map(|request| self.visitor.decide(&request))))
    }

    /// Does what was decided.
    async fn follow(&mut self, decision: Result<Decision, Reason>) -> Next {
        match decision {
            Ok(Decision::Forward(intake)) => Box::pin(self.forward(intake)).await,
            other => Box::pin(self.answer_at_once(other)).await,
        }
    }

    /// Answers a request that is not forwarded.
    async fn answer_at_once(&mut self, decision: Result<Decision, Reason>) -> Next {
        match decision {
            Ok(Decision::Forward(intake)) => Box::pin(self.forward(intake)).await,
            Ok(Decision::Answer {
                reason,
                to_head,
                persistent,
                record: Some(mut record),
            }) => {
                self.answer(&record.refuse(reason), to_head, persistent)
                    .await
            }
            Ok(Decision::Answer {
                reason,
                to_head,
                persistent,
                record: None,
            }) => self.answer(&reason.answer(), to_head, persistent).await,
            Ok(Decision::Redirect {
                status,
                location,
                to_head,
                persistent,
            }) => {
                let text = "this service is reached by https";
                let answer = Answer {
                    status,
                    reason: "https-only",
                    text,
                    location: Some(&location),
                    retry_after_s: None,
                };
                self.answer(&answer, to_head, persistent).await
            }
            Err(reason) => self.refuse(reason).await,
        }
    }

    /// Waits for a whole head and takes it from the connection.
    async fn next_request(&mut self) -> Result<Result<Decision, Reason>, NoHead> {
        self.deadline.set_total(None);
        self.deadline.set_phase(None);
        let (mut searched, mut begun, mut leaving) = (0, false, false);
        std::future::poll_fn(|context| {
            if !self.inbox.is_empty()
                && let Some(decision) = self.take_kept(&mut searched)?
            {
                return Poll::Ready(Ok(decision));
            }
            loop {
                self.bound_head(&mut begun, &mut leaving);
                if let Some(expired) = self.deadline.expired(context) {
                    return Poll::Ready(Err(match (begun, expired) {
                        (true, Expired::Phase) => NoHead::Refused(Reason::ClientTimeout),
                        _ => NoHead::Ended,
                    }));
                }
                if let Some(decision) = ready!(self.poll_request(context, &mut searched))? {
                    return Poll::Ready(Ok(decision));
                }
            }
        })
        .await
    }

    /// Takes a request's head from the inbox, if it is whole.
    fn take_kept(
        &mut self,
        searched: &mut usize,
    ) -> Result<Option<Result<Decision, Reason>>, NoHead> {
        let mut inbox = std::mem::take(&mut self.inbox);
        let found = look(inbox.unread(), searched)?;
        let decision = match found {
            Found::Head(head) => {
                let decision = self.understand(&inbox.unread()[head.clone()]);
                inbox.consume(head.end);
                Some(decision)
            }
            Found::Part(rest) => {
                inbox.consume(rest.start);
                None
            }
        };
        self.inbox = inbox;
        Ok(decision)
    }

    /// Reads what has arrived and takes a request's head from it, if it is whole; the rest goes into the inbox.
    fn poll_request(
        &mut self,
        context: &mut Context<'_>,
        searched: &mut usize,
    ) -> Poll<Result<Option<Result<Decision, Reason>>, NoHead>> {
        if !self.inbox.is_empty() {
            match ready!(self.poll_fill(context)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(NoHead::Ended)),
                Ok(_) => return Poll::Ready(self.take_kept(searched)),
            }
        }
        let worker = Rc::clone(&self.visitor.worker);
        let mut scratch = worker.scratch();
        let room = &mut scratch[..READ_AHEAD_BYTES_MAX];
        let read = match ready!(poll_read(context, &mut self.stream, room)) {
            Ok(0) | Err(_) => return Poll::Ready(Err(NoHead::Ended)),
            Ok(read) => &room[..read],
        };
        if let Some((length, decision)) = self.understand_first(read) {
            self.inbox.append(&read[length..]);
            return Poll::Ready(Ok(Some(decision)));
        }
        let decision = match look(read, searched)? {
            Found::Head(head) => {
                self.inbox.append(&read[head.end..]);
                Some(self.understand(&read[head]))
            }
            Found::Part(rest) => {
                self.inbox.append(&read[rest]);
                None
            }
        };
        Poll::Ready(Ok(decision))
    }

    /// Sets the deadline of what the connection waits for now: any byte, or the rest of a head.
    fn bound_head(&mut self, begun: &mut bool, leaving: &mut bool) {
        if self.inbox.is_empty() && !*begun {
            self.inbox.release();
            if self.visitor.worker.retiring() && !*leaving {
                *leaving = true;
                self.deadline.set_phase(Some(RETIRING_IDLE_MAX));
            } else if !self.deadline.has_phase() {
                self.deadline.set_phase(Some(IDLE_MAX));
            }
        } else if !*begun {
            *begun = true;
            self.deadline.set_phase(Some(HEAD_MAX));
        }
    }

    /// Reads what has arrived into the inbox; zero is the end.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let mut scratch = self.visitor.worker.scratch();
        let read = ready!(poll_read(
            context,
            &mut self.stream,
            &mut scratch[..READ_AHEAD_BYTES_MAX]
        ))?;
        self.inbox.tail().extend_from_slice(&scratch[..read]);
        Poll::Ready(Ok(read))
    }

    /// Whether there are bytes of the client that nobody has read. A connection that is closed with such is reset, and the
    /// response may be lost with it.
    fn has_unread(&self) -> bool {
        let tcp = socket2::SockRef::from(self.stream.tcp());
        !self.inbox.is_empty()
            || tcp
                .peek(&mut [MaybeUninit::uninit()])
                .is_ok_and(|read| read > 0)
    }

    /// Answers a request whose body, if any, was not read, and which is the last of the connection.
    async fn refuse(&mut self, reason: Reason) -> Next {
        self.answer(&reason.answer(), false, false).await;
        Next::Linger
    }

    /// Sends the platform's own answer.
    async fn answer(&mut self, answer: &Answer<'_>, to_head: bool, persistent: bool) -> Next {
        let mut out = Vec::new();
        rewrite::answer(answer, to_head, persistent, &date_now(), &mut out);
        self.deadline.set_total(None);
        self.deadline.set_phase(Some(FAREWELL_MAX));
        let stream = &mut self.stream;
        let written = async {
            stream.write_all(&out).await?;
            stream.flush().await
        };
        match self.deadline.bound(written).await {
            Ok(Ok(())) if persistent => Next::Request,
            Ok(Ok(())) => Next::Linger,
            _ => Next::Reset,
        }
    }

    /// Ends the connection.
    async fn end(&mut self, next: Next) {
        self.deadline.set_total(None);
        match next {
            Next::Request | Next::Close => {
                self.deadline.set_phase(Some(FAREWELL_MAX));
                // The connection is dropped in any case.
                let _ = self.deadline.bound(self.stream.shutdown()).await;
            }
            Next::Linger => {
                self.deadline.set_total(Some(LINGER_MAX));
                let _ = self
                    .deadline
                    .bound(linger(&self.visitor.worker, &mut self.stream))
                    .await;
            }
            Next::Reset => {
                // Without lingering the system sends a reset in place of an orderly end.
                let _ = socket2::SockRef::from(self.stream.tcp()).set_linger(Some(Duration::ZERO));
            }
        }
    }
}

/// Says that nothing more comes and reads until the client has seen it.
async fn linger<C: ClientIo>(worker: &Worker, stream: &mut C) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut left = LINGER_BYTES_MAX;
    while left > 0 {
        let read =
            std::future::poll_fn(|context| poll_read(context, stream, &mut worker.scratch())).await;
        match read {
            Ok(0) | Err(_) => return,
            Ok(read) => left = left.saturating_sub(read),
        }
    }
}

/// What is at the beginning of what a client sent.
enum Found {
    /// A whole head, after empty lines.
    Head(Range<usize>),
    /// Part of one, after empty lines.
    Part(Range<usize>),
}

/// Looks for a whole head in `bytes`, whose first `searched` were looked at before.
fn look(bytes: &[u8], searched: &mut usize) -> Result<Found, NoHead> {
    let start = match *searched {
        0 => leading_empty_lines(bytes),
        _ => 0,
    };
    match find_end(&bytes[start..], *searched) {
        Search::Complete(length) => Ok(Found::Head(start..start + length)),
        Search::Partial(from) => {
            *searched = from;
            Ok(Found::Part(start..bytes.len()))
        }
        Search::TooLong => Err(refused(431, "head-too-long")),
        Search::BareLf => Err(refused(400, "bare-lf")),
    }
}

fn refused(status: u16, reason: &'static str) -> NoHead {
    NoHead::Refused(Reason::Refused(Refusal { status, reason }))
}
