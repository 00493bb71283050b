//! Forwarding a request: a place, a connection, an exchange; again where that is safe.

use super::exchange::{After, End, Exchange};
use super::side::Side;
use super::{Client, ClientIo, Next, READ_AHEAD_BYTES_MAX};
use crate::deadline::Deadline;
use crate::reason::Reason;
use crate::upstream2::{self, exchange::End as End2};
use crate::visit::admit::{NoPlace, admit};
use crate::visit::connect::{REPEATS_MAX, connect};
use crate::visit::intake::Intake;
use crate::visit::sticky::Cookie;
use crate::visit::{Caller, Record};
use crate::worker::Worker;
use apron_link::proxy::UpstreamProtocol;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

impl<C: ClientIo> Client<C> {
    /// Forwards a request and delivers its response.
    pub(super) async fn forward(&mut self, mut intake: Box<Intake>) -> Next {
        let mut record = Record::of(&self.visitor.worker, &mut intake);
        self.deadline.set_total(intake.route.timeout);
        self.deadline.set_phase(None);
        if intake.route.protocol == UpstreamProtocol::H2c {
            return Box::pin(self.forward2(&intake, &mut record)).await;
        }
        let (mut fresh_only, mut repeats, mut first) = (false, 0, true);
        loop {
            // Nothing has been waited for since the route was looked up, the first time; later it may be another one.
            let route = std::mem::take(&mut first).then_some(&intake.route);
            let slot = match admit(self, &mut record, route).await {
                Ok(slot) => slot,
                Err(NoPlace::ClientGone) => return Next::Reset,
                Err(NoPlace::Answer(reason)) => {
                    return Box::pin(self.fail(reason, &intake, &mut record)).await;
                }
            };
            let upstream =
                match connect(self, &slot, intake.repeatable, fresh_only, &mut record).await {
                    Ok(Some(upstream)) => upstream,
                    Ok(None) => continue,
                    Err(NoPlace::ClientGone) => return Next::Reset,
                    Err(NoPlace::Answer(reason)) => {
                        return Box::pin(self.fail(reason, &intake, &mut record)).await;
                    }
                };
            // Run where it is: a future that takes it over would hold it twice.
            let mut exchange = Exchange::new(self, upstream, &intake, &mut record.finished);
            let end = exchange.run(&slot).await;
            let end = match exchange.finish(end, &slot) {
                After::Ended(end) => end,
                After::Tunnel(tunnel) => End::Next(tunnel.await),
            };
            // The response has begun or the body is gone in all cases but a retry, so the head is needed there only.
            match end {
                End::Next(next) => return next,
                End::Failed(reason) => {
                    return Box::pin(self.fail(reason, &intake, &mut record)).await;
                }
                End::Again if repeats == REPEATS_MAX => {
                    let reason = Reason::InstanceClosed;
                    return Box::pin(self.fail(reason, &intake, &mut record)).await;
                }
                End::Again => {
                    repeats += 1;
                    fresh_only = true;
                    record.avoid(&slot);
                    intake.expects_continue = false;
                }
            }
        }
    }

    /// Forwards a request to an instance that speaks HTTP/2.
    async fn forward2(&mut self, intake: &Intake, record: &mut Record) -> Next {
        let mut side = Side::new(self, intake);
        let end = upstream2::forward::forward(&mut side, intake, record).await;
        let persistent = side.persistent();
        match end {
            End2::Delivered { read: true } if persistent => Next::Request,
            End2::Delivered { read: true } if self.inbox.is_empty() => Next::Close,
            End2::Delivered { .. } => Next::Linger,
            End2::Failed(reason) => Box::pin(self.fail(reason, intake, record)).await,
            End2::Cut | End2::Gone | End2::Again => Next::Reset,
        }
    }

    /// Answers a request that failed before its response began.
    async fn fail(&mut self, reason: Reason, intake: &Intake, record: &mut Record) -> Next {
        // The body may not have been read, so the connection ends here.
        self.answer(&record.refuse(reason), intake.to_head, false)
            .await
    }
}

impl<C: ClientIo> Caller for Client<C> {
    fn worker(&self) -> &Rc<Worker> {
        &self.visitor.worker
    }

    fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    fn set_cookie(&mut self, cookie: Option<Cookie>) {
        self.cookie = cookie;
    }

    /// Ready when the client has gone. What it sends meanwhile is kept, within bounds.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.inbox.len() < READ_AHEAD_BYTES_MAX {
            match ready!(self.poll_fill(context)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }
}
