//! From the answer of `update-service` to the first answer of the new version, the image already in the registry; next
//! to `podman run` of the same image until it answers.

use crate::table::{PERCENTILES, Row, Table};
use anyhow::{Context, Result};
use apron_e2e::images::EchoImage;
use apron_e2e::{Platform, Service, run, wait};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

/// Longest time one update may take.
const UPDATE_MAX: Duration = Duration::from_secs(30);

/// Measures both, in turns.
pub fn measure(runs: u32) -> Result<Table> {
    let platform = Platform::start()?;
    let images = [
        platform.push(&EchoImage::new("v0"), "echo:v0")?,
        platform.push(&EchoImage::new("v1"), "echo:v1")?,
    ];
    let service = platform.running_service("echo", &images[0])?;
    let peer = Podman::prepare(&platform, &images)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut parts: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for round in 0..runs {
        let version = (round as usize + 1) % 2;
        let (took, operation) = update(
            &platform,
            &service,
            &images[version],
            &format!("v{version}"),
        )?;
        ours.push(took);
        for (part, duration) in stages(&platform, &service, &operation)? {
            parts.entry(part).or_default().push(duration);
        }
        theirs.push(peer.run(&platform, &images[version], &format!("v{version}"))?);
    }
    let mut rows = vec![
        Row::of("Apron: update-service until the new version answers", &ours),
        Row::of("podman run until it answers", &theirs),
    ];
    rows.extend(
        parts
            .iter()
            .map(|(part, samples)| Row::of(&format!("part: {part}"), samples)),
    );
    Ok(Table {
        title: "Update: from the API's answer to the first answer of the new version".to_owned(),
        unit: "ms",
        columns: PERCENTILES,
        rows,
        notes: vec![format!(
            "{runs} runs in turns. Apron's includes resolving the tag, the health check (HTTP on /health) and switching the \
             routes without a lost request; podman's is one container (runc) on the machine's own network, its image already in its storage."
        )],
    })
}

fn update(
    platform: &Platform,
    service: &Service,
    image: &str,
    version: &str,
) -> Result<(f64, String)> {
    let operation = service.update_to(platform, image)?;
    let started = Instant::now();
    let mut connection = service.target(platform)?.connect()?;
    let deadline = started + UPDATE_MAX;
    loop {
        let response = connection.request("GET", "/", &[], &[])?;
        if response
            .text()
            .contains(&format!("\"version\":\"{version}\""))
        {
            break;
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "{version} did not answer within {} s",
            UPDATE_MAX.as_secs()
        );
    }
    let took = started.elapsed().as_secs_f64() * 1000.0;
    service.settle_as(platform, "RUNNING")?;
    Ok((took, operation))
}

/// The time between neighbouring lines of the deployment's log, under the name of the line that ends it.
fn stages(platform: &Platform, service: &Service, operation: &str) -> Result<Vec<(String, f64)>> {
    let lines = service.timed_log(platform, "service", &format!("deployment/{operation}"))?;
    let named = |text: &str| match text {
        text if text.contains("Successfully pulled") => Some("resolve the tag"),
        text if text.contains("Starting to deploy") => Some("unpack"),
        text if text.contains("Performing health check") => Some("create the instance"),
        text if text.contains("Health check is successful") => Some("ready"),
        text if text.contains("Successfully routed") => Some("route"),
        _ => None,
    };
    let between = lines.windows(2).filter_map(|pair| {
        let (before, after) = (&pair[0], &pair[1]);
        Some((named(&after.1)?.to_owned(), (after.0 - before.0) as f64))
    });
    Ok(between.collect())
}

/// podman with storage and names of its own.
struct Podman {
    storage: std::path::PathBuf,
    port: u16,
}

impl Podman {
    fn prepare(platform: &Platform, images: &[String]) -> Result<Podman> {
        let peer = Podman {
            storage: platform.dir().join("podman"),
            port: platform.slot.port(7),
        };
        for image in images {
            let mut pull = peer.command(&["pull", "--quiet"]);
            pull.arg("--authfile")
                .arg(platform.registry_login()?)
                .arg("--cert-dir")
                .arg(platform.certificate_dir()?);
            run::ok(pull.arg(image))?;
        }
        Ok(peer)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command
            .arg("--root")
            .arg(self.storage.join("root"))
            .arg("--runroot")
            .arg(self.storage.join("run"));
        // runc, because crun refuses machines with both versions of control groups.
        command
            .args(["--cgroup-manager", "cgroupfs", "--runtime", "runc"])
            .args(arguments);
        command
    }

    fn run(&self, platform: &Platform, image: &str, version: &str) -> Result<f64> {
        let name = format!("{}-peer", platform.slot.name());
        let port = format!("PORT={}", self.port);
        let started = Instant::now();
        // The machine's own network spares podman a bridge and its rules, and leaves none behind; the limits are below
        // what a confined root may set.
        let limits = [
            "--cpus",
            "0.25",
            "--memory",
            "512m",
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=1024:1024",
        ];
        let mut start = self.command(&[
            "run",
            "--detach",
            "--name",
            &name,
            "--network",
            "host",
            "--env",
            &port,
        ]);
        run::ok(start.args(limits).arg(image))?;
        let target = apron_e2e::http::Target {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)),
            host: "localhost".to_owned(),
            tls: None,
        };
        let answered = wait::until("the container to answer", UPDATE_MAX, || {
            let response = target.request("GET", "/", &[], &[])?;
            Ok(response.text().contains(version).then(|| started.elapsed()))
        });
        run::ok(&mut self.command(&["rm", "--force", "--time", "0", &name]))
            .context("the peer could not be removed")?;
        Ok(answered?.as_secs_f64() * 1000.0)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        run::output(&mut self.command(&["rmi", "--all", "--force"]), None).ok();
    }
}
