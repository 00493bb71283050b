//! Forwarding a request: a place, a connection, an exchange; again where that is safe.

use super::admit::NoPlace;
use super::exchange::{End, Exchange};
use super::intake::Intake;
use super::{Client, ClientIo, Next, READ_AHEAD_BYTES_MAX};
use crate::reason::Reason;
use crate::service::{Finished, Service};
use crate::worker::Slot;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::TcpStream;

/// Longest time a connection to an instance may take to be made.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A connection to an instance.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) stream: TcpStream,
    /// It carried requests before, so the instance may close it at any moment without having seen this one.
    pub(super) reused: bool,
}

/// Counts a request when it is over, however it ends.
#[derive(Debug)]
pub(super) struct Record {
    service: Arc<Service>,
    started: std::time::Instant,
    pub(super) finished: Finished,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.finished.latency_ms =
            u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.service.counters.add(self.finished);
    }
}

impl<C: ClientIo> Client<C> {
    /// Forwards a request and delivers its response.
    pub(super) async fn forward(&mut self, mut intake: Box<Intake>) -> Next {
        let service = Arc::clone(&intake.route.service);
        let started = std::time::Instant::now();
        let mut record = Record {
            service: Arc::clone(&service),
            started,
            finished: Finished::default(),
        };
        self.deadline.set_total(intake.route.timeout);
        self.deadline.set_phase(None);
        let mut fresh_only = false;
        loop {
            let slot = match self.admit(&service).await {
                Ok(slot) => slot,
                Err(NoPlace::ClientGone) => return Next::Reset,
                Err(NoPlace::Answer(reason)) => {
                    return self.fail(reason, &intake, &mut record).await;
                }
            };
            let upstream = match self.connect(&slot, &intake, fresh_only).await {
                Ok(Some(upstream)) => upstream,
                Ok(None) => continue,
                Err(NoPlace::ClientGone) => return Next::Reset,
                Err(NoPlace::Answer(reason)) => {
                    return self.fail(reason, &intake, &mut record).await;
                }
            };
            let end = Exchange::new(self, upstream, &intake, &mut record.finished)
                .run(&slot)
                .await;
            // The response has begun or the body is gone in all cases but a retry, so the head is needed there only.
            match end {
                End::Next(next) => return next,
                End::Failed(reason) => return self.fail(reason, &intake, &mut record).await,
                End::Again => {
                    fresh_only = true;
                    intake.expects_continue = false;
                }
            }
        }
    }

    /// Answers a request that failed before its response began.
    async fn fail(&mut self, reason: Reason, intake: &Intake, record: &mut Record) -> Next {
        let answer = reason.answer();
        record.finished.status = answer.status;
        // The body may not have been read, so the connection ends here.
        self.answer(&answer, intake.to_head, false).await
    }

    /// Takes an idle connection to the instance or makes one; `None` if the instance does not take connections.
    async fn connect(
        &mut self,
        slot: &Slot,
        intake: &Intake,
        fresh: bool,
    ) -> Result<Option<Upstream>, NoPlace> {
        let now_ms = self.worker.sweep.now_ms();
        if !fresh {
            // What cannot be repeated must not meet a connection that is just being closed, if that can be known.
            let idle =
                self.worker
                    .pool
                    .borrow_mut()
                    .take(&slot.instance, now_ms, !intake.repeatable);
            if let Some(stream) = idle {
                return Ok(Some(Upstream {
                    stream,
                    reused: true,
                }));
            }
        }
        let error = match Box::pin(self.connect_anew(slot)).await? {
            Ok(stream) => {
                slot.instance.trust();
                return Ok(Some(Upstream {
                    stream,
                    reused: false,
                }));
            }
            Err(error) => error,
        };
        slot.instance.suspect(self.worker.sweep.precise_ms());
        self.worker
            .report_unreachable(&slot.instance, format!("connect: {error}"));
        Ok(None)
    }

    async fn connect_anew(&mut self, slot: &Slot) -> Result<std::io::Result<TcpStream>, NoPlace> {
        let mut connecting = std::pin::pin!(tokio::time::timeout(
            CONNECT_MAX,
            TcpStream::connect(slot.instance.address)
        ));
        let connected = std::future::poll_fn(|context| {
            if let Poll::Ready(connected) = connecting.as_mut().poll(context) {
                return Poll::Ready(Ok(connected));
            }
            if self.poll_gone(context).is_ready() {
                return Poll::Ready(Err(NoPlace::ClientGone));
            }
            match self.deadline.expired(context) {
                Some(_) => Poll::Ready(Err(NoPlace::Answer(Reason::RequestTimeout))),
                None => Poll::Pending,
            }
        });
        Ok(match connected.await? {
            Ok(connected) => connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream)),
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        })
    }

    /// Ready when the client has gone. What it sends meanwhile is kept, within bounds.
    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.inbox.len() < READ_AHEAD_BYTES_MAX {
            match ready!(self.poll_fill(context)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }
}
