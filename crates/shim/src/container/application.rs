//! The application's process, from its fork to its `exec`.

use super::user::{self, Identity};
use super::{Descriptors, REPORT_EXEC, users};
use crate::failure::{Stage, errno_text};
use crate::{seccomp, sys};
use apron_link::instance::Plan;
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::ffi::CString;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;

/// Longest `/etc/passwd` or `/etc/group` read, in bytes.
const ACCOUNTS_BYTES_MAX: u64 = 4 << 20;

/// Search path when the image sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Docker's default set without what a web service has no use for: raw sockets, device nodes, audit records, and the
/// passing on of capabilities.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL);

/// Becomes the application. Never returns; failures go to the report.
pub fn run(plan: &Plan, environment: &[String], descriptors: &Descriptors) -> ! {
    let text = match become_application(plan, environment, descriptors) {
        Ok(never) => match never {},
        Err(text) => text,
    };
    let _ = rustix::io::write(&descriptors.report, text.as_bytes());
    sys::exit_now(127)
}

fn become_application(
    plan: &Plan,
    environment: &[String],
    descriptors: &Descriptors,
) -> Result<std::convert::Infallible, String> {
    let identity = user::resolve(
        &plan.user,
        &accounts("/etc/passwd")?,
        &accounts("/etc/group")?,
    )?;
    rustix::process::setsid().stage("make a session")?;
    wire(plan, descriptors, &identity)?;
    limit(plan)?;
    work_in(&plan.cwd)?;
    let args = c_strings(&plan.args)?;
    let env = completed(environment, plan, &identity);
    let candidates = candidates(&plan.args[0], &env);
    let env = c_strings(&env)?;
    if let Some(users) = &descriptors.users {
        users::enter(users)?;
    }
    drop_privileges(&identity)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    sys::reset_signals();
    sys::seccomp_install(&seccomp::program()).stage("install the system call filter")?;
    rustix::io::write(&descriptors.report, &[REPORT_EXEC]).stage("report")?;
    Err(exec_first(&plan.args[0], &candidates, &args, &env))
}

fn accounts(path: &str) -> Result<String, String> {
    // Not blocking: an image could have a pipe there, and nobody would ever write to it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(errno) => return Err(format!("open {path}: {}", errno_text(errno))),
    };
    let status = rustix::fs::fstat(&file).stage(&format!("look at {path}"))?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(format!("{path} of the image is not a file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(ACCOUNTS_BYTES_MAX)
        .read_to_end(&mut bytes)
        .stage(&format!("read {path}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Connects the standard streams. The pipes are given to the user, so that `/dev/stdout` can be opened by it.
fn wire(plan: &Plan, descriptors: &Descriptors, identity: &Identity) -> Result<(), String> {
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .stage("open /dev/null")?;
    for pipe in [&descriptors.stdout, &descriptors.stderr] {
        let user = Uid::from_raw(plan.users.unwrap_or(0).saturating_add(identity.uid));
        rustix::fs::fchown(pipe, Some(user), None).stage("hand over the outputs")?;
    }
    rustix::stdio::dup2_stdin(&null).stage("connect standard input")?;
    rustix::stdio::dup2_stdout(&descriptors.stdout).stage("connect standard output")?;
    rustix::stdio::dup2_stderr(&descriptors.stderr).stage("connect standard error")
}

fn limit(plan: &Plan) -> Result<(), String> {
    // More than the machine's own bound (fs.nr_open) cannot be given; then what is inherited has to do.
    let inherited = rustix::process::getrlimit(Resource::Nofile).maximum;
    let wanted = plan.open_files_max;
    let attempts = [
        Some(wanted),
        inherited.map(|inherited| inherited.min(wanted)),
    ];
    let set = |files| {
        rustix::process::setrlimit(
            Resource::Nofile,
            Rlimit {
                current: files,
                maximum: files,
            },
        )
    };
    set(attempts[0])
        .or_else(|_| set(attempts[1]))
        .stage("limit open files")?;
    // One byte is the value that also keeps the host's crash handler from being started.
    let core = Rlimit {
        current: Some(1),
        maximum: Some(1),
    };
    rustix::process::setrlimit(Resource::Core, core).stage("forbid core dumps")?;
    // When the host itself runs out of memory, instances go before the platform. Refused only on odd kernels.
    let _ = std::fs::write("/proc/self/oom_score_adj", "300");
    Ok(())
}

fn work_in(directory: &str) -> Result<(), String> {
    // The mask of new files is not set yet, and a directory that everybody may write to is not what an image asks for.
    let make = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory);
    make.stage(&format!("make the working directory {directory}"))?;
    rustix::process::chdir(directory).stage(&format!("enter the working directory {directory}"))
}

/// The environment, with the home directory that `USER` implies.
fn completed(environment: &[String], plan: &Plan, identity: &Identity) -> Vec<String> {
    let mut env: Vec<String> = environment
        .iter()
        .filter(|entry| !entry.is_empty())
        .cloned()
        .collect();
    let has = |env: &[String], name: &str| env.iter().any(|entry| entry.starts_with(name));
    if !has(&env, "PATH=") {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    if !has(&env, "HOME=") {
        env.push(format!("HOME={}", identity.home));
    }
    if !has(&env, "HOSTNAME=") {
        env.push(format!("HOSTNAME={}", plan.hostname));
    }
    env
}

fn candidates(program: &str, env: &[String]) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let path = env
        .iter()
        .rev()
        .find_map(|entry| entry.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH);
    path.split(':')
        .map(|directory| if directory.is_empty() { "." } else { directory })
        .map(|directory| format!("{}/{program}", directory.trim_end_matches('/')))
        .collect()
}

fn c_strings(texts: &[String]) -> Result<Vec<CString>, String> {
    texts
        .iter()
        .map(|text| {
            CString::new(text.as_str())
                .map_err(|_| format!("`{}` contains a zero byte", text.escape_debug()))
        })
        .collect()
}

fn drop_privileges(identity: &Identity) -> Result<(), String> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if CAPABILITIES.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel knows no further ones.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(format!("drop capabilities: {}", errno_text(errno))),
        }
    }
    rustix::thread::clear_ambient_capability_set().stage("drop capabilities")?;
    let groups: Vec<Gid> = identity
        .groups
        .iter()
        .map(|gid| Gid::from_raw(*gid))
        .collect();
    rustix::thread::set_thread_groups(&groups).stage("set the groups")?;
    let gid = Gid::from_raw(identity.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).stage("set the group")?;
    let uid = Uid::from_raw(identity.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).stage("set the user")?;
    let none = CapabilitySet::empty();
    let kept = if identity.uid == 0 {
        CAPABILITIES
    } else {
        none
    };
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: none,
    };
    rustix::thread::set_capabilities(None, sets).stage("drop capabilities")?;
    rustix::thread::set_no_new_privs(true).stage("forbid new privileges")
}

