//! What requests have in common, whichever version of HTTP they came by: where they go, how they get a place and a
//! connection.

pub mod admit;
pub mod connect;
pub mod head;
pub mod intake;

use crate::deadline::Deadline;
use crate::service::{Finished, Service};
use crate::worker::Worker;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// How the client reached the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// With TLS, for this server name in lower case.
    Https {
        /// The name.
        name: Box<str>,
    },
    /// Without TLS; requests are forwarded.
    Http,
    /// Without TLS; requests are redirected to `https`.
    Redirect,
}

/// The client of a connection.
#[derive(Debug)]
pub struct Visitor {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// How it came.
    pub scheme: Scheme,
    /// Its address as it is written into requests.
    pub address: Box<str>,
    /// The port it connected to, likewise.
    pub port: Box<str>,
}

/// Somebody who waits for a place and a connection, and may leave.
pub trait Caller {
    /// The worker that serves it.
    fn worker(&self) -> &Rc<Worker>;

    /// Its deadlines.
    fn deadline(&self) -> &Deadline;

    /// Ready when it has left.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()>;
}

/// Counts a request when it is over, however it ends.
#[derive(Debug)]
pub struct Record {
    service: Arc<Service>,
    started: Instant,
    /// What is counted, beside the time.
    pub finished: Finished,
}

impl Record {
    /// A request of a service begins.
    pub fn new(service: &Arc<Service>) -> Record {
        Record {
            service: Arc::clone(service),
            started: Instant::now(),
            finished: Finished::default(),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.finished.latency_ms =
            u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.service.counters.add(self.finished);
    }
}
