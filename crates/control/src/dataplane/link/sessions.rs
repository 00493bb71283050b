//! What is known of each connected proxy.

use apron_link::proxy::Draining;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::Notify;

/// A connection, numbered in order.
pub type SessionId = u64;

/// One connected proxy.
#[derive(Debug, Default)]
pub struct Session {
    /// Its process id.
    pub pid: u32,
    /// The number of the table it was sent last; zero is none.
    pub sent: u64,
    /// The number of the table it acknowledged last; zero is none.
    pub acknowledged: u64,
    /// It is to retire within these milliseconds, and `true` when it was told.
    pub retire: Option<(u64, bool)>,
    /// Instances that left the table and still have requests of this proxy.
    draining: BTreeMap<String, u32>,
    /// Services whose instances are to be looked at for brakes, once the table they stand in is acknowledged.
    pub unbraked: BTreeSet<String>,
    /// Instances whose brakes this proxy has, by service.
    pub braked: BTreeMap<String, BTreeSet<String>>,
    /// Wakes the sender.
    pub wake: Arc<Notify>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Sessions {
    last: SessionId,
    /// The highest number of a table that any proxy acknowledged in this life of the control plane.
    highest: u64,
    all: BTreeMap<SessionId, Session>,
    /// Process ids that are to retire, with their milliseconds; until the process is gone.
    to_retire: BTreeMap<u32, u64>,
    /// Processes that run, connected or not.
    alive: BTreeSet<u32>,
}

impl Sessions {
    /// A proxy has connected.
    pub fn open(&mut self, pid: u32) -> (SessionId, Arc<Notify>) {
        self.last += 1;
        let session = Session {
            pid,
            retire: self.to_retire.get(&pid).map(|within| (*within, false)),
            ..Session::default()
        };
        let wake = session.wake.clone();
        self.all.insert(self.last, session);
        (self.last, wake)
    }

    /// A connection has ended; answers what was known of it.
    pub fn close(&mut self, id: SessionId) -> Option<Session> {
        let closed = self.all.remove(&id);
        self.wake_all();
        closed
    }

    /// Whether no other proxy than this one can be using instances.
    pub fn is_alone(&self, id: SessionId) -> bool {
        let pid = self.all.get(&id).map(|session| session.pid);
        self.all.len() == 1 && self.alive.iter().all(|alive| Some(*alive) == pid)
    }

    /// A connection.
    pub fn get(&mut self, id: SessionId) -> Option<&mut Session> {
        self.all.get_mut(&id)
    }

    /// A proxy runs, connected or not.
    pub fn expect(&mut self, pid: u32) {
        self.alive.insert(pid);
    }

    /// A proxy's process has ended.
    pub fn gone(&mut self, pid: u32) {
        self.alive.remove(&pid);
        self.wake_all();
        self.to_retire.remove(&pid);
    }

    /// The connections of a process.
    pub fn of(&self, pid: u32) -> impl Iterator<Item = &Session> {
        self.all.values().filter(move |session| session.pid == pid)
    }

    /// A proxy is to retire.
    pub fn retire(&mut self, pid: u32, within_ms: u64) {
        self.to_retire.insert(pid, within_ms);
        for session in self.all.values_mut().filter(|session| session.pid == pid) {
            session.retire = Some((within_ms, false));
            session.wake.notify_one();
        }
    }

    /// Every sender is to look what there is to send.
    pub fn wake_all(&self) {
        for session in self.all.values() {
            session.wake.notify_one();
        }
    }

    /// The highest number of a table that any proxy acknowledged in this life of the control plane.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// The table that every proxy which takes new connections routes by, or a later one; zero is none. One that has
    /// not acknowledged its first table counts as soon as it has.
    pub fn in_force(&self) -> u64 {
        let serving = self
            .all
            .values()
            .filter(|session| session.retire.is_none() && session.acknowledged > 0);
        serving
            .map(|session| session.acknowledged)
            .min()
            .unwrap_or_default()
    }

    /// The table that every proxy routes by, or a later one.
    pub fn followed_by_all(&self) -> u64 {
        let numbers = self.all.values().map(|session| session.acknowledged);
        numbers.min().unwrap_or_default()
    }

    /// Takes in an acknowledgement.
    pub fn applied(&mut self, id: SessionId, generation: u64, draining: Vec<Draining>) {
        self.highest = self.highest.max(generation);
        if let Some(session) = self.all.get_mut(&id) {
            session.acknowledged = generation;
            session.draining = draining
                .into_iter()
                .map(|d| (d.instance, d.outstanding))
                .collect();
            session.wake.notify_one();
        }
    }

    /// An instance that had left has no request of this proxy any more.
    pub fn drained(&mut self, id: SessionId, instance: &str) {
        if let Some(session) = self.all.get_mut(&id) {
            session.draining.remove(instance);
        }
    }

    /// Whether an instance that is in no table since `left_at` may have requests.
    pub fn busy(&self, instance: &str, left_at: u64) -> bool {
        let may_use = |session: &Session| {
            session.acknowledged == 0
                || session.acknowledged < left_at
                || session.draining.contains_key(instance)
        };
        let is_silent = |pid: &u32| self.of(*pid).next().is_none();
        self.all.is_empty() || self.alive.iter().any(is_silent) || self.all.values().any(may_use)
    }
}
