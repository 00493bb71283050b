//! Control plane and data plane.
//!
//! The control plane listens on `<run>/link.sock`; the proxy connects, says [`FromProxy::Hello`] and is answered with
//! [`ToProxy::Welcome`] and a whole route table. After that the control plane sends changes, each with the number of the
//! table it makes, and the proxy acknowledges each. The proxy keeps serving the last table, which it also keeps on disk,
//! while nobody listens. A proxy that lost its connection tries again for ever, several times a second at first.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Version of the messages in this module. A peer of another version is refused with a message that names both.
pub const VERSION: u32 = 2;

/// Everything the proxy routes by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// Grows with every published table, also across restarts of the control plane.
    pub generation: u64,
    /// Certificates, each with an id of its own.
    pub certificates: Vec<Certificate>,
    /// One route per service that has an address.
    pub routes: Vec<Route>,
}

/// What is different in the next table. Work and bytes are in proportion to the change, not to the table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteChange {
    /// The number of the table this change applies to; a proxy that has another one asks for the whole table by closing
    /// the connection.
    pub base: u64,
    /// The number of the table it makes.
    pub generation: u64,
    /// Routes that are new or different, whole.
    pub routes: Vec<Route>,
    /// Services that have no route any more.
    pub removed: Vec<String>,
    /// Certificates that are new or different.
    pub certificates: Vec<Certificate>,
    /// Ids of certificates that are no more.
    pub removed_certificates: Vec<String>,
}

impl RouteTable {
    /// Makes the table that `change` describes of the one it is based on.
    pub fn apply(&mut self, change: &RouteChange) {
        let gone = |route: &Route| {
            change.removed.contains(&route.service)
                || change.routes.iter().any(|new| new.service == route.service)
        };
        self.routes.retain(|route| !gone(route));
        self.routes.extend(change.routes.iter().cloned());
        let gone = |known: &Certificate| {
            change.removed_certificates.contains(&known.id)
                || change.certificates.iter().any(|new| new.id == known.id)
        };
        self.certificates.retain(|certificate| !gone(certificate));
        self.certificates
            .extend(change.certificates.iter().cloned());
        self.generation = change.generation;
    }
}

/// A certificate with its key, chosen by SNI. The message holds the private key: the socket and the file that carry it
/// are readable by the platform only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Names the certificate in changes; stays when it is renewed.
    pub id: String,
    /// DNS names in lower case; `*.` in front stands for exactly one label.
    pub names: Vec<String>,
    /// The chain in PEM, leaf first.
    pub chain_pem: String,
    /// The private key in PEM (PKCS #8).
    pub key_pem: String,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("id", &self.id)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Where requests for a service go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The service's id.
    pub service: String,
    /// Host names in lower case, without port.
    pub hosts: Vec<String>,
    /// What becomes of requests.
    pub state: RouteState,
    /// Ready instances, in a stable order. Empty while serving: requests wait for one, within bounds.
    pub upstreams: Vec<Upstream>,
    /// Requests one instance is given at the same time.
    pub max_concurrency: u32,
    /// More instances can be started: requests beyond the queue's bound wait, too, and none is answered 429.
    pub can_grow: bool,
    /// Why the last attempt to start an instance failed, for people. With no instance, requests are answered 503 with it
    /// at once, and each still asks for an instance.
    pub trouble: Option<String>,
    /// How the instances are spoken to.
    pub protocol: UpstreamProtocol,
    /// Longest time from the first byte of a request to the last of its response, in milliseconds; zero is none.
    pub request_timeout_ms: u64,
    /// Longest time without a byte in either direction while a request is under way, in milliseconds; zero is none.
    pub idle_timeout_ms: u64,
    /// Requests of one client go to one instance, by a cookie, while that instance is routed to.
    pub sticky: bool,
    /// Each request is written to the service's log.
    pub access_log: bool,
    /// Instances without requests run slowly: see [`ToProxy::Brake`].
    pub throttle_idle: bool,
}

/// How a service's instances are spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS and without upgrade (RFC 9113 section 3.3), as gRPC servers speak it.
    H2c,
}

/// Whether a service takes requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteState {
    /// Requests are forwarded, and wait while there is no instance.
    #[default]
    Serving,
    /// Requests are answered 503 with a body that says the service is paused.
    Paused,
}

