//! One request of an HTTP/2 connection.

use super::Ended;
use super::exchange::{End, Exchange};
use super::side::Side;
use super::tunnel::Handshake;
use super::{grpc, intake};
use crate::deadline::Deadline;
use crate::h1::field::Header;
use crate::h1::request::Refusal;
use crate::h1::rewrite::Answer;
use crate::reason::Reason;
use crate::upstream2::{self, exchange::End as End2};
use crate::visit::admit::{NoPlace, admit};
use crate::visit::connect::{REPEATS_MAX, connect};
use crate::visit::intake::{Decision, Intake};
use crate::visit::sticky::Cookie;
use crate::visit::{Caller, Record, Visitor};
use crate::worker::Worker;
use apron_link::proxy::UpstreamProtocol;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason as Code, RecvStream};
use http::Request;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Instances that speak HTTP/2 are not asked for WebSockets.
const NO_WEBSOCKET: Refusal = Refusal {
    status: 501,
    reason: "websocket-to-http2",
};

/// A stream whose response has not begun.
pub(super) struct Stream {
    pub(super) visitor: Rc<Visitor>,
    pub(super) respond: SendResponse<Bytes>,
    pub(super) body: RecvStream,
    pub(super) deadline: Deadline,
    /// The response sets this cookie.
    pub(super) cookie: Option<Cookie>,
    /// The client speaks gRPC and is told of failures in its words.
    grpc: bool,
    /// The client opens a WebSocket, and this is how an instance is asked for it.
    pub(super) handshake: Option<Handshake>,
}

impl Caller for Stream {
    fn worker(&self) -> &Rc<Worker> {
        &self.visitor.worker
    }

    fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    fn set_cookie(&mut self, cookie: Option<Cookie>) {
        self.cookie = cookie;
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.respond.poll_reset(context).map(|_| ())
    }
}

/// Serves a request.
pub(super) async fn serve(
    visitor: Rc<Visitor>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    refused: bool,
) -> Ended {
    let (parts, body) = request.into_parts();
    let to_head = parts.method == http::Method::HEAD;
    let grpc = grpc::is_spoken(&parts.headers);
    let handshake =
        intake::asks_for_websocket(&parts).then(|| Handshake::new(&visitor.worker.request_id()));
    let decision = match refused {
        true => Err(Reason::TooManyConnections),
        false => decide(&visitor, &parts, body.is_end_stream(), handshake.as_ref()),
    };
    let deadline = visitor.worker.sweep.register();
    let mut stream = Stream {
        visitor,
        respond,
        body,
        deadline,
        cookie: None,
        grpc,
        handshake,
    };
    match decision {
        Ok(Decision::Forward(intake)) => stream.forward(intake).await,
        Ok(Decision::Answer {
            reason,
            record: Some(mut record),
            ..
        }) => stream.answer(&record.refuse(reason), to_head),
        Ok(Decision::Answer { reason, .. }) => stream.answer(&reason.answer(), to_head),
        Ok(Decision::Redirect {
            status, location, ..
        }) => {
            let text = "this service is reached by https";
            stream.answer(
                &Answer {
                    status,
                    reason: "https-only",
                    text,
                    location: Some(&location),
                    retry_after_s: None,
                },
                to_head,
            )
        }
        Err(reason) => stream.answer(&reason.answer(), to_head),
    }
}

fn decide(
    visitor: &Visitor,
    parts: &http::request::Parts,
    bodyless: bool,
    handshake: Option<&Handshake>,
) -> Result<Decision, Reason> {
    let mut cookies = Vec::new();
    let mut fields = intake::fields(&parts.headers, &mut cookies).map_err(Reason::Refused)?;
    if let Some(handshake) = handshake {
        const KEY: &[u8] = b"sec-websocket-key";
        fields.retain(|field| field.name != KEY);
        fields.push(Header {
            name: KEY,
            value: handshake.key.as_bytes(),
        });
    }
    let request = intake::request(parts, &fields, bodyless).map_err(Reason::Refused)?;
    Ok(visitor.decide(&request))
}

impl Stream {
    /// Forwards a request and delivers its response.
    async fn forward(&mut self, mut intake: Box<Intake>) -> Ended {
        let mut record = Record::of(&self.visitor.worker, &mut intake);
        self.deadline.set_total(intake.route.timeout);
        if intake.route.protocol == UpstreamProtocol::H2c {
            if self.handshake.is_some() {
                return self.fail(Reason::Refused(NO_WEBSOCKET), &intake, &mut record);
            }
            return Box::pin(self.forward2(&intake, &mut record)).await;
        }
        let (mut fresh_only, mut repeats) = (false, 0);
        loop {
            let slot = match admit(self, &mut record, None).await {
                Ok(slot) => slot,
                Err(NoPlace::ClientGone) => return Ended::Abandoned,
                Err(NoPlace::Answer(reason)) => return self.fail(reason, &intake, &mut record),
            };
            let upstream =
                match connect(self, &slot, intake.repeatable, fresh_only, &mut record).await {
                    Ok(Some(upstream)) => upstream,
                    Ok(None) => continue,
                    Err(NoPlace::ClientGone) => return Ended::Abandoned,
                    Err(NoPlace::Answer(reason)) => return self.fail(reason, &intake, &mut record),
                };
            match Exchange::new(self, upstream, &intake, &mut record.finished)
                .run(&slot)
                .await
            {
                End::Answered | End::Switched(_) => return Ended::Answered,
                End::Abandoned => return Ended::Abandoned,
                End::Failed(reason) => return self.fail(reason, &intake, &mut record),
                End::Again if repeats < REPEATS_MAX => {
                    repeats += 1;
                    fresh_only = true;
                    record.avoid(&slot);
                }
                End::Again => return self.fail(Reason::InstanceClosed, &intake, &mut record),
            }
        }
    }

    /// Forwards a request to an instance that speaks HTTP/2.
    async fn forward2(&mut self, intake: &Intake, record: &mut Record) -> Ended {
        let mut side = Side::new(self);
        let end = upstream2::forward::forward(&mut side, intake, record).await;
        match (end, side.sending.take()) {
            (End2::Delivered { .. }, _) => Ended::Answered,
            (End2::Failed(reason), _) => self.fail(reason, intake, record),
            (End2::Cut, Some(mut sending)) => {
                // What the client got is not whole and must not look as if.
                sending.send_reset(Code::INTERNAL_ERROR);
                Ended::Answered
            }
            (End2::Cut | End2::Gone | End2::Again, _) => Ended::Abandoned,
        }
    }

    fn fail(&mut self, reason: Reason, intake: &Intake, record: &mut Record) -> Ended {
        self.answer(&record.refuse(reason), intake.to_head)
    }

    /// Sends the platform's own answer: it is small, so the connection takes it at once.
    fn answer(&mut self, answer: &Answer<'_>, to_head: bool) -> Ended {
        if self.grpc {
            let sent = self
                .respond
                .send_response(grpc::trailers_only(answer), true);
            return match sent {
                Ok(_) => Ended::Answered,
                Err(_) => Ended::Abandoned,
            };
        }
        let Some((response, body)) = intake::answer(answer) else {
            self.respond.send_reset(Code::INTERNAL_ERROR);
            return Ended::Answered;
        };
        // Failing means that the client has reset the stream.
        let Ok(mut sending) = self.respond.send_response(response, to_head) else {
            return Ended::Abandoned;
        };
        if !to_head {
            let _ = sending.send_data(body.into(), true);
        }
        Ended::Answered
    }
}
