//! Builds that fail, and what becomes of the machine meanwhile.

use crate::machine::{Machine, on_a_machine};
use apron_builder::{
    ApiConfiguration, Build, BuildLimits, BuildRequest, BuilderOptions, Configuration,
};
use apron_domain::{Failure, FailureKind};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Little of everything, so that bounds are met soon.
fn little() -> BuilderOptions {
    BuilderOptions {
        limits: BuildLimits {
            memory_bytes: 96 << 20,
            disk_bytes: 64 << 20,
            pids_max: 48,
            time: Duration::from_secs(60),
            ..BuildLimits::default()
        },
        ..BuilderOptions::default()
    }
}

fn with_command(machine: &Machine, source: &Path, command: &str) -> BuildRequest {
    let configuration = Configuration::Api(ApiConfiguration {
        runtime: "PYTHON_311".to_owned(),
        build_command: Some(command.to_owned()),
        start_command: Some("python3 app.py".to_owned()),
    });
    BuildRequest {
        configuration,
        ..machine.request(source)
    }
}

async fn fails(machine: &Machine, request: &BuildRequest) -> Failure {
    let (result, lines) = machine.build(request).await;
    match result {
        Ok(built) => panic!("it built {built:?}\n{}", lines.text()),
        Err(failure) => failure,
    }
}

#[test]
fn privileged_a_command_that_fails_is_named_with_its_code_and_last_lines() {
    on_a_machine(BuilderOptions::default(), async |machine| {
        let source = tempfile::tempdir().unwrap();
        let command = "echo one; echo two >&2; exit 7";
        let request = with_command(&machine, source.path(), command);
        let failure = fails(&machine, &request).await;
        assert_eq!(failure.kind, FailureKind::Build);
        let message = &failure.message;
        assert!(
            message.starts_with("Failed to execute 'build' command.")
                && message.contains(command)
                && message.contains("exit code 7"),
            "{message}"
        );
        assert_eq!(failure.evidence, ["one", "two"]);
        machine.nothing_left().await;
    });
}

#[test]
fn privileged_builds_that_take_too_much_end_and_say_of_what() {
    on_a_machine(little(), async |machine| {
        let source = tempfile::tempdir().unwrap();
        for (command, limit) in [
            (
                "python3 -c 'x = bytearray(10 ** 9); print(len(x))'",
                "memory limit of 96 MiB",
            ),
            ("head -c 100G /dev/zero > big", "disk limit of 64 MiB"),
            (
                "python3 -c 'import os\nwhile True: os.fork()'",
                "limit of 48 processes",
            ),
        ] {
            let failure = fails(&machine, &with_command(&machine, source.path(), command)).await;
            assert!(failure.message.contains(limit), "{command}: {failure:?}");
            machine.nothing_left().await;
        }
    });
}

#[test]
fn privileged_a_build_that_takes_too_long_is_ended() {
    let mut options = little();
    options.limits.time = Duration::from_secs(3);
    on_a_machine(options, async |machine| {
        let source = tempfile::tempdir().unwrap();
        let request = with_command(&machine, source.path(), "echo begun; exec sleep 1000");
        let failure = fails(&machine, &request).await;
        assert!(failure.message.contains("time limit of 3 s"), "{failure:?}");
        machine.nothing_left().await;
    });
}

#[test]
fn privileged_a_build_that_is_given_up_leaves_nothing_and_another_process_removes_what_was_left() {
    on_a_machine(BuilderOptions::default(), async |machine| {
        let source = tempfile::tempdir().unwrap();
        let request = with_command(&machine, source.path(), "exec sleep 1000");
        let building = machine.build(&request);
        let begun = async {
            while machine.builds.list().await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            (result, _) = building => panic!("{result:?}"),
            () = begun => {}
        }
        machine.nothing_left().await;
        machine.leave_a_build().await;
        assert_eq!(machine.builds.list().await.unwrap().len(), 1);
        machine.builder.tidy(&BTreeSet::new()).await;
        machine.nothing_left().await;
    });
}

#[test]
fn privileged_sources_that_cannot_be_are_refused_before_anything_runs() {
    on_a_machine(BuilderOptions::default(), async |machine| {
        let source = tempfile::tempdir().unwrap();
        let failure = fails(&machine, &machine.request(source.path())).await;
        assert_eq!(
            failure.message,
            "App Runner configuration file apprunner.yaml not found."
        );
        let mut request = machine.request(source.path());
        request.directory = "/services/web".to_owned();
        let failure = fails(&machine, &request).await;
        assert!(
            failure
                .message
                .contains("`/services/web` is not in the branch main"),
            "{failure:?}"
        );
        std::os::unix::fs::symlink("/etc/shadow", source.path().join("apprunner.yaml")).unwrap();
        let failure = fails(&machine, &machine.request(source.path())).await;
        assert!(failure.message.contains("symbolic link"), "{failure:?}");
        let request = with_command(&machine, source.path(), "true");
        let failure = fails(&machine, &request).await;
        assert!(
            failure
                .message
                .contains("`apprunner.yaml` leads out of the source"),
            "{failure:?}"
        );
    });
}

/// What the platform's firewall does for services it does for builds: they reach the world and neither the machine nor one
/// another.
#[test]
fn privileged_builds_reach_nothing_of_the_machine_and_no_other_instance() {
    on_a_machine(BuilderOptions::default(), async |machine| {
        let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (other, address) = machine.leave_a_server().await;
        let source = tempfile::tempdir().unwrap();
        let probe = format!(
            "import socket\n\
             def reaches(host, port):\n\
             \x20   try:\n\
             \x20       socket.create_connection((host, port), 2).close()\n\
             \x20       return True\n\
             \x20   except OSError:\n\
             \x20       return False\n\
             gateway = [l.split()[2] for l in open('/proc/net/route') if l.split()[1] == '00000000'][0]\n\
             gateway = '.'.join(str(int(gateway[i:i + 2], 16)) for i in (6, 4, 2, 0))\n\
             print('machine', reaches(gateway, {port}))\n\
             print('other', reaches('{}', {}))\n\
             print('metadata', reaches('169.254.169.254', 80))\n\
             print('doors', reaches('169.254.170.2', 443))\n\
             print('routes', 'FEA9AA' in open('/proc/net/route').read() or '02AAFEA9' in open('/proc/net/route').read())\n",
            address.ip(),
            address.port()
        );
        std::fs::write(source.path().join("probe.py"), probe).unwrap();
        let request = with_command(&machine, source.path(), "python3 probe.py");
        let (result, lines) = machine.build(&request).await;
        result.unwrap();
        let text = lines.text();
        for line in [
            "machine False",
            "other False",
            "metadata False",
            "doors False",
            "routes True",
        ] {
            assert!(text.contains(line), "{text}");
        }
        machine.services.remove(&other).await.unwrap();
    });
}
