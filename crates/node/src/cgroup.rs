//! Control groups, version 1 and version 2. What is written where is decided by pure functions in [`v1`] and [`v2`];
//! this module finds the hierarchies, makes and removes groups. It never touches a group outside its own parent.

mod layout;
mod processors;
mod v1;
mod v2;

use crate::error::{NodeError, Step};
use apron_compute::Brake;
use apron_link::instance::{CgroupView, OomCounter};
use layout::{Layout, layout};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest wait for a killed group's processes to be gone.
const EMPTY_WITHIN: Duration = Duration::from_secs(10);

/// Time between two looks at a group that is not empty yet.
const EMPTY_POLL: Duration = Duration::from_millis(1);

/// What an instance without requests keeps of the processor, in thousandths of a vCPU: enough to answer a health probe
/// and to close connections, too little to matter.
const IDLE_CPU_MILLIS: u32 = 50;

/// What an instance may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Processor share in thousandths.
    pub cpu_millis: u32,
    /// Memory in bytes, without swap.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids_max: u32,
}

/// A value for a file; `optional` ones may be refused by kernels built without the feature.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    file: &'static str,
    value: String,
    optional: bool,
}

fn setting(file: &'static str, value: impl ToString) -> Setting {
    Setting {
        file,
        value: value.to_string(),
        optional: false,
    }
}

/// The groups of one platform's services, or of its builds.
#[derive(Clone, Debug)]
pub struct Cgroups {
    layout: Layout,
    parent: String,
    /// What every group needs before anything can be in it, where groups are kept to processors.
    place: Vec<Setting>,
}

/// What groups get of the processor next to the rest of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// The same as anybody.
    Normal,
    /// What the others leave, and very little when they leave nothing.
    Low {
        /// Not on one core of the machine, if it has two processors.
        leave_core: bool,
    },
}

/// The groups of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Directories to join.
    pub directories: Vec<PathBuf>,
    /// What the container sees of them.
    pub view: CgroupView,
    /// Where memory kills are counted.
    pub oom_counter: OomCounter,
}

impl Cgroups {
    /// Finds the hierarchies of this machine and makes the parent group `parent`.
    pub fn open(parent: &str, priority: Priority) -> Result<Cgroups, NodeError> {
        let mountinfo =
            std::fs::read_to_string("/proc/self/mountinfo").step("read /proc/self/mountinfo")?;
        let optional: &[&str] = match priority {
            Priority::Normal => &[],
            Priority::Low { .. } => &[processors::CONTROLLER],
        };
        let mut cgroups = Cgroups {
            layout: layout(&mountinfo, optional)?,
            parent: parent.to_owned(),
            place: Vec::new(),
        };
        for directory in cgroups.parents() {
            make(&directory)?;
        }
        match &cgroups.layout {
            Layout::V1(mounts) => {
                if priority == Priority::Normal {
                    let weight = v1::parent_setting(processors());
                    write(&mounts["cpu"].join(parent), &weight)?;
                }
            }
            Layout::V2(mount) => {
                let delegate = setting("cgroup.subtree_control", v2::CONTROLLERS);
                for directory in [mount.clone(), mount.join(parent)] {
                    write(&directory, &delegate).map_err(|error| NodeError::Missing {
                        feature: "cgroup delegation",
                        detail: error.to_string(),
                    })?;
                }
            }
        }
        if let Priority::Low { leave_core } = priority {
            cgroups.stand_back(true)?;
            if let Err(error) = cgroups.keep_to_processors(leave_core) {
                tracing::warn!(%error, "builds use every processor, also those of services");
            }
        }
        Ok(cgroups)
    }

    /// Keeps all these groups to some processors, where the controller for that is there.
    fn keep_to_processors(&mut self, leave_core: bool) -> Result<(), NodeError> {
        match &mut self.layout {
            Layout::V1(mounts) => {
                let Some(mount) = mounts.get(processors::CONTROLLER).cloned() else {
                    return Ok(());
                };
                let place = processors::v1_settings(&mount, leave_core).unwrap_or_default();
                let directory = mount.join(&self.parent);
                let written = place.iter().try_for_each(|it| write(&directory, it));
                if place.is_empty() || written.is_err() {
                    // A group without processors can have no processes.
                    mounts.remove(processors::CONTROLLER);
                    let _ = std::fs::remove_dir(&directory);
                }
                self.place = place;
                written
            }
            Layout::V2(mount) => {
                let delegate = Setting {
                    optional: true,
                    ..setting("cgroup.subtree_control", "+cpuset")
                };
                write(mount, &delegate)?;
                let place = processors::v2_settings(mount, leave_core).unwrap_or_default();
                let directory = mount.join(&self.parent);
                place.iter().try_for_each(|it| write(&directory, it))
            }
        }
    }

