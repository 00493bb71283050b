//! The shim alone, with a plan for control groups of version 2. Needs root and a mounted cgroup2 file system, with or
//! without controllers; the limits themselves are the node's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unsafe_code)]

use apron_link::frame::{Decoder, encode};
use apron_link::instance::{
    CgroupView, Exit, FromShim, HANDOVER, OomCounter, Plan, ToShim, VERSION,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longest wait for a message.
const SOON: Duration = Duration::from_secs(30);

/// The environment of every test's application.
const ENVIRONMENT: &[u8] = b"PATH=/bin\0HUSH=a secret that is in no file\0";

fn memory_file(bytes: &[u8]) -> OwnedFd {
    let file = rustix::fs::memfd_create("environment", MemfdFlags::CLOEXEC).unwrap();
    let mut file = std::fs::File::from(file);
    file.write_all(bytes).unwrap();
    file.into()
}

struct Bench {
    directory: tempfile::TempDir,
    group: PathBuf,
    shim: Option<Child>,
}

impl Bench {
    /// A root file system with a static busybox, and a group.
    fn new(name: &str) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let bin = directory.path().join("layers/one/fs/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .map(Path::new)
            .into_iter()
            .find(|path| path.exists());
        std::fs::copy(
            busybox.expect("install the package busybox-static"),
            bin.join("busybox"),
        )
        .unwrap();
        std::os::unix::fs::symlink("busybox", bin.join("sh")).unwrap();
        let group = unified().join(format!("apron-shim-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        Bench {
            directory,
            group,
            shim: None,
        }
    }

    fn plan(&self, script: &str) -> Plan {
        Plan {
            cpu_millis: 1000,
            build: false,
            identity: false,
            users: None,
            version: VERSION,
            id: "0".repeat(32),
            service: "1".repeat(32),
            revision: 1,
            image: String::new(),
            slot: 0,
            address: ([127, 0, 0, 1], 8080).into(),
            args: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            cwd: "/".to_owned(),
            user: String::new(),
            stop_signal: 15,
            hostname: "test".to_owned(),
            hosts: String::new(),
            resolv_conf: String::new(),
            layers_directory: self.directory.path().join("layers"),
            layers: vec!["one/fs".to_owned()],
            shm_bytes: 1 << 20,
            open_files_max: 1024,
            cgroups: vec![self.group.clone()],
            cgroup_view: CgroupView::V2,
            oom_counter: OomCounter {
                file: self.group.join("memory.events"),
                key: "oom_kill".to_owned(),
            },
        }
    }

    /// Starts the shim as a node does, and connects.
    fn start(&mut self, plan: &Plan) -> UnixStream {
        let home = self.directory.path().join("instance");
        std::fs::create_dir(&home).unwrap();
        std::fs::write(home.join("spec.json"), serde_json::to_vec(plan).unwrap()).unwrap();
        let listener = UnixListener::bind(home.join("shim.sock")).unwrap();
        let network = rustix::fs::open(
            "/proc/self/ns/net",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap();
        let environment = memory_file(ENVIRONMENT);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let disk = disk();
        let descriptors = [
            listener.as_fd(),
            network.as_fd(),
            disk.as_fd(),
            environment.as_fd(),
        ];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let message = [IoSlice::new(&[HANDOVER])];
        rustix::net::sendmsg(&ours, &message, &mut ancillary, SendFlags::empty()).unwrap();
        let shim = Command::new(env!("CARGO_BIN_EXE_apron-shim"))
            .arg(&home)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .unwrap();
        self.shim = Some(shim);
        let stream = UnixStream::connect(home.join("shim.sock")).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(mut shim) = self.shim.take() {
            let _ = shim.kill();
            let _ = shim.wait();
        }
        // The container ends with its shim, not quite at the same moment; the group tells when it is empty.
        let events = std::fs::File::open(self.group.join("cgroup.events")).unwrap();
        let soon = Timespec {
            tv_sec: SOON.as_secs() as i64,
            tv_nsec: 0,
        };
        while std::fs::remove_dir(&self.group).is_err() {
            let changed = poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&soon));
            if changed != Ok(1) {
                break;
            }
            // Reading takes the event.
            let mut text = [0; 256];
            let _ = rustix::io::pread(&events, &mut text, 0);
        }
    }
}

fn unified() -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let line = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some("cgroup2"))
        .expect("cgroup2 is mounted");
    line.split(' ').nth(1).unwrap().into()
}

