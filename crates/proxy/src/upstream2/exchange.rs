//! One request on a stream of an HTTP/2 connection to an instance: both bodies move at the same time, each as fast as
//! its receiver takes it.

use super::connections::{Blocked, Room};
use super::downstream::{Downstream, NoPart, Part};
use super::message;
use super::replay::Replay;
use crate::client::exchange::CLIENT_STALL_MAX;
use crate::h1::Framing;
use crate::reason::Reason;
use crate::service::Finished;
use crate::visit::intake::Intake;
use crate::worker::Slot;
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason as Code, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// How an exchange ended.
#[derive(Debug)]
pub enum End {
    /// The response was delivered; `read` says that the whole request was, too.
    Delivered {
        /// The body was read to its end.
        read: bool,
    },
    /// The response has begun and is not whole.
    Cut,
    /// The client has left.
    Gone,
    /// It failed before the response began.
    Failed(Reason),
    /// Nothing of the request was carried out, or it may be repeated: it can be sent again.
    Again,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// The body is being read and sent.
    Going,
    /// Everything is sent.
    Done,
    /// The instance takes no more of it; it may still answer.
    Broken,
}

/// The instance's side of a response.
enum Receiving {
    Head(ResponseFuture),
    Body(Box<Delivering>),
}

/// A response whose head was passed on.
struct Delivering {
    body: RecvStream,
    piece: Bytes,
    /// Bytes of `piece` to be granted to the instance when the client has taken it.
    granting: usize,
    /// The body has been read to its end, which came with these trailers.
    ended: Option<Option<HeaderMap>>,
    over: bool,
    waits_for_client: bool,
}

/// What an exchange is about.
pub struct Exchange<'a, D> {
    side: &'a mut D,
    intake: &'a Intake,
    finished: &'a mut Finished,
    replay: &'a mut Replay,
    room: &'a Room,
    /// While the body waits for the instance to take more.
    blocked: Option<Blocked>,
    request: SendStream<Bytes>,
    piece: Bytes,
    granting: usize,
    sending: Sending,
    receiving: Receiving,
    waits_for_body: bool,
    progress: (u64, u64),
}