/// Runs the first candidate that can be run and explains why none could.
fn exec_first(program: &str, candidates: &[String], args: &[CString], env: &[CString]) -> String {
    let mut denied = None;
    for candidate in candidates {
        let Ok(path) = CString::new(candidate.as_str()) else {
            return format!("exec {program}: the name contains a zero byte");
        };
        match sys::exec(&path, args, env) {
            Errno::NOENT if !std::path::Path::new(candidate).exists() => {}
            Errno::NOTDIR => {}
            Errno::ACCESS if candidates.len() > 1 => denied = Some(candidate),
            errno => return explain(candidate, errno),
        }
    }
    match denied {
        Some(path) => explain(path, Errno::ACCESS),
        None if program.contains('/') => format!("exec {program}: no such file or directory"),
        None => format!("exec {program}: not found in PATH"),
    }
}

fn explain(path: &str, errno: Errno) -> String {
    let mut head = [0; 256];
    let length = std::fs::File::open(path)
        .and_then(|mut file| file.read(&mut head))
        .unwrap_or(0);
    format!(
        "exec {path}: {}{}",
        errno_text(errno),
        hint(&head[..length], errno)
    )
}

/// What usually lies behind an answer of `exec`, from the first bytes of the file.
fn hint(head: &[u8], errno: Errno) -> String {
    let interpreter = head.strip_prefix(b"#!").and_then(|rest| {
        let line = rest.split(|byte| *byte == b'\n').next()?;
        String::from_utf8_lossy(line)
            .split_whitespace()
            .next()
            .map(str::to_owned)
    });
    match (errno, interpreter) {
        (Errno::NOENT, Some(interpreter)) => format!(" (its interpreter `{interpreter}` is not in the image)"),
        (Errno::NOENT, None) => " (its dynamic loader is not in the image)".to_owned(),
        (Errno::NOEXEC, _) => match elf_machine(head) {
            Some(machine) => format!(" (the image is probably built for another architecture: {machine})"),
            None => " (the image is probably built for another architecture, or a script lacks its first line `#!`)"
                .to_owned(),
        },
        _ => String::new(),
    }
}

/// The architecture an ELF file says it is for (System V ABI, `e_machine`).
fn elf_machine(head: &[u8]) -> Option<String> {
    if !head.starts_with(b"\x7fELF") || head.len() < 20 {
        return None;
    }
    let machine = u16::from_le_bytes([head[18], head[19]]);
    Some(match machine {
        0x03 => "386".to_owned(),
        0x28 => "arm".to_owned(),
        0x3e => "amd64".to_owned(),
        0xb7 => "arm64".to_owned(),
        0xf3 => "riscv64".to_owned(),
        other => format!("machine {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_a_slash_is_searched_for() {
        let env = |path: &str| vec![format!("PATH={path}")];
        assert_eq!(candidates("./run", &env("/bin")), ["./run"]);
        assert_eq!(
            candidates("run", &env("/bin:/opt/x/:")),
            ["/bin/run", "/opt/x/run", "./run"]
        );
        assert_eq!(candidates("run", &[])[0], "/usr/local/sbin/run");
    }

    #[test]
    fn the_evidence_of_a_failed_exec_is_named() {
        let mut arm = [0_u8; 20];
        arm[..4].copy_from_slice(b"\x7fELF");
        arm[18] = 0xb7;
        assert!(hint(&arm, Errno::NOEXEC).contains("another architecture: arm64"));
        assert!(
            hint(b"#!/bin/bash -e\n", Errno::NOENT).contains("`/bin/bash` is not in the image")
        );
        assert_eq!(hint(b"#!/bin/sh", Errno::ACCESS), "");
    }
}
