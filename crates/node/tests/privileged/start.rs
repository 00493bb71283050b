//! How an application is started, and how it is not.

use crate::image::Layer;
use crate::machine::{line, on_a_machine, run_to_end};
use apron_compute::{Compute, ComputeError};
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn privileged_the_images_user_directory_and_variables_are_kept() {
    on_a_machine(async |machine| {
        let image = machine.image(
            vec![Layer::new().file("srv/web/note", 0o644, b"from the upper layer")],
            json!({
                "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["id; pwd; cat note; echo; env; hostname; echo to stdout > /dev/stdout"],
                "User": "web", "WorkingDir": "/srv/web", "Env": ["PATH=/bin", "GREETING=hello world", "PORT=1"],
            }),
        );
        let node = machine.node().await;
        let mut events = node.subscribe();
        let mut spec = machine.server();
        spec.image = image;
        spec.env = [("EXTRA".to_owned(), "x=y".to_owned())].into();
        let outcome = run_to_end(&node, &mut events, &spec).await;
        assert_eq!(
            outcome.lines[0], "uid=101(web) gid=102(web) groups=102(web),300(logs)",
            "{outcome:#?}"
        );
        assert_eq!(
            outcome.lines[1..3],
            ["/srv/web", "from the upper layer"],
            "{outcome:#?}"
        );
        let id = spec.id.as_str();
        let hostname = format!("test-service-{}", &id[..8]);
        for expected in [
            "GREETING=hello world",
            "EXTRA=x=y",
            "PORT=8080",
            "HOME=/srv/web",
            &hostname,
            "to stdout",
        ] {
            assert!(
                outcome.lines.iter().any(|line| line == expected),
                "not `{expected}`: {outcome:#?}"
            );
        }
        assert_eq!(outcome.exit.code, Some(0));
    });
}

#[test]
fn privileged_what_cannot_be_started_says_why() {
    on_a_machine(async |machine| {
        let mut foreign = std::fs::read(crate::image::busybox()).unwrap();
        foreign[18] = 0xb7;
        let layer = Layer::new()
            .file("app/arm", 0o755, &foreign)
            .file("app/script", 0o755, b"#!/bin/bash\ntrue\n")
            .file("app/plain", 0o755, b"true\n")
            .file("app/data", 0o644, b"true\n");
        let image = machine.image(vec![layer], json!({"Env": ["PATH=/bin"]}));
        let node = machine.node().await;
        let mut events = node.subscribe();
        for (command, expected) in [
            ("/app/server", "exec /app/server: no such file or directory"),
            ("server", "exec server: not found in PATH"),
            (
                "/app/arm",
                "exec /app/arm: exec format error (the image is probably built for another architecture: arm64)",
            ),
            (
                "/app/script",
                "exec /app/script: no such file or directory (its interpreter `/bin/bash` is not in the image)",
            ),
            ("/app/data", "exec /app/data: permission denied"),
            ("/app", "exec /app: permission denied"),
        ] {
            let mut spec = machine.server();
            spec.image = image.clone();
            spec.start_command = Some(command.to_owned());
            let outcome = run_to_end(&node, &mut events, &spec).await;
            assert_eq!(outcome.exit.error.as_deref(), Some(expected), "{outcome:?}");
            assert_eq!((outcome.exit.code, outcome.exit.signal), (None, None));
        }
        let mut spec = machine.server();
        spec.image = image.clone();
        spec.start_command = Some("/app/plain".to_owned());
        let outcome = run_to_end(&node, &mut events, &spec).await;
        assert!(
            outcome
                .exit
                .error
                .unwrap()
                .contains("lacks its first line `#!`")
        );
        // Without any program there is nothing to make.
        spec.start_command = None;
        match node.create(&spec).await {
            Err(ComputeError::Failed(text)) => assert!(text.contains("names no program"), "{text}"),
            other => panic!("{other:?}"),
        }
        assert!(node.list().await.unwrap().is_empty());
    });
}

#[test]
fn privileged_an_unknown_user_is_an_exit_with_a_reason() {
    on_a_machine(async |machine| {
        let image = machine.image(
            vec![],
            json!({"User": "nobody-here", "Cmd": ["true"], "Env": ["PATH=/bin"]}),
        );
        let node = machine.node().await;
        let mut events = node.subscribe();
        let mut spec = machine.server();
        spec.image = image;
        let outcome = run_to_end(&node, &mut events, &spec).await;
        assert_eq!(
            outcome.exit.error.as_deref(),
            Some("the image has no user `nobody-here`")
        );
    });
}

