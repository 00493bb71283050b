//! One container: a small, single-threaded process that makes it, holds its outputs and waits for its end.
//!
//! Started by the node as `apron-shim <instance directory>` with a socket as its standard input, through which come the
//! descriptors it works with (`apron_link::instance::HANDOVER`). It leaves the node's session at once, so it outlives the
//! node; its container cannot outlive it.

mod backlog;
mod clock;
mod connection;
mod container;
mod failure;
mod handover;
mod lines;
mod seccomp;
mod start;
mod supervise;
mod sys;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: apron-shim <instance directory>");
        return ExitCode::from(2);
    };
    match start::start(Path::new(&directory)) {
        Ok(supervisor) => supervisor.run(),
        Err(text) => {
            // Nobody reads it unless something is badly wrong: the node then finds a shim that ended without a word.
            eprintln!("apron-shim: {text}");
            ExitCode::FAILURE
        }
    }
}
