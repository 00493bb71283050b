//! The counters behind App Runner's metrics, per service and minute (developer guide, viewing service metrics).

use apron_domain::{Millis, ServiceId};
use apron_link::proxy::ServiceStatistics;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Minutes with traffic that are kept of each service; the oldest go first.
pub const MINUTES_MAX: usize = 15;

/// Milliseconds of a minute.
const MINUTE_MS: u64 = 60_000;

/// One minute of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// Its beginning.
    pub from: Millis,
    /// Requests answered, by the class of their status: index 1 is 1xx, 5 is 5xx; index 0 is cut before a status.
    pub answered: [u64; 6],
    /// Requests answered, by their time in classes of [`apron_link::proxy::LATENCY_CLASSES_MS`].
    pub latency: [u64; 16],
    /// Sum of the milliseconds from request head to response end.
    pub latency_ms_sum: u64,
    /// Requests the platform itself answered with an error or cut; they count among the answered, too.
    pub refused: u64,
    /// Bytes of request bodies.
    pub bytes_in: u64,
    /// Bytes of response bodies.
    pub bytes_out: u64,
    /// Most instances that had requests within one report.
    pub active_instances: u32,
    /// Most requests at the same time.
    pub concurrency: u32,
}

/// The counters of all services.
#[derive(Default)]
pub struct Meters(Mutex<BTreeMap<ServiceId, VecDeque<Minute>>>);

impl Meters {
    fn all(&self) -> MutexGuard<'_, BTreeMap<ServiceId, VecDeque<Minute>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a report of the proxy into the minute in which it came.
    pub fn count(&self, service: &ServiceId, told: &ServiceStatistics, now: Millis) {
        let from = Millis(now.0 / MINUTE_MS * MINUTE_MS);
        let mut all = self.all();
        let minutes = all.entry(service.clone()).or_default();
        if minutes.back().is_none_or(|minute| minute.from < from) {
            if minutes.len() == MINUTES_MAX {
                minutes.pop_front();
            }
            minutes.push_back(Minute {
                from,
                ..Minute::default()
            });
        }
        if let Some(minute) = minutes.back_mut() {
            minute.add(told);
        }
    }

    /// The minutes with traffic of a service, oldest first.
    pub fn minutes(&self, service: &ServiceId) -> Vec<Minute> {
        let all = self.all();
        all.get(service)
            .map(|minutes| minutes.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Forgets all services but these.
    pub fn retain(&self, services: &BTreeSet<ServiceId>) {
        self.all().retain(|id, _| services.contains(id));
    }
}

impl Minute {
    fn add(&mut self, told: &ServiceStatistics) {
        let add = |to: &mut u64, count: u64| *to = to.saturating_add(count);
        for (to, count) in self.answered.iter_mut().zip(told.answered) {
            add(to, count);
        }
        for (to, count) in self.latency.iter_mut().zip(told.latency) {
            add(to, count);
        }
        add(&mut self.latency_ms_sum, told.latency_ms_sum);
        add(&mut self.refused, told.refused);
        add(&mut self.bytes_in, told.bytes_in);
        add(&mut self.bytes_out, told.bytes_out);
        self.active_instances = self.active_instances.max(told.active_instances);
        let now = told.outstanding.saturating_add(told.waiting);
        self.concurrency = self.concurrency.max(told.peak).max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_summed_by_minute_and_old_minutes_go() {
        let (meters, service) = (Meters::default(), ServiceId::from_random([1; 16]));
        let told = ServiceStatistics {
            answered: [0, 0, 7, 0, 2, 1],
            latency: [10; 16],
            peak: 4,
            outstanding: 2,
            active_instances: 3,
            latency_ms_sum: 100,
            ..ServiceStatistics::default()
        };
        for second in 0..120 {
            meters.count(&service, &told, Millis(second * 1_000));
        }
        let minutes = meters.minutes(&service);
        assert_eq!(minutes.len(), 2);
        assert_eq!(minutes[1].from, Millis(MINUTE_MS));
        assert_eq!(minutes[0].answered, [0, 0, 420, 0, 120, 60]);
        assert_eq!(
            (minutes[0].concurrency, minutes[0].active_instances),
            (4, 3)
        );
        assert_eq!(minutes[0].latency_ms_sum, 6_000);
        for minute in 0..2 * MINUTES_MAX as u64 {
            meters.count(&service, &told, Millis(minute * 10 * MINUTE_MS + 120_000));
        }
        assert_eq!(meters.minutes(&service).len(), MINUTES_MAX);
        meters.retain(&BTreeSet::new());
        assert_eq!(meters.minutes(&service), []);
    }
}
