//! Control plane and data plane.
//!
//! The control plane listens on `<run>/link.sock`; the proxy connects, says [`FromProxy::Hello`] and is answered with
//! [`ToProxy::Welcome`]. Then the control plane publishes whole, numbered route tables and the proxy acknowledges each.
//! The proxy keeps serving the last table, which it also keeps on disk, while nobody listens. A proxy that lost its
//! connection tries again for ever, several times a second at first.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Version of the messages in this module. A peer of another version is refused with a message that names both.
pub const VERSION: u32 = 1;

/// Everything the proxy routes by; a table replaces the one before it as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// Grows with every published table, also across restarts of the control plane.
    pub generation: u64,
    /// Certificates by the names they are for.
    pub certificates: Vec<Certificate>,
    /// One route per service that has an address.
    pub routes: Vec<Route>,
}

/// A certificate with its key, chosen by SNI. The message holds the private key: the socket and the file that carry it
/// are readable by the platform only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
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
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Where requests for a service go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Longest time from the first byte of a request to the last of its response, in milliseconds; zero is none.
    pub request_timeout_ms: u64,
}

/// Whether a service takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteState {
    /// Requests are forwarded, and wait while there is no instance.
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
    /// A whole new table.
    Routes(RouteTable),
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
    /// Requests wait because a service has no instance; sent at most once a second per service.
    Wanted {
        /// The service's id.
        service: String,
        /// Requests waiting.
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
}

/// Traffic of one service in one interval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatistics {
    /// The service's id.
    pub service: String,
    /// Requests answered, by the class of their status: index 1 is 1xx, 5 is 5xx; index 0 is cut before a status.
    pub answered: [u64; 6],
    /// Requests outstanding now.
    pub outstanding: u32,
    /// Requests waiting for an instance now.
    pub waiting: u32,
    /// Sum of the milliseconds from request head to response end.
    pub latency_ms_sum: u64,
    /// Bytes of request bodies.
    pub bytes_in: u64,
    /// Bytes of response bodies.
    pub bytes_out: u64,
}
