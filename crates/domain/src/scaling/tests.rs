use super::*;
use proptest::prelude::*;

const HEARD: Hearing = Hearing::Since(Millis(0));

fn limits(max_concurrency: u32, min_size: u32, max_size: u32) -> Limits {
    Limits {
        max_concurrency,
        min_size,
        max_size,
        to_zero_after_ms: None,
    }
}

fn sleeping(after_ms: u64) -> Limits {
    Limits {
        to_zero_after_ms: Some(after_ms),
        ..limits(10, 1, 25)
    }
}

fn outstanding(outstanding: u32) -> Load {
    Load {
        outstanding,
        waiting: 0,
        peak: outstanding,
    }
}

/// Says the same each second from `from` on and decides after each word.
fn run(demand: &mut Demand, limits: &Limits, load: Load, from: u64, seconds: u64) -> Vec<u32> {
    let second = |n| Millis(from + n * 1000);
    (0..seconds)
        .map(|n| {
            demand.told(load, second(n));
            demand.decide(limits, HEARD, second(n))
        })
        .collect()
}

#[test]
fn a_burst_starts_what_is_missing_at_once_and_never_more_than_allowed() {
    let limits = limits(10, 1, 25);
    let mut demand = Demand::deployed(1, Millis(0));
    let burst = Load {
        outstanding: 10,
        waiting: 91,
        peak: 0,
    };
    demand.told(burst, Millis(5));
    assert_eq!(demand.decide(&limits, HEARD, Millis(5)), 11);
    demand.told(outstanding(u32::MAX), Millis(6));
    assert_eq!(demand.decide(&limits, HEARD, Millis(6)), 25);
}

#[test]
fn what_was_not_needed_for_a_window_goes_in_one_step_to_the_peak_of_the_window() {
    let limits = limits(10, 2, 25);
    let mut demand = Demand::deployed(2, Millis(0));
    run(&mut demand, &limits, outstanding(100), 0, 1);
    run(&mut demand, &limits, outstanding(35), 20_000, 1);
    demand.told(outstanding(0), Millis(21_000));
    let at = |demand: &mut Demand, ms| demand.decide(&limits, HEARD, Millis(ms));
    assert_eq!(at(&mut demand, STABLE_MS), 10);
    let next = demand
        .next_change(&limits, HEARD, Millis(STABLE_MS))
        .unwrap();
    assert_eq!(next, Millis(SLOT_MS + STABLE_MS));
    assert_eq!(at(&mut demand, next.0 - 1), 10);
    assert_eq!(at(&mut demand, next.0), 4);
    let next = demand.next_change(&limits, HEARD, next).unwrap();
    assert_eq!(at(&mut demand, next.0), 2);
    assert_eq!(demand.next_change(&limits, HEARD, next), None);
}

#[test]
fn a_service_without_requests_goes_to_zero_and_only_a_request_wakes_it() {
    let limits = sleeping(30_000);
    let mut demand = Demand::deployed(1, Millis(1_000));
    assert_eq!(demand.decide(&limits, HEARD, Millis(30_999)), 1);
    assert_eq!(
        demand.next_change(&limits, HEARD, Millis(30_999)),
        Some(Millis(31_000))
    );
    assert_eq!(demand.decide(&limits, HEARD, Millis(31_000)), 0);
    assert_eq!(demand.next_change(&limits, HEARD, Millis(31_000)), None);
    assert_eq!(demand.decide(&limits, HEARD, Millis(9_000_000)), 0);
    let first = Load {
        waiting: 3,
        ..Load::default()
    };
    demand.told(first, Millis(9_000_001));
    assert_eq!(demand.decide(&limits, HEARD, Millis(9_000_001)), 1);
}

#[test]
fn an_open_websocket_holds_its_instance() {
    let limits = sleeping(30_000);
    let mut demand = Demand::deployed(1, Millis(0));
    let counts = run(&mut demand, &limits, outstanding(1), 0, 600);
    assert!(counts.iter().all(|count| *count == 1));
    demand.told(outstanding(0), Millis(600_000));
    assert_eq!(demand.decide(&limits, HEARD, Millis(629_999)), 1);
    assert_eq!(demand.decide(&limits, HEARD, Millis(630_000)), 0);
}

