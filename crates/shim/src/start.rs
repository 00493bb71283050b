//! From the command line to a running container.

use crate::container::{Descriptors, init, users};
use crate::failure::Stage;
use crate::handover::{self, Handover};
use crate::supervise::{Container, Supervisor};
use crate::sys;
use apron_link::instance::{CgroupView, PID_FILE, PLAN_FILE, Plan, VERSION};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::pipe::PipeFlags;
use rustix::process::PidfdFlags;
use std::ffi::OsStr;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// The namespaces every container has of its own; the network's is prepared by the node, the control groups' is made
/// after the container joined them.
const NAMESPACES: i32 =
    libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// Bytes of output that wait to be read before the application has to wait too.
const OUTPUT_PIPE_BYTES: usize = 256 << 10;

/// Makes the container and what watches over it. In the container's own process this never returns.
pub fn start(directory: &Path) -> Result<Supervisor, String> {
    sys::close_inherited();
    let Handover {
        listener,
        network,
        disk,
        environment,
        trust,
    } = handover::take()?;
    // A session of its own: signals to the node's group do not reach it. Refused when it is a leader already.
    let _ = rustix::process::setsid();
    // The platform goes last when the machine runs out of memory.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
    let listener = UnixListener::from(listener);
    listener.set_nonblocking(true).stage("prepare the socket")?;
    std::fs::write(directory.join(PID_FILE), std::process::id().to_string())
        .stage("write the process id")?;
    let plan = read_plan(directory)?;
    let users = match plan.users.map(users::namespace).transpose() {
        Ok(users) => users,
        Err(text) => return Supervisor::failed(directory, &plan, listener, text),
    };
    let given = Given {
        network,
        disk,
        users,
        trust,
    };
    let (container, child_side) = pipes(given)?;
    sys::block_signals();
    let cgroup = cgroup_to_be_born_in(&plan)?;
    let forked = sys::fork_into(NAMESPACES, cgroup.as_ref().map(AsFd::as_fd));
    match forked.stage("make the container's namespaces") {
        Ok(Some(pid)) => {
            drop((child_side, environment));
            let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
                .stage("watch the container")?;
            Supervisor::new(directory, &plan, listener, container.attach(pid, pidfd))
        }
        Ok(None) => {
            drop((listener, container, cgroup));
            init::run(&plan, &environment, directory, child_side)
        }
        Err(text) => Supervisor::failed(directory, &plan, listener, text),
    }
}

/// Whether containers can have user namespaces here, the first with this id of the machine for its root.
pub fn probe_users(first: &OsStr, layers: &Path) -> Result<(), String> {
    let first = first.to_str().and_then(|text| text.parse().ok());
    users::probe(first.ok_or("the first id is no number")?, layers)
}

/// The one group of version 2. Being born in it spares the move into it.
fn cgroup_to_be_born_in(plan: &Plan) -> Result<Option<OwnedFd>, String> {
    let (CgroupView::V2, [directory]) = (&plan.cgroup_view, &plan.cgroups[..]) else {
        return Ok(None);
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let group = rustix::fs::open(directory, flags, Mode::empty())
        .stage(&format!("open the control group {}", directory.display()))?;
    Ok(Some(group))
}

fn read_plan(directory: &Path) -> Result<Plan, String> {
    let path = directory.join(PLAN_FILE);
    let bytes = std::fs::read(&path).stage(&format!("read {}", path.display()))?;
    let plan: Plan = serde_json::from_slice(&bytes)
        .map_err(|error| format!("read {}: {error}", path.display()))?;
    if plan.version != VERSION {
        return Err(format!(
            "the plan has version {}, this shim reads version {VERSION}",
            plan.version
        ));
    }
    if plan.args.is_empty() {
        return Err("the plan names no program".to_owned());
    }
    Ok(plan)
}

/// The shim's ends of a container's pipes.
pub struct Pipes {
    stdout: OwnedFd,
    stderr: OwnedFd,
    report: OwnedFd,
    status: OwnedFd,
}

impl Pipes {
    fn attach(self, pid: rustix::process::Pid, pidfd: OwnedFd) -> Container {
        let Pipes {
            stdout,
            stderr,
            report,
            status,
        } = self;
        Container {
            pid,
            pidfd,
            stdout,
            stderr,
            report,
            status,
        }
    }
}

/// What the container is made from, besides its pipes.
struct Given {
    network: OwnedFd,
    disk: OwnedFd,
    users: Option<OwnedFd>,
    trust: Option<OwnedFd>,
}

fn pipes(given: Given) -> Result<(Pipes, Descriptors), String> {
    let Given {
        network,
        disk,
        users,
        trust,
    } = given;
    let pipe = || -> Result<(OwnedFd, OwnedFd), String> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).stage("make a pipe")?;
        // Only the reading side: the application expects writes that wait.
        rustix::io::ioctl_fionbio(read.as_fd(), true).stage("prepare a pipe")?;
        Ok((read, write))
    };
    let (stdout, child_stdout) = pipe()?;
    let (stderr, child_stderr) = pipe()?;
    for output in [&stdout, &stderr] {
        // What an application may print while its outputs rest; where that is too much, the kernel's own.
        let _ = rustix::pipe::fcntl_setpipe_size(output, OUTPUT_PIPE_BYTES);
    }
    let (report, child_report) = pipe()?;
    let (status, child_status) = pipe()?;
    for descriptor in [&network, &disk] {
        rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC).stage("prepare a descriptor")?;
    }
    let descriptors = Descriptors {
        network,
        disk,
        users,
        trust,
        stdout: child_stdout,
        stderr: child_stderr,
        report: child_report,
        status: child_status,
    };
    Ok((
        Pipes {
            stdout,
            stderr,
            report,
            status,
        },
        descriptors,
    ))
}
