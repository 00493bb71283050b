//! The whole control plane in one process, for tests: simulated instances, a proxy that only remembers, real stores.
//!
//! A [`World`] outlives the control plane: it holds what would survive `kill -9`. A [`Life`] is one run of the control
//! plane over it; killing it drops every task wherever it is.
//!
//! Errors are panics here: a world that cannot be made is a failed test.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod builder;
mod checkpoint;
mod client;
mod image;
mod life;
mod line;
mod proxy;
mod sdk;
mod world;

pub use builder::{FakeBuilder, Plan};
pub use checkpoint::{Stop, StopAt};
pub use client::{Answer, Client};
pub use life::{ACCESS_KEY_ID, Life, SECRET_ACCESS_KEY};
pub use line::Line;
pub use proxy::RememberingProxy;
pub use sdk::{SDK_ENDPOINT_URL, SdkConnector};
pub use world::{Directory, World};