#[test]
fn privileged_stopping_is_polite_first() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        // An application that cleans up.
        let spec = machine
            .script("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 1 & wait; done");
        node.create(&spec).await.unwrap();
        assert_eq!(line(&mut events, &spec.id).await, "ready");
        node.stop(&spec.id, Duration::from_secs(20)).await.unwrap();
        let outcome = crate::machine::follow(&mut events, &spec.id).await;
        assert_eq!(
            (outcome.lines, outcome.exit.code),
            (vec!["bye".to_owned()], Some(7))
        );
        // One without a handler ends at once, though process 1 of a container would ignore the signal.
        let spec = machine.server();
        node.create(&spec).await.unwrap();
        let begun = Instant::now();
        node.stop(&spec.id, Duration::from_secs(60)).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30));
        assert_eq!(
            crate::machine::follow(&mut events, &spec.id)
                .await
                .exit
                .signal,
            Some(15)
        );
        // One that does not listen is ended, with all its processes.
        let spec = machine.script("trap '' TERM; sleep 1000 & echo ready; wait; wait; sleep 1000");
        node.create(&spec).await.unwrap();
        assert_eq!(line(&mut events, &spec.id).await, "ready");
        node.stop(&spec.id, Duration::from_millis(200))
            .await
            .unwrap();
        assert_eq!(
            crate::machine::follow(&mut events, &spec.id)
                .await
                .exit
                .signal,
            Some(9)
        );
    });
}

#[test]
fn privileged_orphans_are_collected_and_the_application_decides_the_end() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let script = "for i in 1 2 3 4 5; do (sh -c 'true &') ; done; sleep 1; \
            echo zombies $(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | grep -c .); sleep 1000 & exit 5";
        let outcome = run_to_end(&node, &mut events, &machine.script(script)).await;
        assert_eq!(
            (outcome.lines, outcome.exit.code),
            (vec!["zombies 0".to_owned()], Some(5))
        );
    });
}

#[test]
fn privileged_an_image_of_127_layers_runs() {
    on_a_machine(async |machine| {
        let layers = (1..127)
            .map(|n| Layer::new().file(&format!("layers/{n}"), 0o644, n.to_string().as_bytes()));
        let image = machine.image(
            layers.collect(),
            json!({"Cmd": ["sh", "-c", "ls /layers | grep -c ."], "Env": ["PATH=/bin"]}),
        );
        let node = machine.node().await;
        let mut events = node.subscribe();
        let mut spec = machine.server();
        spec.image = image;
        let outcome = run_to_end(&node, &mut events, &spec).await;
        assert_eq!(outcome.lines, ["126"], "{outcome:?}");
    });
}

#[test]
fn privileged_a_hostile_image_harms_itself_only() {
    on_a_machine(async |machine| {
        let layer = Layer::new()
            .link(
                "etc/resolv.conf",
                "/var/../../../../../../../../tmp/escaped-from-an-instance",
            )
            .link("proc", "/tmp");
        let image = machine.image(vec![layer], json!({"Cmd": ["true"], "Env": ["PATH=/bin"]}));
        let node = machine.node().await;
        let mut events = node.subscribe();
        let mut spec = machine.server();
        spec.image = image;
        let outcome = run_to_end(&node, &mut events, &spec).await;
        assert_eq!(
            outcome.exit.error.as_deref(),
            Some("/proc of the image is not a directory"),
            "{outcome:?}"
        );
        let layer = Layer::new()
            .link("etc/resolv.conf", "/tmp/escaped-from-an-instance")
            .link("etc/hosts", "../../../tmp/escaped-from-an-instance");
        spec = machine.server();
        spec.image = machine.image(
            vec![layer],
            json!({"Cmd": ["cat", "/etc/resolv.conf"], "Env": ["PATH=/bin"]}),
        );
        let outcome = run_to_end(&node, &mut events, &spec).await;
        assert_eq!(outcome.lines, ["nameserver 192.0.2.53"], "{outcome:?}");
        assert!(!std::path::Path::new("/tmp/escaped-from-an-instance").exists());
    });
}

#[test]
fn privileged_a_refused_probe_names_the_port_that_is_open() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let spec = machine.script("httpd -p 5000 -h /www; echo ready; sleep 1000");
        node.create(&spec).await.unwrap();
        assert_eq!(line(&mut events, &spec.id).await, "ready");
        let answer = node
            .probe(&spec.id, &apron_compute::Probe::Tcp, Duration::from_secs(2))
            .await;
        assert_eq!(
            answer.detail,
            "connection refused on port 8080; the application listens on port 5000"
        );
        assert!(!answer.healthy && !answer.answered);
    });
}

#[test]
fn privileged_an_application_on_the_ipv6_wildcard_is_reached() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        // Where Node.js and Go listen when they are told a port only.
        let spec = machine.script("httpd -p [::]:8080 -h /www && echo ready; sleep 1000");
        node.create(&spec).await.unwrap();
        assert_eq!(line(&mut events, &spec.id).await, "ready");
        let probe = apron_compute::Probe::Http {
            path: "/".to_owned(),
        };
        let answer = node.probe(&spec.id, &probe, Duration::from_secs(5)).await;
        assert!(answer.healthy, "{answer:?}");
    });
}
