//! A push to the tracked tag deploys by itself, other pushes do not; `start-deployment` deploys on demand.

use anyhow::{Context, Result, ensure};
use apron_e2e::images::EchoImage;
use apron_e2e::service::{create_input, source};
use apron_e2e::{Platform, Service, wait};
use serde_json::json;
use std::time::Duration;

/// Longest time from a push to the new answer.
const DEPLOYED_MAX: Duration = Duration::from_secs(40);

#[test]
fn a_push_to_the_tracked_tag_deploys_by_itself() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:live")?;
    let mut input = create_input("echo", &image);
    input["SourceConfiguration"] = source(&image, true, &json!({}));
    let service = platform.create_service_from(&input)?;
    service.settle_as(&platform, "RUNNING")?;

    platform.push(&EchoImage::new("other"), "echo:other")?;
    platform.push(&EchoImage::new("v2"), "echo:live")?;
    service.wait_for_version(&platform, "v2", DEPLOYED_MAX)?;
    service.settle_as(&platform, "RUNNING")?;
    let kinds = kinds(&service, &platform)?;
    ensure!(
        kinds == ["START_DEPLOYMENT SUCCEEDED", "CREATE_SERVICE SUCCEEDED"],
        "{kinds:?}"
    );
    let events = service.events(&platform)?.join("\n");
    ensure!(
        events.contains("Triggering event : SERVICE_AUTO_DEPLOY"),
        "{events}"
    );
    Ok(())
}

#[test]
fn start_deployment_takes_what_the_tag_means_now() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:live")?;
    let service = platform.running_service("echo", &image)?;
    platform.push(&EchoImage::new("v2"), "echo:live")?;
    ensure!(
        service.version(&platform)? == "v1",
        "a push deployed although automatic deployments are off"
    );
    let answer = service.operate(&platform, "StartDeployment")?;
    let operation = answer["OperationId"]
        .as_str()
        .context("no OperationId")?
        .to_owned();
    service.settle_as(&platform, "RUNNING")?;
    ensure!(service.version(&platform)? == "v2");
    ensure!(service.operation(&platform, &operation)?["Type"] == "START_DEPLOYMENT");

    service.operate(&platform, "PauseService")?;
    service.settle_as(&platform, "PAUSED")?;
    let refused = service.operate(&platform, "StartDeployment").map(drop);
    let text = refused
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    ensure!(
        text.contains("InvalidRequestException") && text.contains("isn't in RUNNING state"),
        "{text}"
    );
    Ok(())
}

#[test]
fn pushes_while_a_deployment_is_under_way_are_not_lost() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:live")?;
    let mut input = create_input("echo", &image);
    input["SourceConfiguration"] = source(&image, true, &json!({}));
    let service = platform.create_service_from(&input)?;
    for version in ["v2", "v3", "v4"] {
        platform.push(&EchoImage::new(version), "echo:live")?;
    }
    service.wait_for_version(&platform, "v4", DEPLOYED_MAX)?;
    wait::until_true("the last deployment to end", DEPLOYED_MAX, || {
        Ok(kinds(&service, &platform)?
            .iter()
            .all(|kind| kind.ends_with("SUCCEEDED")))
    })?;
    ensure!(service.version(&platform)? == "v4");
    Ok(())
}

/// Type and status of each operation, newest first.
fn kinds(service: &Service, platform: &Platform) -> Result<Vec<String>> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let operations = service.operations(platform)?;
    Ok(operations
        .iter()
        .map(|one| format!("{} {}", text(&one["Type"]), text(&one["Status"])))
        .collect())
}