#[test]
fn a_lost_last_word_does_not_hold_an_instance_for_ever() {
    let limits = sleeping(5_000);
    let mut demand = Demand::deployed(1, Millis(0));
    demand.told(outstanding(1), Millis(0));
    assert_eq!(demand.decide(&limits, HEARD, Millis(9_999)), 1);
    let next = demand.next_change(&limits, HEARD, Millis(9_999));
    assert_eq!(next, Some(Millis(WORD_MS_MAX)));
    assert_eq!(demand.decide(&limits, HEARD, Millis(WORD_MS_MAX)), 0);
}

#[test]
fn nothing_falls_while_the_proxy_is_silent_and_for_a_window_after() {
    for limits in [limits(10, 1, 25), sleeping(1_000)] {
        let mut demand = Demand::resumed(7);
        for now in [0, STABLE_MS, 100 * STABLE_MS] {
            let now = Millis(now);
            assert_eq!(demand.decide(&limits, Hearing::Silent, now), 7);
            assert_eq!(demand.next_change(&limits, Hearing::Silent, now), None);
        }
        let heard = Hearing::Since(Millis(100 * STABLE_MS));
        let now = Millis(101 * STABLE_MS - 1);
        assert_eq!(demand.decide(&limits, heard, now), 7);
        let next = demand.next_change(&limits, heard, now).unwrap();
        assert_eq!(next, Millis(101 * STABLE_MS));
        let lowest = 1 - u32::from(limits.to_zero_after_ms.is_some());
        assert_eq!(demand.decide(&limits, heard, next), lowest);
    }
}

#[test]
fn what_sleeps_when_the_control_plane_restarts_sleeps_on_and_what_must_not_wakes() {
    let mut asleep = Demand::resumed(0);
    assert_eq!(
        asleep.decide(&sleeping(1_000), Hearing::Silent, Millis(5)),
        0
    );
    assert_eq!(asleep.decide(&sleeping(1_000), HEARD, Millis(9)), 0);
    let mut lost = Demand::resumed(0);
    assert_eq!(
        lost.decide(&limits(10, 2, 25), Hearing::Silent, Millis(5)),
        2
    );
}

#[test]
fn a_deployment_keeps_the_load_and_gives_a_sleeping_service_its_time() {
    let limits = sleeping(10_000);
    let mut demand = Demand::deployed(1, Millis(0));
    demand.told(outstanding(95), Millis(1_000));
    assert_eq!(demand.decide(&limits, HEARD, Millis(1_000)), 10);
    demand.redeployed(1, Millis(2_000));
    assert_eq!(demand.decide(&limits, HEARD, Millis(2_000)), 10);
    demand.told(outstanding(0), Millis(3_000));
    assert_eq!(demand.decide(&limits, HEARD, Millis(13_000)), 0);
    demand.redeployed(1, Millis(14_000));
    assert_eq!(demand.decide(&limits, HEARD, Millis(14_000)), 1);
    assert_eq!(demand.decide(&limits, HEARD, Millis(24_000)), 0);
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Told(u32, u32),
    Passed(u64),
    Heard,
    Silent,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0..400u32, 0..200u32).prop_map(|(level, peak)| Event::Told(level, peak)),
        4 => prop_oneof![0..3_000u64, 0..200_000u64].prop_map(Event::Passed),
        1 => Just(Event::Heard),
        1 => Just(Event::Silent),
    ];
    proptest::collection::vec(event, 0..60)
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let after = proptest::option::of(1_000..100_000u64);
    (1..50u32, 1..10u32, 0..30u32, after).prop_map(|(concurrency, min, more, after)| Limits {
        to_zero_after_ms: after,
        ..limits(concurrency, min, min + more)
    })
}