/// One instance that takes requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Upstream {
    /// The instance's id.
    pub instance: String,
    /// Where its application listens.
    pub address: SocketAddr,
}

/// An instance that left the route table while it still had requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// The instance's id.
    pub instance: String,
    /// Requests not yet answered in full.
    pub outstanding: u32,
}

/// What the control plane sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToProxy {
    /// First answer to a hello.
    Welcome {
        /// The control plane's message version.
        version: u32,
    },
    /// A whole table: after a hello, and never again on this connection.
    Routes(RouteTable),
    /// What is different in the next table.
    Change(RouteChange),
    /// The brake of an instance. The message's last byte carries an open file as ancillary data (`SCM_RIGHTS`): writing
    /// `idle` to it takes the instance's processor away, writing `busy` gives it back, before a request is sent to it. So
    /// an instance wakes without the control plane. Sent once per connection and instance, never while another proxy drains.
    Brake {
        /// The instance's id.
        instance: String,
        /// What to write when it has no requests.
        idle: String,
        /// What to write when it gets one.
        busy: String,
    },
    /// Stop accepting, finish what is under way within `within_ms`, then exit: another proxy has the listeners.
    Retire {
        /// Milliseconds after which connections that remain are closed.
        within_ms: u64,
    },
}

/// What the proxy sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromProxy {
    /// First message.
    Hello {
        /// The proxy's message version.
        version: u32,
        /// Its process id.
        pid: u32,
        /// The table it serves now; zero is none.
        generation: u64,
    },
    /// The table is in force: no worker picks an instance by an older one any more.
    Applied {
        /// The table's number.
        generation: u64,
        /// Every instance that has outstanding requests and is not in the table.
        draining: Vec<Draining>,
    },
    /// An instance that is not in the table has no outstanding request left.
    Drained {
        /// The instance's id.
        instance: String,
    },
    /// A service has more requests than its instances may be given; sent at once when that begins and then at most every
    /// 50 ms while it lasts.
    Wanted {
        /// The service's id.
        service: String,
        /// Requests at instances now.
        outstanding: u32,
        /// Requests waiting now, and those refused for want of an instance since the last such message.
        waiting: u32,
    },
    /// A connection to an instance was refused or broke before a response; at most once a second per instance.
    Unreachable {
        /// The instance's id.
        instance: String,
        /// What the system answered.
        error: String,
    },
    /// Counters since the last such message, once a second while there is anything to say.
    Statistics(Vec<ServiceStatistics>),
    /// Finished requests, several times a second while there are any.
    AccessLog(AccessLog),
}

/// Lines of the access log, in the order in which the requests ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLog {
    /// Lines by service.
    pub services: Vec<ServiceLines>,
    /// Lines that were dropped since the last message because the control plane did not take them.
    pub lost: u64,
}

/// Lines of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceLines {
    /// The service's id.
    pub service: String,
    /// When each request ended, in milliseconds since 1970, and its line.
    pub lines: Vec<(u64, String)>,
}

/// Upper ends of the classes of [`ServiceStatistics::latency`], in milliseconds; the last class has none.
pub const LATENCY_CLASSES_MS: [u64; 15] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 120_000,
];

/// Traffic of one service in one interval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatistics {
    /// The service's id.
    pub service: String,
    /// Requests answered, by the class of their status: index 1 is 1xx, 5 is 5xx; index 0 is cut before a status.
    pub answered: [u64; 6],
    /// Requests answered by their time from head to end, in classes of [`LATENCY_CLASSES_MS`].
    pub latency: [u64; 16],
    /// Requests outstanding now.
    pub outstanding: u32,
    /// Requests waiting for an instance now.
    pub waiting: u32,
    /// Most requests outstanding and waiting at the same time within the interval.
    pub peak: u32,
    /// Instances that had a request within the interval.
    pub active_instances: u32,
    /// Sum of the milliseconds from request head to response end.
    pub latency_ms_sum: u64,
    /// Requests the platform itself answered with an error or cut, which [`ServiceStatistics::answered`] counts, too.
    pub refused: u64,
    /// Bytes of request bodies.
    pub bytes_in: u64,
    /// Bytes of response bodies.
    pub bytes_out: u64,
}
