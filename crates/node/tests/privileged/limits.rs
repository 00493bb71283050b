//! Bounds that hold.

use crate::machine::{on_a_machine, run_to_end};
use apron_compute::Compute;
use std::time::Instant;

#[test]
fn privileged_memory_beyond_the_limit_is_reported_as_such() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let outcome = run_to_end(&node, &mut events, &machine.script("exec tail /dev/zero")).await;
        assert!(outcome.exit.out_of_memory, "{outcome:?}");
        assert_eq!(outcome.exit.signal, Some(9), "{outcome:?}");
        // In a child of the application as well.
        let outcome = run_to_end(
            &node,
            &mut events,
            &machine.script("tail /dev/zero; exit 1"),
        )
        .await;
        assert!(
            outcome.exit.out_of_memory && outcome.exit.code == Some(1),
            "{outcome:?}"
        );
        // A plain SIGKILL is something else.
        let outcome = run_to_end(&node, &mut events, &machine.script("kill -9 $$")).await;
        assert!(
            !outcome.exit.out_of_memory && outcome.exit.signal == Some(9),
            "{outcome:?}"
        );
    });
}

#[test]
fn privileged_processes_and_threads_are_bounded() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let mut spec = machine.script("for i in $(seq 1 50); do sleep 30 & done; echo all; exit 0");
        spec.pids_max = 10;
        let outcome = run_to_end(&node, &mut events, &spec).await;
        assert!(
            outcome
                .errors
                .iter()
                .any(|line| line.contains("can't fork")),
            "{outcome:?}"
        );
        assert!(!outcome.lines.contains(&"all".to_owned()), "{outcome:?}");
        let mut spec = machine.script("for i in $(seq 1 50); do sleep 30 & done; echo all; exit 0");
        spec.pids_max = 60;
        let outcome = run_to_end(&node, &mut events, &spec).await;
        assert!(outcome.lines.contains(&"all".to_owned()), "{outcome:?}");
    });
}

#[test]
fn privileged_a_full_disk_is_the_applications_alone() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let script = "dd if=/dev/zero of=/big bs=1M count=200 2>&1; df -k / | tail -1; rm /big; echo still && \
            dd if=/dev/zero of=/tmp/again bs=1M count=20 2>/dev/null && echo again";
        let spec = machine.script(script);
        let outcome = run_to_end(&node, &mut events, &spec).await;
        assert!(
            outcome.text().contains("No space left on device"),
            "{outcome:?}"
        );
        assert!(
            outcome.lines.contains(&"still".to_owned())
                && outcome.lines.contains(&"again".to_owned()),
            "{outcome:?}"
        );
        let kilobytes: u64 = outcome
            .lines
            .iter()
            .find_map(|line| line.strip_prefix("overlay"))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or_else(|| panic!("{outcome:?}"));
        assert!((50_000..=65_536).contains(&kilobytes), "{kilobytes} KiB");
    });
}

#[test]
fn privileged_a_share_of_the_processor_is_not_exceeded() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        // User and system time the loop got, in hundredths of a second, over a second of the clock.
        let script = "end=$(( $(date +%s) + 3 )); while [ $(date +%s) -lt $end ]; do :; done; awk '{print $14+$15+$16+$17}' /proc/$$/stat";
        let mut spec = machine.script(script);
        spec.cpu_millis = 250;
        let begun = Instant::now();
        let outcome = run_to_end(&node, &mut events, &spec).await;
        let used: f64 = outcome.lines[0].parse::<f64>().unwrap() / 100.0;
        let passed = begun.elapsed().as_secs_f64();
        assert!(used < passed * 0.25 + 0.15, "used {used} s in {passed} s");
    });
}

#[test]
fn privileged_an_application_sees_its_limits() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; \
            df -k /dev/shm | tail -1 | awk '{print $2}'";
        let outcome = run_to_end(&node, &mut events, &machine.script(script)).await;
        assert_eq!(
            outcome.lines,
            [(64 << 20).to_string(), (32 << 10).to_string()],
            "{outcome:?}"
        );
    });
}
