//! The container's own control groups, read-only, where Java, .NET, Go and Node look for their limits.

use super::mounts::mount as mount_at;
use apron_link::instance::CgroupView;
use rustix::mount::MountFlags;

const AT: &str = "/sys/fs/cgroup";
const FLAGS: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC)
    .union(MountFlags::RDONLY);

/// Mounts the view. A kernel that refuses costs the application a hint and nothing else, so that is no failure.
pub fn mount(view: &CgroupView) {
    let _ = match view {
        CgroupView::V2 => mount_v2(),
        CgroupView::V1(hierarchies) => mount_v1(hierarchies),
    };
}

fn mount_v2() -> Result<(), String> {
    mount_at("cgroup2", AT, FLAGS, "")
}

fn mount_v1(hierarchies: &[String]) -> Result<(), String> {
    mount_at("tmpfs", AT, FLAGS - MountFlags::RDONLY, "mode=755,size=16k")?;
    for controllers in hierarchies {
        mount_at("cgroup", &format!("{AT}/{controllers}"), FLAGS, controllers)?;
        for alias in controllers.split(',').filter(|_| controllers.contains(',')) {
            let _ = rustix::fs::symlink(controllers, format!("{AT}/{alias}"));
        }
    }
    let _ = rustix::mount::mount_remount(AT, MountFlags::BIND | FLAGS, "");
    Ok(())
}
