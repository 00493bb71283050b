//! One request on one upstream connection: both bodies move at the same time, each as fast as its receiver takes it.

use super::socket::poll_write;
use super::{Client, ClientIo, Next, tunnel};
use crate::buffer::Buffer;
use crate::deadline::Expired;
use crate::flow::{Flow, FlowError, WaitsFor};
use crate::h1::body::{Decoder, Encoder};
use crate::h1::field::Room;
use crate::h1::request::is_websocket;
use crate::h1::response::{self, Response, ResponseError};
use crate::h1::{Framing, HEAD_BYTES_MAX, Version, rewrite};
use crate::reason::Reason;
use crate::service::Finished;
use crate::splice::{Lent, SPLICED_BYTES_MIN};
use crate::tunnel::IDLE_MAX;
use crate::visit::Caller;
use crate::visit::connect::Upstream;
use crate::visit::head::{Answered, Found, NoHead};
use crate::visit::intake::Intake;
use crate::visit::sticky::Cookie;
use crate::worker::Slot;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Longest time a client may neither send a body it announced nor read the response it asked for.
pub const CLIENT_STALL_MAX: Duration = Duration::from_secs(60);

/// Bytes that are read with a response's head: what follows in a large body may move without being copied.
const HEAD_READ_BYTES: usize = 64 << 10;

/// How an exchange ended.
#[derive(Debug)]
pub(super) enum End {
    /// The response was delivered, or cut, or the client left.
    Next(Next),
    /// It failed before the response began.
    Failed(Reason),
    /// The instance had closed the idle connection; nothing was carried out, so the request may be sent again.
    Again,
}

/// What comes after an exchange.
pub(super) enum After<'a> {
    /// Nothing: this is how it ended.
    Ended(End),
    /// The two connections are a tunnel until they end.
    Tunnel(Pin<Box<dyn Future<Output = Next> + 'a>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// Body or head are not yet sent.
    Going,
    /// Everything is sent.
    Done,
    /// The instance takes no more of it; it may still answer.
    Broken,
}

/// A response whose head is understood.
#[derive(Debug)]
struct Delivering {
    flow: Flow,
    client_persistent: bool,
    upstream_persistent: bool,
    keep_alive: Option<Duration>,
}

/// An exchange under way.
#[derive(Debug)]
pub(super) struct Exchange<'a, C> {
    client: &'a mut Client<C>,
    upstream: Upstream,
    intake: &'a Intake,
    finished: &'a mut Finished,
    answered: Answered,
    request: Flow,
    /// Bytes of the head that are sent, if nothing follows it.
    sent: usize,
    sending: Sending,
    interim: Buffer,
    /// Interim responses may not have left.
    unflushed: bool,
    response: Option<Delivering>,
    /// Through which the response's body goes, if it is large.
    pipe: Option<Lent>,
    switched: bool,
    progress: (u64, u64),
}

impl<'a, C: ClientIo> Exchange<'a, C> {
    pub(super) fn new(
        client: &'a mut Client<C>,
        upstream: Upstream,
        intake: &'a Intake,
        finished: &'a mut Finished,
    ) -> Exchange<'a, C> {
        let (mut head, mut interim) = (Buffer::default(), Buffer::default());
        // A head that nothing follows is sent from where it is.
        if intake.framing != Framing::None {
            head.append(&intake.head);
        }
        if intake.expects_continue && client.inbox.is_empty() {
            interim
                .tail()
                .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let encoder = if intake.framing == Framing::Chunked {
            Encoder::Chunked
        } else {
            Encoder::Raw
        };
        Exchange {
            client,
            upstream,
            intake,
            finished,
            answered: Answered::default(),
            request: Flow::new(Decoder::new(intake.framing), encoder, head),
            sent: 0,
            sending: Sending::Going,
            unflushed: !interim.is_empty(),
            interim,
            response: None,
            pipe: None,
            switched: false,
            progress: (0, 0),
        }
    }

    /// Runs the exchange to its end; what is left to do then is [`Exchange::finish`]'s.
    pub(super) async fn run(&mut self, slot: &Slot) -> End {
        let idle = self.intake.route.idle_timeout;
        self.client.deadline.set_idle(idle);
        let end = std::future::poll_fn(|context| self.poll(context, slot)).await;
        self.client.deadline.set_idle(None);
        self.client.deadline.forget_sweep();
        end
    }

