//! How long a build takes, from the request to an answer of the application: the first, one without a change, and one with a
//! changed line; next to `buildah` with an equivalent Dockerfile on the same base image. Needs what the tests need, and
//! buildah.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on fails")]

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

fn main() {
    on_a_machine(BuilderOptions::default(), async |machine| {
        let source = tempfile::tempdir().unwrap();
        for file in ["app.py", "apprunner.yaml", "requirements.txt"] {
            std::fs::copy(apps().join("python").join(file), source.path().join(file)).unwrap();
        }
        let mut request = machine.request(source.path());
        // The base image is there; nothing else of this service is.
        request.service = ServiceId::from_random(machine::random());
        let mut ours = Vec::new();
        for turn in 0..3 {
            change(source.path(), turn);
            ours.push(build(&machine, &request).await);
        }
        let work = tempfile::tempdir().unwrap();
        let built = machine.built(&request).await;
        layout(&machine, built.image.as_str(), &work.path().join("base")).await;
        std::fs::write(source.path().join("Dockerfile"), DOCKERFILE).unwrap();
        std::fs::remove_file(source.path().join("apprunner.yaml")).unwrap();
        let mut theirs = Vec::new();
        for turn in 0..3 {
            change(source.path(), turn);
            theirs.push(buildah(work.path(), source.path()));
        }
        println!(
            "\n| | Apron, to the first answer | of which the build | buildah, the image alone |"
        );
        println!("|---|---|---|---|");
        let names = ["first build", "no change", "a changed line"];
        for ((name, (build, answer)), theirs) in names.iter().zip(ours).zip(theirs) {
            println!(
                "| {name} | {:.2?} | {build:.2?} | {theirs:.2?} |",
                build + answer
            );
        }
    });
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

async fn build(machine: &Machine, request: &BuildRequest) -> (Duration, Duration) {
    let begun = Instant::now();
    let built = machine.built(request).await;
    let build = begun.elapsed();
    machine.answer(&built).await;
    (build, begun.elapsed() - build)
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
