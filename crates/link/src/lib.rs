//! Versioned messages between Apron's processes. Values and bytes only: sockets belong to the processes.
//!
//! * [`proxy`]: control plane and data plane: route table, acknowledgements, statistics.
//! * [`instance`]: node and shim: what to run, how it went, what it printed.
//! * [`environment`]: what the proxy's process is started with.
//! * [`frame`]: how a message stands on a Unix stream socket.

pub mod environment;
pub mod frame;
pub mod instance;
pub mod proxy;
