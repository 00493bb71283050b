//! Another program of the proxy is installed: it takes over, the old one finishes what it has, and neither's end loses a
//! request.

use anyhow::{Context, Result, bail, ensure};
use apron_e2e::http::Connection;
use apron_e2e::images::EchoImage;
use apron_e2e::load::Load;
use apron_e2e::processes::{self, Process, Role};
use apron_e2e::{Platform, Service, Settings, run, wait};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Longest wait for something that must come.
const SOON: Duration = Duration::from_secs(30);

fn platform() -> Result<(Platform, Service)> {
    let platform = Platform::start_with(&Settings {
        own_programs: true,
        ..Settings::default()
    })?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let service = platform.running_service("echo", &image)?;
    Ok((platform, service))
}

fn proxies(platform: &Platform) -> Result<Vec<Process>> {
    let mut proxies = processes::of_role(platform, Role::Proxy)?;
    proxies.sort_by_key(Process::started);
    Ok(proxies)
}

fn answered_again(load: &Load) -> Result<()> {
    let before = load.tally().answered;
    wait::until_true("more answers", SOON, || {
        Ok(load.tally().answered > before + 10)
    })
}

/// A response that is under way and does not end within the test.
fn hold(platform: &Platform, service: &Service) -> Result<Connection> {
    let mut connection = platform.service_target(&service.url)?.connect()?;
    connection.send_head("GET", "/drip?chunks=6000&ms=100", &[])?;
    let (status, _) = connection.receive_head()?;
    ensure!(status == 200, "{status}");
    Ok(connection)
}

fn one_proxy(platform: &Platform) -> Result<Process> {
    wait::until("one proxy", SOON, || {
        let mut all = proxies(platform)?;
        Ok((all.len() == 1).then(|| all.remove(0)))
    })
}

/// All threads of the proxy have the short slice of decision 0047, where the kernel has slices (Linux 6.12) and shows them.
fn ensure_that_it_runs_at_once(proxy: &Process) -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    let version = (numbers.next(), numbers.next());
    let (Some(Ok(major)), Some(Ok(minor))) = version else {
        bail!("the kernel calls itself {release:?}");
    };
    if (major, minor) < (6, 12) {
        return Ok(());
    }
    for thread in fs::read_dir(format!("/proc/{}/task", proxy.pid))? {
        // A kernel may be built without this file.
        let Ok(text) = fs::read_to_string(thread?.path().join("sched")) else {
            continue;
        };
        let line = text.lines().find(|line| line.starts_with("se.slice"));
        let line = line.context("the scheduler shows no slice")?;
        ensure!(line.ends_with(" 300000"), "{line}");
    }
    Ok(())
}

#[test]
fn two_upgrades_under_load_fail_no_request_and_leave_one_proxy() -> Result<()> {
    let (platform, service) = platform()?;
    let load = Load::start(&platform, &service)?;
    for round in 1..=2 {
        let before = one_proxy(&platform)?;
        answered_again(&load)?;
        platform.replace_proxy_program()?;
        platform.upgrade_proxy()?;
        answered_again(&load).with_context(|| format!("upgrade {round}"))?;
        let after = one_proxy(&platform)?;
        ensure!(after.pid != before.pid, "{before:?} was not replaced");
        ensure_that_it_runs_at_once(&after)?;
    }
    load.finish_without_failure()?;
    // Asked again, it changes nothing.
    let before = one_proxy(&platform)?;
    let said = run::ok(&mut platform.apron(&["proxy", "upgrade"]))?;
    ensure!(said.contains("already"), "{said}");
    ensure!(one_proxy(&platform)?.pid == before.pid);
    Ok(())
}

#[test]
fn a_program_that_does_not_serve_replaces_nothing() -> Result<()> {
    let (platform, service) = platform()?;
    let before = one_proxy(&platform)?;
    let load = Load::start(&platform, &service)?;
    platform.replace_proxy_program()?;
    let program = platform.program("apron-proxy");
    let broken = program.with_extension("broken");
    fs::write(&broken, "#!/bin/sh\nexit 7\n")?;
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755))?;
    fs::rename(&broken, &program)?;
    let refused = platform.apron(&["proxy", "upgrade"]).output()?;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        !refused.status.success() && words.contains("goes on"),
        "{words}"
    );
    ensure!(one_proxy(&platform)?.pid == before.pid);
    answered_again(&load)?;
    load.finish_without_failure().map(drop)
}

#[test]
fn either_proxy_may_be_killed_while_the_old_one_drains() -> Result<()> {
    let (platform, service) = platform()?;
    for dies_old in [true, false] {
        let old = one_proxy(&platform)?;
        // A request that lasts keeps the old one.
        let slow = hold(&platform, &service)?;
        platform.replace_proxy_program()?;
        platform.upgrade_proxy()?;
        let both = proxies(&platform)?;
        ensure!(both.len() == 2 && both[0].pid == old.pid, "{both:#?}");
        if dies_old { &both[0] } else { &both[1] }.kill();
        wait::until_true("an answer", SOON, || {
            Ok(service
                .version(&platform)
                .is_ok_and(|version| version == "v1"))
        })?;
        drop(slow);
        let left = one_proxy(&platform)?;
        ensure!(left.pid != old.pid, "the old proxy serves");
    }
    Ok(())
}

#[test]
fn a_control_plane_that_starts_again_knows_both_proxies() -> Result<()> {
    let (mut platform, service) = platform()?;
    let slow = hold(&platform, &service)?;
    platform.replace_proxy_program()?;
    platform.upgrade_proxy()?;
    let both: Vec<i32> = proxies(&platform)?.iter().map(|p| p.pid).collect();
    ensure!(both.len() == 2, "{both:?}");
    processes::only(&platform, Role::Serve)?.kill();
    platform.up()?;
    let again: Vec<i32> = proxies(&platform)?.iter().map(|p| p.pid).collect();
    ensure!(again == both, "{both:?} became {again:?}");
    drop(slow);
    ensure!(one_proxy(&platform)?.pid == both[1]);
    let slow = hold(&platform, &service)?;
    platform.replace_proxy_program()?;
    platform.upgrade_proxy()?;
    // Everything ends with the platform, also what drains.
    run::ok(&mut platform.apron(&["down"]))?;
    drop(slow);
    ensure!(proxies(&platform)?.is_empty());
    Ok(())
}
