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

use apron_link::instance::PROBE_USERS;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let started = match &arguments[..] {
        [directory] => start::start(Path::new(directory)).map(Some),
        [word, first, directory] if word == PROBE_USERS => {
            start::probe_users(first, Path::new(directory)).map(|()| None)
        }
        _ => {
            eprintln!("usage: apron-shim <instance directory>");
            return ExitCode::from(2);
        }
    };
    match started {
        Ok(Some(supervisor)) => supervisor.run(),
        Ok(None) => ExitCode::SUCCESS,
        Err(text) => {
            // Nobody reads it unless something is badly wrong: the node then finds a shim that ended without a word.
            eprintln!("apron-shim: {text}");
            ExitCode::FAILURE
        }
    }
}
