//! Five ways a new version can be broken. Each time the old one keeps serving, the operation ends as rolled back, and
//! events and deployment log say why.

use crate::broken_create::{Broken, CRASH, FOREIGN, MISSING, SICK, WRONG_PORT};
use anyhow::{Result, ensure};
use apron_e2e::images::EchoImage;
use apron_e2e::load::{Kind, Load};
use apron_e2e::platform::Settings;
use apron_e2e::{Platform, wait};
use std::time::Duration;

fn check(broken: &Broken) -> Result<()> {
    let platform = Platform::start_with(&Settings {
        healthy_within: 8,
        ..Settings::default()
    })?;
    let good = platform.push(&EchoImage::new("v2"), "echo:v2")?;
    let bad = broken.push(&platform)?;
    let service = platform.running_service("echo", &good)?;
    let load = Load::start_mix(&platform, &service, &[Kind::Quick, Kind::Slow])?;

    let operation = service.update_to(&platform, &bad)?;
    service.settle_as(&platform, "RUNNING")?;
    let done = service.operation(&platform, &operation)?;
    ensure!(done["Status"] == "ROLLBACK_SUCCEEDED", "{done}");
    let described = service.describe(&platform)?;
    let runs = &described["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"];
    ensure!(
        runs == good.as_str(),
        "after the rollback the service says it runs {runs}"
    );
    broken.check_evidence(&service, &platform, &operation)?;
    wait::until_true(
        "enough requests to mean something",
        Duration::from_secs(20),
        || Ok(load.tally().answered > 60),
    )?;
    let tally = load.finish_without_failure()?;
    ensure!(tally.versions.keys().eq(["v2"]), "{tally:?}");
    Ok(())
}

#[test]
fn an_update_to_an_application_that_crashes_rolls_back() -> Result<()> {
    check(&CRASH)
}

#[test]
fn an_update_to_an_application_on_the_wrong_port_rolls_back() -> Result<()> {
    check(&WRONG_PORT)
}

#[test]
fn an_update_to_an_application_that_is_sick_rolls_back() -> Result<()> {
    check(&SICK)
}

#[test]
fn an_update_to_a_missing_image_rolls_back() -> Result<()> {
    check(&MISSING)
}

#[test]
fn an_update_to_an_image_for_another_architecture_rolls_back() -> Result<()> {
    check(&FOREIGN)
}
