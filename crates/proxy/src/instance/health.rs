//! How an instance does, as its connections tell. One that refuses a connection, or breaks several in a row before it
//! answers, rests: it is given no requests for a time that grows with every failure. When the time is over it is given one
//! request; if that goes well it is sound again, otherwise it rests longer.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// How long an instance rests after its first failure, in milliseconds; each further one doubles it.
pub const REST_FIRST_MS: u64 = 200;

/// Longest rest, in milliseconds.
pub const REST_MAX_MS: u64 = 10_000;

/// Connections in a row that break before an answer until the instance rests.
pub const BREAKS_MAX: u32 = 3;

/// Whether an instance may be given requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As many as it has places for.
    Sound,
    /// One, to see how it does.
    Due,
    /// None, as long as another instance may.
    Resting,
}

/// What is known about an instance's connections.
#[derive(Debug, Default)]
pub struct Health {
    /// Refused connections in a row; those of one rest count once.
    refused: AtomicU32,
    /// Connections in a row that broke before an answer.
    broke: AtomicU32,
    /// When the rest is over; zero is no rest.
    rests_until_ms: AtomicU64,
    failed_ms: AtomicU64,
    probed: AtomicBool,
}

impl Health {
    /// Whether the instance may be given requests at this moment.
    pub fn standing(&self, now_ms: u64) -> Standing {
        match self.rests_until_ms.load(Relaxed) {
            0 => Standing::Sound,
            until if now_ms >= until && !self.probed.load(Relaxed) => Standing::Due,
            _ => Standing::Resting,
        }
    }

    /// Whether a resting instance may be given a request because no instance is sound: at once if connections are at
    /// least made, otherwise one at a time and not before the shortest rest.
    pub fn may_be_tried_anyway(&self, now_ms: u64) -> bool {
        self.takes_connections()
            || (!self.probed.load(Relaxed)
                && now_ms >= self.failed_ms.load(Relaxed) + REST_FIRST_MS)
    }

    /// Whether the latest connection was made.
    pub fn takes_connections(&self) -> bool {
        self.refused.load(Relaxed) == 0
    }

    /// Begins a probe; `false` if there is one already.
    pub fn begin_probe(&self) -> bool {
        !self.probed.swap(true, SeqCst)
    }

    /// The probe is over, however it went.
    pub fn end_probe(&self) {
        self.probed.store(false, SeqCst);
    }

    /// A connection was refused, or was not made in time.
    pub fn refused(&self, now_ms: u64) {
        let resting = self.rests_until_ms.load(Relaxed) > now_ms;
        // All that were on their way when the instance went away say one thing.
        if !resting || self.takes_connections() {
            let times = self.refused.fetch_add(1, Relaxed) + 1;
            self.rest(now_ms, times);
        }
        self.failed_ms.store(now_ms, Relaxed);
    }

    /// A connection broke before an answer.
    pub fn broke(&self, now_ms: u64) {
        let times = self.broke.fetch_add(1, Relaxed) + 1;
        let resting = self.rests_until_ms.load(Relaxed) > now_ms;
        if times >= BREAKS_MAX && !resting {
            self.rest(now_ms, times - BREAKS_MAX + 1);
        }
        self.failed_ms.store(now_ms, Relaxed);
    }

    fn rest(&self, now_ms: u64, times: u32) {
        let doubled = REST_FIRST_MS << (times - 1).min(16);
        self.rests_until_ms
            .store(now_ms + doubled.min(REST_MAX_MS), Relaxed);
    }

    /// A connection was made. Answers whether the one before it was not.
    pub fn connected(&self) -> bool {
        let recovers = !self.takes_connections();
        if recovers {
            self.refused.store(0, Relaxed);
            if self.broke.load(Relaxed) < BREAKS_MAX {
                self.rests_until_ms.store(0, Relaxed);
            }
        }
        recovers
    }

    /// A request was answered. Answers whether the connection before had broken.
    pub fn answered(&self) -> bool {
        let recovers = self.broke.load(Relaxed) != 0;
        if recovers {
            self.broke.store(0, Relaxed);
            self.rests_until_ms.store(0, Relaxed);
        }
        recovers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Due, Resting, Sound};

    #[test]
    fn refused_connections_make_it_rest_longer_and_longer() {
        let health = Health::default();
        let mut now = 1_000;
        for rest in [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000] {
            health.refused(now);
            // Those that were under way at the same time add nothing.
            health.refused(now + 1);
            assert_eq!(health.standing(now + rest - 1), Resting);
            now += rest;
            assert_eq!(health.standing(now), Due);
            assert!(health.begin_probe() && !health.begin_probe());
            assert_eq!(health.standing(now), Resting);
            health.end_probe();
        }
        health.connected();
        assert_eq!(health.standing(now), Sound);
        health.refused(now);
        assert_eq!(health.standing(now + 200), Due);
    }

    #[test]
    fn it_rests_when_several_connections_in_a_row_break() {
        let health = Health::default();
        health.broke(1);
        health.broke(2);
        health.answered();
        health.broke(3);
        health.broke(4);
        assert_eq!(health.standing(5), Sound);
        health.broke(5);
        assert_eq!(health.standing(6), Resting);
        assert!(health.may_be_tried_anyway(6));
        assert_eq!(health.standing(205), Due);
        health.connected();
        health.broke(205);
        assert_eq!(health.standing(604), Resting);
        health.answered();
        assert_eq!(health.standing(604), Sound);
    }

    #[test]
    fn what_refuses_is_tried_anyway_one_request_at_a_time() {
        let health = Health::default();
        health.refused(1_000);
        health.refused(1_200);
        assert!(!health.may_be_tried_anyway(1_399));
        assert!(health.may_be_tried_anyway(1_400));
        assert!(health.begin_probe());
        assert!(!health.may_be_tried_anyway(1_400));
    }
}
