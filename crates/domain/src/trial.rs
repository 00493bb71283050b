//! Whether a candidate of a deployment is good enough for traffic.

use crate::service::HealthCheck;
use crate::time::Millis;

/// Milliseconds until the second probe; each further pause is half as long again.
const FIRST_PAUSE_MS: u64 = 10;

/// Longest pause between probes while the application is starting, in milliseconds.
const PAUSE_MS_MAX: u64 = 1_000;

/// What the probes of a candidate found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// Probes made.
    pub probes: u32,
    /// Good probes in a row.
    pub good: u32,
    /// When the present row of bad answers began; a refused connection is no answer.
    pub bad_since: Option<Millis>,
    /// When the newest probe was made.
    pub last_at: Millis,
    /// What it found.
    pub detail: String,
}

/// What follows from a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may have traffic.
    Healthy,
    /// It will not become healthy: it answers, and has answered badly for the time its health check allows.
    Unhealthy,
    /// Probe again at this time.
    ProbeAt(Millis),
}

impl Trial {
    /// The trial after another probe.
    pub fn probed(&self, healthy: bool, answered: bool, detail: String, now: Millis) -> Trial {
        let bad_since = match (healthy, answered) {
            (false, true) => self.bad_since.or(Some(now)),
            _ => None,
        };
        let good = if healthy { self.good + 1 } else { 0 };
        Trial {
            probes: self.probes + 1,
            good,
            bad_since,
            last_at: now,
            detail,
        }
    }

    /// What follows. Probes come quickly while an application starts, so that a deployment takes as long as the
    /// application needs; once it is healthy further good probes are counted at the check's interval.
    pub fn verdict(&self, check: &HealthCheck, now: Millis) -> Verdict {
        let allowed_ms = u64::from(check.interval) * u64::from(check.unhealthy_threshold) * 1000;
        if self.good >= check.healthy_threshold {
            return Verdict::Healthy;
        }
        if self
            .bad_since
            .is_some_and(|since| now.since(since) >= allowed_ms)
        {
            return Verdict::Unhealthy;
        }
        let pause = match (self.probes, self.good) {
            (0, _) => return Verdict::ProbeAt(now),
            (_, good) if good > 0 => u64::from(check.interval) * 1000,
            (probes, _) => {
                (1..probes.min(30)).fold(FIRST_PAUSE_MS, |ms, _| (ms * 3 / 2).min(PAUSE_MS_MAX))
            }
        };
        Verdict::ProbeAt(self.last_at.plus(pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answers: &[(bool, bool, u64)]) -> Trial {
        answers
            .iter()
            .fold(Trial::default(), |trial, (healthy, answered, at)| {
                trial.probed(*healthy, *answered, String::new(), Millis(*at))
            })
    }

    #[test]
    fn one_good_probe_is_enough_by_default() {
        let check = HealthCheck::default();
        assert_eq!(
            Trial::default().verdict(&check, Millis(5)),
            Verdict::ProbeAt(Millis(5))
        );
        assert_eq!(
            after(&[(false, false, 5), (true, true, 15)]).verdict(&check, Millis(15)),
            Verdict::Healthy
        );
    }

    #[test]
    fn refusals_are_patient_and_bad_answers_are_not() {
        let check = HealthCheck::default();
        let refused: Vec<_> = (0..1000).map(|n| (false, false, n * 100)).collect();
        assert!(matches!(
            after(&refused).verdict(&check, Millis(100_000)),
            Verdict::ProbeAt(_)
        ));
        let bad: Vec<_> = (0..26).map(|n| (false, true, n * 1000)).collect();
        assert!(matches!(
            after(&bad[..25]).verdict(&check, Millis(24_999)),
            Verdict::ProbeAt(_)
        ));
        assert_eq!(
            after(&bad).verdict(&check, Millis(25_000)),
            Verdict::Unhealthy
        );
    }

    #[test]
    fn pauses_grow_to_a_second_and_never_beyond() {
        let check = HealthCheck::default();
        let mut last = 0;
        for probes in 1..60 {
            let answers: Vec<_> = (0..probes).map(|_| (false, false, 0)).collect();
            let Verdict::ProbeAt(Millis(pause)) = after(&answers).verdict(&check, Millis(0)) else {
                panic!()
            };
            assert!(pause >= last && pause <= PAUSE_MS_MAX);
            last = pause;
        }
        assert_eq!(last, PAUSE_MS_MAX);
    }

    #[test]
    fn a_higher_threshold_counts_at_the_interval() {
        let check = HealthCheck {
            healthy_threshold: 2,
            ..HealthCheck::default()
        };
        let once = after(&[(true, true, 100)]);
        assert_eq!(
            once.verdict(&check, Millis(100)),
            Verdict::ProbeAt(Millis(5100))
        );
        assert_eq!(
            after(&[(true, true, 100), (true, true, 5100)]).verdict(&check, Millis(5100)),
            Verdict::Healthy
        );
    }
}
