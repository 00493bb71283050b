//! The whole control plane in one process, for tests: simulated instances, a proxy that only remembers, real stores.
//!
//! A [`World`] outlives the control plane: it holds what would survive `kill -9`. A [`Life`] is one run of the control
//! plane over it; killing it drops every task wherever it is.
//!
//! Errors are panics here: a world that cannot be made is a failed test.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod checkpoint;
mod image;
mod life;
mod proxy;
mod world;

pub use checkpoint::{Stop, StopAt};
pub use life::Life;
pub use proxy::RememberingProxy;
pub use world::World;