    /// Has all these groups stand back behind everything else, or have their small weight next to it.
    pub fn stand_back(&self, back: bool) -> Result<(), NodeError> {
        let (directory, settings) = match &self.layout {
            Layout::V1(mounts) => (&mounts["cpu"], v1::low_parent_settings(processors(), back)),
            Layout::V2(mount) => (mount, v2::low_parent_settings(back)),
        };
        let directory = directory.join(&self.parent);
        settings
            .iter()
            .try_for_each(|setting| write(&directory, setting))
    }

    /// The threads of an instance.
    pub fn threads(&self, id: &str) -> Vec<u32> {
        let file = match &self.layout {
            Layout::V1(mounts) => mounts["cpu"].join(&self.parent).join(id).join("tasks"),
            Layout::V2(mount) => mount.join(&self.parent).join(id).join("cgroup.threads"),
        };
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Whether a process or thread of an instance was ever refused.
    pub fn was_refused_processes(&self, id: &str) -> bool {
        let directory = match &self.layout {
            Layout::V1(mounts) => mounts["pids"].join(&self.parent).join(id),
            Layout::V2(mount) => mount.join(&self.parent).join(id),
        };
        counter(&directory.join("pids.events"), "max") > 0
    }

    /// Whether the kernel ever ended a process of an instance for want of memory.
    pub fn was_out_of_memory(&self, id: &str) -> bool {
        let OomCounter { file, key } = self.group(id).oom_counter;
        counter(&file, &key) > 0
    }

    /// Makes the groups of an instance with its limits.
    pub fn create(&self, id: &str, limits: &Limits) -> Result<Group, NodeError> {
        let group = self.group(id);
        for directory in &group.directories {
            make(directory)?;
        }
        match &self.layout {
            Layout::V1(mounts) => {
                for (controller, settings) in v1::settings(limits) {
                    let directory = mounts[controller].join(&self.parent).join(id);
                    settings
                        .iter()
                        .try_for_each(|setting| write(&directory, setting))?;
                }
                if let Some(mount) = mounts.get(processors::CONTROLLER) {
                    let directory = mount.join(&self.parent).join(id);
                    self.place
                        .iter()
                        .try_for_each(|setting| write(&directory, setting))?;
                }
            }
            Layout::V2(mount) => {
                let directory = mount.join(&self.parent).join(id);
                v2::settings(limits)
                    .iter()
                    .try_for_each(|setting| write(&directory, setting))?;
            }
        }
        Ok(group)
    }

    /// The brake of an instance with this share: the kernel gives a group whose bound is raised its processor at once.
    /// None when the group is gone.
    pub fn brake(&self, id: &str, cpu_millis: u32) -> Result<Option<Brake>, NodeError> {
        let (directory, value): (PathBuf, fn(u32) -> Setting) = match &self.layout {
            Layout::V1(mounts) => (mounts["cpu"].join(&self.parent).join(id), v1::cpu_setting),
            Layout::V2(mount) => (mount.join(&self.parent).join(id), v2::cpu_setting),
        };
        let (idle, busy) = (value(IDLE_CPU_MILLIS.min(cpu_millis)), value(cpu_millis));
        let path = directory.join(busy.file);
        match std::fs::File::options().write(true).open(&path) {
            Ok(file) => Ok(Some(Brake {
                file: file.into(),
                idle: idle.value,
                busy: busy.value,
            })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(NodeError::step(format!("open {}", path.display()), error)),
        }
    }

    /// The names of all groups there are.
    pub fn list(&self) -> Result<Vec<String>, NodeError> {
        let mut names = Vec::new();
        for parent in self.parents() {
            match std::fs::read_dir(&parent) {
                Ok(entries) => names.extend(
                    entries
                        .filter_map(Result::ok)
                        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                        .filter_map(|entry| entry.file_name().into_string().ok()),
                ),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(NodeError::step(format!("list {}", parent.display()), error));
                }
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Ends every process of an instance's groups and removes them; blocks until that is done.
    pub fn remove(&self, id: &str) -> Result<(), NodeError> {
        let deadline = Instant::now() + EMPTY_WITHIN;
        for directory in self.group(id).directories {
            loop {
                match std::fs::remove_dir(&directory) {
                    Ok(()) => break,
                    Err(error) if error.kind() == ErrorKind::NotFound => break,
                    Err(error) if Instant::now() >= deadline => {
                        return Err(NodeError::step(
                            format!("remove {}", directory.display()),
                            error,
                        ));
                    }
                    Err(_) => {
                        end_processes(&directory);
                        std::thread::sleep(EMPTY_POLL);
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes every group and the parent.
    pub fn purge(&self) -> Result<(), NodeError> {
        for id in self.list()? {
            self.remove(&id)?;
        }
        for directory in self.parents() {
            match std::fs::remove_dir(&directory) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(NodeError::step(
                        format!("remove {}", directory.display()),
                        error,
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Where everything about an instance's groups is, whether they exist or not.
    pub fn group(&self, id: &str) -> Group {
        let directories: Vec<PathBuf> = self
            .parents()
            .into_iter()
            .map(|parent| parent.join(id))
            .collect();
        match &self.layout {
            Layout::V1(mounts) => Group {
                view: CgroupView::V1(v1::view(mounts)),
                oom_counter: OomCounter {
                    file: mounts["memory"]
                        .join(&self.parent)
                        .join(id)
                        .join("memory.oom_control"),
                    key: "oom_kill".to_owned(),
                },
                directories,
            },
            Layout::V2(mount) => Group {
                view: CgroupView::V2,
                oom_counter: OomCounter {
                    file: mount.join(&self.parent).join(id).join("memory.events"),
                    key: "oom_kill".to_owned(),
                },
                directories,
            },
        }
    }

    fn parents(&self) -> Vec<PathBuf> {
        let mut mounts: Vec<&PathBuf> = match &self.layout {
            Layout::V1(mounts) => mounts.values().collect(),
            Layout::V2(mount) => vec![mount],
        };
        // Controllers mounted together share a directory.
        mounts.sort();
        mounts.dedup();
        mounts
            .into_iter()
            .map(|mount| mount.join(&self.parent))
            .collect()
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The settings of groups that stand back.
fn low_priority(weight: Setting, idle: bool) -> Vec<Setting> {
    let policy = |idle: u8| Setting {
        optional: true,
        ..setting("cpu.idle", idle)
    };
    let mut settings = vec![policy(0), weight];
    settings.extend(idle.then(|| policy(1)));
    settings
}

/// The number in a line `<key> <number>` of a file; zero when there is none.
fn counter(file: &Path, key: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

fn make(directory: &Path) -> Result<(), NodeError> {
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(NodeError::step(
            format!("make the control group {}", directory.display()),
            error,
        )),
        _ => Ok(()),
    }
}

fn write(directory: &Path, setting: &Setting) -> Result<(), NodeError> {
    let path = directory.join(setting.file);
    match std::fs::write(&path, &setting.value) {
        Err(error) if !setting.optional => Err(NodeError::step(
            format!("write `{}` to {}", setting.value, path.display()),
            error,
        )),
        _ => Ok(()),
    }
}

/// Sends SIGKILL to everything in a group. Version 2 has a file for it; in version 1 the bound of processes goes to zero
/// first, so that none can escape by forking.
fn end_processes(directory: &Path) {
    if std::fs::write(directory.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let _ = std::fs::write(directory.join("pids.max"), "0");
    let processes = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    for pid in processes
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter_map(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::layout::examples::{V1, V2};
    use super::*;

    #[test]
    fn controllers_mounted_together_are_joined_once() {
        let cgroups = Cgroups {
            layout: layout(V1, &[]).unwrap(),
            parent: "apron-x".to_owned(),
            place: Vec::new(),
        };
        let group = cgroups.group("abc");
        assert_eq!(group.directories.len(), 3);
        assert!(
            group
                .directories
                .contains(&"/sys/fs/cgroup/cpu,cpuacct/apron-x/abc".into())
        );
        assert_eq!(
            group.view,
            CgroupView::V1(vec![
                "cpu,cpuacct".to_owned(),
                "memory".to_owned(),
                "pids".to_owned()
            ])
        );
        let cgroups = Cgroups {
            layout: layout(V2, &[]).unwrap(),
            parent: "apron-x".to_owned(),
            place: Vec::new(),
        };
        assert_eq!(
            cgroups.group("abc").oom_counter.file,
            Path::new("/sys/fs/cgroup/apron-x/abc/memory.events")
        );
    }
}
