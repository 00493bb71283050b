//! Builds give way at once, and come to something all the same.

use crate::machine::{clock, line, on_a_machine, until};
use apron_compute::{Compute, InstanceClass};
use apron_node::Node;
use std::path::PathBuf;

/// Whether the group of builds has the kernel's idle policy; none where this kernel has none.
fn is_idle(scope: &str) -> Option<bool> {
    let files = [
        "/sys/fs/cgroup/cpu",
        "/sys/fs/cgroup/cpu,cpuacct",
        "/sys/fs/cgroup",
    ];
    let files = files.map(|mount| PathBuf::from(mount).join(scope).join("cpu.idle"));
    let text = files
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok());
    text.map(|text| text.trim() == "1")
}

#[test]
fn privileged_builds_stand_back_until_they_are_held_up() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let scope = machine.config.build_scope();
        if is_idle(&scope).is_none() {
            eprintln!("this kernel has no idle policy for control groups");
            return;
        }
        let mut events = node.subscribe();
        let spin = "echo ready; while :; do :; done";
        let mut build = machine.script(spin);
        build.class = InstanceClass::Build;
        node.create(&build).await.unwrap();
        assert_eq!(line(&mut events, &build.id).await, "ready");
        until("builds to stand back", || is_idle(&scope) == Some(true)).await;

        // A service that takes every processor, several times over.
        let processors = std::thread::available_parallelism().unwrap().get();
        let all = format!(
            "for i in $(seq {}); do (while :; do :; done) & done; {spin}",
            processors * 4
        );
        let mut service = machine.script(&all);
        service.cpu_millis = u32::try_from(processors).unwrap() * 1000;
        node.create(&service).await.unwrap();
        until("builds to have their weight", || {
            is_idle(&scope) == Some(false)
        })
        .await;
        node.remove(&service.id).await.unwrap();
        until("builds to stand back again", || {
            is_idle(&scope) == Some(true)
        })
        .await;
        node.remove(&build.id).await.unwrap();
    });
}

#[test]
fn privileged_builds_leave_a_core_to_everything_else() {
    on_a_machine(async |machine| {
        let processors = |text: &str| -> usize {
            let list = text.trim().trim_start_matches("Cpus_allowed_list:");
            let ranges = list.trim().split(',').map(|range| {
                let (from, to) = range.split_once('-').unwrap_or((range, range));
                1 + to.parse::<usize>().unwrap() - from.parse::<usize>().unwrap()
            });
            ranges.sum()
        };
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let own = status
            .lines()
            .find(|line| line.starts_with("Cpus_allowed_list"));
        let all = processors(own.unwrap());
        let controllers = std::fs::read_to_string("/proc/cgroups").unwrap();
        if all < 2 || !controllers.contains("cpuset") {
            eprintln!("there is no second processor, or nothing that keeps groups to some");
            return;
        }
        for every_processor in [false, true] {
            let mut config = machine.config.clone();
            config.builds_on_every_processor = every_processor;
            let node = Node::start(config, machine.store.clone(), clock());
            let node = node.await.unwrap();
            let mut events = node.subscribe();
            let mut run = async |class: InstanceClass| {
                let mut spec =
                    machine.script("grep Cpus_allowed_list /proc/self/status; exec sleep 60");
                spec.class = class;
                node.create(&spec).await.unwrap();
                let said = processors(&line(&mut events, &spec.id).await);
                node.remove(&spec.id).await.unwrap();
                said
            };
            assert_eq!(run(InstanceClass::Service).await, all);
            match every_processor {
                false => assert!((1..all).contains(&run(InstanceClass::Build).await)),
                true => assert_eq!(run(InstanceClass::Build).await, all),
            }
        }
    });
}
