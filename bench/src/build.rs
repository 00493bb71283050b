//! Builds of the Flask application: from `create-service` or `start-deployment` to the answer of what was built, next to
//! buildah and podman with an equivalent Dockerfile on the same base image; and what a build at full speed does to a
//! service that is running meanwhile.

mod peer;
mod visitors;

use crate::table::{PERCENTILES, Row, Table, percentile};
use anyhow::{Context, Result, ensure};
use apron_e2e::git::{Repository, git};
use apron_e2e::images::EchoImage;
use apron_e2e::service::quick_health;
use apron_e2e::{Platform, Service, Settings, assets, run, wait};
use peer::Peer;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use visitors::Visitors;

/// Runs of the build measurement: each installs dependencies from the package registry.
const RUNS_MAX: u32 = 7;

/// Longest time one build may take until it answers; the very first makes the base image.
const BUILD_MAX: Duration = Duration::from_secs(900);

/// Turns of the measurement of a neighbour, and the seconds of load in each phase of one: a run each, within these.
const NEIGHBOUR_TURNS: u32 = 9;
const LOAD_SECONDS: std::ops::RangeInclusive<u32> = 2..=30;

/// What each turn of a run measures.
const TURNS: [&str; 3] = ["first build", "no change", "a changed line"];

/// How long builds take.
pub fn measure(runs: u32) -> Result<Table> {
    let platform = platform()?;
    let base = base_image(&platform)?;
    speed(&platform, &base, runs.clamp(1, RUNS_MAX))
}

/// What a build does to a service.
pub fn measure_neighbour(runs: u32) -> Result<Table> {
    let seconds = runs.clamp(*LOAD_SECONDS.start(), *LOAD_SECONDS.end());
    neighbour(&platform()?, seconds)
}

fn platform() -> Result<Platform> {
    // Nobody looks at a branch but who is told to.
    Platform::start_with(&Settings {
        ask_every: 3600,
        recipes: true,
        ..Settings::default()
    })
}

/// Has the base image of the runtime made, and writes it as an OCI image layout for the peer.
fn base_image(platform: &Platform) -> Result<PathBuf> {
    let project = Project::new(platform, "first-of-all")?;
    project.push()?;
    let service = platform.create_service_from(&project.input())?;
    project.until_answered(&service, "v0", Instant::now())?;
    project.remove()?;
    let directory = platform.dir().join("base");
    peer::write_base(&platform.data_dir().join("images/blobs/sha256"), &directory)?;
    Ok(directory)
}

fn speed(platform: &Platform, base: &Path, runs: u32) -> Result<Table> {
    let mut ours = [const { Vec::new() }; 3];
    let mut theirs = [const { Vec::new() }; 3];
    for number in 0..runs {
        let project = Project::new(platform, &format!("flask-{number}"))?;
        project.measure(&mut ours)?;
        Peer::new(platform, base, &project)?.measure(&mut theirs)?;
        project.remove()?;
    }
    let rows = |who: &str, all: &[Vec<f64>; 3]| {
        let row = |(times, turn): (&Vec<f64>, &str)| Row::of(&format!("{who}: {turn}"), times);
        all.iter().zip(TURNS).map(row).collect::<Vec<Row>>()
    };
    let mut table = rows("Apron", &ours);
    table.extend(rows("buildah and podman run", &theirs));
    Ok(Table {
        title: "Build: from the call to the first answer of what was built".to_owned(),
        unit: "ms",
        columns: PERCENTILES,
        rows: table,
        notes: vec![format!(
            "{runs} runs in turns, each of a service of its own, the base image in both storages. Apron's first build is from \
             `create-service`, the others from `start-deployment`; all include fetching the branch, the health check (HTTP on /) and the \
             route, and the one without a change ends with the operation. The peer's is `buildah build --layers` of an equivalent \
             Dockerfile, with chroot isolation on the machine's network, and `podman run` until it answers."
        )],
    })
}

