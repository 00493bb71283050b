//! One HTTP/2 request on one upstream connection: both bodies move at the same time. What the client may not get yet
//! by flow control is not read from the instance, and what the instance has not taken yet is not granted to the client.

use super::intake;
use super::stream::Stream;
use super::tunnel::tunnel;
use crate::buffer::{Buffer, poll_read};
use crate::client::exchange::CLIENT_STALL_MAX;
use crate::client::socket::poll_write;
use crate::h1::Framing;
use crate::h1::body::{Decoder, Encoder};
use crate::h1::field::Room;
use crate::h1::response::{self, Response, ResponseError};
use crate::reason::Reason;
use crate::service::Finished;
use crate::tunnel::IDLE_MAX;
use crate::visit::connect::Upstream;
use crate::visit::head::{Answered, Found, NoHead};
use crate::visit::intake::Intake;
use crate::worker::Slot;
use bytes::Bytes;
use h2::{Reason as Code, SendStream};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Bytes read from an instance at once: what one stream holds while its client does not take it.
const READ_BYTES: usize = 64 << 10;

/// How an exchange ended.
#[derive(Debug)]
pub(super) enum End {
    /// The response was delivered, or cut.
    Answered,
    /// The client abandoned the request.
    Abandoned,
    /// It failed before the response began.
    Failed(Reason),
    /// The stream has become a WebSocket.
    Switched(SendStream<Bytes>),
    /// The instance had closed the idle connection; nothing was carried out, so the request may be sent again.
    Again,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// The client's body is being read.
    Reading,
    /// It is read; the rest is to be written.
    Writing,
    /// Everything is written.
    Done,
    /// The instance takes no more of it; it may still answer.
    Broken,
}

/// A response whose head was sent.
struct Delivering {
    sending: SendStream<Bytes>,
    decoder: Decoder,
    piece: Bytes,
    /// The stream's end was sent.
    over: bool,
    waits_for_client: bool,
    upstream_persistent: bool,
    keep_alive: Option<Duration>,
}

