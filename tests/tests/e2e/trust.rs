//! `apron trust` makes the machine's own clients trust the platform, and takes it back.

use anyhow::{Result, ensure};
use apron_e2e::images::EchoImage;
use apron_e2e::{Platform, assets, run};
use std::process::Command;

#[test]
fn clients_trust_the_platform_after_apron_trust_and_no_longer_after_its_removal() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let service = platform.running_service("echo", &image)?;
    let url = format!("https://{}:{}/", service.url, platform.https_port());
    let curl = || {
        let mut command = Command::new("curl");
        command.args(["-sS", &url]);
        command
    };
    let login = || -> Result<Command> {
        let mut command = Command::new("skopeo");
        command
            .args(["login", "-u", "AWS", "--password-stdin", "--authfile"])
            .arg(platform.dir().join("own.json"));
        command.arg(platform.registry());
        Ok(command)
    };
    let mut password = platform.client(assets::aws_v1()?);
    let password = run::ok(password.args(["ecr", "get-login-password"]))?;

    run::fails(&mut curl())?;
    run::ok(&mut platform.apron(&["trust"]))?;
    let trusted = run::ok(&mut curl());
    let logged_in = run::ok_with_input(&mut login()?, Some(password.trim()));
    // Taken back before anything is judged: the machine is as before whatever comes out.
    run::ok(&mut platform.apron(&["trust", "--remove"]))?;
    ensure!(trusted?.contains("\"version\":\"v1\""));
    ensure!(logged_in?.contains("Login Succeeded"));
    run::fails(&mut curl())?;
    for store in ["/etc/containers/certs.d", "/etc/docker/certs.d"] {
        let left = std::path::Path::new(store).join(platform.registry());
        ensure!(!left.exists(), "{} is left", left.display());
    }
    Ok(())
}
