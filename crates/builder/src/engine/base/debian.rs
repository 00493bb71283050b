//! The file system that recipes begin with: a minimal Debian.

use super::super::sandbox::{Sandbox, blocking, platform};
use super::BASE_TIME;
use crate::BuildLog;
use crate::runtime::debian;
use apron_domain::{Failure, FailureKind};
use apron_oci::{Layer, LayerWriter};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The program that makes it.
const PROGRAM: &str = "mmdebstrap";

/// What the program says at most, in bytes; only the end is shown.
const ERRORS_BYTES_MAX: u64 = 1 << 20;

/// Lines of it that are shown.
const ERROR_LINES_MAX: usize = 15;

/// Makes the layer, from packages or from the operator's archive.
pub async fn layer(sandbox: &Sandbox, log: &dyn BuildLog) -> Result<Layer, Failure> {
    let writer = sandbox.content.layer_writer().map_err(platform)?;
    match sandbox.options.debian_archive.clone() {
        Some(path) => blocking(move || copied(&path, writer)).await?,
        None => {
            log.line(&format!(
                "[AppRunner] Installing a minimal Debian {} with {PROGRAM}.",
                debian().suite
            ));
            let mirror = sandbox.options.mirror.clone();
            blocking(move || made(mirror.as_deref(), writer)).await?
        }
    }
}

fn copied(path: &Path, mut writer: LayerWriter) -> Result<Layer, Failure> {
    let failed = |error: io::Error| {
        let text = format!(
            "the archive {} of a Debian file system: {error}",
            path.display()
        );
        Failure::new(FailureKind::Build, text)
    };
    let mut file = File::open(path).map_err(failed)?;
    io::copy(&mut file, &mut writer).map_err(failed)?;
    writer.finish().map_err(platform)
}

fn made(mirror: Option<&str>, mut writer: LayerWriter) -> Result<Layer, Failure> {
    let mut child = command(mirror).spawn().map_err(|error| {
        Failure::new(
            FailureKind::Build,
            format!("{PROGRAM} cannot be started: {error}; install the package {PROGRAM}, or name images in [build.images] of apron.toml"),
        )
    })?;
    let errors = child.stderr.take();
    let errors = std::thread::spawn(move || errors.map(last_lines).unwrap_or_default());
    let copied = copy(&mut child, &mut writer);
    let status = child.wait().map_err(platform)?;
    let errors = errors.join().unwrap_or_default();
    if !status.success() {
        let text = format!("{PROGRAM} ended with {status}");
        return Err(Failure::new(FailureKind::Build, text).with_evidence(errors));
    }
    copied.map_err(platform)?;
    writer.finish().map_err(platform)
}

fn command(mirror: Option<&str>) -> Command {
    let suite = debian().suite.as_str();
    let mut command = Command::new(PROGRAM);
    command
        .args(["--variant=apt", "--mode=root", "--format=tar"])
        .arg(format!("--include={}", debian().packages.join(",")))
        .args([
            "--aptopt=Acquire::Languages \"none\"",
            "--aptopt=Acquire::Retries \"3\"",
        ])
        .args([
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
        ])
        .arg("--dpkgopt=path-exclude=/usr/share/doc/*")
        .arg("--dpkgopt=path-include=/usr/share/doc/*/copyright")
        .arg("--dpkgopt=force-unsafe-io")
        .args([suite, "-"])
        .env("SOURCE_DATE_EPOCH", BASE_TIME.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(mirror) = mirror.map(|mirror| mirror.trim_end_matches('/')) {
        command.args([
            format!("deb {mirror}/debian {suite} main"),
            format!("deb {mirror}/debian {suite}-updates main"),
            format!("deb {mirror}/debian-security {suite}-security main"),
        ]);
    }
    command
}

fn copy(child: &mut Child, writer: &mut LayerWriter) -> io::Result<u64> {
    match child.stdout.take() {
        Some(mut stdout) => io::copy(&mut stdout, writer),
        None => Err(io::Error::other("its output is not connected")),
    }
}

fn last_lines(errors: impl Read) -> Vec<String> {
    let mut bytes = Vec::new();
    // What was read until an error is still what it said.
    let _ = errors.take(ERRORS_BYTES_MAX).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(ERROR_LINES_MAX);
    lines
        .iter()
        .skip(first)
        .map(|line| (*line).to_owned())
        .collect()
}
