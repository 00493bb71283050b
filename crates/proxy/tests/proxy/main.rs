//! The proxy as a process, between a control plane and applications that the tests play.

mod rig;

mod crash;
mod framing;
mod queue;
mod requests;
mod smuggling;
mod streaming;
mod swap;
