//! Images of other registries, by name, with and without credentials, proved against a second registry on loopback.

use anyhow::{Result, ensure};
use apron_e2e::images::EchoImage;
use apron_e2e::registry::Registry;
use apron_e2e::{Platform, run};

#[test]
fn an_image_of_another_registry_is_deployed() -> Result<()> {
    let platform = Platform::start()?;
    let other = Registry::start(&platform, 5, None)?;
    let image = other.push(
        &platform.layout(&EchoImage::new("elsewhere"))?,
        "team/echo:v1",
    )?;
    let service = platform.running_service("echo", &image)?;
    ensure!(service.version(&platform)? == "elsewhere");
    Ok(())
}

#[test]
fn credentials_of_another_registry_are_used_and_asked_for() -> Result<()> {
    let platform = Platform::start()?;
    let other = Registry::start(&platform, 5, Some(("reader", "correct horse")))?;
    let image = other.push(&platform.layout(&EchoImage::new("guarded"))?, "echo:v1")?;
    let service = platform.create_service("echo", &image)?;
    service.settle_as(&platform, "CREATE_FAILED")?;
    let why = service.events(&platform)?.join("\n")
        + &service
            .deployment_log(&platform, &service.operation)?
            .join("\n");
    ensure!(
        why.contains(&other.host()) && (why.contains("401") || why.contains("credentials")),
        "{why}"
    );

    let mut login = platform.apron(&[
        "registry",
        "login",
        &other.host(),
        "-u",
        "reader",
        "--password-stdin",
    ]);
    run::ok_with_input(&mut login, Some("correct horse\n"))?;
    service.update_to(&platform, &image)?;
    service.settle_as(&platform, "RUNNING")?;
    ensure!(service.version(&platform)? == "guarded");
    Ok(())
}
