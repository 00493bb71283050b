//! `kill -9` of the control plane at any moment: traffic goes on, nothing acknowledged is lost, operations finish.

use anyhow::{Result, ensure};
use apron_e2e::images::EchoImage;
use apron_e2e::load::Load;
use apron_e2e::processes::{self, Role};
use apron_e2e::{Platform, Service, wait};
use std::time::Duration;

/// Moments after the start of an update at which the control plane is killed, in milliseconds: pulling, starting,
/// probing, switching, draining.
const MOMENTS_MS: [u64; 6] = [0, 40, 150, 400, 900, 1700];

/// Ends the control plane with SIGKILL and starts another.
pub fn kill_and_restart(platform: &mut Platform) -> Result<()> {
    let serve = processes::only(platform, Role::Serve)?;
    serve.kill();
    wait::until_true("the control plane to end", Duration::from_secs(5), || {
        Ok(!serve.is_alive())
    })?;
    platform.up()
}

fn instances(platform: &Platform) -> Result<Vec<i32>> {
    let mut pids: Vec<i32> = processes::of_role(platform, Role::Application)?
        .iter()
        .map(|one| one.pid)
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

#[test]
fn running_instances_are_adopted_and_traffic_goes_on() -> Result<()> {
    let mut platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let service = platform.running_service("echo", &image)?;
    let before = instances(&platform)?;
    let proxy = processes::only(&platform, Role::Proxy)?;
    let load = Load::start(&platform, &service)?;
    let serve = processes::only(&platform, Role::Serve)?;
    serve.kill();
    wait::until_true("the control plane to end", Duration::from_secs(5), || {
        Ok(!serve.is_alive())
    })?;
    let answered = load.tally().answered;
    wait::until_true(
        "traffic without a control plane",
        Duration::from_secs(20),
        || Ok(load.tally().answered > answered + 300),
    )?;
    platform.up()?;
    ensure!(service.describe(&platform)?["Status"] == "RUNNING");
    ensure!(
        instances(&platform)? == before,
        "the instance was replaced although it was healthy"
    );
    ensure!(
        processes::only(&platform, Role::Proxy)?.pid == proxy.pid,
        "the proxy was replaced although it was healthy"
    );
    load.finish_without_failure().map(drop)
}

#[test]
fn an_update_survives_the_control_plane_at_every_moment() -> Result<()> {
    let mut platform = Platform::start()?;
    let images = [
        platform.push(&EchoImage::new("v0"), "echo:v0")?,
        platform.push(&EchoImage::new("v1"), "echo:v1")?,
    ];
    let service = platform.running_service("echo", &images[0])?;
    let load = Load::start(&platform, &service)?;
    for (round, moment) in MOMENTS_MS.into_iter().enumerate() {
        let version = (round + 1) % 2;
        let operation = service.update_to(&platform, &images[version])?;
        wait::pace(Duration::from_millis(moment));
        kill_and_restart(&mut platform)?;
        service.settle_as(&platform, "RUNNING")?;
        let done = service.operation(&platform, &operation)?;
        ensure!(
            done["Status"] == "SUCCEEDED",
            "killed after {moment} ms: {done}"
        );
        ensure!(
            service.version(&platform)? == format!("v{version}"),
            "killed after {moment} ms"
        );
    }
    load.finish_without_failure()?;
    one_instance_is_left(&platform, &service)
}

#[test]
fn a_create_and_a_delete_survive_the_control_plane() -> Result<()> {
    let mut platform = Platform::start()?;
    let idle = platform.idle_traces()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    for (round, moment) in [0, 60, 250].into_iter().enumerate() {
        let service = platform.create_service(&format!("echo{round}"), &image)?;
        wait::pace(Duration::from_millis(moment));
        kill_and_restart(&mut platform)?;
        service.settle_as(&platform, "RUNNING")?;
        ensure!(service.version(&platform)? == "v1");
        service.operate(&platform, "DeleteService")?;
        wait::pace(Duration::from_millis(moment));
        kill_and_restart(&mut platform)?;
        service.settle_as(&platform, "DELETED")?;
    }
    wait::until_true("nothing to be left", Duration::from_secs(20), || {
        let mut left = platform.traces()?.new_since(&idle);
        // The control plane itself is another process than at the start.
        left.retain(|line| !line.starts_with("process Serve"));
        ensure!(left.is_empty(), "{left:#?}");
        Ok(true)
    })
}

fn one_instance_is_left(platform: &Platform, service: &Service) -> Result<()> {
    wait::until_true("old instances to end", Duration::from_secs(60), || {
        let shims = processes::of_role(platform, Role::Shim)?;
        ensure!(
            shims.len() == 1,
            "{} shims: {shims:#?}\nof {}",
            shims.len(),
            service.name
        );
        Ok(true)
    })
}
