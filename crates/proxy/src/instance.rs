//! An instance as all workers see it: how many requests it has, whether it is in the route table.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// How long an instance that refused a connection is passed over, in milliseconds.
pub const SUSPECT_MS: u64 = 200;

/// One instance of a service. Lives as long as it is in the route table or has requests.
#[derive(Debug)]
pub struct Instance {
    /// The instance's id.
    pub id: String,
    /// Where its application listens.
    pub address: SocketAddr,
    outstanding: AtomicU32,
    idle: AtomicU32,
    departed: AtomicBool,
    suspect_until_ms: AtomicU64,
    reported_ms: AtomicU64,
}

impl Instance {
    /// An instance without requests.
    pub fn new(id: String, address: SocketAddr) -> Instance {
        Instance {
            id,
            address,
            outstanding: AtomicU32::new(0),
            idle: AtomicU32::new(0),
            departed: AtomicBool::new(false),
            suspect_until_ms: AtomicU64::new(0),
            reported_ms: AtomicU64::new(0),
        }
    }

    /// Requests under way.
    pub fn outstanding(&self) -> u32 {
        self.outstanding.load(SeqCst)
    }

    /// Takes one of `max` places, if one is free.
    pub fn try_acquire(&self, max: u32) -> bool {
        self.outstanding
            .fetch_update(SeqCst, Relaxed, |now| (now < max).then(|| now + 1))
            .is_ok()
    }

    /// Gives a place back. Answers whether this was the last request of an instance that left the table.
    pub fn release(&self) -> bool {
        self.outstanding.fetch_sub(1, SeqCst) == 1 && self.departed()
    }

    /// Takes one of `max` places for idle connections, counted over all workers.
    pub fn try_keep_idle(&self, max: u32) -> bool {
        self.idle
            .fetch_update(Relaxed, Relaxed, |now| (now < max).then(|| now + 1))
            .is_ok()
    }

    /// An idle connection was taken into use or closed.
    pub fn drop_idle(&self) {
        self.idle.fetch_sub(1, Relaxed);
    }

    /// Whether the instance is not in the route table.
    pub fn departed(&self) -> bool {
        self.departed.load(SeqCst)
    }

    /// Says whether the instance is in the route table.
    pub fn set_departed(&self, departed: bool) {
        self.departed.store(departed, SeqCst);
    }

    /// A connection was refused: pass the instance over for a moment.
    pub fn suspect(&self, now_ms: u64) {
        self.suspect_until_ms.store(now_ms + SUSPECT_MS, Relaxed);
    }

    /// A connection was accepted.
    pub fn trust(&self) {
        if self.suspect_until_ms.load(Relaxed) != 0 {
            self.suspect_until_ms.store(0, Relaxed);
        }
    }

    /// Whether the instance is passed over now.
    pub fn is_suspect(&self, now_ms: u64) -> bool {
        self.suspect_until_ms.load(Relaxed) > now_ms
    }

    /// Whether trouble with the instance may be reported now: at most once in `interval_ms`.
    pub fn may_report(&self, now_ms: u64, interval_ms: u64) -> bool {
        let due = |last: u64| (last == 0 || now_ms >= last + interval_ms).then_some(now_ms.max(1));
        self.reported_ms.fetch_update(Relaxed, Relaxed, due).is_ok()
    }
}
