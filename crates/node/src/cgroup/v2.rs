//! Version 2: the unified hierarchy (kernel documentation, admin-guide/cgroup-v2).

use super::{Limits, Setting, setting};

/// What is written to `cgroup.subtree_control` of the parents.
pub const CONTROLLERS: &str = "+cpu +memory +pids";

/// Length of the period a processor share is measured over, in microseconds.
const PERIOD_US: u64 = 100_000;

/// The setting that bounds the processor share.
pub fn cpu_setting(cpu_millis: u32) -> Setting {
    let quota = u64::from(cpu_millis) * PERIOD_US / 1000;
    setting("cpu.max", format!("{quota} {PERIOD_US}"))
}

/// What makes the group of all builds stand back: the idle policy (Linux 5.15), or a weight that is an eighth of the kernel's
/// default, which services have. In this order, since an idle group's weight cannot be written.
pub fn low_parent_settings(idle: bool) -> Vec<Setting> {
    super::low_priority(setting("cpu.weight", 100 / 8), idle)
}

/// The values to write, in order.
pub fn settings(limits: &Limits) -> Vec<Setting> {
    // One vCPU weighs 100, the kernel's default for a group.
    let weight = (u64::from(limits.cpu_millis) / 10).clamp(1, 10_000);
    vec![
        cpu_setting(limits.cpu_millis),
        setting("cpu.weight", weight),
        setting("memory.max", limits.memory_bytes),
        // Absent on kernels without swap.
        Setting {
            optional: true,
            ..setting("memory.swap.max", 0)
        },
        setting("pids.max", limits.pids_max),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_values() {
        let limits = Limits {
            cpu_millis: 250,
            memory_bytes: 512 << 20,
            pids_max: 1025,
        };
        let written: Vec<String> = settings(&limits)
            .into_iter()
            .map(|setting| format!("{} {}", setting.file, setting.value))
            .collect();
        assert_eq!(
            written,
            [
                "cpu.max 25000 100000",
                "cpu.weight 25",
                "memory.max 536870912",
                "memory.swap.max 0",
                "pids.max 1025"
            ]
        );
    }
}
