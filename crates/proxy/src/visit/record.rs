//! What is kept of a request until it is over: for the statistics and the access log.

use super::sticky::Sticky;
use crate::access::line::{Ended, finish};
use crate::access::{Entry, Lines};
use crate::h1::rewrite::Answer;
use crate::reason::Reason;
use crate::route::pick::Ask;
use crate::service::{Finished, Service};
use crate::visit::intake::Intake;
use crate::worker::{Slot, Worker};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Counts a request, and writes it to the access log, when it is over, however it ends.
#[derive(Debug)]
pub struct Record {
    /// The service.
    pub service: Arc<Service>,
    /// What is known of the outcome.
    pub finished: Finished,
    /// The instance the request asks for.
    pub ask: Ask,
    /// How its client is kept at one instance, if it is.
    pub sticky: Option<Sticky>,
    /// Time without a place at an instance.
    pub queued: Duration,
    /// Time for connections.
    pub connecting: Duration,
    worker: Rc<Worker>,
    started: Instant,
    line: Vec<u8>,
    instance: Option<Arc<crate::instance::Instance>>,
    trouble: Option<Arc<str>>,
}

impl Record {
    /// A request of a service begins; `line` is the part of its line in the access log that is known now, and is empty if
    /// it gets none.
    pub fn new(worker: &Rc<Worker>, service: &Arc<Service>, line: Vec<u8>) -> Record {
        if service.is_new_traffic() {
            worker.shared.note_traffic(service);
        }
        Record {
            service: Arc::clone(service),
            finished: Finished::default(),
            ask: Ask::default(),
            sticky: None,
            queued: Duration::ZERO,
            connecting: Duration::ZERO,
            worker: Rc::clone(worker),
            started: Instant::now(),
            line,
            instance: None,
            trouble: None,
        }
    }

    /// A request that is forwarded begins.
    pub fn of(worker: &Rc<Worker>, intake: &mut Intake) -> Record {
        let line = std::mem::take(&mut intake.line);
        let mut record = Record::new(worker, &intake.route.service, line);
        record.sticky = intake.sticky;
        record.ask.sticky = intake.sticky.and_then(|sticky| sticky.tag);
        record
    }

    /// The request has a place.
    pub fn placed(&mut self, slot: &Slot) {
        self.instance = Some(Arc::clone(&slot.instance));
    }

    /// The instance has failed the request, which is sent again: better to another one.
    pub fn avoid(&mut self, slot: &Slot) {
        self.ask.avoid = Some(Arc::clone(&slot.instance));
    }

    /// The platform answers in the instance's place; this is the answer.
    pub fn refuse(&mut self, reason: Reason) -> Answer<'_> {
        let mut answer = reason.answer();
        self.finished.status = answer.status;
        self.finished.cut(reason);
        if reason == Reason::Trouble {
            let route = |table: &crate::route::Table| {
                let route = table.by_service(&self.service.id)?;
                route.trouble.clone()
            };
            self.trouble = self.worker.route(route);
            if let Some(trouble) = &self.trouble {
                answer.text = trouble;
            }
        }
        answer
    }

    /// Writes the line of the access log.
    fn write(&self, ended: Instant, total: Duration, lines: &mut Lines) {
        let ended_ms = self.worker.wall_ms(ended);
        let instance = self.instance.as_ref().map_or(&[][..], |it| &it.logged);
        let (failed, reason) = match self.finished.failed {
            Some(reason) => (reason.side(!instance.is_empty()), reason.slug()),
            None => ("", ""),
        };
        let answered = self.finished.answered_at;
        let outcome = Ended {
            instance,
            status: self.finished.status,
            bytes_in: self.finished.bytes_in,
            bytes_out: self.finished.bytes_out,
            queued: self.queued,
            connecting: self.connecting,
            first_byte: answered.map_or(Duration::ZERO, |at| at - self.started),
            total,
            failed,
            reason,
        };
        let time = self.worker.calendar.timestamp(ended_ms);
        finish(&time, &self.line, outcome, &mut lines.bytes);
        lines.entries.push(Entry {
            service: Arc::clone(&self.service),
            ended_ms,
            end: lines.bytes.len(),
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let ended = Instant::now();
        if !self.finished.delivered {
            // Everything else that cuts a request says so.
            self.finished.cut(match self.worker.parting() {
                true => Reason::Retired,
                false => Reason::ClientClosed,
            });
        }
        let total = ended - self.started;
        self.service.counters.add(&self.finished, total);
        if self.service.is_new_traffic() {
            self.worker.shared.note_traffic(&self.service);
        }
        if !self.line.is_empty() {
            self.worker.log(|lines| self.write(ended, total, lines));
        }
    }
}
