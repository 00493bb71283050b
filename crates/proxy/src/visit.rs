//! What requests have in common, whichever version of HTTP they came by: where they go, how they get a place and a
//! connection.

pub mod admit;
pub mod connect;
pub mod head;
pub mod intake;
pub mod record;
pub mod sticky;

use crate::deadline::Deadline;
use crate::worker::Worker;
pub use record::Record;
use std::rc::Rc;
use std::task::{Context, Poll};
use sticky::Cookie;

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
    /// It speaks HTTP/2.
    pub http2: bool,
    /// Its address as it is written into requests.
    pub address: Box<str>,
    /// What is written into requests of its connection, as [`crate::h1::rewrite::connection`] makes it.
    pub forwarded: Box<[u8]>,
}

/// Somebody who waits for a place and a connection, and may leave.
pub trait Caller {
    /// The worker that serves it.
    fn worker(&self) -> &Rc<Worker>;

    /// Its deadlines.
    fn deadline(&self) -> &Deadline;

    /// The response that follows sets this cookie, or none.
    fn set_cookie(&mut self, cookie: Option<Cookie>);

    /// Ready when it has left.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()>;
}
