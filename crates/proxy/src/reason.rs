//! Why a request is not answered by its instance, or not in full. What the platform itself answers carries the slug in
//! `X-Apron-Reason`; the access log has it in any case.

use crate::deadline::Expired;
use crate::h1::request::Refusal;
use crate::h1::rewrite::Answer;

/// Seconds after which a client that was refused for want of room may ask again.
const RETRY_AFTER_S: u32 = 1;

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
    /// Too many requests wait already, and there can be no more instances.
    QueueFull,
    /// More requests wait than may, although instances are being started.
    QueueOverflow,
    /// No instance became free in time.
    QueueTimeout,
    /// There is no instance, and the last attempt to start one failed.
    Trouble,
    /// The instance closed or reset the connection before it answered.
    InstanceClosed,
    /// The instance's answer breaks HTTP's grammar or is ambiguous.
    InstanceAnswer,
    /// The instance broke its answer off.
    InstanceCut,
    /// The request took longer than the service allows.
    RequestTimeout,
    /// No byte moved for longer than the service allows.
    IdleTimeout,
    /// The client stopped sending the request's head or body, or reading the response.
    ClientTimeout,
    /// The client left before the answer was whole.
    ClientClosed,
    /// The proxy was replaced, and the request was not over when its time was.
    Retired,
    /// The request's body breaks its framing.
    RequestBody,
    /// The proxy has as many connections as it may have.
    TooManyConnections,
}

impl Reason {
    /// Status, slug and words. A reason that cuts an answer which has begun has a status that nobody gets.
    fn words(self) -> (u16, &'static str, &'static str) {
        match self {
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
            Reason::QueueOverflow => (
                503,
                "queue-overflow",
                "too many requests are waiting while instances of the service are started",
            ),
            Reason::QueueTimeout => (
                503,
                "queue-timeout",
                "no instance of the service became available in time",
            ),
            Reason::Trouble => (
                503,
                "no-instance",
                "no instance of the service can be started",
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
            Reason::InstanceCut => (502, "instance-cut", "the instance broke its answer off"),
            Reason::RequestTimeout => (
                504,
                "request-timeout",
                "the request took longer than the service allows",
            ),
            Reason::IdleTimeout => (
                504,
                "idle-timeout",
                "nothing was sent for longer than the service allows",
            ),
            Reason::ClientTimeout => (408, "client-timeout", "the request did not arrive in time"),
            Reason::ClientClosed => (499, "client-closed", "the client left"),
            Reason::Retired => (503, "retired", "the proxy was replaced"),
            Reason::RequestBody => (400, "request-body", "the request's body was not understood"),
            Reason::TooManyConnections => (
                503,
                "too-many-connections",
                "the proxy has too many connections",
            ),
        }
    }

    /// The answer that says so.
    pub fn answer(self) -> Answer<'static> {
        let (status, reason, text) = self.words();
        let again = matches!(
            self,
            Reason::QueueFull
                | Reason::QueueOverflow
                | Reason::Trouble
                | Reason::TooManyConnections
        );
        Answer {
            status,
            reason,
            text,
            location: None,
            retry_after_s: again.then_some(RETRY_AFTER_S),
        }
    }

    /// The word for it in `X-Apron-Reason` and in the access log.
    pub fn slug(self) -> &'static str {
        self.words().1
    }

    /// Whether the platform refused or cut the request, rather than its client.
    pub fn is_ours(self) -> bool {
        self != Reason::ClientClosed
    }

    /// Which side failed: `client`, `instance` or `platform`. A request that took too long was with its instance if it was
    /// `placed` at one.
    pub fn side(self, placed: bool) -> &'static str {
        match self {
            Reason::Refused(_)
            | Reason::UnknownHost
            | Reason::Misdirected
            | Reason::ClientTimeout
            | Reason::ClientClosed
            | Reason::RequestBody => "client",
            Reason::InstanceClosed | Reason::InstanceAnswer | Reason::InstanceCut => "instance",
            Reason::RequestTimeout | Reason::IdleTimeout if placed => "instance",
            _ => "platform",
        }
    }
}

impl From<Expired> for Reason {
    fn from(expired: Expired) -> Reason {
        match expired {
            Expired::Total => Reason::RequestTimeout,
            Expired::Phase => Reason::ClientTimeout,
            Expired::Idle => Reason::IdleTimeout,
        }
    }
}
