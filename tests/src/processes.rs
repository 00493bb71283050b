//! The processes of a platform under test, found by what the kernel says of them.

use crate::Platform;
use crate::traces::names;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `apron serve`.
    Serve,
    /// `apron-proxy`.
    Proxy,
    /// `apron-shim`.
    Shim,
    /// Inside an instance.
    Application,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// What it is for.
    pub role: Role,
    /// Its command line.
    pub command: String,
}

impl Process {
    /// Ends it at once.
    pub fn kill(&self) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            // It may have ended by itself meanwhile.
            kill_process(pid, Signal::KILL).ok();
        }
    }

    /// When it was started, in clock ticks since boot (proc(5), field 22 of `stat`); zero when it has ended.
    pub fn started(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let field = |(_, rest): (&str, &str)| rest.split(' ').nth(19)?.parse().ok();
        stat.rsplit_once(") ").and_then(field).unwrap_or(0)
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        state(self.pid).is_some_and(|state| state != 'Z' && state != 'X')
    }
}

/// Every process of the platform: its own programs and what runs in its instances.
pub fn all(platform: &Platform) -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc is not mounted")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        if state(pid).is_none_or(|state| state == 'Z' || state == 'X') {
            continue;
        }
        if let Some(process) = identify(platform, pid, &entry.path()) {
            found.push(process);
        }
    }
    Ok(found)
}

/// The processes of one role.
pub fn of_role(platform: &Platform, role: Role) -> Result<Vec<Process>> {
    Ok(all(platform)?
        .into_iter()
        .filter(|process| process.role == role)
        .collect())
}

/// The one process of this role.
pub fn only(platform: &Platform, role: Role) -> Result<Process> {
    let mut found = of_role(platform, role)?;
    match (found.pop(), found.len()) {
        (Some(process), 0) => Ok(process),
        (_, more) => bail!("{} processes of role {role:?}, expected one", more + 1),
    }
}

fn identify(platform: &Platform, pid: i32, proc: &Path) -> Option<Process> {
    let read = |name: &str| fs::read(proc.join(name)).unwrap_or_default();
    let dir = platform.dir().as_os_str().as_bytes();
    let mentions = |bytes: &[u8]| bytes.windows(dir.len()).any(|window| window == dir);
    let command: Vec<u8> = read("cmdline")
        .iter()
        .map(|byte| if *byte == 0 { b' ' } else { *byte })
        .collect();
    let command = String::from_utf8_lossy(&command).trim().to_owned();
    let program = fs::read_link(proc.join("exe")).ok()?;
    let program = program
        .file_name()?
        .to_str()?
        .trim_end_matches(" (deleted)")
        .to_owned();
    let ours = mentions(command.as_bytes()) || mentions(&read("environ"));
    let in_cgroup = names(
        &String::from_utf8_lossy(&read("cgroup")),
        &platform.slot.name(),
    );
    let role = match program.as_str() {
        "apron" if ours => Role::Serve,
        "apron-proxy" if ours || in_cgroup => Role::Proxy,
        // The first process of an instance is the shim's program too, in a namespace of its own.
        "apron-shim" if (ours || in_cgroup) && !in_own_pid_namespace(pid) => Role::Shim,
        _ if in_cgroup => Role::Application,
        _ => return None,
    };
    Some(Process { pid, role, command })
}

/// Whether a process lives in another process-id namespace than this test.
fn in_own_pid_namespace(pid: i32) -> bool {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    namespace(&pid.to_string()) != namespace("self")
}

fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
