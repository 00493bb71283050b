//! The processor taken away from an instance, and given back.

use crate::machine::{Machine, on_a_machine};
use apron_compute::{Compute, InstanceSpec, Probe};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a loop's use of the processor is watched.
const WATCHED: Duration = Duration::from_secs(1);

/// Nanoseconds of processor that an instance's processes have had.
fn used_ns(machine: &Machine, spec: &InstanceSpec) -> u64 {
    let parent = machine.config.scope();
    let id = spec.id.as_str();
    let own = ["cpu", "cpu,cpuacct"]
        .iter()
        .map(|controller| {
            PathBuf::from("/sys/fs/cgroup")
                .join(controller)
                .join(&parent)
                .join(id)
        })
        .find(|directory| directory.exists());
    let Some(group) = own else {
        let stat = PathBuf::from("/sys/fs/cgroup")
            .join(&parent)
            .join(id)
            .join("cpu.stat");
        let text = std::fs::read_to_string(stat).unwrap();
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("usage_usec "))
            .unwrap();
        return line.parse::<u64>().unwrap() * 1000;
    };
    if group.join("cpuacct.usage").exists() {
        let text = std::fs::read_to_string(group.join("cpuacct.usage")).unwrap();
        return text.trim().parse().unwrap();
    }
    // The groups of an instance are not in the accounting hierarchy: its processes are asked one by one.
    let processes = std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
    let of = |pid: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        let first = text.split(' ').next().and_then(|n| n.parse::<u64>().ok());
        first.unwrap_or_default()
    };
    processes.lines().map(of).sum()
}

/// Processor time an instance had for each second of the clock, in thousandths of a vCPU.
fn share(machine: &Machine, spec: &InstanceSpec) -> u64 {
    let (before, begun) = (used_ns(machine, spec), Instant::now());
    while begun.elapsed() < WATCHED {
        std::thread::park_timeout(WATCHED.saturating_sub(begun.elapsed()));
    }
    (used_ns(machine, spec) - before) * 1000 / u64::try_from(begun.elapsed().as_nanos()).unwrap()
}

async fn started(machine: &Arc<Machine>, spec: &InstanceSpec) -> Arc<apron_node::Node> {
    let node = machine.node().await;
    node.prepare(&spec.image).await.unwrap();
    node.create(spec).await.unwrap();
    node
}

#[test]
fn privileged_a_braked_instance_has_next_to_no_processor_until_it_is_released() {
    on_a_machine(async |machine| {
        let mut spec = machine.script("while :; do :; done");
        spec.cpu_millis = 500;
        let node = started(&machine, &spec).await;
        let brake = node.brake(&spec.id).await.unwrap().expect("a brake");
        brake.apply().unwrap();
        let braked = share(&machine, &spec);
        brake.release().unwrap();
        let released = share(&machine, &spec);
        assert!(braked < 120, "{braked} thousandths while braked");
        assert!(
            released > 2 * braked,
            "{braked} braked, {released} released"
        );
        // The same file again, and another one of the same instance.
        node.brake(&spec.id)
            .await
            .unwrap()
            .unwrap()
            .apply()
            .unwrap();
        assert!(share(&machine, &spec) < 120);
        // A braked instance ends as any other, and then has no brake.
        node.stop(&spec.id, Duration::from_secs(1)).await.unwrap();
        assert!(node.brake(&spec.id).await.unwrap().is_none());
    });
}

#[test]
fn privileged_a_braked_instance_is_healthy_and_its_brake_survives_the_platform() {
    on_a_machine(async |machine| {
        let spec = machine.server();
        let node = started(&machine, &spec).await;
        node.brake(&spec.id)
            .await
            .unwrap()
            .unwrap()
            .apply()
            .unwrap();
        let probe = Probe::Tcp;
        let deadline = Instant::now() + crate::machine::SOON;
        while !node
            .probe(&spec.id, &probe, Duration::from_secs(1))
            .await
            .healthy
        {
            assert!(Instant::now() < deadline, "not healthy while braked");
        }
        drop(node);
        // Whoever comes next knows the instance's share.
        let node = machine.node().await;
        let brake = node.brake(&spec.id).await.unwrap().expect("a brake");
        brake.release().unwrap();
        assert!(brake.busy.starts_with(char::is_numeric));
        node.remove(&spec.id).await.unwrap();
    });
}
