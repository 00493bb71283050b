//! What a machine needs before anything is tried, so that the missing thing is named.

use crate::config::NodeConfig;
use crate::error::NodeError;
use std::os::unix::fs::PermissionsExt;

/// Checks what can be seen without changing anything; the rest shows when the first slot is made.
pub fn check(config: &NodeConfig) -> Result<(), NodeError> {
    if !rustix::process::geteuid().is_root() {
        return Err(missing("the right to make containers", "run as root"));
    }
    let file_systems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    for (name, feature) in [
        ("overlay", "the overlay file system"),
        ("ext4", "the ext4 file system"),
    ] {
        let known = file_systems
            .lines()
            .any(|line| line.split_whitespace().next_back() == Some(name));
        // The kernel loads a module on the first mount, when there is one.
        if !known && !module_exists(name) {
            return Err(missing(
                feature,
                &format!("it is not in /proc/filesystems; try `modprobe {name}`"),
            ));
        }
    }
    let namespaces = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];
    if let Some(name) = namespaces
        .iter()
        .find(|name| !std::path::Path::new("/proc/self/ns").join(name).exists())
    {
        return Err(missing(
            "a kind of namespace",
            &format!("/proc/self/ns/{name} does not exist"),
        ));
    }
    let actions =
        std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if !actions.split_whitespace().any(|action| action == "errno") {
        return Err(missing(
            "the filter of system calls (seccomp)",
            "the kernel was built without it",
        ));
    }
    match std::fs::metadata(&config.shim) {
        Ok(status) if status.permissions().mode() & 0o111 != 0 => Ok(()),
        Ok(_) => Err(missing(
            "the program of the shim",
            &format!("{} is not executable", config.shim.display()),
        )),
        Err(error) => Err(missing(
            "the program of the shim",
            &format!("{}: {error}", config.shim.display()),
        )),
    }
}

fn module_exists(name: &str) -> bool {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let list = std::path::Path::new("/lib/modules")
        .join(release)
        .join("modules.dep");
    std::fs::read_to_string(list).is_ok_and(|text| text.contains(&format!("/{name}.ko")))
}

fn missing(feature: &'static str, detail: &str) -> NodeError {
    NodeError::Missing {
        feature,
        detail: detail.to_owned(),
    }
}
