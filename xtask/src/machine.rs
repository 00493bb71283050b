//! Whether this machine can run Apron: each thing that is missing is named with what to do about it.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Checks everything Apron needs from the machine that no package brings; the error lists all that is missing.
pub fn check() -> Result<()> {
    let mut missing = Vec::new();
    for (name, problem) in [
        ("operating system", operating_system()),
        ("root", root_user()),
        ("overlayfs", overlay()),
        ("namespaces", namespaces()),
        ("cgroups", cgroups()),
        ("virtual network interfaces", veth()),
        ("seccomp", seccomp()),
    ] {
        if let Err(error) = problem {
            missing.push(format!("  {name}: {error:#}"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this machine cannot run Apron yet:\n{}", missing.join("\n"))
}

fn operating_system() -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("Apron runs on Linux on x86-64 only");
    }
    Ok(())
}

/// Whether the process runs as root.
pub fn root_user() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("/proc is not mounted")?;
    let uid = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_whitespace().nth(1));
    if uid != Some("0") {
        bail!(
            "Apron makes namespaces, mounts and firewall rules; run this as root (for example with sudo -E)"
        );
    }
    Ok(())
}

fn overlay() -> Result<()> {
    let known =
        || fs::read_to_string("/proc/filesystems").is_ok_and(|all| all.contains("\toverlay"));
    if !known() {
        Command::new("modprobe").arg("overlay").status().ok();
    }
    if !known() {
        bail!(
            "the kernel does not know overlayfs; load its module (modprobe overlay) or use a kernel with CONFIG_OVERLAY_FS"
        );
    }
    Ok(())
}

fn namespaces() -> Result<()> {
    for name in ["mnt", "net", "pid", "ipc", "uts", "cgroup"] {
        if !Path::new("/proc/self/ns").join(name).exists() {
            bail!("the kernel has no {name} namespaces");
        }
    }
    Ok(())
}

fn cgroups() -> Result<()> {
    let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let has = |controller: &str| {
        unified.split_whitespace().any(|name| name == controller)
            || Path::new("/sys/fs/cgroup")
                .join(controller)
                .join("cgroup.procs")
                .exists()
    };
    let absent: Vec<&str> = ["cpu", "memory", "pids"]
        .into_iter()
        .filter(|name| !has(name))
        .collect();
    if !absent.is_empty() {
        bail!(
            "the controllers {} are not mounted under /sys/fs/cgroup (version 1 or 2)",
            absent.join(", ")
        );
    }
    Ok(())
}

fn veth() -> Result<()> {
    if Path::new("/sys/module/veth").exists() {
        return Ok(());
    }
    // Built-in drivers have no module directory: ask the kernel inside a network namespace that ends with the command.
    let tried = Command::new("unshare")
        .args([
            "--net", "ip", "link", "add", "probe0", "type", "veth", "peer", "name", "probe1",
        ])
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => bail!(
            "a pair of interfaces could not be made ({}); use a kernel with CONFIG_VETH",
            String::from_utf8_lossy(&output.stderr).trim()
        ),
        // Without the programs to ask with, starting Apron is the test.
        Err(_) => Ok(()),
    }
}

fn seccomp() -> Result<()> {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if !actions.split_whitespace().any(|action| action == "errno") {
        bail!("the kernel has no seccomp filters; use a kernel with CONFIG_SECCOMP_FILTER");
    }
    Ok(())
}
