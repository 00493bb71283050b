//! Idle upstream connections of one worker. Their number is bounded per instance over all workers.

use crate::instance::Instance;
use rustix::net::{RecvFlags, recv};
use std::collections::HashMap;
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// How long an idle upstream connection is kept, unless the instance says that it closes it earlier.
pub const IDLE_KEPT: Duration = Duration::from_secs(30);

/// How much earlier than the instance says an idle connection is closed, so that the two do not cross.
const IDLE_MARGIN: Duration = Duration::from_secs(1);

/// Connections ready for another request.
#[derive(Debug, Default)]
pub struct Pool {
    idle: HashMap<usize, Shelf, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Shelf {
    instance: Arc<Instance>,
    connections: Vec<Idle>,
}

#[derive(Debug)]
struct Idle {
    stream: TcpStream,
    until_ms: u64,
}

fn key(instance: &Arc<Instance>) -> usize {
    Arc::as_ptr(instance).addr()
}

impl Pool {
    /// Takes the connection that was used last and is still good. With `looked_at`, the system is asked whether it is;
    /// otherwise what the runtime already knows decides, without a system call.
    pub fn take(
        &mut self,
        instance: &Arc<Instance>,
        now_ms: u64,
        looked_at: bool,
    ) -> Option<TcpStream> {
        let shelf = self.idle.get_mut(&key(instance))?;
        while let Some(idle) = shelf.connections.pop() {
            instance.drop_idle();
            if idle.until_ms > now_ms && is_quiet(&idle.stream, looked_at) {
                return Some(idle.stream);
            }
        }
        None
    }

    /// Keeps a connection, if the instance is still routed to and has fewer than `max` idle ones.
    pub fn keep(
        &mut self,
        instance: &Arc<Instance>,
        stream: TcpStream,
        keep: Option<Duration>,
        now_ms: u64,
        max: u32,
    ) {
        let keep = keep.map_or(IDLE_KEPT, |keep| {
            keep.saturating_sub(IDLE_MARGIN).min(IDLE_KEPT)
        });
        if keep.is_zero() || instance.departed() || !instance.try_keep_idle(max) {
            return;
        }
        let until_ms = now_ms + u64::try_from(keep.as_millis()).unwrap_or(0);
        let shelf = self.idle.entry(key(instance));
        let shelf = shelf.or_insert_with(|| Shelf {
            instance: Arc::clone(instance),
            connections: Vec::new(),
        });
        shelf.connections.push(Idle { stream, until_ms });
    }

    /// Closes connections that are idle for too long, that the instance closed, and all to instances that left the table.
    pub fn sweep(&mut self, now_ms: u64) {
        self.idle.retain(|_, shelf| {
            let departed = shelf.instance.departed();
            let before = shelf.connections.len();
            shelf.connections.retain(|idle| {
                !departed && idle.until_ms > now_ms && is_quiet(&idle.stream, false)
            });
            (shelf.connections.len()..before).for_each(|_| shelf.instance.drop_idle());
            !shelf.connections.is_empty()
        });
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.connections
            .iter()
            .for_each(|_| self.instance.drop_idle());
    }
}

/// Whether nothing has arrived on an idle connection: neither bytes nor its end. The system is asked when the runtime knows
/// of something, or always if it is to be `looked_at`.
fn is_quiet(stream: &TcpStream, looked_at: bool) -> bool {
    let look = || {
        let mut byte = [0];
        recv(stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT).map_err(Error::from)
    };
    let seen = match looked_at {
        true => look(),
        false => stream.try_io(Interest::READABLE, look),
    };
    seen.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}