    /// Counts what was moved, and keeps the upstream connection or lets the two connections become a tunnel.
    pub(super) fn finish(self, end: End, slot: &Slot) -> After<'a> {
        self.finished.bytes_in += self.request.read_bytes();
        if self.switched {
            let Exchange {
                client,
                upstream,
                intake,
                answered,
                interim,
                finished,
                ..
            } = self;
            let websocket = intake.upgrade.as_deref().is_some_and(is_websocket);
            let idle = intake.route.idle_timeout.unwrap_or(IDLE_MAX);
            let upstream = (upstream.stream, answered.inbox);
            let tunnel = tunnel::tunnel(client, upstream, interim, (websocket, idle), finished);
            return After::Tunnel(Box::pin(tunnel));
        }
        if let Some(response) = &self.response {
            self.finished.bytes_out += response.flow.read_bytes();
        }
        After::Ended(match end {
            // Half an interim response is on its way; an answer after it would not be understood.
            End::Failed(_) if !self.interim.is_empty() => End::Next(Next::Reset),
            End::Next(Next::Request | Next::Close) => {
                self.keep_upstream(slot);
                end
            }
            end => end,
        })
    }

    fn poll(&mut self, context: &mut Context<'_>, slot: &Slot) -> Poll<End> {
        if let Some(expired) = self.client.deadline.expired(context) {
            return Poll::Ready(self.late(expired));
        }
        if let Some(end) = self.poll_request(context) {
            return Poll::Ready(end);
        }
        if self.response.is_none() {
            if let Some(end) = self.poll_head(context, slot) {
                return Poll::Ready(end);
            }
            if self.switched {
                return Poll::Ready(End::Next(Next::Close));
            }
        }
        let end = match self.response {
            Some(_) => self.poll_response(context),
            None => self.poll_interim(context),
        };
        if let Some(end) = end {
            return Poll::Ready(end);
        }
        // Looking costs a good part of what a short exchange does, so the client is looked at in those that last.
        if self.sending != Sending::Going
            && self.client.deadline.swept()
            && self.client.poll_gone(context).is_ready()
        {
            return Poll::Ready(End::Next(Next::Reset));
        }
        self.bound_stall();
        Poll::Pending
    }

    /// Sends the request.
    fn poll_request(&mut self, context: &mut Context<'_>) -> Option<End> {
        if self.sending != Sending::Going {
            return None;
        }
        let sent = match self.intake.framing {
            Framing::None => self.poll_head_out(context).map_err(FlowError::Sink),
            _ => self.poll_body_out(context),
        };
        match sent {
            Poll::Ready(Ok(())) => self.sending = Sending::Done,
            Poll::Ready(Err(FlowError::Sink(_))) => self.sending = Sending::Broken,
            Poll::Ready(Err(FlowError::Malformed(_))) if self.response.is_none() => {
                return Some(End::Failed(Reason::RequestBody));
            }
            Poll::Ready(Err(_)) => return Some(End::Next(Next::Reset)),
            Poll::Pending => {}
        }
        None
    }

    fn poll_head_out(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while let Some(rest) = self
            .intake
            .head
            .get(self.sent..)
            .filter(|it| !it.is_empty())
        {
            match ready!(poll_write(context, &mut self.upstream.stream, rest))? {
                0 => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_body_out(&mut self, context: &mut Context<'_>) -> Poll<Result<(), FlowError>> {
        let Client {
            visitor,
            stream,
            inbox,
            ..
        } = &mut *self.client;
        let mut scratch = visitor.worker.scratch();
        let upstream = &mut self.upstream.stream;
        self.request
            .poll(context, &mut scratch, (stream, inbox), upstream)
    }

    /// Reads until the head of the final response is understood.
    fn poll_head(&mut self, context: &mut Context<'_>, slot: &Slot) -> Option<End> {
        let worker = Rc::clone(&self.client.visitor.worker);
        while self.response.is_none() && !self.switched {
            let mut scratch = worker.scratch();
            let stream = &mut self.upstream.stream;
            let room = &mut scratch[..HEAD_READ_BYTES];
            let taken = match self.answered.poll_head(context, room, stream) {
                Poll::Pending => return None,
                Poll::Ready(Ok(Found::Kept(length))) => self.take_kept(length),
                Poll::Ready(Ok(Found::Read(read))) => {
                    match self.take_read(context, &scratch[..read]) {
                        Some(Err(end)) => return Some(end),
                        Some(Ok(())) => Ok(()),
                        None => continue,
                    }
                }
                Poll::Ready(Err(NoHead::Lost(error))) => return Some(self.lost(slot, &error)),
                Poll::Ready(Err(NoHead::Misunderstood(error))) => {
                    return Some(misunderstood(slot, error));
                }
            };
            if let Err(error) = taken {
                return Some(misunderstood(slot, &error.to_string()));
            }
            slot.answered();
        }
        None
    }

    /// Takes a response head from where it was read, and what came with it; `None` if it is to be looked at more closely.
    fn take_read(&mut self, context: &mut Context<'_>, read: &[u8]) -> Option<Result<(), End>> {
        let mut room = Room::new();
        let first = response::parse_first(read, self.intake.to_head, &mut room);
        let taken = first.map(|(length, response)| (length, self.take(&response)));
        let Some((length, Ok(()))) = taken else {
            self.answered.inbox.append(read);
            return None;
        };
        let begun = self.begin(context, &read[length..]);
        Some(begun.map_err(|error| self.cut(&error)))
    }

    /// Takes a response head of `length` bytes from the inbox.
    fn take_kept(&mut self, length: usize) -> Result<(), ResponseError> {
        let mut inbox = std::mem::take(&mut self.answered.inbox);
        let taken = {
            let mut room = Room::new();
            let head = &inbox.unread()[..length];
            response::parse(head, self.intake.to_head, &mut room)
                .and_then(|response| self.take(&response))
        };
        inbox.consume(length);
        self.answered.inbox = inbox;
        taken
    }

    /// Begins the response's body with what was read behind its head.
    fn begin(&mut self, context: &mut Context<'_>, rest: &[u8]) -> Result<(), FlowError> {
        let inbox = &mut self.answered.inbox;
        match &mut self.response {
            Some(response) => {
                let sink = &mut self.client.stream;
                response.flow.begin(context, rest, inbox, sink)
            }
            None => {
                inbox.append(rest);
                Ok(())
            }
        }
    }

    /// Takes a response head; one that is refused has changed nothing.
    fn take(&mut self, response: &Response<'_, '_>) -> Result<(), ResponseError> {
        match response.status {
            101 => {
                let upgrade = self.intake.upgrade.as_deref();
                let protocol = upgrade.filter(|protocol| response.switches_to(protocol));
                let protocol = protocol.ok_or(ResponseError::Head)?;
                rewrite::switching_head(response, protocol, self.interim.tail());
                if let Some(cookie) = self.client.cookie {
                    cookie.add_to_head(self.interim.tail());
                }
                self.finished.answered(response.status);
                self.switched = true;
            }
            // The proxy itself told the client to go on.
            100 => {}
            _ if response.interim() => {
                let understood = self.intake.version == Version::Http11;
                if understood && self.interim.len() < HEAD_BYTES_MAX {
                    rewrite::interim_head(response, self.interim.tail());
                    self.unflushed = true;
                }
            }
            _ => {
                self.finished.answered(response.status);
                let out = std::mem::take(&mut self.interim);
                let delivering = delivering(
                    response,
                    self.intake,
                    self.client.visitor.worker.retiring(),
                    (self.client.cookie, out),
                );
                self.response = Some(delivering);
            }
        }
        Ok(())
    }

    fn poll_response(&mut self, context: &mut Context<'_>) -> Option<End> {
        match self.poll_spliced(context) {
            Poll::Pending => return None,
            Poll::Ready(Err(error)) => return Some(self.cut(&error)),
            Poll::Ready(Ok(())) => {}
        }
        let delivering = self.response.as_mut()?;
        let Client {
            visitor, stream, ..
        } = &mut *self.client;
        let mut scratch = visitor.worker.scratch();
        let polled = delivering.flow.poll(
            context,
            &mut scratch,
            (&mut self.upstream.stream, &mut self.answered.inbox),
            stream,
        );
        drop(scratch);
        match polled {
            Poll::Pending => None,
            Poll::Ready(Ok(())) => {
                self.finished.delivered = true;
                Some(End::Next(match self.sending {
                    Sending::Done if delivering.client_persistent => Next::Request,
                    Sending::Done if !self.client.has_unread() => Next::Close,
                    _ => Next::Linger,
                }))
            }
            Poll::Ready(Err(error)) => Some(self.cut(&error)),
        }
    }

    /// Moves a large body without looking at it. Ready when that is done or not to be done.
    fn poll_spliced(&mut self, context: &mut Context<'_>) -> Poll<Result<(), FlowError>> {
        let Some(response) = &mut self.response else {
            return Poll::Ready(Ok(()));
        };
        if self.pipe.is_none() {
            let large = response.flow.left() >= Some(SPLICED_BYTES_MIN);
            if !large || !self.answered.inbox.is_empty() || self.client.stream.plain().is_none() {
                return Poll::Ready(Ok(()));
            }
            ready!(response.flow.poll_out(context, &mut self.client.stream))?;
            self.pipe = Lent::take(&self.client.visitor.worker);
        }
        match (&mut self.pipe, self.client.stream.plain()) {
            (Some(pipe), Some(sink)) => {
                let streams = (&self.upstream.stream, sink);
                pipe.poll(context, streams, &mut response.flow)
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    /// The response cannot be delivered to its end.
    fn cut(&mut self, error: &FlowError) -> End {
        if !matches!(error, FlowError::Sink(_)) {
            self.finished.cut(Reason::InstanceCut);
        }
        End::Next(Next::Reset)
    }

    fn poll_interim(&mut self, context: &mut Context<'_>) -> Option<End> {
        if !self.unflushed {
            return None;
        }
        let sent = self.interim.poll_write_to(context, &mut self.client.stream);
        let flushed = Pin::new(&mut self.client.stream).poll_flush(context);
        self.unflushed = sent.is_pending() || flushed.is_pending();
        let failed = |poll: Poll<std::io::Result<()>>| matches!(poll, Poll::Ready(Err(_)));
        (failed(sent) || failed(flushed)).then_some(End::Next(Next::Reset))
    }

    /// Bounds the time in which nothing moves although only the client could move it.
    fn bound_stall(&mut self) {
        let response = self.response.as_ref().map(|response| &response.flow);
        let waits_for_client = match response {
            None => {
                self.sending == Sending::Going
                    && self.intake.framing != Framing::None
                    && self.request.waits_for() == WaitsFor::Source
            }
            Some(flow) => flow.waits_for() == WaitsFor::Sink,
        };
        let progress = (
            self.request.read_bytes(),
            response.map_or(0, Flow::moved_bytes),
        );
        if progress != self.progress {
            let idle = self.intake.route.idle_timeout;
            self.client.deadline.set_idle(idle);
        }
        if !waits_for_client {
            self.client.deadline.set_phase(None);
        } else if progress != self.progress || !self.client.deadline.has_phase() {
            self.client.deadline.set_phase(Some(CLIENT_STALL_MAX));
        }
        self.progress = progress;
    }

    fn late(&mut self, expired: Expired) -> End {
        if self.response.is_none() {
            return End::Failed(expired.into());
        }
        self.finished.cut(expired.into());
        End::Next(Next::Reset)
    }

    /// The connection broke before a response. A request that may be repeated is, on a connection of its own, at another
    /// instance if there is one. That an idle connection was closed meanwhile says nothing about the instance.
    fn lost(&self, slot: &Slot, error: &str) -> End {
        let again = self.intake.repeatable && self.answered.inbox.is_empty();
        if again && self.upstream.reused {
            return End::Again;
        }
        let worker = &self.client.visitor.worker;
        slot.instance.health.broke(worker.sweep.now_ms());
        worker.report_unreachable(&slot.instance, format!("exchange: {error}"));
        match again {
            true => End::Again,
            false => End::Failed(Reason::InstanceClosed),
        }
    }

    /// Keeps the upstream connection for another request, if it can take one.
    fn keep_upstream(self, slot: &Slot) {
        let Some(response) = self.response else {
            return;
        };
        if response.upstream_persistent
            && self.sending == Sending::Done
            && self.answered.inbox.is_empty()
        {
            let worker = &self.client.visitor.worker;
            let (now_ms, max) = (worker.sweep.now_ms(), slot.max_concurrency);
            let mut pool = worker.pool.borrow_mut();
            pool.keep(
                &slot.instance,
                self.upstream.stream,
                response.keep_alive,
                now_ms,
                max,
            );
        }
    }
}

fn misunderstood(slot: &Slot, error: &str) -> End {
    tracing::debug!(
        instance = slot.instance.id,
        error,
        "an instance's answer was not understood"
    );
    End::Failed(Reason::InstanceAnswer)
}

fn delivering(
    response: &Response<'_, '_>,
    intake: &Intake,
    retiring: bool,
    (cookie, mut out): (Option<Cookie>, Buffer),
) -> Delivering {
    let client = rewrite::Client {
        version: intake.version,
        persistent: intake.persistent && !retiring,
    };
    let delivery = rewrite::response_head(response, client, out.tail());
    if let Some(cookie) = cookie {
        cookie.add_to_head(out.tail());
    }
    Delivering {
        flow: Flow::new(Decoder::new(response.framing), delivery.encoder, out),
        client_persistent: delivery.persistent,
        upstream_persistent: response.persistent(),
        keep_alive: response.keep_alive,
    }
}
