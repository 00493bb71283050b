//! How long a build takes, from the request to an answer of the application: the first, one without a change, and one with a
//! changed line; next to `buildah` with an equivalent Dockerfile on the same base image. Needs what the tests need, and
//! buildah. Prints its result as JSON in its last line.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on fails")]

#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/builder/machine.rs"]
mod machine;

use apron_builder::{BuildRequest, BuilderOptions};
use apron_domain::ServiceId;
use machine::{Machine, apps, on_a_machine};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The equivalent of the application's `apprunner.yaml`, in the order that makes buildah's cache useful.
const DOCKERFILE: &str = "FROM oci:base\nWORKDIR /app\nCOPY requirements.txt .\n\
     RUN pip3 install -r requirements.txt\nCOPY . .\nRUN python3 -m compileall -q .\nCMD [\"python3\", \"app.py\"]\n";

/// What each turn of a run measures.
const TURNS: [&str; 3] = ["first build", "no change", "a changed line"];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let runs = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--runs"), Some(runs)) => runs.parse().expect("a number of runs"),
        _ => 3,
    };
    on_a_machine(BuilderOptions::default(), async move |machine| {
        let mut ours = [const { Vec::new() }; 3];
        let mut theirs = [const { Vec::new() }; 3];
        for _ in 0..runs {
            run(&machine, &mut ours, &mut theirs).await;
        }
        let rows: Vec<Value> = [("Apron", &mut ours), ("buildah", &mut theirs)]
            .into_iter()
            .flat_map(|(who, all)| {
                all.iter_mut()
                    .zip(TURNS)
                    .map(move |(times, turn)| row(who, turn, times))
            })
            .collect();
        println!("{}", json!({ "rows": rows }));
    });
}

fn row(who: &str, turn: &str, times: &mut [Duration]) -> Value {
    times.sort();
    let at = |part: usize| {
        let index = (times.len() * part / 100).min(times.len().saturating_sub(1));
        times
            .get(index)
            .map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    json!({"who": format!("{who}: {turn}"), "p50_ms": at(50), "p95_ms": at(95)})
}

async fn run(machine: &Machine, ours: &mut [Vec<Duration>; 3], theirs: &mut [Vec<Duration>; 3]) {
    let source = tempfile::tempdir().unwrap();
    for file in ["app.py", "apprunner.yaml", "requirements.txt"] {
        std::fs::copy(apps().join("python").join(file), source.path().join(file)).unwrap();
    }
    let mut request = machine.request(source.path());
    // The base image is there; nothing else of this service is.
    request.service = ServiceId::from_random(machine::random());
    for (turn, times) in ours.iter_mut().enumerate() {
        change(source.path(), turn);
        times.push(build(machine, &request).await);
    }
    let work = tempfile::tempdir().unwrap();
    let built = machine.built(&request).await;
    layout(machine, built.image.as_str(), &work.path().join("base")).await;
    std::fs::write(source.path().join("Dockerfile"), DOCKERFILE).unwrap();
    std::fs::remove_file(source.path().join("apprunner.yaml")).unwrap();
    for (turn, times) in theirs.iter_mut().enumerate() {
        change(source.path(), turn);
        times.push(buildah(work.path(), source.path()));
    }
}

/// The second turn changes nothing, the third a line.
fn change(source: &Path, turn: usize) {
    let text = std::fs::read_to_string(apps().join("python/app.py")).unwrap();
    let text = match turn {
        2 => text.replace("hello from Python", "changed"),
        _ => text,
    };
    std::fs::write(source.join("app.py"), text).unwrap();
}

async fn build(machine: &Machine, request: &BuildRequest) -> Duration {
    let begun = Instant::now();
    let built = machine.built(request).await;
    machine.answer(&built).await;
    begun.elapsed()
}

/// Writes the base image of a built one as an OCI image layout.
async fn layout(machine: &Machine, image: &str, directory: &Path) {
    let (_, manifest) = machine
        .content
        .manifest_bytes(image)
        .await
        .unwrap()
        .unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let base = manifest["annotations"]["org.opencontainers.image.base.digest"]
        .as_str()
        .unwrap();
    let (kind, bytes) = machine.content.manifest_bytes(base).await.unwrap().unwrap();
    let parsed: Value = serde_json::from_slice(&bytes).unwrap();
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let mut digests = vec![base, parsed["config"]["digest"].as_str().unwrap()];
    digests.extend(
        parsed["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| l["digest"].as_str().unwrap()),
    );
    for digest in digests {
        let hex = digest.trim_start_matches("sha256:");
        let from = machine::state().join("images/blobs/sha256").join(hex);
        std::fs::copy(from, blobs.join(hex)).unwrap();
    }
    let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": kind, "digest": base, "size": bytes.len()}]});
    std::fs::write(directory.join("index.json"), index.to_string()).unwrap();
    std::fs::write(
        directory.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
}

fn buildah(work: &Path, source: &Path) -> Duration {
    let begun = Instant::now();
    let output = Command::new("buildah")
        .current_dir(work)
        .args([
            "--root",
            "storage",
            "--runroot",
            "run",
            "--storage-driver",
            "vfs",
        ])
        .args([
            "bud",
            "--isolation",
            "chroot",
            "--network",
            "host",
            "--layers",
        ])
        .args([
            "-v",
            "/etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:ro",
        ])
        .args([
            "--env",
            "PIP_CERT=/etc/ssl/certs/ca-certificates.crt",
            "-t",
            "measured",
        ])
        .arg(source)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    begun.elapsed()
}
