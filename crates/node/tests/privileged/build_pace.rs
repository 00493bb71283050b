//! Builds give way at once, and come to something all the same.

use crate::machine::{line, on_a_machine, until};
use apron_compute::{Compute, InstanceClass};
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
