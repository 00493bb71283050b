//! Why the platform itself answers a request: every such answer carries one of these.

use crate::h1::request::Refusal;
use crate::h1::rewrite::Answer;

/// A reason with its status and its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The request breaks HTTP's grammar or is ambiguous.
    Refused(Refusal),
    /// No service has this host name.
    UnknownHost,
    /// The host is not the one the TLS connection was made for.
    Misdirected,
    /// The service is paused.
    Paused,
    /// Too many requests wait already.
    QueueFull,
    /// No instance became free in time.
    QueueTimeout,
    /// The instance closed or reset the connection before it answered.
    InstanceClosed,
    /// The instance's answer breaks HTTP's grammar or is ambiguous.
    InstanceAnswer,
    /// The request took longer than the service allows.
    RequestTimeout,
    /// The client stopped sending the request's head or body.
    ClientTimeout,
    /// The request's body breaks its framing.
    RequestBody,
    /// The proxy has as many connections as it may have.
    TooManyConnections,
}

impl Reason {
    /// The answer that says so.
    pub fn answer(self) -> Answer<'static> {
        let (status, reason, text) = match self {
            Reason::Refused(Refusal { status, reason }) => {
                (status, reason, "the request was not understood")
            }
            Reason::UnknownHost => (404, "unknown-host", "no service has this host name"),
            Reason::Misdirected => (
                421,
                "misdirected",
                "this connection was made for another host name",
            ),
            Reason::Paused => (503, "paused", "the service is paused"),
            Reason::QueueFull => (
                429,
                "queue-full",
                "too many requests are waiting for this service",
            ),
            Reason::QueueTimeout => (
                503,
                "queue-timeout",
                "no instance of the service became available in time",
            ),
            Reason::InstanceClosed => (
                502,
                "instance-closed",
                "the instance closed the connection before it answered the request",
            ),
            Reason::InstanceAnswer => (
                502,
                "instance-answer",
                "the instance's answer was not understood",
            ),
            Reason::RequestTimeout => (
                504,
                "request-timeout",
                "the request took longer than the service allows",
            ),
            Reason::ClientTimeout => (408, "client-timeout", "the request did not arrive in time"),
            Reason::RequestBody => (400, "request-body", "the request's body was not understood"),
            Reason::TooManyConnections => (
                503,
                "too-many-connections",
                "the proxy has too many connections",
            ),
        };
        Answer {
            status,
            reason,
            text,
            location: None,
        }
    }
}
