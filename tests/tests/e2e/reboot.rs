//! What a power cut leaves: no process, no mount, no run directory. Starting again brings every service back.

use anyhow::{Context, Result, ensure};
use apron_e2e::images::EchoImage;
use apron_e2e::{Platform, wait};
use std::fs;
use std::time::Duration;

#[test]
fn services_come_back_after_a_reboot() -> Result<()> {
    let mut platform = Platform::start()?;
    let first = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let second = platform.push(&EchoImage::new("v2"), "echo:v2")?;
    let running = platform.running_service("echo-one", &first)?;
    let updating = platform.running_service("echo-two", &first)?;
    let paused = platform.running_service("echo-three", &first)?;
    paused.operate(&platform, "PauseService")?;
    paused.settle_as(&platform, "PAUSED")?;
    // Cut in the middle of an update: what was acknowledged is finished afterwards.
    let operation = updating.update_to(&platform, &second)?;
    platform.kill_everything()?;
    fs::remove_dir_all(platform.run_dir()).context("the run directory could not be removed")?;

    platform.up()?;
    running.wait_for_version(&platform, "v1", Duration::from_secs(20))?;
    updating.settle_as(&platform, "RUNNING")?;
    ensure!(updating.operation(&platform, &operation)?["Status"] == "SUCCEEDED");
    updating.wait_for_version(&platform, "v2", Duration::from_secs(20))?;
    ensure!(paused.describe(&platform)?["Status"] == "PAUSED");
    wait::until_true(
        "one instance per running service",
        Duration::from_secs(30),
        || {
            let shims = apron_e2e::processes::of_role(&platform, apron_e2e::processes::Role::Shim)?;
            ensure!(shims.len() == 2, "{shims:#?}");
            Ok(true)
        },
    )
}
