//! The choice of an instance: the fewest requests under way, among those that do well. Among equals one that has its
//! processor is better than one that would have to be given it.

use super::Route;
use crate::instance::health::Standing;
use crate::instance::{Instance, Tag};
use std::sync::Arc;

/// What a request asks for.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The instance that its client was at before, if requests of the service stick. It is a preference: when that
    /// instance is gone, full or resting, another one takes the request, since an application has to live without any
    /// one of its instances at any moment anyway, and waiting for one would make it a single point of failure.
    pub sticky: Option<Tag>,
    /// The instance that has just failed it: another one is better.
    pub avoid: Option<Arc<Instance>>,
}

/// The result of asking for an instance.
#[derive(Debug)]
pub enum Picked<'a> {
    /// A place at this instance was taken.
    Instance {
        /// The instance.
        instance: &'a Arc<Instance>,
        /// It is to be seen how the instance does: [`crate::instance::health::Health::end_probe`] is called at the end.
        probe: bool,
    },
    /// Every instance has as many requests as it may have, or rests.
    Busy,
    /// There is no instance.
    None,
}

/// Takes a place at the instance with the fewest requests. Among equals the search starts at `turn`, so that they take turns.
pub fn pick<'a>(route: &'a Route, ask: &Ask, now_ms: u64, turn: usize) -> Picked<'a> {
    if route.instances.is_empty() {
        return Picked::None;
    }
    if let Some(instance) = sticky(route, ask, now_ms) {
        return Picked::Instance {
            instance,
            probe: false,
        };
    }
    // Another worker may take the last place between the choice and the attempt; then the choice is made anew.
    while let Some((instance, probe)) = choose(route, ask, now_ms, turn) {
        if probe && !instance.health.begin_probe() {
            continue;
        }
        if instance.try_acquire(route.max_concurrency) {
            return Picked::Instance { instance, probe };
        }
        if probe {
            instance.health.end_probe();
        }
    }
    Picked::Busy
}

/// Whether [`pick`] would find a place now.
pub fn has_place(route: &Route, now_ms: u64) -> bool {
    choose(route, &Ask::default(), now_ms, 0).is_some()
}

fn sticky<'a>(route: &'a Route, ask: &Ask, now_ms: u64) -> Option<&'a Arc<Instance>> {
    let tag = ask.sticky.as_ref()?;
    let mut instances = route.instances.iter();
    let instance = instances.find(|instance| instance.tag == *tag)?;
    let usable = instance.health.standing(now_ms) == Standing::Sound
        && !avoided(ask, instance)
        && instance.try_acquire(route.max_concurrency);
    usable.then_some(instance)
}

fn avoided(ask: &Ask, instance: &Arc<Instance>) -> bool {
    ask.avoid
        .as_ref()
        .is_some_and(|avoided| Arc::ptr_eq(avoided, instance))
}

/// The instance to take a place at and whether that is a probe.
fn choose<'a>(
    route: &'a Route,
    ask: &Ask,
    now_ms: u64,
    turn: usize,
) -> Option<(&'a Arc<Instance>, bool)> {
    let count = route.instances.len();
    let in_turn = || (0..count).map(|step| &route.instances[(turn + step) % count]);
    let (mut usable, mut least, mut best) = (false, None, None);
    for instance in in_turn() {
        let standing = instance.health.standing(now_ms);
        if standing == Standing::Resting {
            continue;
        }
        usable = true;
        let (outstanding, braked) = (instance.outstanding(), instance.brake.is_on());
        let rank = (avoided(ask, instance), outstanding, braked);
        if outstanding < route.max_concurrency && least.is_none_or(|least| rank < least) {
            (least, best) = (Some(rank), Some((instance, standing == Standing::Due)));
        }
    }
    if usable {
        return best;
    }
    // All of them rest: better one that may fail than none.
    let tried = in_turn().filter(|instance| instance.health.may_be_tried_anyway(now_ms));
    let least = tried.min_by_key(|instance| (avoided(ask, instance), instance.outstanding()))?;
    let has_room = least.outstanding() < route.max_concurrency;
    has_room.then(|| (least, !least.health.takes_connections()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::health::{BREAKS_MAX, REST_FIRST_MS};
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

    fn asked<'a>(route: &'a Route, ask: &Ask, now_ms: u64, turn: usize) -> Option<&'a str> {
        match pick(route, ask, now_ms, turn) {
            Picked::Instance { instance, .. } => Some(&instance.id),
            Picked::Busy | Picked::None => None,
        }
    }

    fn picked(route: &Route, turn: usize) -> Option<&str> {
        asked(route, &Ask::default(), 1_000, turn)
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
                    .filter(|turn| picked(&route, *turn).is_some())
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
    fn an_instance_that_refused_rests_and_is_probed_by_one_request() {
        let route = route(&[0, 5], 10);
        route.instances[0].health.refused(1_000);
        assert_eq!(picked(&route, 0), Some("1"));
        let due = 1_000 + REST_FIRST_MS;
        let ask = Ask::default();
        let Picked::Instance { instance, probe } = pick(&route, &ask, due, 0) else {
            panic!()
        };
        assert_eq!((instance.id.as_str(), probe), ("0", true));
        assert_eq!(asked(&route, &ask, due, 0), Some("1"));
        instance.health.connected();
        instance.health.end_probe();
        assert_eq!(asked(&route, &ask, due, 0), Some("0"));
    }

    #[test]
    fn when_all_rest_they_are_tried_anyway() {
        let both = route(&[0, 0], 10);
        both.instances[0].health.refused(1_000);
        for _ in 0..BREAKS_MAX {
            both.instances[1].health.broke(1_000);
        }
        // Connections to the second are made, so every request may try it.
        assert_eq!((picked(&both, 0), picked(&both, 0)), (Some("1"), Some("1")));
        let one = route(&[0], 10);
        one.instances[0].health.refused(1_000);
        assert_eq!(picked(&one, 0), None);
        assert!(!has_place(&one, 1_000) && has_place(&one, 1_000 + REST_FIRST_MS));
    }

    #[test]
    fn a_client_returns_to_its_instance_unless_that_is_full_or_gone() {
        let route = route(&[0, 1], 3);
        let ask = Ask {
            sticky: Some(route.instances[1].tag),
            avoid: None,
        };
        let at = || asked(&route, &ask, 1_000, 0);
        assert_eq!([at(), at(), at()], [Some("1"), Some("1"), Some("0")]);
        let gone = Ask {
            sticky: Some(*b"0123456789abcdef"),
            avoid: None,
        };
        assert_eq!(asked(&route, &gone, 1_000, 0), Some("0"));
    }

    #[test]
    fn what_has_just_failed_is_avoided_if_there_is_another() {
        let both = route(&[0, 5], 10);
        let ask = Ask {
            avoid: Some(Arc::clone(&both.instances[0])),
            sticky: Some(both.instances[0].tag),
        };
        assert_eq!(asked(&both, &ask, 1_000, 0), Some("1"));
        let mut one = route(&[0], 10);
        one.instances = vec![Arc::clone(&both.instances[0])];
        assert_eq!(asked(&one, &ask, 1_000, 0), Some("0"));
    }
}
