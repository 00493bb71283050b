//! A disk that is full during a push and during unpacking: a clear error, nothing half done, and it works once there
//! is room again.

use anyhow::{Context, Result, ensure};
use apron_e2e::images::{Compression, EchoImage};
use apron_e2e::platform::Settings;
use apron_e2e::{Platform, run};

/// Size of the disk of the data directory, in megabytes.
const DISK_MB: u32 = 900;
/// What a push leaves free on the disk for the rest of the platform, in megabytes.
const PUSHES_LEAVE_MB: u64 = 128;

fn small() -> Result<Platform> {
    Platform::start_with(&Settings {
        disk_mb: Some(DISK_MB),
        ..Settings::default()
    })
}

#[test]
fn a_push_to_a_full_disk_fails_and_works_later() -> Result<()> {
    let platform = small()?;
    let service_image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let service = platform.running_service("echo", &service_image)?;
    let large = platform.layout(&EchoImage::new("v2").ballast(40))?;
    let disk = platform
        .disk()
        .context("the platform has a disk of its own")?;
    disk.fill_except(PUSHES_LEAVE_MB + 10)?;
    let said = run::fails(&mut platform.push_command(&large, "echo:v2")?)?;
    ensure!(
        said.contains("space")
            || said.contains("full")
            || said.contains("507")
            || said.contains("capacity"),
        "{said}"
    );
    ensure!(
        service.version(&platform)? == "v1",
        "a full disk stopped a running service"
    );
    disk.release()?;
    run::ok(&mut platform.push_command(&large, "echo:v2")?)?;
    service.update_to(&platform, &format!("{}/echo:v2", platform.registry()))?;
    service.settle_as(&platform, "RUNNING")?;
    ensure!(service.version(&platform)? == "v2");
    Ok(())
}

#[test]
fn an_image_that_does_not_fit_fails_its_deployment_only() -> Result<()> {
    let platform = small()?;
    let first = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let service = platform.running_service("echo", &first)?;
    // Pushed while there is room, unpacked when there is none.
    let large = platform.push(
        &EchoImage::new("v2")
            .ballast(40)
            .compression(Compression::Zstd),
        "echo:v2",
    )?;
    let disk = platform
        .disk()
        .context("the platform has a disk of its own")?;
    disk.fill_except(20)?;
    let operation = service.update_to(&platform, &large)?;
    service.settle_as(&platform, "RUNNING")?;
    let done = service.operation(&platform, &operation)?;
    ensure!(done["Status"] == "ROLLBACK_SUCCEEDED", "{done}");
    let text = service.deployment_log(&platform, &operation)?.join("\n")
        + &service.events(&platform)?.join("\n");
    ensure!(text.contains("space") || text.contains("full"), "{text}");
    ensure!(service.version(&platform)? == "v1");
    disk.release()?;
    service.update_to(&platform, &large)?;
    service.settle_as(&platform, "RUNNING")?;
    ensure!(service.version(&platform)? == "v2");
    Ok(())
}
