//! Blue/green updates under continuous load: not one request fails.

use anyhow::{Result, ensure};
use apron_e2e::images::EchoImage;
use apron_e2e::load::Load;
use apron_e2e::{Platform, wait};
use std::time::Duration;

#[test]
fn an_update_under_load_drops_no_request() -> Result<()> {
    let platform = Platform::start()?;
    let first = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let second = platform.push(&EchoImage::new("v2"), "echo:v2")?;
    let service = platform.running_service("echo", &first)?;
    let load = Load::start(&platform, &service)?;
    wait::until_true("load to be under way", Duration::from_secs(20), || {
        Ok(load.tally().answered > 100)
    })?;

    let operation = service.update_to(&platform, &second)?;
    ensure!(service.describe(&platform)?["Status"] == "OPERATION_IN_PROGRESS");
    service.settle_as(&platform, "RUNNING")?;
    let done = service.operation(&platform, &operation)?;
    ensure!(
        done["Type"] == "UPDATE_SERVICE" && done["Status"] == "SUCCEEDED",
        "{done}"
    );
    ensure!(service.version(&platform)? == "v2");
    // And back again, so that both directions are seen by requests that span the switch.
    service.update_to(&platform, &first)?;
    service.settle_as(&platform, "RUNNING")?;
    ensure!(service.version(&platform)? == "v1");

    let answered = load.tally().answered;
    wait::until_true(
        "requests after the updates",
        Duration::from_secs(20),
        || Ok(load.tally().answered > answered + 50),
    )?;
    let tally = load.finish_without_failure()?;
    ensure!(
        tally.versions.contains_key("v1") && tally.versions.contains_key("v2"),
        "{tally:?}"
    );
    let events = service.events(&platform)?.join("\n");
    ensure!(events.contains("Service update started."), "{events}");
    ensure!(
        events.contains("Service update completed successfully."),
        "{events}"
    );
    Ok(())
}

#[test]
fn an_update_while_one_is_under_way_is_refused() -> Result<()> {
    let platform = Platform::start()?;
    let first = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let sick = platform.push(&EchoImage::new("v2").mode("sick"), "echo:sick")?;
    let service = platform.running_service("echo", &first)?;
    service.update_to(&platform, &sick)?;
    let refused = service.update_to(&platform, &first).map(drop);
    let text = refused
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    ensure!(
        text.contains("InvalidStateException") && text.contains("OPERATION_IN_PROGRESS"),
        "{text}"
    );
    service.settle_as(&platform, "RUNNING")
}