/// Plays the events, each word scaled by `tenths`; answers the count after each.
fn play(limits: &Limits, events: &[Event], tenths: u32) -> Vec<u32> {
    let mut demand = Demand::deployed(limits.min_size, Millis(0));
    let (mut now, mut hearing) = (Millis(0), HEARD);
    let mut play = |event: &Event| {
        match event {
            Event::Told(level, peak) => demand.told(
                Load {
                    outstanding: level * tenths / 10,
                    waiting: 0,
                    peak: (level + peak) * tenths / 10,
                },
                now,
            ),
            Event::Passed(ms) => now = now.plus(*ms),
            Event::Heard => hearing = Hearing::Since(now),
            Event::Silent => hearing = Hearing::Silent,
        }
        let count = demand.decide(limits, hearing, now);
        assert!(demand.peaks.len() as u64 <= STABLE_MS / SLOT_MS + 2);
        assert!(
            demand
                .peaks
                .iter()
                .zip(demand.peaks.iter().skip(1))
                .all(|(a, b)| a.requests > b.requests)
        );
        assert_eq!(
            demand.decide(limits, hearing, now),
            count,
            "deciding twice is deciding once"
        );
        let next = demand.next_change(limits, hearing, now);
        assert!(next.is_none_or(|at| at > now));
        // Until then nothing changes by time alone.
        let before = next.map_or(now.plus(1 << 40), |at| Millis(at.0 - 1));
        assert_eq!(demand.clone().decide(limits, hearing, before), count);
        count
    };
    events.iter().map(&mut play).collect()
}

proptest! {
    #[test]
    fn the_bounds_always_hold(limits in any_limits(), events in events()) {
        for count in play(&limits, &events, 10) {
            let lowest = if limits.to_zero_after_ms.is_some() { 0 } else { limits.min_size };
            prop_assert!(count >= lowest && count <= limits.max_size);
            prop_assert!(count == 0 || count >= limits.min_size);
        }
    }

    #[test]
    fn more_load_never_means_fewer_instances(limits in any_limits(), events in events(), tenths in 0..10u32) {
        let (less, more) = (play(&limits, &events, tenths), play(&limits, &events, 10));
        prop_assert!(less.iter().zip(&more).all(|(less, more)| less <= more), "{less:?} {more:?}");
    }

    #[test]
    fn a_constant_load_is_met_at_once_and_reached_within_a_window(
        limits in any_limits(), before in 0..2_000u32, level in 0..2_000u32,
    ) {
        let limits = Limits { to_zero_after_ms: None, ..limits };
        let mut demand = Demand::deployed(limits.min_size, Millis(0));
        run(&mut demand, &limits, outstanding(before), 0, 30);
        let counts = run(&mut demand, &limits, outstanding(level), 30_000, 200);
        let goal = limits.for_requests(level);
        prop_assert!(counts.iter().all(|count| *count >= goal));
        let calm = usize::try_from((STABLE_MS + SLOT_MS) / 1_000).unwrap() + 1;
        prop_assert!(counts[calm..].iter().all(|count| *count == goal));
        prop_assert!(counts.windows(2).all(|pair| pair[1] <= pair[0]), "it only falls");
    }

    #[test]
    fn a_noisy_load_moves_the_count_once(limits in any_limits(), noise in proptest::collection::vec(0..300u32, 10..50)) {
        let limits = Limits { to_zero_after_ms: None, ..limits };
        let mut demand = Demand::deployed(limits.min_size, Millis(0));
        let mut last = 0;
        // The same noise again and again: once its peak was seen, nothing changes.
        for (second, level) in noise.iter().cycle().take(400).enumerate() {
            let now = Millis(second as u64 * 1000);
            demand.told(outstanding(*level), now);
            let count = demand.decide(&limits, HEARD, now);
            prop_assert!(count >= last, "fell from {last} to {count}");
            last = count;
        }
        prop_assert_eq!(last, limits.for_requests(noise.into_iter().max().unwrap_or(0)));
    }
}