/// The Flask application under version control, and its service.
struct Project<'a> {
    platform: &'a Platform,
    name: String,
    work: Repository,
}

impl<'a> Project<'a> {
    fn new(platform: &'a Platform, name: &str) -> Result<Project<'a>> {
        let project = Project {
            platform,
            name: name.to_owned(),
            work: Repository::at(platform.dir().join(name))?,
        };
        for file in ["apprunner.yaml", "requirements.txt"] {
            let text = fs::read_to_string(
                assets::checkout()
                    .join("tests/apps/source/python")
                    .join(file),
            );
            project.work.write(file, &text?)?;
        }
        project.write_version("v0")?;
        Ok(project)
    }

    /// A line of the program is what it answers.
    fn write_version(&self, version: &str) -> Result<()> {
        let file = assets::checkout().join("tests/apps/source/python/app.py");
        let text = fs::read_to_string(file)?;
        ensure!(
            text.contains("hello from Python"),
            "the application is another"
        );
        self.work
            .write("app.py", &text.replace("hello from Python", version))
    }

    fn url(&self) -> String {
        format!("https://{}/git/{}.git", self.platform.registry(), self.name)
    }

    /// Sends the commit without having it deployed.
    fn push(&self) -> Result<()> {
        self.work.commit()?;
        let platform = self.platform;
        let user = platform.variable("AWS_ACCESS_KEY_ID")?;
        let password = platform.variable("AWS_SECRET_ACCESS_KEY")?;
        let helper = format!("!f() {{ echo 'username={user}'; echo 'password={password}'; }}; f");
        let mut command = git(self.work.dir());
        command
            .env("GIT_SSL_CAINFO", platform.ca())
            .args(["-c", "http.extraHeader=Apron-Deploy: off"])
            .args(["-c", &format!("credential.helper={helper}")])
            .args(["push", "--quiet", &self.url(), "main"]);
        run::ok(&mut command).map(drop)
    }

    fn input(&self) -> Value {
        let mut health = quick_health();
        health["Path"] = json!("/");
        json!({
            "ServiceName": self.name,
            "SourceConfiguration": {
                "AutoDeploymentsEnabled": false,
                "CodeRepository": {
                    "RepositoryUrl": self.url(),
                    "SourceCodeVersion": { "Type": "BRANCH", "Value": "main" },
                    "CodeConfiguration": { "ConfigurationSource": "REPOSITORY" },
                },
            },
            "InstanceConfiguration": { "Cpu": "1 vCPU", "Memory": "2 GB" },
            "HealthCheckConfiguration": health,
        })
    }

    /// The three turns, each added to its own.
    fn measure(&self, times: &mut [Vec<f64>; 3]) -> Result<()> {
        let platform = self.platform;
        self.push()?;
        let begun = Instant::now();
        let service = platform.create_service_from(&self.input())?;
        times[0].push(self.until_answered(&service, "v0", begun)?);
        let begun = Instant::now();
        service.operate(platform, "StartDeployment")?;
        service.settle_as(platform, "RUNNING")?;
        times[1].push(milliseconds(begun));
        self.write_version("v1")?;
        self.push()?;
        let begun = Instant::now();
        service.operate(platform, "StartDeployment")?;
        times[2].push(self.until_answered(&service, "v1", begun)?);
        Ok(())
    }

    fn until_answered(&self, service: &Service, version: &str, begun: Instant) -> Result<f64> {
        let platform = self.platform;
        let took = wait::until("what was built to answer", BUILD_MAX, || {
            let answer = service.get(platform, "/")?;
            let answers = answer.status == 200 && answer.text().contains(version);
            Ok(answers.then(|| milliseconds(begun)))
        });
        let took = took.with_context(|| {
            let log = service.events(platform).unwrap_or_default();
            log.join("\n")
        })?;
        service.settle_as(platform, "RUNNING")?;
        Ok(took)
    }

    fn remove(&self) -> Result<()> {
        let service = self.platform.service(&self.name)?;
        service.operate(self.platform, "DeleteService")?;
        service.settle_as(self.platform, "DELETED")
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// A build that uses all it can get, next to a service with visitors; in turns with none.
fn neighbour(platform: &Platform, seconds: u32) -> Result<Table> {
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let service = platform.running_service("echo", &image)?;
    let target = service.target(platform)?;
    let load = Duration::from_secs(seconds.into());
    let mut turns = Vec::new();
    for number in 0..NEIGHBOUR_TURNS {
        let alone = Visitors::measure(&target, load)?;
        let busy = BusyBuild::begin(platform, number)?;
        let during = Visitors::measure(&target, load)?;
        busy.end()?;
        println!(
            "    p99 {:.2} ms without and {:.2} ms with a build",
            alone.p99, during.p99
        );
        turns.push((alone, during));
    }
    let middle = |value: &dyn Fn(&(Visitors, Visitors)) -> f64| {
        percentile(&turns.iter().map(value).collect::<Vec<f64>>(), 50)
    };
    let rise = (middle(&|(alone, during)| during.p99 / alone.p99) - 1.0) * 100.0;
    Ok(Table {
        title: "A running service during a build at full speed".to_owned(),
        unit: "ms",
        columns: ["p50", "p99"],
        rows: vec![
            Row {
                who: "no build".to_owned(),
                p50: middle(&|(alone, _)| alone.p50),
                p95: middle(&|(alone, _)| alone.p99),
            },
            Row {
                who: "a build at full speed".to_owned(),
                p50: middle(&|(_, during)| during.p50),
                p95: middle(&|(_, during)| during.p99),
            },
        ],
        notes: vec![format!(
            "{NEIGHBOUR_TURNS} turns of {seconds} s without and {seconds} s with the build; medians of the turns. {} visitors over TLS on \
             kept connections ask every 4 ms, the application has 1 vCPU; the p99 rose by {rise:.0} % (the median of the turns' ratios). The build \
             has four processes that compile and write without end.",
            visitors::COUNT,
        )],
    })
}

/// A build with more processes than the machine has processors, which compute and write until nobody wants more.
struct BusyBuild<'a> {
    project: Project<'a>,
    service: Service,
}

impl<'a> BusyBuild<'a> {
    /// Returns when it is at full speed.
    fn begin(platform: &'a Platform, number: u32) -> Result<BusyBuild<'a>> {
        let project = Project::new(platform, &format!("busy-build-{number}"))?;
        let busy = "for i in 1 2 3 4; do (while true; do python3 -m compileall -q -f /usr/lib/python3*; \
                    dd if=/dev/zero of=/tmp/busy$i bs=1M count=64 conv=fsync 2>/dev/null; done) & done; \
                    echo at full speed; wait";
        let file = format!(
            "version: 1.0\nruntime: python311\nbuild:\n  commands:\n    build:\n      - {}\nrun:\n  command: python3 app.py\n",
            json!(busy)
        );
        project.work.write("apprunner.yaml", &file)?;
        project.push()?;
        let service = platform.create_service_from(&project.input())?;
        let stream = service.operation.clone();
        wait::until_true("the build to be at full speed", BUILD_MAX, || {
            let log = service.deployment_log(platform, &stream)?;
            Ok(log.iter().any(|line| line.ends_with("at full speed")))
        })?;
        Ok(BusyBuild { project, service })
    }

    fn end(self) -> Result<()> {
        let platform = self.project.platform;
        ensure!(
            self.service.describe(platform)?["Status"] == "OPERATION_IN_PROGRESS",
            "the build ended before its measurement"
        );
        let cancel = json!({ "ServiceArn": self.service.arn });
        platform.call(apron_e2e::api::APRON, "CancelOperation", &cancel)?;
        self.service.settle_as(platform, "CREATE_FAILED")?;
        self.project.remove()
    }
}
