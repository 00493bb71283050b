//! `kill -9` of the proxy, of a shim, of the application: each is back within about a second. The bound here is wider,
//! because test machines are noisy; the time is printed.

use anyhow::{Result, ensure};
use apron_e2e::images::EchoImage;
use apron_e2e::processes::{self, Process, Role};
use apron_e2e::{Platform, Service, wait};
use std::time::{Duration, Instant};

/// Longest time until everything serves again.
const BACK_MAX: Duration = Duration::from_secs(5);

fn serving(platform: &Platform) -> Result<Service> {
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    platform.running_service("echo", &image)
}

fn measure(
    what: &str,
    platform: &Platform,
    service: &Service,
    other: impl Fn() -> Result<bool>,
) -> Result<()> {
    let started = Instant::now();
    wait::until_true(
        &format!("service after the death of the {what}"),
        BACK_MAX,
        || Ok(other()? && service.version(platform)? == "v1"),
    )?;
    println!(
        "serving again {} ms after the death of the {what}",
        started.elapsed().as_millis()
    );
    Ok(())
}

/// The application: the process of an instance that is not its init.
fn application(platform: &Platform) -> Result<Process> {
    let mut inside = processes::of_role(platform, Role::Application)?;
    inside.retain(|process| process.command.starts_with("/echo"));
    ensure!(inside.len() == 1, "{inside:?}");
    Ok(inside.remove(0))
}

#[test]
fn the_proxy_comes_back() -> Result<()> {
    let platform = Platform::start()?;
    let service = serving(&platform)?;
    let before = processes::only(&platform, Role::Proxy)?;
    before.kill();
    measure("proxy", &platform, &service, || {
        Ok(processes::only(&platform, Role::Proxy)?.pid != before.pid)
    })
}

#[test]
fn an_instance_whose_shim_dies_is_replaced() -> Result<()> {
    let platform = Platform::start()?;
    let service = serving(&platform)?;
    let before = service.identity(&platform)?["instance"].clone();
    processes::only(&platform, Role::Shim)?.kill();
    measure("shim", &platform, &service, || {
        Ok(service.identity(&platform)?["instance"] != before)
    })?;
    only_one_instance(&platform)
}

#[test]
fn an_instance_whose_application_dies_is_replaced() -> Result<()> {
    let platform = Platform::start()?;
    let service = serving(&platform)?;
    let before = service.identity(&platform)?["instance"].clone();
    application(&platform)?.kill();
    measure("application", &platform, &service, || {
        Ok(service.identity(&platform)?["instance"] != before)
    })?;
    only_one_instance(&platform)
}

#[test]
fn an_instance_that_dies_without_a_control_plane_is_replaced_by_the_next_one() -> Result<()> {
    let mut platform = Platform::start()?;
    let service = serving(&platform)?;
    let serve = processes::only(&platform, Role::Serve)?;
    serve.kill();
    wait::until_true("the control plane to end", BACK_MAX, || {
        Ok(!serve.is_alive())
    })?;
    application(&platform)?.kill();
    platform.up()?;
    measure("application", &platform, &service, || Ok(true))?;
    only_one_instance(&platform)
}

/// The dead instance leaves nothing.
fn only_one_instance(platform: &Platform) -> Result<()> {
    wait::until_true(
        "the dead instance to be cleaned up",
        Duration::from_secs(20),
        || {
            let shims = processes::of_role(platform, Role::Shim)?.len();
            let applications = processes::of_role(platform, Role::Application)?;
            let applications = applications
                .iter()
                .filter(|process| process.command.starts_with("/echo"))
                .count();
            Ok(shims == 1 && applications == 1)
        },
    )
}
