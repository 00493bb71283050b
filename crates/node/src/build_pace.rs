//! Builds stand back: what else wants a processor has it at once, and builds have what is left.
//!
//! That is the kernel's idle policy for a control group. A small weight alone is not enough: a request then waits until
//! a build has used up its turn, some milliseconds. But on a machine that is busy all the time the idle policy would leave
//! builds next to nothing. So they are watched, and while something holds them up they have their weight for a time.

use crate::node::Inner;
use apron_compute::InstanceClass;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Weak;
use std::time::{Duration, Instant};

/// Time between two looks at builds.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Builds are held up when they had less of one processor than one part in so many, and wanted more.
const SHARE_MIN: u32 = 8;

/// Looks for which builds that were held up have their weight, before it is tried again without.
const LOOKS_WITH_WEIGHT: u32 = 4;

/// What threads had of processors since they began, and how long they waited for one, in nanoseconds; by thread id.
type Times = BTreeMap<u32, (u64, u64)>;

/// What is decided from look to look.
#[derive(Debug, Default)]
struct Pace {
    seen: Times,
    at: Option<Instant>,
    with_weight: u32,
}

impl Pace {
    /// Whether builds stand back until the next look.
    fn next(&mut self, seen: Times, now: Instant) -> bool {
        let since = self.at.map_or(Duration::ZERO, |at| now - at);
        let held_up = are_held_up(&self.seen, &seen, since);
        self.with_weight = match held_up {
            true => LOOKS_WITH_WEIGHT,
            false => self.with_weight.saturating_sub(1),
        };
        self.seen = seen;
        self.at = Some(now);
        self.with_weight == 0
    }
}

fn are_held_up(before: &Times, after: &Times, since: Duration) -> bool {
    let (mut ran, mut waited) = (0, 0);
    for (thread, (ran_now, waited_now)) in after {
        if let Some((ran_then, waited_then)) = before.get(thread) {
            ran += ran_now.saturating_sub(*ran_then);
            waited += waited_now.saturating_sub(*waited_then);
        }
    }
    let had = Duration::from_nanos(ran);
    had * SHARE_MIN < since && Duration::from_nanos(waited) * 2 > since
}

/// Lets builds stand back, and sees to it that they come to something, as long as the backend is there.
pub async fn keep(inner: Weak<Inner>) {
    let mut pace = Pace::default();
    let mut standing_back = true;
    loop {
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let builds = running_builds(&inner);
        if builds.is_empty() {
            let begun = inner.builds_begun.clone();
            drop(inner);
            begun.notified().await;
            continue;
        }
        let looked = tokio::task::spawn_blocking(move || {
            let groups = inner.groups.of(InstanceClass::Build);
            let threads = builds.iter().flat_map(|id| groups.threads(id));
            let seen = threads.filter_map(times).collect();
            let next = pace.next(seen, Instant::now());
            if next != standing_back
                && let Err(error) = groups.stand_back(next)
            {
                tracing::warn!(%error, "the priority of builds cannot be changed");
            }
            (pace, next)
        });
        match looked.await {
            Ok(looked) => (pace, standing_back) = looked,
            // The runtime is ending.
            Err(_) => return,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn running_builds(inner: &Inner) -> Vec<String> {
    let instances = inner.instances();
    let builds = instances
        .values()
        .filter(|instance| instance.class == InstanceClass::Build && instance.exit().is_none());
    builds.map(|instance| instance.id.to_string()).collect()
}

/// What a thread had and waited for; none when it is gone or the kernel does not tell (`/proc/<id>/schedstat`, kernel
/// documentation, scheduler/sched-stats).
fn times(thread: u32) -> Option<(u32, (u64, u64))> {
    let text = std::fs::read_to_string(
        Path::new("/proc")
            .join(thread.to_string())
            .join("schedstat"),
    );
    let text = text.ok()?;
    let mut fields = text.split_whitespace();
    let mut next = || fields.next()?.parse().ok();
    Some((thread, (next()?, next()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn builds_that_are_held_up_have_their_weight_for_a_time() {
        let mut pace = Pace::default();
        let begin = Instant::now();
        let mut look = |number: u32, ran: u64, waited: u64| {
            let seen = Times::from([(7, (ran * MS, waited * MS))]);
            pace.next(seen, begin + LOOK_EVERY * number)
        };
        assert!(look(0, 10_000, 10_000), "what was before is not counted");
        assert!(look(1, 10_400, 10_100), "it runs");
        assert!(look(2, 10_401, 10_101), "it wants nothing");
        assert!(!look(3, 10_402, 10_600), "it waits");
        for number in 4..7 {
            assert!(!look(number, 10_400 + u64::from(number) * 100, 11_000));
        }
        assert!(look(7, 11_200, 11_000));
    }

    #[test]
    fn many_threads_that_wait_for_each_other_are_not_held_up() {
        let at = |ms: u64| Times::from_iter((0..64).map(|id| (id, (ms * MS / 32, ms * MS))));
        assert!(!are_held_up(&at(0), &at(500), LOOK_EVERY));
        let fresh = Times::from([(100, (0, 400 * MS))]);
        assert!(
            !are_held_up(&at(0), &fresh, LOOK_EVERY),
            "nobody knows since when"
        );
    }

    #[test]
    fn the_kernel_tells_what_a_thread_had() {
        let (thread, (ran, _)) = times(std::process::id()).unwrap();
        assert!(thread == std::process::id() && ran > 0);
    }
}
