//! How many instances a service should have: a pure decision on what the proxy told, the configuration and the time.
//!
//! Up at once: as many as the requests at instances and in the queue need, so that a burst starts everything that is
//! missing in one go. Down calmly: only what was not needed at any moment of the last [`STABLE_MS`], and then to that
//! window's peak, so that a noisy load keeps what its peaks need and nothing goes back and forth. Nothing falls while the
//! proxy is silent, nor before it has been heard for a whole window: what is not known may be load.

use crate::service::Scaling;
use crate::time::Millis;
use std::collections::VecDeque;

/// Milliseconds in which an instance must not have been needed before it may go.
pub const STABLE_MS: u64 = 60_000;

/// Milliseconds over which peaks are remembered as one, until its end: a peak counts up to this much longer.
pub const SLOT_MS: u64 = 5_000;

/// Milliseconds after which the last word on a service's requests counts no more: the proxy repeats it every second while
/// there are any, so that its silence on a service means that the last word was lost.
pub const WORD_MS_MAX: u64 = 10_000;

/// What bounds the number of instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests one instance is given at the same time.
    pub max_concurrency: u32,
    /// Instances kept while the service is in use.
    pub min_size: u32,
    /// Instances at most.
    pub max_size: u32,
    /// Milliseconds without a request after which there is none; `None` keeps the minimum for ever.
    pub to_zero_after_ms: Option<u64>,
}

impl Limits {
    /// The limits of a configuration.
    pub fn of(scaling: &Scaling, to_zero_after_ms: Option<u64>) -> Limits {
        Limits {
            max_concurrency: scaling.max_concurrency.max(1),
            min_size: scaling.min_size,
            max_size: scaling.max_size.max(scaling.min_size),
            to_zero_after_ms,
        }
    }

    /// Instances that as many requests at the same time need, within the bounds of a service in use.
    fn for_requests(&self, requests: u32) -> u32 {
        requests
            .div_ceil(self.max_concurrency)
            .clamp(self.min_size, self.max_size)
    }
}

/// A service's requests, as the proxy tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests at instances now. Open WebSockets are among them.
    pub outstanding: u32,
    /// Requests waiting now.
    pub waiting: u32,
    /// Most of both at the same time since the last word.
    pub peak: u32,
}

/// Whether the proxy is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// No proxy is connected: nothing is known of the load.
    Silent,
    /// A proxy has told everything since then.
    Since(Millis),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Peak {
    /// The end of the slot it was seen in.
    until: Millis,
    requests: u32,
}

/// What is remembered of one service's load, and the count decided last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    target: u32,
    /// Requests at the last word, and when that was.
    level: u32,
    told_at: Millis,
    /// When a request was last known of.
    busy_at: Millis,
    /// Peaks of the last window, each lower than the one before it.
    peaks: VecDeque<Peak>,
    /// Since when nothing of the load was missed, unless the proxy was silent; `None` when this began by a restart.
    complete_since: Option<Millis>,
}

impl Demand {
    /// A service that was just deployed with this many instances; as if it had a request now.
    pub fn deployed(instances: u32, now: Millis) -> Demand {
        Demand {
            busy_at: now,
            complete_since: Some(now),
            ..Demand::resumed(instances)
        }
    }

    /// A service that was found with this many instances, of whose load nothing is known.
    pub fn resumed(instances: u32) -> Demand {
        Demand {
            target: instances,
            level: 0,
            told_at: Millis(0),
            busy_at: Millis(0),
            peaks: VecDeque::new(),
            complete_since: None,
        }
    }

    /// Another deployment of the service took over at `now` with this many instances; its load is the same.
    pub fn redeployed(&mut self, instances: u32, now: Millis) {
        self.target = self.target.max(instances);
        self.busy_at = now;
    }

    /// Takes in a word of the proxy.
    pub fn told(&mut self, load: Load, now: Millis) {
        // What was there at the last word was there until this one.
        let lasted = self.level_at(now);
        self.level = load.outstanding.saturating_add(load.waiting);
        self.told_at = now;
        let peak = load.peak.max(self.level).max(lasted);
        if peak == 0 {
            return;
        }
        self.busy_at = now;
        while self.peaks.back().is_some_and(|p| p.requests <= peak) {
            self.peaks.pop_back();
        }
        let until = Millis((now.0 / SLOT_MS).saturating_add(1).saturating_mul(SLOT_MS));
        if self.peaks.back().is_none_or(|p| p.until < until) {
            self.peaks.push_back(Peak {
                until,
                requests: peak,
            });
        }
    }

    /// Requests at this moment, as far as the last word still counts.
    fn level_at(&self, now: Millis) -> u32 {
        match now.since(self.told_at) < WORD_MS_MAX {
            true => self.level,
            false => 0,
        }
    }

    /// The count decided last.
    pub fn target(&self) -> u32 {
        self.target
    }

    /// Decides on the number of instances.
    pub fn decide(&mut self, limits: &Limits, hearing: Hearing, now: Millis) -> u32 {
        while self
            .peaks
            .front()
            .is_some_and(|p| now.since(p.until) >= STABLE_MS)
        {
            self.peaks.pop_front();
        }
        let may_fall = self.falls_from(hearing).is_some_and(|from| now >= from);
        let idle = self
            .idle_from(limits, hearing, now)
            .is_some_and(|from| now >= from);
        if idle && may_fall {
            self.peaks.clear();
            self.target = 0;
            return 0;
        }
        let peak = self.peaks.front().map_or(0, |p| p.requests);
        let requests = peak.max(self.level_at(now));
        // Where nothing runs only a request starts something.
        let asleep = self.target == 0 && requests == 0 && limits.to_zero_after_ms.is_some();
        let needed = match asleep {
            true => 0,
            false => limits.for_requests(requests),
        };
        let kept = match may_fall {
            true => 0,
            false => self.target.min(limits.max_size),
        };
        self.target = needed.max(kept);
        self.target
    }

    /// When [`Demand::decide`] may answer less although nothing more is told; `None` when it will not.
    pub fn next_change(&self, limits: &Limits, hearing: Hearing, now: Millis) -> Option<Millis> {
        let lowest = match limits.to_zero_after_ms {
            Some(_) => 0,
            None => limits.min_size,
        };
        if self.target <= lowest {
            return None;
        }
        let forgotten = (self.level_at(now) > 0).then(|| self.told_at.plus(WORD_MS_MAX));
        let times = [
            Some(self.falls_from(hearing)?),
            self.idle_from(limits, hearing, now),
            self.peaks.front().map(|p| p.until.plus(STABLE_MS)),
            forgotten,
        ];
        times.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// From when on the count may fall; `None` while the proxy is silent.
    fn falls_from(&self, hearing: Hearing) -> Option<Millis> {
        let Hearing::Since(heard) = hearing else {
            return None;
        };
        match self.complete_since {
            Some(since) if since >= heard => Some(since),
            _ => Some(heard.plus(STABLE_MS)),
        }
    }

    /// From when on the service has been without a request for long enough to have no instance.
    fn idle_from(&self, limits: &Limits, hearing: Hearing, now: Millis) -> Option<Millis> {
        let (Some(after_ms), Hearing::Since(heard)) = (limits.to_zero_after_ms, hearing) else {
            return None;
        };
        (self.level_at(now) == 0).then(|| self.busy_at.max(heard).plus(after_ms))
    }
}

#[cfg(test)]
mod tests;
