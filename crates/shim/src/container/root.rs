//! The container's file system: layers under a bounded disk, entered so that nothing of the host remains.

use super::{Descriptors, users};
use crate::failure::{Stage, errno_text};
use crate::handover::read_from_start;
use apron_link::instance::{IDENTITY_DIRECTORY, IDENTITY_PATH, Plan, TRUST_PATH};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// Longest mount options the kernel takes, in bytes: a page, with its end.
const MOUNT_OPTIONS_BYTES_MAX: usize = 4095;

/// Largest file of certificates to trust, in bytes; that of a system has some 200 KiB.
const TRUST_BYTES_MAX: usize = 8 << 20;

/// Mounts the root and makes it the only thing there is. What comes back is the directory with the token, which is to be
/// attached where the container looks for it.
pub fn enter(
    plan: &Plan,
    directory: &Path,
    descriptors: &Descriptors,
) -> Result<Option<OwnedFd>, String> {
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .stage("keep mounts private")?;
    let identity = plan
        .identity
        .then(|| open_identity(directory))
        .transpose()?;
    let disk_at = directory.join("disk");
    make_directory(&disk_at)?;
    rustix::mount::move_mount(
        &descriptors.disk,
        "",
        CWD,
        &disk_at,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .stage("attach the disk")?;
    for name in ["upper", "work"] {
        make_directory(&disk_at.join(name))?;
    }
    // The root directory of the container, which is its root's.
    if let Some(first) = plan.users {
        let (user, group) = (Uid::from_raw(first), Gid::from_raw(first));
        rustix::fs::chown(disk_at.join("upper"), Some(user), Some(group))
            .stage("give the disk to the container")?;
    }
    let root = directory.join("rootfs");
    make_directory(&root)?;
    let options = overlay_options(plan, &disk_at)?;
    // Layer names are relative to keep 127 of them within one page of options.
    let layers = layers_directory(plan, directory, descriptors.users.as_ref())?;
    rustix::process::chdir(&layers).stage("enter the directory of layers")?;
    // No device nodes: an image could bring one of the host's disk.
    rustix::mount::mount(
        "overlay",
        &root,
        "overlay",
        MountFlags::NODEV,
        options.as_c_str(),
    )
    .stage(&format!(
        "mount the {} layers of the image",
        plan.layers.len()
    ))?;
    pivot(&root)?;
    Ok(identity)
}

/// The directory of layers, as the container's users see it.
fn layers_directory(
    plan: &Plan,
    directory: &Path,
    users: Option<&OwnedFd>,
) -> Result<PathBuf, String> {
    let Some(users) = users else {
        return Ok(plan.layers_directory.clone());
    };
    let tree = users::seen_by(users, &plan.layers_directory)?;
    let at = directory.join("layers");
    make_directory(&at)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&tree, "", CWD, &at, flags).stage("attach the layers")?;
    Ok(at)
}

/// A mount of the directory that the node puts tokens into, attached nowhere yet.
fn open_identity(directory: &Path) -> Result<OwnedFd, String> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, directory.join(IDENTITY_DIRECTORY), flags)
        .stage("open the directory of the token")
}

/// Attaches it, for reading. The root has been changed already, so no link of the image leads out of the container.
pub fn attach_identity(identity: &OwnedFd) -> Result<(), String> {
    let path = Path::new(IDENTITY_PATH);
    for directory in path
        .ancestors()
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .skip(1)
    {
        make_directory(directory)?;
    }
    let status = rustix::fs::lstat(path).stage("look at the place of the token")?;
    if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
        return Err(format!("{IDENTITY_PATH} of the image is not a directory"));
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(identity, "", CWD, path, flags).stage("attach the token")?;
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | quiet, "")
        .stage("keep the token from being written")
}

/// Makes `root` the root directory and lets go of the old one.
fn pivot(root: &Path) -> Result<(), String> {
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let old = rustix::fs::open("/", flags, Mode::empty()).stage("open the host's root")?;
    rustix::process::chdir(root).stage("enter the new root")?;
    rustix::process::pivot_root(".", ".").stage("change the root")?;
    rustix::process::fchdir(&old).stage("go back to the old root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).stage("let go of the old root")?;
    rustix::process::chdir("/").stage("enter the new root")
}

fn overlay_options(plan: &Plan, disk: &Path) -> Result<CString, String> {
    // `volatile` skips synchronising a disk that nobody will ever mount again.
    // What is moved or given other rights is copied, as a layer has no words for anything else.
    let copies = match plan.build {
        true => ",redirect_dir=off,metacopy=off",
        false => "",
    };
    let options = format!(
        "lowerdir={},upperdir={disk}/upper,workdir={disk}/work,volatile{copies}",
        plan.layers.join(":"),
        disk = disk.display()
    );
    if options.len() > MOUNT_OPTIONS_BYTES_MAX {
        return Err(format!(
            "the image's {} layers are more than one mount can take",
            plan.layers.len()
        ));
    }
    CString::new(options).map_err(|_| "a layer's name contains a zero byte".to_owned())
}

/// Makes a directory unless it is there.
pub fn make_directory(path: &Path) -> Result<(), String> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(format!(
            "make the directory {}: {}",
            path.display(),
            errno_text(errno)
        )),
    }
}

/// Writes the files that name the container and its resolvers. The root has been changed already, so a symbolic link
/// of the image leads nowhere outside of it.
pub fn write_names(plan: &Plan) -> Result<(), String> {
    make_directory(Path::new("/etc"))?;
    write_file("/etc/hosts", &plan.hosts)?;
    write_file("/etc/resolv.conf", &plan.resolv_conf)?;
    write_file("/etc/hostname", &format!("{}\n", plan.hostname))
}

/// Writes the certificates that the application is to trust.
pub fn write_trust(bundle: &OwnedFd) -> Result<(), String> {
    let bytes = read_from_start(bundle, TRUST_BYTES_MAX).stage("read the certificates to trust")?;
    let directory = Path::new(TRUST_PATH).parent().unwrap_or(Path::new("/"));
    make_directory(directory)?;
    // A link of the image would put the file somewhere else; inside of the container, but not where it is looked for.
    let status = rustix::fs::lstat(directory).stage("look at the directory of certificates")?;
    if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
        return Err(format!(
            "{} of the image is not a directory",
            directory.display()
        ));
    }
    write_file(TRUST_PATH, &String::from_utf8_lossy(&bytes))
}

fn write_file(path: &str, text: &str) -> Result<(), String> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(format!("replace {path}: {}", errno_text(errno))),
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file =
        rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)).stage(&format!("make {path}"))?;
    std::io::Write::write_all(&mut std::fs::File::from(file), text.as_bytes())
        .stage(&format!("write {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::tests::plan;

    #[test]
    fn as_many_layers_as_any_builder_makes_fit_into_one_mount() {
        let mut plan = plan();
        plan.layers = vec![format!("{}/fs", "0".repeat(24)); 127];
        let directory = Path::new("/run/apron/instances/0123456789abcdef0123456789abcdef/disk");
        assert!(overlay_options(&plan, directory).is_ok());
        plan.layers = vec![format!("{}/fs", "0".repeat(24)); 160];
        assert!(
            overlay_options(&plan, directory)
                .unwrap_err()
                .contains("160 layers")
        );
    }
}
