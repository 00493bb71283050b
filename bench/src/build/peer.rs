//! The same application built by buildah and run by podman.

use super::{BUILD_MAX, Project, milliseconds};
use anyhow::{Context, Result, ensure};
use apron_e2e::http::Target;
use apron_e2e::{Platform, run, wait};
use serde_json::{Value, json};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// What the machine trusts, for the package registry behind a company's own authority.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The equivalent of the application's `apprunner.yaml`, in the order that makes buildah's cache useful.
const DOCKERFILE: &str = "FROM localhost/base:3\nWORKDIR /app\nCOPY requirements.txt .\n\
     RUN pip3 install -r requirements.txt\nCOPY . .\nRUN python3 -m compileall -q .\nCMD [\"python3\", \"app.py\"]\n";

/// Largest blob that is looked into for a manifest, in bytes.
const MANIFEST_BYTES_MAX: u64 = 256 << 10;

/// The annotation of a built image that names its base (OCI image specification).
const BASE: &str = "org.opencontainers.image.base.digest";

/// Writes the base image of what was built as an OCI image layout, from the platform's own blobs.
pub fn write_base(blobs: &Path, into: &Path) -> Result<()> {
    let mut base = None;
    for entry in fs::read_dir(blobs)? {
        let entry = entry?;
        if entry.metadata()?.len() > MANIFEST_BYTES_MAX {
            continue;
        }
        let parsed: Option<Value> = serde_json::from_slice(&fs::read(entry.path())?).ok();
        let named = parsed.and_then(|it| it["annotations"][BASE].as_str().map(str::to_owned));
        base = base.or(named);
    }
    let base = base.context("no image names its base")?;
    let blob = |digest: &str| blobs.join(digest.trim_start_matches("sha256:"));
    let manifest = fs::read(blob(&base))?;
    let parsed: Value = serde_json::from_slice(&manifest)?;
    let layers = parsed["layers"].as_array().context("no layers")?;
    let parts = layers.iter().chain([&parsed["config"]]);
    let copies = into.join("blobs/sha256");
    fs::create_dir_all(&copies)?;
    let names = parts.filter_map(|part| part["digest"].as_str());
    for digest in names.chain([base.as_str()]) {
        let from = blob(digest);
        ensure!(from.exists(), "{digest} is not stored");
        fs::copy(&from, copies.join(digest.trim_start_matches("sha256:")))?;
    }
    let kind = &parsed["mediaType"];
    let index = json!({ "schemaVersion": 2, "manifests": [{ "mediaType": kind, "digest": base, "size": manifest.len() }] });
    fs::write(into.join("index.json"), index.to_string())?;
    fs::write(into.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(())
}

/// Storage of its own for one project.
pub struct Peer<'a> {
    project: &'a Project<'a>,
    storage: PathBuf,
    port: u16,
    name: String,
}

impl<'a> Peer<'a> {
    /// With the base image in its storage.
    pub fn new(platform: &Platform, base: &Path, project: &'a Project<'a>) -> Result<Peer<'a>> {
        let peer = Peer {
            project,
            storage: platform.dir().join("peer"),
            port: platform.slot.port(7),
            name: format!("{}-peer", platform.slot.name()),
        };
        // By its name alone: buildah makes an image's name of the path, which has no capitals.
        let name = base.file_name().context("the base image has no name")?;
        let layout = format!("oci:{}", name.to_string_lossy());
        let mut pull = peer.command("buildah");
        pull.current_dir(base.parent().unwrap_or(base))
            .args(["pull", "--quiet", &layout]);
        let pulled = run::ok(&mut pull)?;
        run::ok(
            peer.command("buildah")
                .args(["tag", pulled.trim(), "localhost/base:3"]),
        )?;
        project.work.write("Dockerfile", DOCKERFILE)?;
        Ok(peer)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .arg("--root")
            .arg(self.storage.join("root"))
            .arg("--runroot")
            .arg(self.storage.join("run"));
        if program == "podman" {
            // runc, because crun refuses machines with both versions of control groups.
            command.args(["--cgroup-manager", "cgroupfs", "--runtime", "runc"]);
        }
        command
    }

    /// The three turns, each added to its own.
    pub fn measure(&self, times: &mut [Vec<f64>; 3]) -> Result<()> {
        for (version, times) in ["v0", "v0", "v2"].into_iter().zip(times) {
            self.project.write_version(version)?;
            let begun = Instant::now();
            self.build()?;
            times.push(self.run(version, begun)?);
        }
        Ok(())
    }

    fn build(&self) -> Result<()> {
        let mut build = self.command("buildah");
        build
            .args(["build", "--layers", "--isolation", "chroot"])
            .args(["--network", "host", "--tag", "localhost/measured"])
            .arg("--volume")
            .arg(format!("{CERTIFICATES}:{CERTIFICATES}:ro"))
            .arg("--env")
            .arg(format!("PIP_CERT={CERTIFICATES}"))
            .arg(self.project.work.dir());
        run::ok(&mut build).map(drop)
    }

    /// Runs what was built until it answers; the time since `begun`.
    fn run(&self, version: &str, begun: Instant) -> Result<f64> {
        let port = format!("PORT={}", self.port);
        let mut start = self.command("podman");
        start
            .args(["run", "--detach", "--name", &self.name])
            .args(["--network", "host", "--env", &port])
            .args(["--cgroup-parent", &self.cgroup()])
            // Below what a confined root may set.
            .args([
                "--ulimit",
                "nofile=1024:1024",
                "--ulimit",
                "nproc=1024:1024",
            ])
            .arg("localhost/measured");
        run::ok(&mut start)?;
        let target = Target {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)),
            host: "localhost".to_owned(),
            tls: None,
        };
        let answered = wait::until("the container to answer", BUILD_MAX, || {
            let response = target.request("GET", "/", &[], &[])?;
            Ok(response
                .text()
                .contains(version)
                .then(|| milliseconds(begun)))
        });
        let remove = ["rm", "--force", "--time", "0", &self.name];
        run::ok(self.command("podman").args(remove)).context("the peer could not be removed")?;
        answered
    }
}

/// Removes a control group and those in it; one with processes stays, to be looked at.
fn remove_empty(group: &Path) {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let below = entries.map(|entry| entry.path());
    below
        .filter(|path| path.is_dir())
        .for_each(|path| remove_empty(&path));
    fs::remove_dir(group).ok();
}

impl Peer<'_> {
    /// The control group above those of the containers: podman leaves it behind.
    fn cgroup(&self) -> String {
        format!("/{}", self.name)
    }

    /// Where that is: below each controller in the first version of control groups, below their root in the second.
    fn cgroups(&self) -> Vec<PathBuf> {
        let controllers = fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
        let roots = controllers.flatten().map(|entry| entry.path());
        let roots = roots.chain([PathBuf::from("/sys/fs/cgroup")]);
        let groups = roots.map(|root| root.join(&self.name));
        groups.filter(|group| group.is_dir()).collect()
    }
}

impl Drop for Peer<'_> {
    fn drop(&mut self) {
        for arguments in [["rm", "--all", "--force"], ["rmi", "--all", "--force"]] {
            run::output(self.command("podman").args(arguments), None).ok();
        }
        for group in self.cgroups() {
            remove_empty(&group);
        }
    }
}
