//! Keeping a service as it should be between operations: replacing instances that ended or became unhealthy, starting what
//! is missing and retiring what is too much.

use crate::ids::InstanceId;
use crate::instance::{Instance, InstanceRole};
use crate::service::HealthCheck;
use crate::time::Millis;

/// What is known of an instance at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The backend has no trace of it, or is still making it.
    Absent,
    /// It is being made.
    Starting,
    /// Its application runs.
    Running(Pulse),
    /// Its application ended; the text says how.
    Ended(String),
}

/// The last health probes of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Good probes in a row, the newest included.
    pub good: u32,
    /// Bad probes in a row, the newest included.
    pub bad: u32,
    /// What the newest probe found.
    pub detail: String,
}

impl Pulse {
    /// The pulse after another probe.
    pub fn beat(&self, healthy: bool, detail: String) -> Pulse {
        match healthy {
            true => Pulse {
                good: self.good.saturating_add(1),
                bad: 0,
                detail,
            },
            false => Pulse {
                good: 0,
                bad: self.bad.saturating_add(1),
                detail,
            },
        }
    }

    /// Enough good probes in a row.
    pub fn is_healthy(&self, check: &HealthCheck) -> bool {
        self.good >= check.healthy_threshold
    }

    /// Enough bad probes in a row.
    pub fn is_unhealthy(&self, check: &HealthCheck) -> bool {
        self.bad >= check.unhealthy_threshold
    }
}

/// How often instances of a service failed lately, which slows their replacement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setback {
    /// Failures in a row; an instance that stayed ready for [`CALM_MS`] ends the row.
    pub count: u32,
    /// When the last one was seen.
    pub last: Millis,
}

/// Milliseconds without a failure after which the next one is replaced at once again.
pub const CALM_MS: u64 = 60_000;

/// Longest pause before a replacement, in milliseconds.
pub const PAUSE_MS_MAX: u64 = 60_000;

/// Longest time a new instance of a running service may take to become healthy, in milliseconds.
pub const READY_MS_MAX: u64 = 300_000;

impl Setback {
    /// One more failure at `now`.
    pub fn struck(self, now: Millis) -> Setback {
        let calm = now.since(self.last) >= CALM_MS;
        Setback {
            count: if calm {
                1
            } else {
                self.count.saturating_add(1)
            },
            last: now,
        }
    }

    /// Milliseconds between the last failure and the next start: 0 for the first two, then 1 s, 2 s, … up to a minute.
    pub fn pause_ms(self) -> u64 {
        match self.count {
            0..=2 => 0,
            n => (1000u64 << (n - 3).min(10)).min(PAUSE_MS_MAX),
        }
    }
}

/// One correction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Give the instance traffic.
    Admit(InstanceId),
    /// Take the instance out of the routes and away; the text says why.
    Replace(InstanceId, String),
    /// Start as many new instances.
    Start(u32),
    /// Ask the backend for an instance that was written down but is not there.
    Create(InstanceId),
    /// The instance is not needed: no new requests for it, and away with it when it has answered what it has.
    Retire(InstanceId),
}

/// The corrections a service needs whose deployed revision is `revision` and that should have `wanted` instances.
///
/// Each replacement is a setback of its own, which the caller notes. Only active instances count; candidates and retiring ones belong to their operation.
pub fn repairs(
    wanted: u32,
    check: &HealthCheck,
    instances: &[(Instance, Observation)],
    setback: Setback,
    now: Millis,
) -> Vec<Repair> {
    let mut repairs = Vec::new();
    let (mut alive, mut setback) = (0, setback);
    let mut kept = Vec::new();
    for (instance, observation) in instances
        .iter()
        .filter(|(i, _)| i.role == InstanceRole::Active)
    {
        match verdict(instance, observation, check, now) {
            Verdict::Keep => {
                alive += 1;
                kept.push(instance);
            }
            Verdict::Do(repair) => {
                match repair {
                    Repair::Replace(..) => setback = setback.struck(now),
                    _ => alive += 1,
                }
                repairs.push(repair);
            }
        }
    }
    let rested = now.since(setback.last) >= setback.pause_ms();
    if alive < wanted && rested {
        repairs.push(Repair::Start(wanted - alive));
    }
    repairs.extend(surplus(kept, alive.saturating_sub(wanted)));
    repairs
}

