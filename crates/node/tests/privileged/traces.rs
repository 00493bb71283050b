//! What remains: nothing.

use crate::machine::{Machine, line, on_a_machine, run, until};
use apron_compute::{Compute, ComputeEvent};
use apron_node::Node;
use std::collections::BTreeSet;
use std::path::Path;

/// Everything on the machine that has to do with an instance, by a part of the names it goes by.
fn traces(machine: &Machine, id: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let path = entry.path();
        let command = std::fs::read_to_string(path.join("cmdline")).unwrap_or_default();
        let groups = std::fs::read_to_string(path.join("cgroup")).unwrap_or_default();
        if command.contains(id) || groups.contains(id) {
            found.insert(format!("process {}", path.display()));
        }
    }
    for line in std::fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
    {
        if line.contains(id) {
            found.insert(format!("mount {line}"));
        }
    }
    for device in std::fs::read_dir("/sys/block")
        .unwrap()
        .filter_map(Result::ok)
    {
        let backing =
            std::fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        if backing.contains(id) {
            found.insert(format!("loop device {backing}"));
        }
    }
    find(Path::new("/sys/fs/cgroup"), id, 4, &mut found);
    find(machine.directory.path(), id, 6, &mut found);
    found
}

fn find(directory: &Path, id: &str, depth: usize, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        if entry.file_name().to_string_lossy().contains(id) {
            found.insert(entry.path().display().to_string());
        } else if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&entry.path(), id, depth - 1, found);
        }
    }
}

fn interfaces(machine: &Machine) -> usize {
    let prefix = format!("{}_", machine.config.interface_prefix());
    run(&["ip", "-o", "link"])
        .lines()
        .filter(|line| line.contains(&prefix))
        .count()
}

/// Waits until the pool is full beside so many instances, and has been for a while: it replaces what has another size.
async fn pool_to_rest(machine: &Machine, instances: usize) {
    let (wanted, mut looks) = (machine.config.pool_slots + instances, 0);
    until("the pool to come to rest", || {
        looks = if interfaces(machine) == wanted {
            looks + 1
        } else {
            0
        };
        looks > 60
    })
    .await;
}

#[test]
fn privileged_a_removed_instance_leaves_no_trace() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let pool = machine.config.pool_slots;
        until("the pool to be full", || interfaces(&machine) == pool).await;
        for ended in [false, true] {
            let spec = machine.script("echo ready; sleep 1000");
            let id = spec.id.as_str();
            node.create(&spec).await.unwrap();
            assert_eq!(line(&mut events, &spec.id).await, "ready");
            let seen = traces(&machine, id);
            for kind in ["process", "loop device", "/sys/fs/cgroup", "instances"] {
                assert!(
                    seen.iter().any(|trace| trace.contains(kind)),
                    "no {kind} among {seen:#?}"
                );
            }
            if ended {
                node.stop(&spec.id, std::time::Duration::from_secs(20))
                    .await
                    .unwrap();
            }
            node.remove(&spec.id).await.unwrap();
            until("every trace to be gone", || traces(&machine, id).is_empty()).await;
            until("its interface to be gone", || interfaces(&machine) == pool).await;
        }
        while events.try_recv().is_ok() {}
    });
}

#[test]
fn privileged_a_purge_ends_and_removes_everything() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let spec = machine.server();
        node.create(&spec).await.unwrap();
        pool_to_rest(&machine, 1).await;
        // What a platform noted that went without a purge, in a namespace that had this number.
        let number = std::os::unix::fs::MetadataExt::ino(
            &std::fs::metadata("/proc/thread-self/ns/net").unwrap(),
        );
        let stale = format!("/run/apron-forwarding/{number}/apron-gone");
        std::fs::write(stale, "").unwrap();
        drop(node);
        assert!(!traces(&machine, spec.id.as_str()).is_empty());
        assert_eq!(
            std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
                .unwrap()
                .trim(),
            "1"
        );
        Node::purge(machine.config.clone()).await.unwrap();
        until("every trace to be gone", || {
            traces(&machine, spec.id.as_str()).is_empty()
        })
        .await;
        until("every interface to be gone", || interfaces(&machine) == 0).await;
        assert_eq!(run(&["nft", "list", "tables"]), "");
        let mut scope = BTreeSet::new();
        find(
            Path::new("/sys/fs/cgroup"),
            &machine.config.scope(),
            2,
            &mut scope,
        );
        assert!(scope.is_empty(), "{scope:?}");
        assert!(!machine.config.run_dir.exists() && !machine.config.data_dir.exists());
        assert_eq!(
            std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
                .unwrap()
                .trim(),
            "0"
        );
        // Twice is fine.
        Node::purge(machine.config.clone()).await.unwrap();
    });
}

#[test]
fn privileged_a_create_that_fails_half_way_leaves_no_trace() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let pool = machine.config.pool_slots;
        let spec = machine.server();
        // In the way of the control group: the step after the directory, the socket and the disk fails.
        let group = std::path::PathBuf::from("/sys/fs/cgroup/memory")
            .join(machine.config.scope())
            .join(spec.id.as_str());
        if group.parent().is_some_and(Path::exists) {
            let mut broken = spec.clone();
            broken.memory_bytes = u64::MAX;
            broken.pids_max = 0;
            broken.cpu_millis = 0;
            let error = node
                .create(&broken)
                .await
                .expect_err("limits no kernel takes");
            assert!(error.to_string().contains("cpu.cfs_quota_us"), "{error}");
            until("every trace to be gone", || {
                traces(&machine, spec.id.as_str()).is_empty()
            })
            .await;
            until("its interface to be gone", || interfaces(&machine) == pool).await;
        }
        node.create(&spec).await.unwrap();
        assert!(matches!(
            events.recv().await,
            Some(ComputeEvent::Started { .. })
        ));
        node.remove(&spec.id).await.unwrap();
    });
}
