//! The proxy as a process, between a control plane and applications that the tests play.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

mod access;
mod admission;
mod brakes;
mod codec;
mod crash;
mod floods;
mod framing;
mod fuzz;
mod h2c;
mod http2;
mod queue;
mod requests;
mod smuggling;
mod smuggling2;
mod streaming;
mod swap;
mod tunnels;
