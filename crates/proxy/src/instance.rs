//! An instance as all workers see it: how many requests it has, whether it is in the route table, how it does.

pub mod brake;
pub mod health;

use crate::access::line;
use brake::Holder;
use health::Health;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// What names an instance in cookies: 16 hexadecimal digits.
pub type Tag = [u8; 16];

/// One instance of a service. Lives as long as it is in the route table or has requests.
#[derive(Debug)]
pub struct Instance {
    /// The instance's id.
    pub id: String,
    /// The id as it stands in the access log.
    pub logged: Box<[u8]>,
    /// Where its application listens.
    pub address: SocketAddr,
    /// Names the instance in cookies; says nothing about it.
    pub tag: Tag,
    /// How it does.
    pub health: Health,
    /// Its brake, if it has one.
    pub brake: Holder,
    throttled: AtomicBool,
    used: AtomicBool,
    outstanding: AtomicU32,
    idle: AtomicU32,
    departed: AtomicBool,
    active: AtomicBool,
    reported_ms: AtomicU64,
}

impl Instance {
    /// An instance without requests.
    pub fn new(id: String, address: SocketAddr) -> Instance {
        Instance {
            tag: tag(&id),
            logged: line::id(&id),
            id,
            address,
            health: Health::default(),
            brake: Holder::default(),
            throttled: AtomicBool::new(false),
            used: AtomicBool::new(false),
            outstanding: AtomicU32::new(0),
            idle: AtomicU32::new(0),
            departed: AtomicBool::new(false),
            active: AtomicBool::new(false),
            reported_ms: AtomicU64::new(0),
        }
    }

    /// Requests under way.
    pub fn outstanding(&self) -> u32 {
        self.outstanding.load(SeqCst)
    }

    /// Takes one of `max` places, if one is free.
    pub fn try_acquire(&self, max: u32) -> bool {
        let taken = self
            .outstanding
            .fetch_update(SeqCst, Relaxed, |now| (now < max).then(|| now + 1))
            .is_ok();
        if taken {
            for mark in [&self.active, &self.used] {
                if !mark.load(Relaxed) {
                    mark.store(true, Relaxed);
                }
            }
        }
        taken
    }

    /// Makes sure that the instance has its processor. For whoever has taken a place, before a request is sent.
    pub fn wake(&self) {
        if self.brake.is_on() {
            self.brake.take_off();
        }
    }

    /// Takes the instance's processor away, if it has no request and there is a brake.
    pub fn put_brake_on(&self) {
        self.brake.put_on(|| self.outstanding() > 0);
    }

    /// Whether its processor may be taken away while it has no requests.
    pub fn throttled(&self) -> bool {
        self.throttled.load(Relaxed)
    }

    /// Says whether its processor may be taken away.
    pub fn set_throttled(&self, throttled: bool) {
        self.throttled.store(throttled, Relaxed);
    }

    /// Whether it had a request since the last call: for the brake, as [`Instance::take_active`] is for statistics.
    pub fn take_used(&self) -> bool {
        self.used.swap(false, Relaxed) || self.outstanding() > 0
    }

    /// Gives a place back. Answers whether this was the last request of an instance that left the table.
    pub fn release(&self) -> bool {
        self.outstanding.fetch_sub(1, SeqCst) == 1 && self.departed()
    }

    /// Whether it had a request since the last call.
    pub fn take_active(&self) -> bool {
        self.active.swap(false, Relaxed) || self.outstanding() > 0
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

    /// Whether trouble with the instance may be reported now: at most once in `interval_ms`.
    pub fn may_report(&self, now_ms: u64, interval_ms: u64) -> bool {
        let due = |last: u64| (last == 0 || now_ms >= last + interval_ms).then_some(now_ms.max(1));
        self.reported_ms.fetch_update(Relaxed, Relaxed, due).is_ok()
    }
}

/// The same in every process, so that cookies survive the proxy: FNV-1a, then mixed so that no digit follows from one
/// character of the id.
fn tag(id: &str) -> Tag {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ hash >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = mixed ^ mixed >> 29;
    std::array::from_fn(|digit| b"0123456789abcdef"[(mixed >> (digit * 4) & 15) as usize])
}
