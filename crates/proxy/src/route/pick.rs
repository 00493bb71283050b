//! The choice of an instance: the fewest requests under way.

use super::Route;
use crate::instance::Instance;
use std::sync::Arc;

/// The result of asking for an instance.
#[derive(Debug)]
pub enum Picked<'a> {
    /// A place at this instance was taken.
    Instance(&'a Arc<Instance>),
    /// Every instance has as many requests as it may have, or refused a connection a moment ago.
    Busy,
    /// There is no instance.
    None,
}

/// Takes a place at the instance with the fewest requests. Among equals the search starts at `turn`, so that they take turns.
pub fn pick(route: &Route, now_ms: u64, turn: usize) -> Picked<'_> {
    if route.instances.is_empty() {
        return Picked::None;
    }
    // Another worker may take the last place between the choice and the attempt; then the choice is made anew.
    while let Some(best) = least(route, now_ms, turn) {
        if best.try_acquire(route.max_concurrency) {
            return Picked::Instance(best);
        }
    }
    Picked::Busy
}

/// Whether [`pick`] would find a place now.
pub fn has_place(route: &Route, now_ms: u64) -> bool {
    least(route, now_ms, 0).is_some()
}

fn least(route: &Route, now_ms: u64, turn: usize) -> Option<&Arc<Instance>> {
    let count = route.instances.len();
    let in_turn = (0..count).map(|step| &route.instances[(turn + step) % count]);
    let usable = in_turn.filter(|instance| !instance.is_suspect(now_ms));
    let (outstanding, best) = usable
        .map(|instance| (instance.outstanding(), instance))
        .min_by_key(|(n, _)| *n)?;
    (outstanding < route.max_concurrency).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Service;
    use apron_link::proxy::{RouteState, UpstreamProtocol};

    fn route(outstanding: &[u32], max_concurrency: u32) -> Route {
        let instance = |(index, count): (usize, &u32)| {
            let instance = Instance::new(index.to_string(), "127.0.0.1:1".parse().unwrap());
            (0..*count).for_each(|_| assert!(instance.try_acquire(u32::MAX)));
            Arc::new(instance)
        };
        Route {
            service: Arc::new(Service::new("s".into())),
            state: RouteState::Serving,
            instances: outstanding.iter().enumerate().map(instance).collect(),
            max_concurrency,
            can_grow: false,
            trouble: None,
            protocol: UpstreamProtocol::Http1,
            timeout: None,
            idle_timeout: None,
            sticky: false,
            access_log: false,
        }
    }

    fn picked(route: &Route, turn: usize) -> Option<&str> {
        match pick(route, 1_000, turn) {
            Picked::Instance(instance) => Some(&instance.id),
            Picked::Busy | Picked::None => None,
        }
    }

    #[test]
    fn the_least_busy_is_picked_and_equals_take_turns() {
        assert_eq!(picked(&route(&[3, 1, 2], 10), 0), Some("1"));
        assert_eq!(picked(&route(&[1, 1, 1], 10), 2), Some("2"));
        assert_eq!(picked(&route(&[2, 2], 2), 0), None);
        assert_eq!(picked(&route(&[], 2), 0), None);
    }

    #[test]
    fn places_are_never_oversold() {
        let route = Arc::new(route(&[0, 0], 50));
        let taken: usize = std::thread::scope(|scope| {
            let worker = || {
                (0..100)
                    .filter(|turn| matches!(pick(&route, 0, *turn), Picked::Instance(_)))
                    .count()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(taken, 100);
    }

    #[test]
    fn an_instance_that_refused_is_passed_over_for_a_moment() {
        let route = route(&[0, 5], 10);
        route.instances[0].suspect(1_000);
        assert_eq!(picked(&route, 0), Some("1"));
        route.instances[1].suspect(1_000);
        assert_eq!(picked(&route, 0), None);
        assert!(has_place(&route, 1_000 + crate::instance::SUSPECT_MS));
    }
}
