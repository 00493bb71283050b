//! The local Linux backend: instances as containers of this machine.
//!
//! Every resource of a running instance is held by its own processes (a *shim* and the container below it), never by
//! this one: the control plane can be killed at any moment and finds its instances again. Conversely, a killed shim
//! takes its container along. What stands on disk per instance is one directory below `<run>/instances` and one disk
//! file below `<data>/disks`.

mod adopt;
mod build_pace;
mod cgroup;
mod config;
mod create;
mod disk;
mod error;
mod export;
mod groups;
mod instance;
mod layers;
mod listening;
mod network;
mod node;
mod plan;
mod pool;
mod probe;
pub mod prompt;
mod purge;
mod requirements;
mod users;

pub use config::{DISK_BYTES, DOORS_ADDRESS, Doors, NAME_BYTES_MAX, NodeConfig, POOL_SLOTS};
pub use error::NodeError;
pub use network::Subnet;
pub use node::Node;

/// Gives the time; the one place that reads it belongs to the caller.
pub type Clock = std::sync::Arc<dyn Fn() -> apron_domain::Millis + Send + Sync>;
