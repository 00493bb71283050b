//! How fast instances come: a step to 50 slow requests, the first request of a service that sleeps, and 50 services woken
//! at once; next to the same application started without anything around it.

use crate::table::{PERCENTILES, Row, Table, percentile};
use anyhow::{Context, Result, ensure};
use apron_e2e::api::APP_RUNNER;
use apron_e2e::http::{Connection, Target};
use apron_e2e::images::EchoImage;
use apron_e2e::service::create_input;
use apron_e2e::{Platform, Service, assets, wait};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// Requests of the step.
const STEP: usize = 50;

/// How long the application takes for each of them, in milliseconds.
const SLOW_MS: u32 = 4_000;

/// Services woken at once.
const SERVICES: usize = 50;

/// Repetitions of what takes many instances.
const ROUNDS: u32 = 3;

/// Longest wait for instances to go.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Measures all.
pub fn measure(runs: u32) -> Result<String> {
    let mut text = wake(runs)?.render();
    text.push_str(&step()?.render());
    text.push_str(&herd()?.render());
    Ok(text)
}

fn wake(runs: u32) -> Result<Table> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let service = sleeping(&platform, "echo", &image)?;
    let target = service.target(&platform)?;
    let (mut woken, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        asleep(&platform)?;
        woken.push(ask(&mut target.connect()?, "/")?);
        bare.push(Bare::start(platform.slot.port(7))?);
    }
    let start = percentile(&bare, 50);
    let over: Vec<f64> = woken.iter().map(|took| took - start).collect();
    let rows = vec![
        Row::of(
            "Apron: request to a sleeping service, until it is answered",
            &woken,
        ),
        Row::of(
            "the same application, started bare, until it answers",
            &bare,
        ),
        Row::of("difference to the bare start's p50", &over),
    ];
    Ok(Table {
        title: "Wake from zero".to_owned(),
        unit: "ms",
        columns: PERCENTILES,
        rows,
        notes: vec![format!(
            "{runs} runs in turns, over TLS on a connection that is open already; the longest difference was {:.1} ms. Apron's include \
             making the container, the health check (HTTP on /health) and the route.",
            percentile(&over, 100)
        )],
    })
}

fn step() -> Result<Table> {
    let mut rows = Vec::new();
    for (name, max_concurrency) in [("10", 10), ("2", 2)] {
        let mut last = Vec::new();
        for _ in 0..ROUNDS {
            let platform = Platform::start()?;
            let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
            let service = scaled(&platform, &image, max_concurrency)?;
            let path = format!("/slow?ms={SLOW_MS}");
            let took = at_once(&vec![service.target(&platform)?; STEP], &path)?;
            let waited = took.iter().map(|took| took - f64::from(SLOW_MS));
            last.push(waited.fold(0.0, f64::max));
        }
        let instances = STEP.div_ceil(max_concurrency);
        rows.push(Row::of(
            &format!("MaxConcurrency {name}: until all {STEP} run, on {instances} instances"),
            &last,
        ));
    }
    Ok(Table {
        title: format!("Step from 1 instance to {STEP} slow requests at the same time"),
        unit: "ms",
        columns: ["p50", "longest"],
        rows,
        notes: vec![format!(
            "{ROUNDS} rounds, each on a new platform; what the slowest request waited beyond its own {SLOW_MS} ms, its TLS handshake \
             included. Every request was answered 200."
        )],
    })
}

fn herd() -> Result<Table> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let mut targets = Vec::new();
    for number in 0..SERVICES {
        let service = sleeping(&platform, &format!("echo-{number:02}"), &image)?;
        targets.push(service.target(&platform)?);
    }
    let mut woken = Vec::new();
    for _ in 0..ROUNDS {
        asleep(&platform)?;
        woken.extend(at_once(&targets, "/")?);
    }
    Ok(Table {
        title: format!("{SERVICES} sleeping services woken at once"),
        unit: "ms",
        columns: PERCENTILES,
        rows: vec![Row::of("until a service answers", &woken)],
        notes: vec![format!(
            "{ROUNDS} rounds; the last of all was answered after {:.0} ms.",
            percentile(&woken, 100)
        )],
    })
}

/// A running service that sleeps after a second without requests.
fn sleeping(platform: &Platform, name: &str, image: &str) -> Result<Service> {
    let mut input = create_input(name, image);
    input["Tags"] = json!([{ "Key": "apron:scale-to-zero-after", "Value": "1s" }]);
    let service = platform.create_service_from(&input)?;
    service.settle_as(platform, "RUNNING")?;
    Ok(service)
}

/// A running service with as many instances as the step needs.
fn scaled(platform: &Platform, image: &str, max_concurrency: usize) -> Result<Service> {
    let scaling = json!({ "AutoScalingConfigurationName": "step",
        "MaxConcurrency": max_concurrency, "MinSize": 1, "MaxSize": STEP.div_ceil(max_concurrency) });
    let scaling = platform.call(APP_RUNNER, "CreateAutoScalingConfiguration", &scaling)?;
    let mut input = create_input("echo", image);
    input["AutoScalingConfigurationArn"] =
        scaling["AutoScalingConfiguration"]["AutoScalingConfigurationArn"].clone();
    let service = platform.create_service_from(&input)?;
    service.settle_as(platform, "RUNNING")?;
    Ok(service)
}

/// Waits until no instance has any trace on the machine.
fn asleep(platform: &Platform) -> Result<()> {
    let directory = platform.run_dir().join("node/instances");
    wait::until_true("the services to sleep", SLEEP_MAX, || {
        Ok(std::fs::read_dir(&directory)?.next().is_none())
    })
}

/// Milliseconds of one request that must be answered 200.
fn ask(connection: &mut Connection, path: &str) -> Result<f64> {
    let started = Instant::now();
    let answer = connection.request("GET", path, &[], &[])?;
    let took = started.elapsed().as_secs_f64() * 1000.0;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
    Ok(took)
}

/// One request to each target, all at the same time; the milliseconds of each, connecting included.
fn at_once(targets: &[Target], path: &str) -> Result<Vec<f64>> {
    let start = Arc::new(Barrier::new(targets.len()));
    let clients: Vec<_> = targets
        .iter()
        .map(|target| {
            let (target, path, start) = (target.clone(), path.to_owned(), start.clone());
            std::thread::spawn(move || -> Result<f64> {
                start.wait();
                let started = Instant::now();
                ask(&mut target.connect()?, &path)?;
                Ok(started.elapsed().as_secs_f64() * 1000.0)
            })
        })
        .collect();
    let took = clients.into_iter().map(|client| {
        let took = client.join();
        took.map_err(|_| anyhow::anyhow!("a client broke"))?
    });
    took.collect()
}

/// The application on the machine itself, ended when dropped.
struct Bare(Child);

impl Bare {
    /// Milliseconds from its start to its first answer.
    fn start(port: u16) -> Result<f64> {
        let target = Target {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            host: "localhost".to_owned(),
            tls: None,
        };
        let started = Instant::now();
        let child = Command::new(assets::find("echo")?)
            .env("PORT", port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .context("could not start the application")?;
        let _child = Bare(child);
        // Refused at once until it listens.
        let answer = loop {
            match target.request("GET", "/", &[], &[]) {
                Ok(answer) => break answer,
                Err(error) if started.elapsed() > Duration::from_secs(5) => return Err(error),
                Err(_) => {}
            }
        };
        ensure!(answer.status == 200, "{}", answer.text());
        Ok(started.elapsed().as_secs_f64() * 1000.0)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
