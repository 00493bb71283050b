//! The number of instances follows the requests: up without a failed one, down to none, and back by the next.

use anyhow::{Context, Result, ensure};
use apron_e2e::api::APP_RUNNER;
use apron_e2e::http::Response;
use apron_e2e::images::EchoImage;
use apron_e2e::service::create_input;
use apron_e2e::{Platform, Service, wait};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// A running service of which each instance is given so many requests at the same time.
fn service(
    platform: &Platform,
    max_concurrency: u32,
    max_size: u32,
    tags: &Value,
) -> Result<Service> {
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let scaling = json!({ "AutoScalingConfigurationName": "tested",
        "MaxConcurrency": max_concurrency, "MinSize": 1, "MaxSize": max_size });
    let scaling = platform.call(APP_RUNNER, "CreateAutoScalingConfiguration", &scaling)?;
    let mut input = create_input("echo", &image);
    input["AutoScalingConfigurationArn"] =
        scaling["AutoScalingConfiguration"]["AutoScalingConfigurationArn"].clone();
    input["Tags"] = tags.clone();
    let service = platform.create_service_from(&input)?;
    service.settle_as(platform, "RUNNING")?;
    Ok(service)
}

/// So many requests at the same time, each on a connection of its own.
fn at_once(
    platform: &Platform,
    service: &Service,
    count: usize,
    path: &str,
) -> Result<Vec<Response>> {
    let target = service.target(platform)?;
    let clients: Vec<_> = (0..count)
        .map(|_| {
            let (target, path) = (target.clone(), path.to_owned());
            std::thread::spawn(move || target.request("GET", &path, &[], &[]))
        })
        .collect();
    let answers = clients.into_iter().map(|client| {
        let answer = client.join();
        answer.map_err(|_| anyhow::anyhow!("a client broke"))?
    });
    answers.collect()
}

/// The instances that answered; an answer other than 200 is an error.
fn instances(answers: &[Response]) -> Result<BTreeSet<String>> {
    let instance = |answer: &Response| {
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
        let identity: Value = serde_json::from_slice(&answer.body)?;
        let instance = identity["instance"].as_str();
        Ok(instance.context("no instance")?.to_owned())
    };
    answers.iter().map(instance).collect()
}

/// Waits until the service has no instance: the programs of all are gone.
fn asleep(platform: &Platform) -> Result<()> {
    let instances = platform.run_dir().join("node");
    wait::until_true("the service to have no instance", SOON, || {
        Ok(shims(&instances)? == 0)
    })
}

/// Instances that have a directory with their shim's socket.
fn shims(node: &Path) -> Result<usize> {
    let directory = node.join("instances");
    let entries = fs::read_dir(&directory)
        .with_context(|| format!("could not read {}", directory.display()))?;
    Ok(entries.count())
}

#[test]
fn concurrent_requests_start_instances_and_none_fails() -> Result<()> {
    let platform = Platform::start()?;
    let service = service(&platform, 1, 6, &json!([]))?;
    let answers = at_once(&platform, &service, 6, "/slow?ms=4000")?;
    ensure!(instances(&answers)?.len() == 6, "{answers:?}");
    // Twice as many as may be: the rest waits its turn.
    let answers = at_once(&platform, &service, 12, "/slow?ms=300")?;
    ensure!(instances(&answers)?.len() <= 6, "{answers:?}");
    Ok(())
}

#[test]
fn a_service_sleeps_without_requests_and_wakes_by_the_next() -> Result<()> {
    let platform = Platform::start()?;
    let tags = json!([{ "Key": "apron:scale-to-zero-after", "Value": "1s" }]);
    let service = service(&platform, 50, 3, &tags)?;
    asleep(&platform)?;
    let first = instances(&at_once(&platform, &service, 10, "/")?)?;
    ensure!(first.len() == 1, "a herd of {first:?} was started");
    // What takes longer than the service may be idle is answered.
    at_once(&platform, &service, 1, "/slow?ms=3000").and_then(|answers| instances(&answers))?;
    asleep(&platform)?;
    let second = instances(&at_once(&platform, &service, 1, "/")?)?;
    ensure!(first != second, "{first:?} never slept");
    ensure!(service.describe(&platform)?["Status"] == "RUNNING");
    Ok(())
}

#[test]
fn a_service_that_cannot_wake_answers_why_until_it_can() -> Result<()> {
    let platform = Platform::start()?;
    let tags = json!([{ "Key": "apron:scale-to-zero-after", "Value": "1s" }]);
    let service = service(&platform, 50, 3, &tags)?;
    asleep(&platform)?;
    let program = program(&platform.data_dir())?.context("the unpacked program is not there")?;
    let away = program.with_extension("away");
    fs::rename(&program, &away)?;
    let answer = service.get(&platform, "/")?;
    ensure!(answer.status == 503, "{answer:?}");
    ensure!(
        answer
            .text()
            .contains("the last attempt to start an instance failed"),
        "{}",
        answer.text()
    );
    fs::rename(&away, &program)?;
    wait::until_true("the service to wake", SOON, || {
        Ok(service.get(&platform, "/")?.status == 200)
    })
}

/// The application's program among the unpacked layers.
fn program(directory: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(directory)? {
        let (path, kind) = entry.and_then(|e| Ok((e.path(), e.file_type()?)))?;
        if kind.is_file() && path.ends_with("fs/echo") {
            return Ok(Some(path));
        }
        if kind.is_dir()
            && let Some(found) = program(&path)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
