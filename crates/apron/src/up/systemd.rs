//! Where systemd runs, it starts the platform, also after a reboot.

use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// Where the unit is put.
const UNIT_PATH: &str = "/etc/systemd/system/apron.service";

/// The unit; `@PROGRAM@` is this program's path.
const UNIT: &str = include_str!("../../../../deploy/apron.service");

/// Whether systemd is to run this installation: it is the machine's init, and the directories are the usual ones.
pub fn is_in_charge(paths: &Paths) -> bool {
    let usual =
        paths.data() == Path::new("/var/lib/apron") && paths.run() == Path::new("/run/apron");
    usual && Path::new("/run/systemd/system").exists()
}

/// Installs the unit and starts it.
pub fn start() -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program's path")?;
    let unit = UNIT.replace("@PROGRAM@", &program.to_string_lossy());
    if std::fs::read_to_string(UNIT_PATH).ok().as_deref() != Some(unit.as_str()) {
        std::fs::write(UNIT_PATH, unit).with_context(|| format!("cannot write {UNIT_PATH}"))?;
        systemctl(&["daemon-reload"])?;
    }
    systemctl(&["enable", "--now", "apron.service"])
}

/// Stops and removes the unit, if it is there.
pub fn stop() -> Result<()> {
    if !Path::new(UNIT_PATH).exists() {
        return Ok(());
    }
    systemctl(&["disable", "--now", "apron.service"])?;
    std::fs::remove_file(UNIT_PATH).with_context(|| format!("cannot remove {UNIT_PATH}"))?;
    systemctl(&["daemon-reload"])
}

fn systemctl(arguments: &[&str]) -> Result<()> {
    let output = Command::new("systemctl")
        .args(arguments)
        .output()
        .context("cannot run systemctl")?;
    if !output.status.success() {
        bail!(
            "systemctl {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
