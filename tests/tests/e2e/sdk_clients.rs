//! A small life of a service with the SDKs: boto3 and the AWS SDK for JavaScript.

use anyhow::{Result, ensure};
use apron_e2e::images::EchoImage;
use apron_e2e::{Platform, assets, run};

#[test]
fn boto3_drives_a_service_through_its_life() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let mut command = platform.client(assets::python()?);
    command
        .arg(assets::checkout().join("tests/apps/lifecycle.py"))
        .arg(&image);
    let said = run::ok(&mut command)?;
    ensure!(said.trim_end().ends_with("done"), "{said}");
    Ok(())
}

#[test]
fn the_javascript_sdk_drives_a_service_through_its_life() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let script = platform.dir().join("lifecycle.mjs");
    std::fs::copy(assets::checkout().join("tests/apps/lifecycle.mjs"), &script)?;
    std::os::unix::fs::symlink(
        assets::find("javascript")?.join("node_modules"),
        platform.dir().join("node_modules"),
    )?;
    let mut command = platform.client("node");
    command
        .arg(&script)
        .arg(&image)
        .env("NODE_EXTRA_CA_CERTS", platform.ca());
    let said = run::ok(&mut command)?;
    ensure!(said.trim_end().ends_with("done"), "{said}");
    Ok(())
}