/// An exchange under way.
pub(super) struct Exchange<'a> {
    stream: &'a mut Stream,
    upstream: Upstream,
    intake: &'a Intake,
    finished: &'a mut Finished,
    answered: Answered,
    out: Buffer,
    sending: Sending,
    /// Bytes of the head that are sent, if nothing follows it.
    sent: usize,
    /// Bytes of the client's body that were read and not yet granted anew.
    ungranted: usize,
    response: Option<Delivering>,
    progress: (u64, u64),
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        stream: &'a mut Stream,
        upstream: Upstream,
        intake: &'a Intake,
        finished: &'a mut Finished,
    ) -> Exchange<'a> {
        let mut out = Buffer::default();
        let bodyless = matches!(intake.framing, Framing::None);
        // A head that nothing follows is sent from where it is.
        if !bodyless {
            out.append(&intake.head);
        }
        Exchange {
            stream,
            upstream,
            intake,
            finished,
            answered: Answered::default(),
            out,
            sending: if bodyless {
                Sending::Writing
            } else {
                Sending::Reading
            },
            sent: 0,
            ungranted: 0,
            response: None,
            progress: (0, 0),
        }
    }

    /// Runs the exchange to its end.
    pub(super) async fn run(mut self, slot: &Slot) -> End {
        let idle = self.intake.route.idle_timeout;
        self.stream.deadline.set_idle(idle);
        let end = std::future::poll_fn(|context| self.poll(context, slot)).await;
        self.stream.deadline.set_idle(None);
        if let End::Switched(sending) = end {
            let upstream = (self.upstream.stream, self.answered.inbox);
            let idle = self.intake.route.idle_timeout.unwrap_or(IDLE_MAX);
            tunnel(self.stream, sending, upstream, idle, self.finished).await;
            return End::Answered;
        }
        let Some(mut response) = self.response else {
            return end;
        };
        if response.over {
            if response.upstream_persistent
                && self.sending == Sending::Done
                && self.answered.inbox.is_empty()
            {
                let worker = &self.stream.visitor.worker;
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
        } else {
            // What the client got is not whole and must not look as if.
            response.sending.send_reset(Code::INTERNAL_ERROR);
        }
        end
    }

    fn poll(&mut self, context: &mut Context<'_>, slot: &Slot) -> Poll<End> {
        if let Some(expired) = self.stream.deadline.expired(context) {
            if self.response.is_none() {
                return Poll::Ready(End::Failed(expired.into()));
            }
            self.finished.cut(expired.into());
            return Poll::Ready(End::Answered);
        }
        if let Poll::Ready(Err(end)) = self.poll_request(context) {
            return Poll::Ready(end);
        }
        if let Some(end) = self.poll_head(context, slot) {
            return Poll::Ready(end);
        }
        if let Some(end) = self.poll_client(context) {
            return Poll::Ready(end);
        }
        if let Poll::Ready(end) = self.poll_response(context) {
            return Poll::Ready(end);
        }
        self.bound_stall();
        Poll::Pending
    }

    /// Sends the request: head, body, trailers.
    fn poll_request(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        while matches!(self.sending, Sending::Reading | Sending::Writing) {
            let written = match self.intake.framing {
                Framing::None => self.poll_head_out(context),
                _ => self.out.poll_write_to(context, &mut self.upstream.stream),
            };
            if ready!(written).is_err() {
                self.sending = Sending::Broken;
                break;
            }
            if self.intake.framing == Framing::None {
                self.sending = Sending::Done;
                break;
            }
            let granted = self
                .stream
                .body
                .flow_control()
                .release_capacity(std::mem::take(&mut self.ungranted));
            if granted.is_err() {
                return Poll::Ready(Err(End::Abandoned));
            }
            if self.sending == Sending::Writing {
                self.sending = Sending::Done;
                break;
            }
            match ready!(self.stream.body.poll_data(context)) {
                Some(Ok(data)) => {
                    self.ungranted = data.len();
                    self.finished.bytes_in += data.len() as u64;
                    self.encoder().data(&data, self.out.tail());
                }
                Some(Err(_)) => return Poll::Ready(Err(End::Abandoned)),
                None => {
                    let Ok(trailers) = ready!(self.stream.body.poll_trailers(context)) else {
                        return Poll::Ready(Err(End::Abandoned));
                    };
                    // The h2 crate has compared the length with what was announced; this is the last line.
                    if let Framing::Length(length) = self.intake.framing
                        && length != self.finished.bytes_in
                    {
                        return Poll::Ready(Err(End::Failed(Reason::RequestBody)));
                    }
                    let fields = trailers
                        .map_or(Vec::new(), |trailers| intake::trailers_to_fields(&trailers));
                    self.encoder().end(&fields, self.out.tail());
                    self.sending = Sending::Writing;
                }
            }
        }
        Poll::Ready(Ok(()))
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

    fn encoder(&self) -> Encoder {
        if self.intake.framing == Framing::Chunked {
            Encoder::Chunked
        } else {
            Encoder::Raw
        }
    }

    /// Reads until the head of the final response is understood.
    fn poll_head(&mut self, context: &mut Context<'_>, slot: &Slot) -> Option<End> {
        let worker = Rc::clone(&self.stream.visitor.worker);
        while self.response.is_none() {
            let mut scratch = worker.scratch();
            let stream = &mut self.upstream.stream;
            let room = &mut scratch[..READ_BYTES];
            let taken = match self.answered.poll_head(context, room, stream) {
                Poll::Pending => return None,
                Poll::Ready(Ok(Found::Kept(length))) => self.take_kept(length),
                Poll::Ready(Ok(Found::Read(read))) => match self.take_read(&scratch[..read]) {
                    Some(taken) => taken,
                    None => continue,
                },
                Poll::Ready(Err(NoHead::Lost(error))) => return Some(self.lost(slot, &error)),
                Poll::Ready(Err(NoHead::Misunderstood(error))) => {
                    return Some(misunderstood(slot, error));
                }
            };
            match taken {
                Ok(end) => {
                    slot.answered();
                    if end.is_some() {
                        return end;
                    }
                }
                Err(error) => return Some(misunderstood(slot, &error.to_string())),
            }
        }
        None
    }

    /// Takes a response head from where it was read, and what came with it; `None` if it is to be looked at more closely.
    fn take_read(&mut self, read: &[u8]) -> Option<Result<Option<End>, ResponseError>> {
        let mut room = Room::new();
        let first = response::parse_first(read, self.intake.to_head, &mut room);
        let Some((length, response)) = first else {
            self.answered.inbox.append(read);
            return None;
        };
        let taken = self.take(&response);
        self.begin(&read[length..]);
        Some(taken)
    }

    /// Takes a response head of `length` bytes from the inbox.
    fn take_kept(&mut self, length: usize) -> Result<Option<End>, ResponseError> {
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

    /// Takes what was read behind a head: the first piece of the body is ready to be sent.
    fn begin(&mut self, rest: &[u8]) {
        let mut read = 0;
        if let Some(response) = &mut self.response
            && let Decoder::Length(_) = response.decoder
            && let Ok((decoded, data)) = response.decoder.decode(rest)
        {
            read = decoded;
            self.finished.bytes_out += data.len() as u64;
            response.piece = Bytes::copy_from_slice(&rest[data]);
        }
        self.answered.inbox.append(&rest[read..]);
    }

    /// Takes a response head and passes it on.
    fn take(&mut self, parsed: &Response<'_, '_>) -> Result<Option<End>, ResponseError> {
        let mut response = intake::response(parsed).ok_or(ResponseError::Head)?;
        if let Some(handshake) = &self.stream.handshake {
            let switched = parsed.status == 101
                && parsed.switches_to("websocket")
                && handshake.is_completed_by(parsed.headers);
            if switched {
                self.finished.answered(101);
                intake::add_cookie(&mut response, self.stream.cookie);
                response.headers_mut().remove("sec-websocket-accept");
                *response.status_mut() = http::StatusCode::OK;
                let sending = self.stream.respond.send_response(response, false);
                return Ok(Some(sending.map_or(End::Abandoned, End::Switched)));
            }
            // To the client a success says that it has a WebSocket.
            if parsed.status == 101 || (200..300).contains(&parsed.status) {
                return Err(ResponseError::Head);
            }
        } else if parsed.status == 101 {
            return Err(ResponseError::Head);
        }
        if parsed.interim() {
            if parsed.status != 100 {
                // A client that takes no hints is not a failure.
                let _ = self.stream.respond.send_informational(response);
            }
            return Ok(None);
        }
        self.finished.answered(parsed.status);
        let over = matches!(parsed.framing, Framing::None | Framing::Length(0));
        let (framing, upstream_persistent, keep_alive) =
            (parsed.framing, parsed.persistent(), parsed.keep_alive);
        intake::add_cookie(&mut response, self.stream.cookie);
        let Ok(sending) = self.stream.respond.send_response(response, over) else {
            return Ok(Some(End::Abandoned));
        };
        let decoder = Decoder::new(framing);
        let (piece, waits_for_client) = (Bytes::new(), false);
        self.response = Some(Delivering {
            sending,
            decoder,
            piece,
            over,
            waits_for_client,
            upstream_persistent,
            keep_alive,
        });
        Ok(None)
    }

    /// Sees the client abandon the request.
    fn poll_client(&mut self, context: &mut Context<'_>) -> Option<End> {
        let reset = match &mut self.response {
            Some(response) if response.over => return None,
            Some(response) => response.sending.poll_reset(context),
            None => self.stream.respond.poll_reset(context),
        };
        reset.is_ready().then_some(End::Abandoned)
    }

    fn poll_response(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let Some(response) = &mut self.response else {
            return Poll::Pending;
        };
        while !response.over {
            response.waits_for_client = true;
            match ready!(response.poll_send(context)) {
                Ok(()) => {}
                Err(end) => return Poll::Ready(end),
            }
            response.waits_for_client = false;
            if response.over {
                break;
            }
            let inbox = &mut self.answered.inbox;
            if inbox.is_empty() {
                let mut scratch = self.stream.visitor.worker.scratch();
                match ready!(poll_read(
                    context,
                    &mut self.upstream.stream,
                    &mut scratch[..READ_BYTES]
                )) {
                    Ok(0) if response.decoder.connection_ended().is_ok() => continue,
                    Ok(0) | Err(_) => {
                        self.finished.cut(Reason::InstanceCut);
                        return Poll::Ready(End::Answered);
                    }
                    Ok(read) => inbox.tail().extend_from_slice(&scratch[..read]),
                }
            }
            let Ok((read, data)) = response.decoder.decode(inbox.unread()) else {
                self.finished.cut(Reason::InstanceCut);
                return Poll::Ready(End::Answered);
            };
            self.finished.bytes_out += data.len() as u64;
            response.piece = Bytes::copy_from_slice(&inbox.unread()[data]);
            inbox.consume(read);
        }
        self.finished.delivered = true;
        // A body that is still coming is of no use any more; the stream says so when it is dropped.
        Poll::Ready(End::Answered)
    }

    /// Bounds the time in which nothing moves although only the client could move it.
    fn bound_stall(&mut self) {
        let waits_for_client = match &self.response {
            None => self.sending == Sending::Reading && self.out.is_empty(),
            Some(response) => response.waits_for_client,
        };
        let progress = (
            self.finished.bytes_in,
            self.finished.bytes_out - self.unsent(),
        );
        if progress != self.progress {
            let idle = self.intake.route.idle_timeout;
            self.stream.deadline.set_idle(idle);
        }
        if !waits_for_client {
            self.stream.deadline.set_phase(None);
        } else if progress != self.progress || !self.stream.deadline.has_phase() {
            self.stream.deadline.set_phase(Some(CLIENT_STALL_MAX));
        }
        self.progress = progress;
    }

    fn unsent(&self) -> u64 {
        self.response
            .as_ref()
            .map_or(0, |response| response.piece.len() as u64)
    }

    /// The connection broke before a response.
    fn lost(&self, slot: &Slot, error: &str) -> End {
        let again = self.intake.repeatable && self.answered.inbox.is_empty();
        if again && self.upstream.reused {
            return End::Again;
        }
        let worker = &self.stream.visitor.worker;
        slot.instance.health.broke(worker.sweep.now_ms());
        worker.report_unreachable(&slot.instance, format!("exchange: {error}"));
        match again {
            true => End::Again,
            false => End::Failed(Reason::InstanceClosed),
        }
    }
}

impl Delivering {
    /// Sends the piece at hand as far as the client takes it, and the end of the body after the last one.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        let trailers = self.decoder.trailers();
        let has_trailers = self.decoder.ended() && !trailers.is_empty();
        while !self.piece.is_empty() {
            self.sending.reserve_capacity(self.piece.len());
            if self.sending.capacity() == 0 {
                match ready!(self.sending.poll_capacity(context)) {
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return Poll::Ready(Err(End::Abandoned)),
                }
            }
            let part = self
                .piece
                .split_to(self.sending.capacity().min(self.piece.len()));
            let last = self.piece.is_empty() && self.decoder.ended() && !has_trailers;
            if self.sending.send_data(part, last).is_err() {
                return Poll::Ready(Err(End::Abandoned));
            }
            self.over = last;
        }
        if self.decoder.ended() && !self.over {
            let sent = match has_trailers {
                true => self
                    .sending
                    .send_trailers(intake::fields_to_trailers(trailers)),
                false => self.sending.send_data(Bytes::new(), true),
            };
            if sent.is_err() {
                return Poll::Ready(Err(End::Abandoned));
            }
            self.over = true;
        }
        Poll::Ready(Ok(()))
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
