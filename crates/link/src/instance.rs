//! Node and shim: what to run, how it went, what it printed.
//!
//! The node writes a [`Plan`] to `<instance directory>/spec.json`, opens `<instance directory>/shim.sock` and starts
//! the shim with that listening socket and what else it needs as open descriptors ([`HANDOVER`]). The application's
//! environment is one of them and in no file: it may hold secrets. Whoever connects is greeted with [`FromShim::Hello`], told whether the
//! application was started, and given every message that nobody has acknowledged yet, in order. A new connection takes
//! the place of the one before it. What the shim cannot deliver it keeps, within
//! [`UNACKNOWLEDGED_BYTES_MAX`]; the end of the instance is also written to `<instance directory>/exit.json`.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Version of the messages and files in this module. A peer of another version is refused with a message that names both.
pub const VERSION: u32 = 1;

/// Longest line of output in one message, in bytes; longer ones are given out in pieces. CloudWatch Logs takes events
/// of 256 KiB.
pub const LINE_BYTES_MAX: usize = 256 << 10;

/// Output that the shim keeps until it is acknowledged, in bytes of text.
pub const UNACKNOWLEDGED_BYTES_MAX: usize = 1 << 20;

/// How long a connected node that takes no output may hold the application up, in milliseconds; then the oldest lines
/// are dropped and counted.
pub const STALL_MS_MAX: u64 = 5_000;

/// File in the instance's directory that holds the [`Plan`].
pub const PLAN_FILE: &str = "spec.json";

/// Listening socket in the instance's directory.
pub const SOCKET_FILE: &str = "shim.sock";

/// File in the instance's directory that holds the [`Exit`] once there is one.
pub const EXIT_FILE: &str = "exit.json";

/// File in the instance's directory that says the shim has begun; it holds the shim's process id.
pub const PID_FILE: &str = "shim.pid";

/// What the shim's standard input gives it: a socket with one message of one byte, [`HANDOVER`], and these descriptors in
/// this order: the listening socket, the container's network namespace, the mount of its disk, the environment, and the
/// certificates to trust when there are such. The environment is a file in memory: `NAME=value` texts, each ended by a zero
/// byte; of equal names the last counts.
pub const HANDOVER: u8 = 1;

/// Most descriptors of a handover.
pub const HANDOVER_DESCRIPTORS_MAX: usize = 5;

/// Largest environment, in bytes; the kernel takes no more for a program either.
pub const ENVIRONMENT_BYTES_MAX: usize = 2 << 20;

/// Where the container finds the certificates it is to trust, when there are such.
pub const TRUST_PATH: &str = "/etc/apron/ca-bundle.pem";

/// The directory in the instance's directory that the container sees at [`IDENTITY_PATH`], when there is one. The node puts
/// another [`TOKEN_FILE`] into it while the container runs.
pub const IDENTITY_DIRECTORY: &str = "identity";

/// Where the container sees it, and cannot write.
pub const IDENTITY_PATH: &str = "/etc/apron/identity";

/// The token in it.
pub const TOKEN_FILE: &str = "token";

/// Users, and groups, of a container with a user namespace: those that every image has, as many as `/etc/subuid` gives out.
pub const USERS: u32 = 65_536;

/// What the shim is called with, in place of an instance's directory, to find out whether containers can have user namespaces:
/// the first id of the machine, and the directory of layers, follow. It fails with the reason on its standard error.
pub const PROBE_USERS: &str = "--probe-users";

/// Everything a shim needs to make its container, but for its environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// The instance's id.
    pub id: String,
    /// Label: the service's id.
    pub service: String,
    /// Label: the service's revision.
    pub revision: u32,
    /// Label: digest of the image's manifest.
    pub image: String,
    /// Label: the number of the network slot, which names its interface and address.
    pub slot: u32,
    /// Label: where the application listens.
    pub address: SocketAddr,
    /// The program and its arguments; never empty.
    pub args: Vec<String>,
    /// Working directory, absolute; made when it does not exist.
    pub cwd: String,
    /// The machine's id for the container's user 0 and group 0; the others of its [`USERS`] follow. None: the container's users
    /// are the machine's.
    #[serde(default)]
    pub users: Option<u32>,
    /// `USER` of the image: empty, `name`, `uid`, each with an optional `:group`.
    pub user: String,
    /// Number of the signal that asks the application to end; SIGTERM unless the image names another.
    pub stop_signal: i32,
    /// Host name of the container.
    pub hostname: String,
    /// Text of `/etc/hosts`.
    pub hosts: String,
    /// Text of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// Directory that the names in `layers` are relative to.
    pub layers_directory: PathBuf,
    /// Unpacked layers, the topmost first; relative so that many fit into one page of mount options.
    pub layers: Vec<String>,
    /// Size of `/dev/shm` in bytes.
    pub shm_bytes: u64,
    /// Bound of open files.
    pub open_files_max: u64,
    /// Label: the processor share in thousandths of a vCPU; zero in a plan of a platform that did not write it down.
    #[serde(default)]
    pub cpu_millis: u32,
    /// What the container changes is exported as a layer when it has ended.
    #[serde(default)]
    pub build: bool,
    /// The container sees [`IDENTITY_DIRECTORY`].
    #[serde(default)]
    pub identity: bool,
    /// Control group directories the container joins.
    pub cgroups: Vec<PathBuf>,
    /// How the container sees its control groups.
    pub cgroup_view: CgroupView,
    /// Where the kernel counts processes it ended for want of memory.
    pub oom_counter: OomCounter,
}

/// What is mounted read-only under `/sys/fs/cgroup` in the container, for runtimes that size themselves by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupView {
    /// One mount per v1 hierarchy: its directory name and its controllers, for example `cpu,cpuacct`.
    V1(Vec<String>),
    /// The unified hierarchy.
    V2,
}

/// A line `<key> <number>` in a control group file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomCounter {
    /// The file.
    pub file: PathBuf,
    /// The key.
    pub key: String,
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, when the application ended by itself.
    pub code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// The kernel ended processes of it because the memory limit was reached.
    pub out_of_memory: bool,
    /// Why it never ran: the failing stage and the system's answer.
    pub error: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// Which of the application's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What the shim sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromShim {
    /// First message on every connection.
    Hello {
        /// The shim's [`VERSION`].
        version: u32,
        /// The shim's process id.
        pid: u32,
    },
    /// The application's process exists: its `exec` succeeded.
    Started {
        /// Milliseconds since the Unix epoch.
        at_ms: u64,
        /// Process id of the container's init, as the shim sees it.
        init_pid: i32,
    },
    /// One line of output.
    Output {
        /// Grows by one with every line; acknowledged by [`ToShim::Ack`].
        sequence: u64,
        /// Where it was printed.
        stream: Stream,
        /// When it was read, in milliseconds since the Unix epoch.
        at_ms: u64,
        /// The line without its end; invalid UTF-8 is replaced.
        line: String,
    },
    /// Lines before the next one that were dropped because nobody took them in time.
    Dropped {
        /// How many.
        lines: u64,
    },
    /// The instance has ended; nothing follows.
    Exited(Exit),
}

/// What the node sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToShim {
    /// Lines up to and including `sequence` need not be kept.
    Ack {
        /// The last line taken.
        sequence: u64,
    },
    /// Send the application its stop signal; after `grace_ms` end all its processes.
    Stop {
        /// Milliseconds between the two.
        grace_ms: u64,
    },
    /// End all its processes now.
    Kill,
    /// The exit has been taken: leave.
    Leave,
}
