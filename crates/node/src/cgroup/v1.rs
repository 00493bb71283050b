//! Version 1: one hierarchy per controller (kernel documentation, admin-guide/cgroup-v1).

use super::{Limits, Setting, setting};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The controllers instances need.
pub const CONTROLLERS: &[&str] = &["cpu", "memory", "pids"];

/// Length of the period a processor share is measured over, in microseconds.
const PERIOD_US: u64 = 100_000;

/// The setting that bounds the processor share.
pub fn cpu_setting(cpu_millis: u32) -> Setting {
    let quota = u64::from(cpu_millis) * PERIOD_US / 1000;
    setting("cpu.cfs_quota_us", quota)
}

/// The weight of the group that all instances are in: on every processor as much as one process outside it. The kernel's
/// default would be as much as one process on the whole machine, and every service together would stand back behind any
/// two busy processes of the host.
pub fn parent_setting(processors: usize) -> Setting {
    setting("cpu.shares", processors.clamp(1, 256) * 1024)
}

/// What makes the group of all builds stand back: the idle policy (Linux 5.15), or a weight that is an eighth of what services
/// have. In this order, since an idle group's weight cannot be written.
pub fn low_parent_settings(processors: usize, idle: bool) -> Vec<Setting> {
    super::low_priority(
        setting("cpu.shares", processors.clamp(1, 256) * 1024 / 8),
        idle,
    )
}

/// The values to write, in order, by controller.
pub fn settings(limits: &Limits) -> Vec<(&'static str, Vec<Setting>)> {
    let shares = (u64::from(limits.cpu_millis) * 1024 / 1000).max(2);
    vec![
        (
            "cpu",
            vec![
                setting("cpu.cfs_period_us", PERIOD_US),
                cpu_setting(limits.cpu_millis),
                setting("cpu.shares", shares),
            ],
        ),
        (
            "memory",
            vec![
                setting("memory.limit_in_bytes", limits.memory_bytes),
                // Memory and swap together: absent when swap is not accounted for, then it is kept out of use.
                Setting {
                    optional: true,
                    ..setting("memory.memsw.limit_in_bytes", limits.memory_bytes)
                },
                Setting {
                    optional: true,
                    ..setting("memory.swappiness", 0)
                },
            ],
        ),
        ("pids", vec![setting("pids.max", limits.pids_max)]),
    ]
}

/// The hierarchies a container is shown, named as the directories they are usually mounted on.
pub fn view(mounts: &BTreeMap<String, PathBuf>) -> Vec<String> {
    let mut names: Vec<String> = mounts
        .values()
        .filter_map(|path| path.file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_instances_together_weigh_a_process_on_every_processor() {
        let weight = |processors| parent_setting(processors).value;
        // The kernel takes at most 262144.
        let weights = [weight(1), weight(8), weight(1000)];
        assert_eq!(weights, ["1024", "8192", "262144"]);
    }

    #[test]
    fn limits_become_values_in_an_order_the_kernel_takes() {
        let limits = Limits {
            cpu_millis: 250,
            memory_bytes: 512 << 20,
            pids_max: 1025,
        };
        let written: Vec<String> = settings(&limits)
            .into_iter()
            .flat_map(|(controller, settings)| {
                settings
                    .into_iter()
                    .map(move |setting| format!("{controller} {} {}", setting.file, setting.value))
            })
            .collect();
        assert_eq!(
            written,
            [
                "cpu cpu.cfs_period_us 100000",
                "cpu cpu.cfs_quota_us 25000",
                "cpu cpu.shares 256",
                "memory memory.limit_in_bytes 536870912",
                "memory memory.memsw.limit_in_bytes 536870912",
                "memory memory.swappiness 0",
                "pids pids.max 1025",
            ]
        );
    }
}
