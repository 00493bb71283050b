//! Where the hierarchies of control groups are mounted.

use super::v1;
use crate::error::NodeError;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where the hierarchies are mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One mount per controller, or several controllers together.
    V1(BTreeMap<String, PathBuf>),
    /// The unified hierarchy.
    V2(PathBuf),
}

/// Finds the hierarchies in the text of `/proc/self/mountinfo` (proc(5)); of version 1 also these, if they are there.
pub fn layout(mountinfo: &str, optional: &[&str]) -> Result<Layout, NodeError> {
    let mut v1_mounts = BTreeMap::new();
    let mut v2_mount = None;
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let Some(at) = before.split(' ').nth(4) else {
            continue;
        };
        let mut after = after.split(' ');
        match after.next() {
            Some("cgroup2") => v2_mount = v2_mount.or_else(|| Some(PathBuf::from(at))),
            Some("cgroup") => {
                let options = after.nth(1).unwrap_or_default();
                for controller in options
                    .split(',')
                    .filter(|option| v1::CONTROLLERS.contains(option) || optional.contains(option))
                {
                    v1_mounts
                        .entry(controller.to_owned())
                        .or_insert_with(|| PathBuf::from(at));
                }
            }
            _ => {}
        }
    }
    let is_there = |controller: &&str| v1_mounts.contains_key(*controller);
    if v1::CONTROLLERS.iter().all(is_there) {
        return Ok(Layout::V1(v1_mounts));
    }
    v1_mounts.retain(|controller, _| v1::CONTROLLERS.contains(&controller.as_str()));
    match (v2_mount, v1_mounts.is_empty()) {
        (Some(mount), true) => Ok(Layout::V2(mount)),
        (_, false) => Err(NodeError::Missing {
            feature: "a control group controller",
            detail: format!(
                "version 1 is mounted with {}, needed are {}",
                v1_mounts.keys().cloned().collect::<Vec<_>>().join(", "),
                v1::CONTROLLERS.join(", ")
            ),
        }),
        (None, true) => Err(NodeError::Missing {
            feature: "the control group file system",
            detail: "nothing of type cgroup or cgroup2 is mounted; mount cgroup2 on /sys/fs/cgroup"
                .to_owned(),
        }),
    }
}

/// What `/proc/self/mountinfo` says on machines with either version.
#[cfg(test)]
pub mod examples {
    pub const V1: &str = "30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct\n\
        32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        33 30 0:29 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n\
        33 30 0:29 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n\
        34 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
        35 30 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    pub const V2: &str =
        "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
}

#[cfg(test)]
mod tests {
    use super::examples::{V1, V2};
    use super::*;
    use std::path::Path;

    #[test]
    fn both_versions_are_found() {
        let Layout::V1(mounts) = layout(V1, &[]).unwrap() else {
            panic!("not version 1")
        };
        assert_eq!(mounts["cpu"], Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(mounts.len(), 3);
        let Layout::V1(mounts) = layout(V1, &["cpuset"]).unwrap() else {
            panic!("not version 1")
        };
        assert_eq!(mounts["cpuset"], Path::new("/sys/fs/cgroup/cpuset"));
        assert_eq!(
            layout(V2, &["cpuset"]).unwrap(),
            Layout::V2("/sys/fs/cgroup".into())
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = layout("", &[]).unwrap_err().to_string();
        assert!(
            text.contains("control group file system is missing"),
            "{text}"
        );
        let partly: String = V1
            .lines()
            .filter(|line| !line.contains("memory"))
            .fold(String::new(), |a, b| a + b + "\n");
        let text = layout(&partly, &[]).unwrap_err().to_string();
        assert!(
            text.contains("mounted with cpu, pids, needed are cpu, memory, pids"),
            "{text}"
        );
    }
}
