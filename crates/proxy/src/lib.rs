//! Apron's data plane: terminates TLS, routes by host, forwards to instances, streams both ways, drains.
//!
//! One thread per core, each with its own single-threaded runtime, listeners, client connections and pools of upstream
//! connections. What must be one for the whole process is shared: the number of requests an instance has, the requests
//! that wait for one, counters. The route table comes from the control plane, first as a whole, then in changes, and is kept
//! on disk; nothing else is asked of the control plane, so traffic goes on while it is away.

pub mod h1;

mod access;
mod buffer;
mod certificates;
mod client;
pub mod client2;
mod clock;
mod deadline;
mod decimal;
mod flow;
mod instance;
mod link;
mod pool;
pub mod privileges;
mod reason;
mod route;
pub mod serve;
mod service;
mod shared;
mod snapshot;
mod splice;
mod tls;
mod tunnel;
mod upstream2;
mod visit;
mod worker;