/// A file system that is attached nowhere, in memory.
fn disk() -> OwnedFd {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    rustix::mount::fsconfig_create(context.as_fd()).unwrap();
    rustix::mount::fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .unwrap()
}

/// Every message up to the end, and the end.
fn follow(stream: &mut UnixStream) -> (Vec<FromShim>, Exit) {
    let (mut decoder, mut messages) = (Decoder::default(), Vec::new());
    let mut buffer = [0; 4096];
    loop {
        while let Some(message) = decoder.next::<FromShim>().unwrap() {
            if let FromShim::Exited(exit) = message {
                return (messages, exit);
            }
            messages.push(message);
        }
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the shim went away: {messages:?}");
        decoder.push(&buffer[..count]);
    }
}

fn lines(messages: &[FromShim]) -> Vec<&str> {
    messages
        .iter()
        .filter_map(|message| match message {
            FromShim::Output { line, .. } => Some(line.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn privileged_a_container_is_born_in_its_group_of_version_2() {
    let mut bench = Bench::new("born");
    // In version 1 the container keeps the groups of the shim; the unified one has number 0.
    let plan = bench.plan(
        "busybox grep ^0: /proc/self/cgroup; busybox cat /sys/fs/cgroup/cgroup.procs; exit 4",
    );
    let mut stream = bench.start(&plan);
    let (messages, exit) = follow(&mut stream);
    assert_eq!((exit.code, exit.error), (Some(4), None), "{messages:?}");
    assert!(matches!(
        messages[0],
        FromShim::Hello {
            version: VERSION,
            ..
        }
    ));
    assert!(matches!(messages[1], FromShim::Started { .. }));
    // Its own group is the root of what it sees, and its processes are in it.
    let lines = lines(&messages);
    assert_eq!(lines[..3], ["0::/", "1", "2"], "{lines:?}");
}

#[test]
fn privileged_unacknowledged_output_is_given_to_the_next_connection() {
    let mut bench = Bench::new("again");
    let plan = bench.plan("echo one; echo two; exit 0");
    let mut stream = bench.start(&plan);
    let (messages, _) = follow(&mut stream);
    assert_eq!(lines(&messages), ["one", "two"]);
    stream
        .write_all(&encode(&ToShim::Ack { sequence: 0 }).unwrap())
        .unwrap();
    drop(stream);
    let socket = bench.directory.path().join("instance/shim.sock");
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let (messages, exit) = follow(&mut stream);
    assert_eq!((lines(&messages), exit.code), (vec!["two"], Some(0)));
    for command in [ToShim::Ack { sequence: 1 }, ToShim::Leave] {
        stream.write_all(&encode(&command).unwrap()).unwrap();
    }
    let shim = bench.shim.as_mut().unwrap();
    assert!(shim.wait().unwrap().success());
}

#[test]
fn privileged_a_plan_that_cannot_be_carried_out_is_an_end_with_the_stage() {
    let mut bench = Bench::new("stage");
    let mut plan = bench.plan("true");
    plan.layers = vec!["absent/fs".to_owned()];
    let mut stream = bench.start(&plan);
    let (_, exit) = follow(&mut stream);
    assert_eq!(
        exit.error.as_deref(),
        Some("mount the 1 layers of the image: no such file or directory")
    );
    let recorded = std::fs::read(bench.directory.path().join("instance/exit.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Exit>(&recorded).unwrap(), exit);
}
