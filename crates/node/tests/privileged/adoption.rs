//! Instances outlive the control plane, and what is lost is noticed.

use crate::machine::{follow, kill, line, next, on_a_machine, shim_pid, state, until};
use apron_compute::{Compute, ComputeEvent, InstanceState, Probe};
use apron_node::{Node, NodeError};
use std::time::Duration;

#[test]
fn privileged_running_instances_are_taken_over_and_talk_again() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let spec = machine.script("httpd -p 8080 -h /www; echo ready; trap 'echo bye; exit 0' TERM; while :; do sleep 0.1; done");
        node.create(&spec).await.unwrap();
        assert_eq!(line(&mut events, &spec.id).await, "ready");
        let before = node.list().await.unwrap();
        // What kill -9 leaves: the processes, and nothing said to anybody.
        drop((node, events));

        let node = machine.node().await;
        let mut events = node.subscribe();
        assert!(matches!(next(&mut events).await, ComputeEvent::Started { id } if id == spec.id));
        assert_eq!(node.list().await.unwrap(), before);
        let answer = node
            .probe(
                &spec.id,
                &Probe::Http {
                    path: "/".to_owned(),
                },
                Duration::from_secs(2),
            )
            .await;
        assert!(answer.healthy, "{answer:?}");
        node.create(&spec).await.unwrap();
        node.stop(&spec.id, Duration::from_secs(20)).await.unwrap();
        let outcome = follow(&mut events, &spec.id).await;
        assert_eq!(
            (outcome.lines, outcome.exit.code),
            (vec!["bye".to_owned()], Some(0))
        );
        node.remove(&spec.id).await.unwrap();
    });
}

#[test]
fn privileged_an_end_that_nobody_saw_is_told_later_and_again() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let spec = machine.script("echo ready; sleep 1; echo last words; exit 9");
        node.create(&spec).await.unwrap();
        assert_eq!(line(&mut events, &spec.id).await, "ready");
        drop((node, events));
        let exit = machine.instance_directory(&spec.id).join("exit.json");
        until("the end to be recorded", || exit.exists()).await;
        for lines in [vec!["last words".to_owned()], vec![]] {
            let node = machine.node().await;
            let mut events = node.subscribe();
            let outcome = follow(&mut events, &spec.id).await;
            assert_eq!((outcome.exit.code, outcome.lines), (Some(9), lines));
            assert!(matches!(
                state(&node, &spec.id).await,
                Some(InstanceState::Exited(_))
            ));
        }
    });
}

#[test]
fn privileged_a_killed_shim_takes_its_container_along_and_is_noticed_at_once() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        // An application that changes its user, which would undo a death signal of its own.
        let spec = machine.script("su web -c 'echo ready; sleep 1000'; echo not reached");
        node.create(&spec).await.unwrap();
        assert_eq!(line(&mut events, &spec.id).await, "ready");
        let directory = machine.instance_directory(&spec.id);
        kill(shim_pid(&directory));
        let outcome = follow(&mut events, &spec.id).await;
        assert_eq!(
            outcome.exit.error.as_deref(),
            Some("instance lost: its shim ended"),
            "{outcome:?}"
        );
        let tasks = format!(
            "/sys/fs/cgroup/pids/{}/{}/cgroup.procs",
            machine.config.scope(),
            spec.id
        );
        if std::path::Path::new(&tasks).exists() {
            until("its processes to be gone", || {
                std::fs::read_to_string(&tasks).unwrap().is_empty()
            })
            .await;
        }
        // The same is said after a restart.
        drop((node, events));
        let node = machine.node().await;
        let mut events = node.subscribe();
        let again = follow(&mut events, &spec.id).await;
        assert_eq!(again.exit, outcome.exit);
        node.remove(&spec.id).await.unwrap();
        assert!(!directory.exists());
    });
}

#[test]
fn privileged_what_a_killed_create_left_can_be_made_again() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let spec = machine.server();
        // The directory, a plan that is not whole, and a control group.
        let directory = machine.instance_directory(&spec.id);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("spec.json.tmp"), "{").unwrap();
        node.remove(&spec.id).await.unwrap();
        assert!(!directory.exists());
        std::fs::create_dir_all(&directory).unwrap();
        node.create(&spec).await.unwrap();
        assert!(matches!(
            state(&node, &spec.id).await,
            Some(InstanceState::Running { .. })
        ));
        node.remove(&spec.id).await.unwrap();
        // And a restart cleans up by itself.
        std::fs::create_dir_all(&directory).unwrap();
        drop(node);
        let node = machine.node().await;
        assert!(!directory.exists() && node.list().await.unwrap().is_empty());
    });
}

#[test]
fn privileged_a_reboot_leaves_nothing_to_trip_over() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let spec = machine.server();
        node.create(&spec).await.unwrap();
        drop(node);
        // After a reboot the processes are gone and, where /run is in memory, the directory is.
        kill(shim_pid(&machine.instance_directory(&spec.id)));
        std::fs::remove_dir_all(machine.config.run_dir.join("instances")).unwrap();
        let node = machine.node().await;
        assert!(node.list().await.unwrap().is_empty());
        let disks: Vec<String> = std::fs::read_dir(machine.config.data_dir.join("disks"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains(spec.id.as_str()))
            .collect();
        assert!(disks.is_empty(), "{disks:?}");
        node.create(&spec).await.unwrap();
        assert!(matches!(
            state(&node, &spec.id).await,
            Some(InstanceState::Running { .. })
        ));
        node.remove(&spec.id).await.unwrap();
    });
}

#[test]
fn privileged_two_backends_do_not_share_a_directory() {
    on_a_machine(async |machine| {
        let _node = machine.node().await;
        match Node::start(
            machine.config.clone(),
            machine.store.clone(),
            crate::machine::clock(),
        )
        .await
        {
            Err(NodeError::Busy(directory)) => assert_eq!(directory, machine.config.run_dir),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("two backends work on the same instances"),
        }
        assert!(matches!(
            Node::purge(machine.config.clone()).await,
            Err(NodeError::Busy(_))
        ));
    });
}

#[test]
fn privileged_a_missing_shim_is_named() {
    on_a_machine(async |machine| {
        let mut config = machine.config.clone();
        config.shim = "/nowhere/apron-shim".into();
        let Err(error) = Node::start(config, machine.store.clone(), crate::machine::clock()).await
        else {
            panic!("it started without a shim")
        };
        let text = error.to_string();
        assert!(
            text.contains("the program of the shim is missing: /nowhere/apron-shim"),
            "{text}"
        );
    });
}