impl<'a, D: Downstream> Exchange<'a, D> {
    /// Sends the head of the request; `None` if the connection takes none.
    pub fn begin(
        (side, room): (&'a mut D, &'a mut Room),
        (intake, finished): (&'a Intake, &'a mut Finished),
        replay: &'a mut Replay,
        request: Request<()>,
    ) -> Option<Exchange<'a, D>> {
        let bodyless = intake.framing == Framing::None;
        let (response, sending) = room.requests.send_request(request, bodyless).ok()?;
        finished.bytes_in = 0;
        replay.rewind();
        Some(Exchange {
            side,
            intake,
            finished,
            replay,
            room,
            blocked: None,
            request: sending,
            piece: Bytes::new(),
            granting: 0,
            sending: if bodyless {
                Sending::Done
            } else {
                Sending::Going
            },
            receiving: Receiving::Head(response),
            waits_for_body: false,
            progress: (0, 0),
        })
    }

    /// Runs the exchange to its end.
    pub async fn run(mut self, slot: &Slot) -> End {
        self.side
            .deadline()
            .set_idle(self.intake.route.idle_timeout);
        let end = std::future::poll_fn(|context| self.poll(context, slot)).await;
        self.side.deadline().set_idle(None);
        if !matches!(end, End::Delivered { .. }) {
            // A response that is not taken to its end; the instance need not go on.
            self.request.send_reset(Code::CANCEL);
        }
        end
    }

    fn poll(&mut self, context: &mut Context<'_>, slot: &Slot) -> Poll<End> {
        if let Some(expired) = self.side.deadline().expired(context) {
            return Poll::Ready(match &self.receiving {
                Receiving::Body(_) => {
                    self.finished.cut(expired.into());
                    End::Cut
                }
                Receiving::Head(_) => End::Failed(expired.into()),
            });
        }
        if let Poll::Ready(Some(end)) = self.poll_request(context) {
            return Poll::Ready(end);
        }
        if let Poll::Ready(Some(end)) = self.poll_head(context, slot) {
            return Poll::Ready(end);
        }
        if let Poll::Ready(end) = self.poll_response(context) {
            return Poll::Ready(end);
        }
        if matches!(self.receiving, Receiving::Head(_))
            && matches!(self.side.poll_flush(context), Poll::Ready(Err(_)))
        {
            return Poll::Ready(End::Gone);
        }
        if self.sending != Sending::Going && self.side.poll_gone(context).is_ready() {
            return Poll::Ready(End::Gone);
        }
        self.bound_stall();
        Poll::Pending
    }

    /// Sends the body and the trailers.
    fn poll_request(&mut self, context: &mut Context<'_>) -> Poll<Option<End>> {
        self.waits_for_body = false;
        while self.sending == Sending::Going {
            if !self.piece.is_empty() {
                if ready!(self.poll_send_piece(context)).is_err() {
                    self.sending = Sending::Broken;
                }
                continue;
            }
            self.side.grant(std::mem::take(&mut self.granting));
            self.waits_for_body = true;
            let (part, grant) = match ready!(self.replay.poll_part(self.side, context)) {
                Ok(read) => read,
                Err(NoPart::Malformed) if matches!(self.receiving, Receiving::Head(_)) => {
                    return Poll::Ready(Some(End::Failed(Reason::RequestBody)));
                }
                Err(NoPart::Malformed) => {
                    self.finished.cut(Reason::RequestBody);
                    return Poll::Ready(Some(End::Cut));
                }
                Err(NoPart::Gone) => return Poll::Ready(Some(End::Gone)),
            };
            self.waits_for_body = false;
            match part {
                Part::Data(data) => {
                    self.finished.bytes_in += data.len() as u64;
                    self.granting = if grant { data.len() } else { 0 };
                    self.piece = data;
                }
                Part::End(trailers) => {
                    let ended = match trailers {
                        Some(trailers) => self.request.send_trailers(trailers),
                        None => self.request.send_data(Bytes::new(), true),
                    };
                    self.sending = if ended.is_ok() {
                        Sending::Done
                    } else {
                        Sending::Broken
                    };
                }
            }
        }
        Poll::Ready(None)
    }

    /// Sends the piece at hand as far as the instance takes it.
    fn poll_send_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ()>> {
        while !self.piece.is_empty() {
            self.request.reserve_capacity(self.piece.len());
            if self.request.capacity() == 0 {
                match self.request.poll_capacity(context) {
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(())),
                    Poll::Pending => {
                        self.blocked.get_or_insert_with(|| self.room.block());
                        return Poll::Pending;
                    }
                }
            }
            self.blocked = None;
            let length = self.request.capacity().min(self.piece.len());
            let part = self.piece.split_to(length);
            if self.request.send_data(part, false).is_err() {
                return Poll::Ready(Err(()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the head of the final response and passes it on.
    fn poll_head(&mut self, context: &mut Context<'_>, slot: &Slot) -> Poll<Option<End>> {
        let Receiving::Head(waiting) = &mut self.receiving else {
            return Poll::Ready(None);
        };
        while let Poll::Ready(Some(Ok(interim))) = waiting.poll_informational(context) {
            // The proxy itself tells the client to go on.
            let fields = message::fields(interim.headers());
            if let Ok(interim) = message::response(interim.status(), &fields, (false, true))
                && interim.status != 100
            {
                self.side.inform(&interim);
            }
        }
        let end = match ready!(Pin::new(waiting).poll(context)) {
            Ok(response) => self.take_head(response, slot),
            Err(error) => Some(self.lost(slot, &error)),
        };
        Poll::Ready(end)
    }

    fn take_head(&mut self, response: Response<RecvStream>, slot: &Slot) -> Option<End> {
        self.replay.give_up();
        let (parts, body) = response.into_parts();
        let fields = message::fields(&parts.headers);
        let over = body.is_end_stream();
        let state = (self.intake.to_head, over);
        let answered = match message::response(parts.status, &fields, state) {
            Ok(answered) => answered,
            Err(error) => return Some(misunderstood(slot, &error)),
        };
        // What follows a head that has no body would be taken for the next response.
        let over = over || answered.framing == Framing::None;
        self.finished.answered(answered.status);
        slot.answered();
        if self.side.begin(&answered, over).is_err() {
            return Some(End::Gone);
        }
        self.receiving = Receiving::Body(Box::new(Delivering {
            body,
            piece: Bytes::new(),
            granting: 0,
            ended: over.then_some(None),
            over: false,
            waits_for_client: false,
        }));
        None
    }

    fn poll_response(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let Receiving::Body(response) = &mut self.receiving else {
            return Poll::Pending;
        };
        let delivered = ready!(response.poll(context, self.side, self.finished));
        Poll::Ready(match delivered {
            Ok(()) => {
                self.finished.delivered = true;
                End::Delivered {
                    read: self.sending == Sending::Done,
                }
            }
            Err(End::Cut) => {
                self.finished.cut(Reason::InstanceCut);
                End::Cut
            }
            Err(end) => end,
        })
    }

    /// Bounds the time in which nothing moves although only the client could move it.
    fn bound_stall(&mut self) {
        let (waits_for_client, unsent) = match &self.receiving {
            Receiving::Head(_) => (self.waits_for_body, 0),
            Receiving::Body(response) => (response.waits_for_client, response.piece.len()),
        };
        let progress = (
            self.finished.bytes_in,
            self.finished.bytes_out - unsent as u64,
        );
        let deadline = self.side.deadline();
        if progress != self.progress {
            deadline.set_idle(self.intake.route.idle_timeout);
        }
        if !waits_for_client {
            deadline.set_phase(None);
        } else if progress != self.progress || !deadline.has_phase() {
            deadline.set_phase(Some(CLIENT_STALL_MAX));
        }
        self.progress = progress;
    }

    /// The stream ended before a response.
    fn lost(&self, slot: &Slot, error: &h2::Error) -> End {
        // Streams after the last one that a GOAWAY names, and refused ones, were not looked at (RFC 9113 sections 6.8
        // and 8.7).
        let unprocessed = error.is_remote()
            && (error.is_go_away() || error.reason() == Some(Code::REFUSED_STREAM));
        let again = match unprocessed {
            true => self.replay.whole(),
            false => self.intake.repeatable && error.is_io(),
        };
        if again {
            return End::Again;
        }
        if error.is_library() && error.reason().is_some() {
            return misunderstood(slot, error);
        }
        let worker = self.side.worker();
        slot.instance.health.broke(worker.sweep.now_ms());
        worker.report_unreachable(&slot.instance, format!("exchange: {error}"));
        End::Failed(Reason::InstanceClosed)
    }
}

impl Delivering {
    /// Passes the body on, and its end.
    fn poll<D: Downstream>(
        &mut self,
        context: &mut Context<'_>,
        side: &mut D,
        finished: &mut Finished,
    ) -> Poll<Result<(), End>> {
        loop {
            self.waits_for_client = true;
            if ready!(side.poll_data(context, &mut self.piece)).is_err() {
                return Poll::Ready(Err(End::Gone));
            }
            if let Some(trailers) = self.ended.as_ref().filter(|_| !self.over) {
                if ready!(side.poll_end(context, trailers.as_ref())).is_err() {
                    return Poll::Ready(Err(End::Gone));
                }
                self.over = true;
            }
            self.waits_for_client = false;
            if self.over {
                return Poll::Ready(Ok(()));
            }
            let granted = std::mem::take(&mut self.granting);
            if self.body.flow_control().release_capacity(granted).is_err() {
                return Poll::Ready(Err(End::Cut));
            }
            match ready!(self.body.poll_data(context)) {
                Some(Ok(data)) => {
                    finished.bytes_out += data.len() as u64;
                    self.granting = data.len();
                    self.piece = data;
                }
                Some(Err(_)) => return Poll::Ready(Err(End::Cut)),
                None => match ready!(self.body.poll_trailers(context)) {
                    Ok(trailers) => self.ended = Some(trailers),
                    Err(_) => return Poll::Ready(Err(End::Cut)),
                },
            }
        }
    }
}

fn misunderstood(slot: &Slot, error: &dyn std::error::Error) -> End {
    tracing::debug!(
        instance = slot.instance.id,
        %error,
        "an instance's answer was not understood"
    );
    End::Failed(Reason::InstanceAnswer)
}
