//! What an application prints.

use crate::machine::{next, on_a_machine, run_to_end, until};
use apron_compute::{Compute, ComputeEvent, OutputStream};

#[test]
fn privileged_every_line_arrives_in_order_through_a_slow_reader() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        // Some 6 MB: more than every buffer on the way together, so that the application has to wait.
        let spec = machine.script("seq 1 800000; echo done >&2");
        node.create(&spec).await.unwrap();
        until("the queue to be full", || {
            events.len() == events.max_capacity()
        })
        .await;
        let mut expected = 1;
        loop {
            match next(&mut events).await {
                ComputeEvent::Output {
                    stream: OutputStream::Stdout,
                    line,
                    ..
                } => {
                    assert_eq!(line, expected.to_string());
                    expected += 1;
                }
                ComputeEvent::Exited { .. } => break,
                _ => {}
            }
        }
        assert_eq!(expected, 800_001);
    });
}

#[test]
fn privileged_long_lines_odd_bytes_and_missing_ends_are_delivered() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let script = r"head -c 600000 /dev/zero | tr '\0' x 2>/dev/null || yes x | head -c 600000 | awk '{printf $1}'; echo; printf 'a\377b\n'; printf end";
        let outcome = run_to_end(&node, &mut events, &machine.script(script)).await;
        assert!(outcome.lines.iter().all(|line| line.len() <= 256 << 10));
        assert!(outcome.lines.contains(&"a\u{fffd}b".to_owned()));
        assert_eq!(outcome.lines.last().map(String::as_str), Some("end"));
    });
}

#[test]
fn privileged_lines_of_many_requests_come_together_and_the_last_at_once() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let spec = machine.script("for i in $(seq 400); do echo $i; usleep 500; done; echo end");
        node.create(&spec).await.unwrap();
        let (mut lines, mut read_at) = (Vec::new(), Vec::new());
        loop {
            match next(&mut events).await {
                ComputeEvent::Output { line, at, .. } => {
                    lines.push(line);
                    read_at.push(at.0);
                }
                ComputeEvent::Exited { exit, .. } => {
                    let last = read_at.last().unwrap();
                    assert!(
                        exit.at.0.abs_diff(*last) < 1000,
                        "the end waited for its line"
                    );
                    break;
                }
                _ => {}
            }
        }
        let expected = (1..=400).map(|number| number.to_string());
        assert!(lines.into_iter().eq(expected.chain(["end".to_owned()])));
        read_at.dedup();
        // The end of the application is waited for by nobody, so the last two may be nearer to each other.
        let pauses = read_at.windows(2).map(|pair| pair[1].abs_diff(pair[0]));
        let short = pauses.filter(|pause| *pause < 9).count();
        assert!(short <= 1, "lines were read one by one: {read_at:?}");
    });
}

/// How many sockets a process has open.
fn sockets(pid: i32) -> usize {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    open.filter_map(|it| std::fs::read_link(it.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

#[test]
fn privileged_output_of_a_time_without_a_control_plane_is_kept_within_a_bound() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let fifo = "mkfifo /tmp/go 2>/dev/null; while [ ! -e /tmp/go-now ]; do sleep 0.1; done";
        let script = format!("echo ready; {fifo}; seq 1 400000; echo all printed; sleep 1000");
        let spec = machine.script(&script);
        node.create(&spec).await.unwrap();
        assert_eq!(crate::machine::line(&mut events, &spec.id).await, "ready");
        let pid = crate::machine::shim_pid(&machine.instance_directory(&spec.id));
        let connected = sockets(pid);
        drop((node, events));
        // What the backend that goes still reads, perhaps after connecting once more, would be missing from both counts.
        let mut looks = 0;
        until("the shim to be left alone", || {
            looks = if sockets(pid) < connected {
                looks + 1
            } else {
                0
            };
            looks > 100
        })
        .await;
        let init = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        std::fs::write(format!("/proc/{}/root/tmp/go-now", init.trim()), "").unwrap();
        // The application is not held up: it comes to its last line although nobody takes any.
        let application =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", init.trim())).unwrap();
        let waits = format!(
            "/proc/{}/task/{}/children",
            application.trim(),
            application.trim()
        );
        until("the application to print everything", || {
            let children = std::fs::read_to_string(&waits).unwrap_or_default();
            let name = |pid: &str| {
                std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
            };
            children
                .split_whitespace()
                .any(|pid| name(pid).contains("1000"))
        })
        .await;

        let node = machine.node().await;
        let mut events = node.subscribe();
        let mut lines = Vec::new();
        loop {
            if let ComputeEvent::Output { line, .. } = next(&mut events).await {
                lines.push(line);
                if lines.last().is_some_and(|line| line == "all printed") {
                    break;
                }
            }
        }
        let told = lines
            .iter()
            .find(|line| line.starts_with("[apron] "))
            .expect("the loss is told");
        let lost: usize = told.split_whitespace().nth(1).unwrap().parse().unwrap();
        let numbers: Vec<usize> = lines.iter().filter_map(|line| line.parse().ok()).collect();
        assert_eq!(lost + numbers.len(), 400_000, "{told}");
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
        node.remove(&spec.id).await.unwrap();
    });
}

#[test]
fn privileged_an_instance_stops_while_nobody_takes_its_output() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let spec = machine.script("exec yes");
        node.create(&spec).await.unwrap();
        crate::machine::line(&mut events, &spec.id).await;
        until("the queue to be full", || {
            events.len() == events.max_capacity()
        })
        .await;
        node.stop(&spec.id, std::time::Duration::from_secs(1))
            .await
            .unwrap();
        let exit = machine.instance_directory(&spec.id).join("exit.json");
        assert!(exit.exists(), "it has not ended");
        node.remove(&spec.id).await.unwrap();
    });
}
