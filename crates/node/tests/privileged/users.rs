//! Users of instances, who are nobody on the machine.

use crate::machine::{line, on_a_machine, run_to_end, shim_pid};
use apron_compute::{Compute, Export, InstanceClass};
use apron_node::Node;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::fs::File;
use std::io::{Seek, SeekFrom};

/// What a container of each kind says of its users.
const SCRIPT: &str = "
echo owners $(stat -c %u:%g / /bin/busybox /etc/hosts /dev/null /dev/shm /proc/self/fd/1)
touch /mine && chown 101:102 /mine && echo mine $(stat -c %u:%g /mine)
chown 3:4 /bin/busybox && echo of-the-image $(stat -c %u:%g /bin/busybox)
echo again >/dev/stdout
";

const SAID: [&str; 4] = [
    "owners 0:0 0:0 0:0 0:0 0:0 0:0",
    "mine 101:102",
    "of-the-image 3:4",
    "again",
];

/// The ids on the machine of a process and of its first child.
fn ids(pid: i32) -> (String, i32) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let child = children.split_whitespace().next().unwrap_or("0");
    (ids.unwrap().trim().to_owned(), child.parse().unwrap())
}

#[test]
fn privileged_an_instances_root_is_nobody_on_the_machine() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let mut firsts = Vec::new();
        for class in [InstanceClass::Service, InstanceClass::Build] {
            let script = format!("{SCRIPT}\necho map $(cat /proc/self/uid_map)\nexec sleep 60");
            let mut spec = machine.script(&script);
            spec.class = class;
            node.create(&spec).await.unwrap();
            for expected in SAID {
                assert_eq!(line(&mut events, &spec.id).await, expected, "{class:?}");
            }
            let map = line(&mut events, &spec.id).await;
            let first = map.strip_prefix("map 0 ").unwrap();
            let first = first.strip_suffix(" 65536").unwrap().to_owned();
            assert!(first.parse::<u32>().unwrap() >= 524_288, "{map}");
            let all = [first.as_str(); 4].join("\t");
            let (_, init) = ids(shim_pid(&machine.instance_directory(&spec.id)));
            let (of_init, application) = ids(init);
            assert_eq!((of_init, ids(application).0), (all.clone(), all));
            firsts.push(first);
        }
        assert_ne!(firsts[0], firsts[1], "they share their users");
    });
}

#[test]
fn privileged_the_root_of_an_instance_may_signal_its_first_process_and_ends_with_its_shim() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let script = "trap 'echo asked; exit 3' TERM; echo ready; kill 1; sleep 60 & wait";
        let outcome = run_to_end(&node, &mut events, &machine.script(script)).await;
        assert_eq!(outcome.lines, ["ready", "asked"], "{outcome:#?}");
        assert_eq!(outcome.exit.code, Some(3));

        let spec = machine.script("echo ready; exec sleep 60");
        node.create(&spec).await.unwrap();
        assert_eq!(line(&mut events, &spec.id).await, "ready");
        let shim = shim_pid(&machine.instance_directory(&spec.id));
        let (_, init) = ids(shim);
        let watched = pidfd_open(Pid::from_raw(init).unwrap(), PidfdFlags::empty()).unwrap();
        kill_process(Pid::from_raw(shim).unwrap(), Signal::KILL).unwrap();
        let mut gone = [PollFd::new(&watched, PollFlags::IN)];
        let soon = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut gone, Some(&soon)), Ok(1));
    });
}

#[test]
fn privileged_changes_are_exported_with_the_owners_that_the_container_saw() {
    on_a_machine(async |machine| {
        for user_namespaces in [true, false] {
            let mut config = machine.config.clone();
            config.user_namespaces = user_namespaces;
            let node = Node::start(config, machine.store.clone(), crate::machine::clock());
            let node = node.await.unwrap();
            let mut events = node.subscribe();
            let mut spec = machine.script(SCRIPT);
            spec.class = InstanceClass::Build;
            node.create(&spec).await.unwrap();
            let outcome = crate::machine::follow(&mut events, &spec.id).await;
            assert_eq!(outcome.lines, SAID, "{outcome:#?}");
            let what = Export {
                below: vec!["/mine".to_owned(), "/bin".to_owned()],
                without: Vec::new(),
                time: 0,
                bytes_max: 16 << 20,
                entries_max: 100,
            };
            let file = tempfile::tempfile().unwrap();
            let into = file.try_clone().unwrap();
            node.export(&spec.id, &what, into).await.unwrap();
            node.remove(&spec.id).await.unwrap();
            assert_eq!(
                owners(file),
                ["bin/ 0:0", "bin/busybox 3:4", "mine 101:102"]
            );
        }
    });
}

/// Names and owners in an archive, in the order of names.
fn owners(mut archive: File) -> Vec<String> {
    archive.seek(SeekFrom::Start(0)).unwrap();
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let (path, header) = (entry.path().unwrap().into_owned(), entry.header());
        let (user, group) = (header.uid().unwrap(), header.gid().unwrap());
        format!("{} {user}:{group}", path.display())
    });
    let mut entries: Vec<String> = entries.collect();
    entries.sort();
    entries
}
