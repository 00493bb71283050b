//! Users of the container that are nobody on the machine: a user namespace, and layers seen through its eyes.
//!
//! The namespace is entered last. Everything before, the mounts above all, is made by the machine's root and belongs to the
//! machine's namespace, so that the container's own root has no rights over it: its capabilities count for files and processes
//! of its own users and for nothing else. See user_namespaces(7) and mount_setattr(2).

use crate::failure::Stage;
use crate::sys;
use apron_link::instance::USERS;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitOptions};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::path::Path;

/// A namespace whose users and groups are the machine's ids from `first` on. It is held by the descriptor alone.
pub fn namespace(first: u32) -> Result<OwnedFd, String> {
    let (wait, go) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).stage("make a pipe")?;
    let holder = sys::fork_into(libc::CLONE_NEWUSER, None).stage("make a user namespace")?;
    let Some(holder) = holder else {
        // Until the other end is closed, by whatever.
        drop(go);
        let _ = rustix::io::read(&wait, &mut [0; 1]);
        sys::exit_now(0)
    };
    let namespace = describe(holder, first);
    drop(go);
    rustix::process::waitpid(Some(holder), WaitOptions::empty()).stage("collect a process")?;
    namespace
}

fn describe(holder: Pid, first: u32) -> Result<OwnedFd, String> {
    let process = format!("/proc/{}", holder.as_raw_nonzero());
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("{process}/{map}"), format!("0 {first} {USERS}\n"))
            .stage(&format!("write the {map} of a user namespace"))?;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(format!("{process}/ns/user"), flags, Mode::empty())
        .stage("open a user namespace")
}

/// A mount of a directory, attached nowhere yet, in which the ids on the disk are those of the container.
pub fn seen_by(users: &OwnedFd, directory: &Path) -> Result<OwnedFd, String> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, directory, flags)
        .stage(&format!("open {}", directory.display()))?;
    sys::map_ids(tree.as_fd(), users.as_fd())
        .stage(&format!("map the owners of {}", directory.display()))?;
    Ok(tree)
}

/// What this process makes from now on belongs to the container's root, and its rights are as before. The kernel forgets
/// what it was told to do when the parent ends.
pub fn make_files_as(first: u32) -> Result<(), String> {
    sys::set_file_ids(first);
    // The kernel takes the capabilities for files away from a process whose id for files is not root's any more.
    let mut sets = rustix::thread::capabilities(None).stage("look at capabilities")?;
    sets.effective = sets.permitted;
    rustix::thread::set_capabilities(None, sets).stage("keep capabilities")
}

/// Becomes the container's root, with every capability there, and none outside.
pub fn enter(users: &OwnedFd) -> Result<(), String> {
    rustix::thread::move_into_link_name_space(users.as_fd(), Some(LinkNameSpaceType::User))
        .stage("enter the user namespace")?;
    rustix::thread::set_thread_groups(&[]).stage("leave the machine's groups")?;
    let (user, group) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_res_gid(group, group, group).stage("become the container's root")?;
    rustix::thread::set_thread_res_uid(user, user, user).stage("become the container's root")
}

/// Whether this machine can do it for layers in this directory. What is mounted for that goes with this process.
pub fn probe(first: u32, directory: &Path) -> Result<(), String> {
    let layers = seen_by(&namespace(first)?, directory)?;
    #[allow(unsafe_code)]
    // SAFETY: the flag gives the only thread another view of mounts; no descriptor or memory is affected.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
        .stage("make a mount namespace")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).stage("keep mounts private")?;
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("tmpfs", directory, "tmpfs", quiet, c"mode=700")
        .stage("mount a place for a trial")?;
    rustix::process::chdir(directory).stage("enter the place of a trial")?;
    for name in ["layers", "empty", "root"] {
        rustix::fs::mkdir(name, Mode::RWXU).stage("make a directory for a trial")?;
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&layers, "", CWD, "layers", flags).stage("attach the layers")?;
    // Linux 5.12 to 5.18 map owners, and take no such mounts for layers.
    let layers = c"lowerdir=layers:empty";
    rustix::mount::mount("overlay", "root", "overlay", quiet, layers)
        .stage("mount layers whose owners are mapped")
}
