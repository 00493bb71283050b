//! Process 1 of the container.

use super::{Descriptors, application, cgroup_view, mounts, root, users};
use crate::failure::Stage;
use crate::sys;
use apron_link::instance::{CgroupView, Plan};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions};
use rustix::thread::{CapabilitySet, CapabilitySets, LinkNameSpaceType, UnshareFlags};
use std::path::Path;

/// Makes the container, starts the application and stays until it ends. Never returns.
pub fn run(plan: &Plan, environment: &[String], directory: &Path, descriptors: Descriptors) -> ! {
    match start(plan, environment, directory, &descriptors) {
        Ok(application) => match confine(&descriptors) {
            Ok(()) => {
                let Descriptors { status, .. } = descriptors;
                sys::close_all_but(status.as_fd());
                attend(application, &status)
            }
            Err(text) => fail(&descriptors, &text),
        },
        Err(text) => fail(&descriptors, &text),
    }
}

fn fail(descriptors: &Descriptors, text: &str) -> ! {
    let _ = rustix::io::write(&descriptors.report, text.as_bytes());
    sys::exit_now(1)
}

fn start(
    plan: &Plan,
    environment: &[String],
    directory: &Path,
    descriptors: &Descriptors,
) -> Result<Pid, String> {
    end_with_the_shim(&descriptors.status)?;
    rustix::process::umask(rustix::fs::Mode::empty());
    rustix::thread::move_into_link_name_space(
        descriptors.network.as_fd(),
        Some(LinkNameSpaceType::Network),
    )
    .stage("enter the network namespace")?;
    join_groups(plan)?;
    // The namespace shows the groups joined above as its root, so it comes after them.
    new_cgroup_namespace()?;
    let identity = root::enter(plan, directory, descriptors)?;
    if let Some(first) = plan.users {
        users::make_files_as(first)?;
        end_with_the_shim(&descriptors.status)?;
    }
    mounts::mount_all(plan.shm_bytes, plan.users.unwrap_or(0))?;
    cgroup_view::mount(&plan.cgroup_view);
    root::write_names(plan)?;
    if let Some(trust) = &descriptors.trust {
        root::write_trust(trust)?;
    }
    if let Some(identity) = &identity {
        root::attach_identity(identity)?;
    }
    rustix::system::sethostname(plan.hostname.as_bytes()).stage("set the host name")?;
    match sys::fork_into(0, None).stage("start a process for the application")? {
        Some(application) => Ok(application),
        None => application::run(plan, environment, descriptors),
    }
}

/// Joins the groups of version 1; in version 2 the init was born in its group. A thread that moves itself, and itself
/// alone, is spared a lock that waits for the whole machine (some 10 ms): hence `tasks` and zero.
fn join_groups(plan: &Plan) -> Result<(), String> {
    if plan.cgroup_view == CgroupView::V2 {
        return Ok(());
    }
    for directory in &plan.cgroups {
        std::fs::write(directory.join("tasks"), "0")
            .stage(&format!("join the control group {}", directory.display()))?;
    }
    Ok(())
}

fn new_cgroup_namespace() -> Result<(), String> {
    #[allow(unsafe_code)]
    // SAFETY: the flag gives the only thread another view of control groups; no descriptor or memory is affected.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) }
        .stage("make a control group namespace")
}

/// Asks the kernel to end this process, and with it the container, when the shim ends.
fn end_with_the_shim(status: &OwnedFd) -> Result<(), String> {
    let _ = rustix::thread::set_name(c"apron-init");
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .stage("bind to the shim's life")?;
    // Not readable through /proc/1 from inside: the application must not find the shim's program or descriptors.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).stage("hide the init")?;
    // The shim may have ended before the line above; it holds the other end of the status pipe.
    let mut probe = [PollFd::new(status, PollFlags::OUT)];
    poll(
        &mut probe,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    )
    .stage("look for the shim")?;
    if probe[0].revents().contains(PollFlags::ERR) {
        return Err("the shim has ended".to_owned());
    }
    Ok(())
}

/// Leaves the init nothing but the right to signal the application, whose root may signal it in turn.
fn confine(descriptors: &Descriptors) -> Result<(), String> {
    if let Some(users) = &descriptors.users {
        users::enter(users)?;
    }
    let kill = CapabilitySet::KILL;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: kill,
        permitted: kill,
        inheritable: none,
    };
    rustix::thread::set_capabilities(None, sets).stage("drop the init's capabilities")?;
    rustix::thread::set_no_new_privs(true).stage("forbid the init new privileges")?;
    // Changing its user undid both.
    end_with_the_shim(&descriptors.status)
}

/// Forwards signals to the application and collects every process that ends, until the application does.
fn attend(application: Pid, status: &OwnedFd) -> ! {
    loop {
        while let Ok(Some((pid, ended))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid == application {
                let code = ended.exit_status().unwrap_or(-1);
                let signal = ended.terminating_signal().unwrap_or(-1);
                let mut message = [0; 8];
                message[..4].copy_from_slice(&code.to_ne_bytes());
                message[4..].copy_from_slice(&signal.to_ne_bytes());
                let _ = rustix::io::write(status, &message);
                sys::exit_now(0)
            }
        }
        match sys::next_signal() {
            libc::SIGCHLD | -1 => {}
            signal => sys::kill(application, signal),
        }
    }
}
