//! Two hundred deployments and twenty upgrades of the proxy under load of every kind: no request fails, and every WebSocket
//! message comes back or the socket is closed in order.

use anyhow::{Context, Result, ensure};
use apron_e2e::images::EchoImage;
use apron_e2e::load::{Load, Tally};
use apron_e2e::processes::{self, Role};
use apron_e2e::service::create_input;
use apron_e2e::{Platform, Service, Settings, wait};
use serde_json::json;
use std::time::Duration;

/// Services that are deployed at the same time.
const SERVICES: usize = 4;

/// Deployments of each of them.
const DEPLOYMENTS: usize = 50;

/// Upgrades of the proxy.
const UPGRADES: usize = 20;

/// Longest wait for load to be under way or a change to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

/// A service whose WebSockets hold a deployment for a second and no longer.
fn serving(platform: &Platform, name: &str, image: &str) -> Result<Service> {
    let mut input = create_input(name, image);
    input["Tags"] = json!([{ "Key": "apron:drain-timeout", "Value": "1s" }]);
    let service = platform.create_service_from(&input)?;
    service.settle_as(platform, "RUNNING")?;
    Ok(service)
}

/// Waits until every kind of client has been answered again.
fn load_goes_on(load: &Load) -> Result<()> {
    let before = load.tally().kinds;
    wait::until_true("answers to every kind of client", SEEN_WITHIN, || {
        let now = load.tally();
        ensure!(now.failed == 0, "{}", now.failures.join("\n"));
        let more = |(kind, count): (&String, &u64)| count > before.get(kind).unwrap_or(&0);
        Ok(now.kinds.len() == 6 && now.kinds.iter().all(more))
    })
}

#[test]
fn two_hundred_deployments_under_load_of_every_kind_fail_no_request() -> Result<()> {
    let platform = Platform::start()?;
    let images = [
        platform.push(&EchoImage::new("v1"), "echo:v1")?,
        platform.push(&EchoImage::new("v2"), "echo:v2")?,
    ];
    let tallies = std::thread::scope(|scope| {
        let running: Vec<_> = (0..SERVICES)
            .map(|index| {
                let (platform, images) = (&platform, &images);
                scope.spawn(move || deployments(platform, &format!("echo-{index}"), images))
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Tally>>| {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread of the test broke"))?
        };
        running.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    for tally in tallies {
        ensure!(tally.versions.len() == 2, "{tally:?}");
    }
    Ok(())
}

/// Deploys a service over and over under load.
fn deployments(platform: &Platform, name: &str, images: &[String; 2]) -> Result<Tally> {
    let service = serving(platform, name, &images[0])?;
    let load = Load::start_every_kind(platform, &service)?;
    load_goes_on(&load)?;
    for round in 1..=DEPLOYMENTS {
        let operation = service.update_to(platform, &images[round % 2])?;
        service.settle_as(platform, "RUNNING")?;
        let done = service.operation(platform, &operation)?;
        ensure!(done["Status"] == "SUCCEEDED", "deployment {round}: {done}");
        let tally = load.tally();
        ensure!(
            tally.failed == 0,
            "after deployment {round}: {}",
            tally.failures.join("\n")
        );
    }
    load_goes_on(&load)?;
    load.finish_without_failure()
        .with_context(|| format!("{name} under deployments"))
}

#[test]
fn twenty_upgrades_of_the_proxy_under_load_of_every_kind_fail_no_request() -> Result<()> {
    let platform = Platform::start_with(&Settings {
        own_programs: true,
        ..Settings::default()
    })?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let service = serving(&platform, "echo", &image)?;
    let load = Load::start_every_kind(&platform, &service)?;
    load_goes_on(&load)?;
    for round in 1..=UPGRADES {
        let before = newest_proxy(&platform)?;
        platform.replace_proxy_program()?;
        platform.upgrade_proxy()?;
        wait::until_true("another proxy", SEEN_WITHIN, || {
            Ok(newest_proxy(&platform).is_ok_and(|pid| pid != before))
        })?;
        load_goes_on(&load).with_context(|| format!("upgrade {round}"))?;
    }
    load.finish_without_failure()?;
    // Those that were replaced leave when their last connection has.
    wait::until_true("one proxy", SEEN_WITHIN, || {
        Ok(processes::of_role(&platform, Role::Proxy)?.len() == 1)
    })
}

/// The process that serves new connections: the one that was started last.
fn newest_proxy(platform: &Platform) -> Result<i32> {
    let proxies = processes::of_role(platform, Role::Proxy)?;
    let newest = proxies.iter().max_by_key(|process| process.started());
    newest.map(|process| process.pid).context("no proxy runs")
}
