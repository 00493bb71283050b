//! The harness of the end-to-end tests: starts platforms of their own names, ports and networks, and drives them with
//! real clients. It shares no code with the product: what it knows is what a user knows.

pub mod api;
pub mod assets;
pub mod aws;
pub mod disk;
pub mod git;
pub mod http;
pub mod images;
pub mod load;
pub mod platform;
pub mod processes;
mod python_image;
pub mod registry;
pub mod run;
pub mod service;
pub mod signing;
pub mod slot;
pub mod traces;
pub mod wait;

pub use platform::{Platform, Settings};
pub use service::Service;
