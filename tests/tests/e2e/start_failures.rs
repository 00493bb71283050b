//! Starting where it cannot work: a clear error, and it works once the cause is gone.

use anyhow::{Result, ensure};
use apron_e2e::platform::Settings;
use apron_e2e::{Platform, run};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    for index in 0..3 {
        let mut platform = Platform::prepare(&Settings::default())?;
        let port = platform.slot.port(index);
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let said = run::fails(&mut platform.apron(&["up"]))?;
        ensure!(
            said.contains(&port.to_string()) && said.contains("in use"),
            "{said}"
        );
        let left = platform.traces()?;
        ensure!(
            left.machine.is_empty(),
            "after the failed start: {:#?}",
            left.machine
        );
        drop(holder);
        platform.up()?;
    }
    Ok(())
}

#[test]
fn without_root_it_says_so() -> Result<()> {
    let platform = Platform::prepare(&Settings::default())?;
    // Another user can read the program only if every directory above it allows it: run a copy.
    let copy = platform.dir().join("copy");
    fs::create_dir_all(&copy)?;
    open_to_all(platform.dir())?;
    open_to_all(&copy)?;
    let program = copy.join("apron");
    fs::copy(apron_e2e::assets::programs()?.join("apron"), &program)?;
    let mut command = std::process::Command::new(&program);
    command
        .arg("--data-dir")
        .arg(platform.data_dir())
        .arg("--run-dir")
        .arg(platform.run_dir())
        .arg("serve");
    let said = run::fails(command.uid(65534).gid(65534))?;
    ensure!(said.contains("root"), "{said}");
    Ok(())
}

fn open_to_all(dir: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[test]
fn a_mistake_in_the_configuration_is_named() -> Result<()> {
    let mut platform = Platform::prepare(&Settings::default())?;
    let file = platform.data_dir().join("apron.toml");
    let good = fs::read_to_string(&file)?;
    for (text, expected) in [
        (format!("colour = \"green\"\n{good}"), "colour"),
        (good.replace("127.0.0.1:", "nowhere:"), "nowhere"),
        (
            good.replace("instance_network = \"", "instance_network = \"x"),
            "instance_network",
        ),
    ] {
        fs::write(&file, text)?;
        let said = run::fails(&mut platform.apron(&["up"]))?;
        ensure!(
            said.contains(expected) && said.contains("apron.toml"),
            "{said}"
        );
    }
    fs::write(&file, good)?;
    platform.up()
}
