//! Pause, resume, delete, and that nothing is left behind.

use anyhow::{Result, ensure};
use apron_e2e::api::{APP_RUNNER, ECR};
use apron_e2e::images::EchoImage;
use apron_e2e::service::create_input;
use apron_e2e::{Platform, wait};
use serde_json::json;
use std::time::Duration;

/// Longest time until traces of something deleted are gone.
const GONE_MAX: Duration = Duration::from_secs(20);

#[test]
fn a_service_is_paused_resumed_and_deleted_without_a_trace() -> Result<()> {
    let platform = Platform::start()?;
    let idle = platform.idle_traces()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let service = platform.running_service("echo", &image)?;
    let running = platform.traces()?.new_since(&idle);
    for kind in ["process Shim", "process Application", "cgroup"] {
        ensure!(
            running.iter().any(|line| line.starts_with(kind)),
            "no {kind} is seen while it runs: {running:#?}"
        );
    }

    service.operate(&platform, "PauseService")?;
    service.settle_as(&platform, "PAUSED")?;
    wait::until_true("a paused service to use nothing", GONE_MAX, || {
        let left = platform.traces()?.new_since(&idle);
        ensure!(left.is_empty(), "{left:#?}");
        Ok(true)
    })?;
    let paused = service.get(&platform, "/")?;
    ensure!(
        paused.status == 503 && paused.text().contains("paused"),
        "{} {}",
        paused.status,
        paused.text()
    );
    let again = service.operate(&platform, "PauseService")?;
    ensure!(
        again.get("OperationId").is_none(),
        "pausing a paused service does nothing: {again}"
    );

    service.operate(&platform, "ResumeService")?;
    service.settle_as(&platform, "RUNNING")?;
    ensure!(service.version(&platform)? == "v1");
    ensure!(service.describe(&platform)?["ServiceUrl"] == service.url.as_str());

    service.operate(&platform, "DeleteService")?;
    service.settle_as(&platform, "DELETED")?;
    platform.call(
        ECR,
        "DeleteRepository",
        &json!({ "repositoryName": "echo", "force": true }),
    )?;
    wait::until_true("a deleted service to leave nothing", GONE_MAX, || {
        let now = platform.traces()?;
        let left = now.new_since(&idle);
        ensure!(left.is_empty(), "{left:#?}");
        let id = service.id.as_str();
        let files = now.new_files_since(&idle);
        let of_service: Vec<&String> = files
            .iter()
            .filter(|file| file.contains(id) || file.contains("instance"))
            .collect();
        ensure!(of_service.is_empty(), "{of_service:#?}");
        Ok(true)
    })?;
    ensure!(service.describe(&platform)?["Status"] == "DELETED");
    let gone = service.get(&platform, "/")?;
    ensure!(gone.status == 404, "{}", gone.status);
    // The name is free again, and gets another address.
    platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let second = platform.running_service("echo", &image)?;
    ensure!(second.url != service.url && second.id != service.id);
    Ok(())
}

#[test]
fn down_and_purge_remove_every_trace() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    platform.running_service("echo", &image)?;
    platform.purge()?;
    let left = platform.traces()?;
    ensure!(left.machine.is_empty(), "{:#?}", left.machine);
    let own = |file: &&String| file.starts_with("data/") || file.starts_with("run/");
    let files: Vec<&String> = left.files.iter().filter(own).collect();
    ensure!(files.is_empty(), "{files:#?}");
    // Purging what is gone is fine.
    platform.purge()
}

#[test]
fn down_keeps_state_and_up_brings_services_back() -> Result<()> {
    let mut platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let service = platform.running_service("echo", &image)?;
    let keys = platform.variable("AWS_SECRET_ACCESS_KEY")?.to_owned();
    // Starting what runs changes nothing.
    platform.up()?;
    ensure!(
        platform.variable("AWS_SECRET_ACCESS_KEY")? == keys,
        "the credentials changed"
    );
    ensure!(service.version(&platform)? == "v1");

    apron_e2e::run::ok(&mut platform.apron(&["down"]))?;
    let left = platform.traces()?;
    ensure!(left.machine.is_empty(), "{:#?}", left.machine);
    platform.up()?;
    service.wait_for_version(&platform, "v1", Duration::from_secs(20))?;
    ensure!(
        platform.variable("AWS_SECRET_ACCESS_KEY")? == keys,
        "the credentials changed"
    );
    Ok(())
}

#[test]
fn services_are_listed_in_pages() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    for number in 0..3 {
        platform.create_service_from(&create_input(&format!("echo{number}"), &image))?;
    }
    let mut names = Vec::new();
    let mut token = serde_json::Value::Null;
    loop {
        let mut input = json!({ "MaxResults": 2 });
        if !token.is_null() {
            input["NextToken"] = token;
        }
        let page = platform.call(APP_RUNNER, "ListServices", &input)?;
        let list = page["ServiceSummaryList"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        ensure!(list.len() <= 2, "{page}");
        names.extend(
            list.iter()
                .filter_map(|one| one["ServiceName"].as_str().map(str::to_owned)),
        );
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    names.sort();
    ensure!(names == ["echo0", "echo1", "echo2"], "{names:?}");
    Ok(())
}