/// Retires as many: first what serves nobody yet, then the youngest, whose caches and connections are worth least.
fn surplus(mut kept: Vec<&Instance>, count: u32) -> Vec<Repair> {
    kept.sort_by(|a, b| {
        let age = b.created_at.cmp(&a.created_at);
        a.ready.cmp(&b.ready).then(age).then(b.id.cmp(&a.id))
    });
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let going = kept.into_iter().take(count).map(|i| i.id.clone());
    going.map(Repair::Retire).collect()
}

/// When the next correction may come due by time alone: a replacement after its pause, or an instance that takes too long.
pub fn next_change(
    wanted: u32,
    instances: &[(Instance, Observation)],
    setback: Setback,
    now: Millis,
) -> Option<Millis> {
    let active = instances
        .iter()
        .filter(|(i, _)| i.role == InstanceRole::Active);
    let missing = u64::from(wanted) > active.clone().count() as u64;
    let rested = missing.then(|| setback.last.plus(setback.pause_ms()));
    let late = active.filter(|(i, _)| !i.ready);
    let late = late.map(|(i, _)| i.created_at.plus(READY_MS_MAX));
    rested.into_iter().chain(late).filter(|at| *at > now).min()
}

enum Verdict {
    Keep,
    Do(Repair),
}

fn verdict(
    instance: &Instance,
    observation: &Observation,
    check: &HealthCheck,
    now: Millis,
) -> Verdict {
    let replace = |why: String| Verdict::Do(Repair::Replace(instance.id.clone(), why));
    match observation {
        // A ready instance that vanished is lost; one never seen was written down just before a restart.
        Observation::Absent if instance.ready => replace("the instance was lost".to_owned()),
        Observation::Absent => Verdict::Do(Repair::Create(instance.id.clone())),
        Observation::Starting => Verdict::Keep,
        Observation::Ended(how) => replace(how.clone()),
        Observation::Running(pulse) if pulse.is_unhealthy(check) && instance.ready => {
            replace(format!(
                "{} health checks failed in a row: {}",
                pulse.bad, pulse.detail
            ))
        }
        Observation::Running(pulse) if !instance.ready && pulse.is_healthy(check) => {
            Verdict::Do(Repair::Admit(instance.id.clone()))
        }
        Observation::Running(pulse)
            if !instance.ready && now.since(instance.created_at) >= READY_MS_MAX =>
        {
            replace(format!(
                "not healthy within {} seconds: {}",
                READY_MS_MAX / 1000,
                pulse.detail
            ))
        }
        Observation::Running(_) => Verdict::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ServiceId;

    fn instance(n: u8, ready: bool) -> Instance {
        Instance {
            id: InstanceId::from_random([n; 16]),
            service: ServiceId::from_random([1; 16]),
            revision: 1,
            role: InstanceRole::Active,
            ready,
            created_at: Millis(0),
            retiring_since: None,
        }
    }

    fn pulse(good: u32, bad: u32) -> Observation {
        Observation::Running(Pulse {
            good,
            bad,
            detail: "HTTP 500".to_owned(),
        })
    }

    fn check(
        instances: &[(Instance, Observation)],
        wanted: u32,
        setback: Setback,
        now: u64,
    ) -> Vec<Repair> {
        repairs(
            wanted,
            &HealthCheck::default(),
            instances,
            setback,
            Millis(now),
        )
    }

    #[test]
    fn a_healthy_service_is_left_alone() {
        let all = [
            (instance(1, true), pulse(3, 0)),
            (instance(2, true), pulse(1, 0)),
        ];
        assert_eq!(check(&all, 2, Setback::default(), 9), []);
    }

    #[test]
    fn an_ended_instance_is_replaced_at_once() {
        let lost = instance(1, true);
        let all = [(lost.clone(), Observation::Ended("exit code 1".to_owned()))];
        let expected = [
            Repair::Replace(lost.id, "exit code 1".to_owned()),
            Repair::Start(1),
        ];
        assert_eq!(
            check(&all, 1, Setback::default().struck(Millis(9)), 9),
            expected
        );
    }

    #[test]
    fn repeated_failures_slow_the_replacement_and_calm_ends_it() {
        let mut setback = Setback::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            setback = setback.struck(Millis(100));
            pauses.push(setback.pause_ms());
        }
        assert_eq!(pauses[..6], [0, 0, 1000, 2000, 4000, 8000]);
        assert_eq!(pauses[11], PAUSE_MS_MAX);
        assert_eq!(check(&[], 1, setback, 100 + PAUSE_MS_MAX - 1), []);
        assert_eq!(
            check(&[], 1, setback, 100 + PAUSE_MS_MAX),
            [Repair::Start(1)]
        );
        assert_eq!(setback.struck(Millis(100 + CALM_MS)).count, 1);
    }

    #[test]
    fn a_new_instance_is_admitted_once_healthy_and_given_up_when_late() {
        let new = instance(1, false);
        assert_eq!(
            check(&[(new.clone(), pulse(0, 9))], 1, Setback::default(), 5),
            []
        );
        assert_eq!(
            check(&[(new.clone(), pulse(1, 0))], 1, Setback::default(), 5),
            [Repair::Admit(new.id.clone())]
        );
        let late = check(
            &[(new.clone(), pulse(0, 9))],
            1,
            Setback::default(),
            READY_MS_MAX,
        );
        assert!(matches!(&late[..], [Repair::Replace(..), Repair::Start(1)]));
    }

    #[test]
    fn candidates_and_retiring_instances_do_not_count() {
        let mut candidate = instance(1, true);
        candidate.role = InstanceRole::Candidate;
        let mut retiring = instance(2, true);
        retiring.role = InstanceRole::Retiring;
        let all = [(candidate, pulse(1, 0)), (retiring, Observation::Absent)];
        assert_eq!(check(&all, 1, Setback::default(), 5), [Repair::Start(1)]);
    }

    #[test]
    fn what_is_too_much_goes_what_serves_nobody_first_and_then_the_youngest() {
        let mut young = instance(2, true);
        young.created_at = Millis(50);
        let all = [
            (instance(1, true), pulse(1, 0)),
            (young.clone(), pulse(1, 0)),
            (instance(3, true), pulse(1, 0)),
            (instance(4, false), pulse(0, 1)),
        ];
        let gone = |n| Repair::Retire(instance(n, true).id);
        assert_eq!(check(&all, 2, Setback::default(), 60), [gone(4), gone(2)]);
        let everything = check(&all, 0, Setback::default(), 60);
        assert_eq!(everything, [gone(4), gone(2), gone(3), gone(1)]);
    }

    #[test]
    fn the_next_change_is_the_end_of_a_pause_or_of_patience() {
        let setback = (0..4).fold(Setback::default(), |s, _| s.struck(Millis(100)));
        let next = |all: &[_], wanted, now| next_change(wanted, all, setback, Millis(now));
        assert_eq!(next(&[], 1, 100), Some(Millis(2_100)));
        assert_eq!(next(&[], 0, 100), None);
        assert_eq!(next(&[(instance(1, true), pulse(1, 0))], 1, 100), None);
        let waiting = [(instance(1, false), pulse(0, 1))];
        assert_eq!(next(&waiting, 1, 100), Some(Millis(READY_MS_MAX)));
    }

    #[test]
    fn an_instance_that_was_only_written_down_is_created() {
        let new = instance(1, false);
        let expected = [Repair::Create(new.id.clone())];
        assert_eq!(
            check(&[(new, Observation::Absent)], 1, Setback::default(), 5),
            expected
        );
    }
}
