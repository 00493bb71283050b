//! The registry as stock clients use it: manifest lists, both compressions, pulls and pushes by skopeo, buildah, podman.

use anyhow::{Context, Result, ensure};
use apron_e2e::images::{Compression, EchoImage};
use apron_e2e::{Platform, run};
use serde_json::Value;
use std::process::Command;

fn skopeo_inspect(platform: &Platform, reference: &str, arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new("skopeo");
    command
        .arg("inspect")
        .args(arguments)
        .arg("--authfile")
        .arg(platform.registry_login()?);
    command.arg("--cert-dir").arg(platform.certificate_dir()?);
    let text = run::ok(command.arg(format!("docker://{}/{reference}", platform.registry())))?;
    serde_json::from_str(&text).context("skopeo printed no JSON")
}

#[test]
fn a_manifest_list_runs_as_the_image_for_this_machine() -> Result<()> {
    let platform = Platform::start()?;
    platform.repository("echo")?;
    let layout = platform.list_layout(&[
        EchoImage::new("foreign").architecture("arm64"),
        EchoImage::new("native"),
    ])?;
    run::ok(&mut platform.push_command(&layout, "echo:list")?)?;
    let list = skopeo_inspect(&platform, "echo:list", &["--raw"])?;
    ensure!(
        list["manifests"]
            .as_array()
            .is_some_and(|all| all.len() == 2),
        "{list}"
    );
    let service =
        platform.running_service("echo", &format!("{}/echo:list", platform.registry()))?;
    ensure!(service.version(&platform)? == "native");
    Ok(())
}

#[test]
fn every_compression_is_stored_and_runs() -> Result<()> {
    let platform = Platform::start()?;
    for (compression, name) in [
        (Compression::None, "plain"),
        (Compression::Gzip, "gzip"),
        (Compression::Zstd, "zstd"),
    ] {
        let image = platform.push(
            &EchoImage::new(name).compression(compression),
            &format!("echo:{name}"),
        )?;
        let manifest = skopeo_inspect(&platform, &format!("echo:{name}"), &["--raw"])?;
        let media = manifest["layers"][0]["mediaType"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        ensure!(
            compression == Compression::None || media.ends_with(name),
            "{media}"
        );
        let service = platform.running_service(&format!("echo-{name}"), &image)?;
        ensure!(service.version(&platform)? == name);
    }
    Ok(())
}

#[test]
fn podman_and_buildah_push_and_pull() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let storage = platform.dir().join("podman");
    let client = |program: &str, arguments: &[&str]| -> Result<Command> {
        let mut command = Command::new(program);
        command
            .arg("--root")
            .arg(storage.join("root"))
            .arg("--runroot")
            .arg(storage.join("run"));
        command.args(["--storage-driver", "vfs"]).args(arguments);
        Ok(command)
    };
    let with_access = |mut command: Command, rest: &[&str]| -> Result<Command> {
        command
            .arg("--authfile")
            .arg(platform.registry_login()?)
            .arg("--cert-dir")
            .arg(platform.certificate_dir()?);
        command.args(rest);
        Ok(command)
    };
    run::ok(&mut with_access(
        client("podman", &["pull", "--quiet"])?,
        &[&image],
    )?)?;
    let zstd = format!("{}/echo:zstd", platform.registry());
    run::ok(&mut with_access(
        client(
            "podman",
            &[
                "push",
                "--quiet",
                "--compression-format",
                "zstd",
                "--format",
                "oci",
            ],
        )?,
        &[&image, &zstd],
    )?)?;
    let docker = format!("{}/echo:docker", platform.registry());
    run::ok(&mut with_access(
        client("buildah", &["push", "--quiet", "--format", "v2s2"])?,
        &[&image, &docker],
    )?)?;
    let manifest = skopeo_inspect(&platform, "echo:docker", &["--raw"])?;
    ensure!(
        manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json",
        "{manifest}"
    );
    run::ok(&mut client("podman", &["rmi", "--all", "--force"])?)?;
    for reference in [&zstd, &docker] {
        let name = reference.rsplit(':').next().context("no tag")?;
        let service = platform.running_service(&format!("echo-{name}"), reference)?;
        ensure!(service.version(&platform)? == "v1");
    }
    Ok(())
}

#[test]
fn pushing_to_a_repository_that_does_not_exist_says_so() -> Result<()> {
    let platform = Platform::start()?;
    let layout = platform.layout(&EchoImage::new("v1"))?;
    let said = run::fails(&mut platform.push_command(&layout, "nobody:v1")?)?;
    ensure!(
        said.contains("nobody") || said.contains("name unknown") || said.contains("not known"),
        "{said}"
    );
    let mut wrong = Command::new("skopeo");
    wrong
        .args(["login", "-u", "AWS", "-p", "not the password", "--authfile"])
        .arg(platform.dir().join("other.json"));
    wrong
        .arg("--cert-dir")
        .arg(platform.certificate_dir()?)
        .arg(platform.registry());
    let said = run::fails(&mut wrong)?;
    ensure!(
        said.contains("unauthorized") || said.contains("invalid username/password"),
        "{said}"
    );
    Ok(())
}
