//! Running `git` with nothing of its surroundings, bounded in time and in what it writes.

use super::error::GitError;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// Bytes of an output that are kept: the first of what a command answers, the last of what it complains about.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// Time between two looks at how much a command has written.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Directories and files that are looked at to see how much was written.
const LOOK_ENTRIES_MAX: usize = 400_000;

/// Variables of this process that a command keeps: where programs are, and how the operator reaches other networks.
const KEPT_VARIABLES: [&str; 12] = [
    "PATH",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Configuration of every command, in place of the machine's and any user's.
const CONFIG: [(&str, &str); 14] = [
    ("core.hooksPath", "/dev/null"),
    ("core.symlinks", "true"),
    ("core.autocrlf", "false"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("core.fsmonitor", "false"),
    ("credential.helper", ""),
    ("fetch.unpackLimit", "1"),
    ("fetch.fsckObjects", "false"),
    ("gc.auto", "0"),
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "60"),
    ("submodule.recurse", "false"),
    ("advice.detachedHead", "false"),
];

/// What bounds the memory of a command, whatever a repository holds (git-config). Git's own bounds are for machines that do
/// nothing else: half a gigabyte of a file at once, no bound of the window in which it looks for differences.
const MEMORY: [(&str, &str); 7] = [
    // Larger files are streamed, and not compared with each other.
    ("core.bigFileThreshold", "8m"),
    ("core.packedGitWindowSize", "16m"),
    ("core.packedGitLimit", "64m"),
    ("core.deltaBaseCacheLimit", "32m"),
    // The next two are for each thread.
    ("pack.threads", "2"),
    ("pack.windowMemory", "32m"),
    ("pack.deltaCacheSize", "32m"),
];

/// Bytes of memory that a process of a command may have of its own, whatever a client sends: with differences between large files
/// that a client has made, or with millions of objects, git takes what it needs.
const MEMORY_BYTES_MAX: u64 = 1 << 30;

/// A directory that may only grow so far.
pub(super) struct Watch {
    pub dir: PathBuf,
    /// Bytes.
    pub bytes_max: u64,
}

/// A command that ended.
pub(super) struct Finished {
    pub success: bool,
    /// The first [`OUTPUT_BYTES_MAX`] bytes.
    pub stdout: Vec<u8>,
    /// The last [`OUTPUT_BYTES_MAX`] bytes.
    pub stderr: String,
}

impl Finished {
    /// The answer, if the command succeeded.
    pub(super) fn expect(self, doing: &'static str) -> Result<Finished, GitError> {
        match self.success {
            true => Ok(self),
            false => Err(GitError::Failed {
                doing,
                answer: self.stderr,
            }),
        }
    }

    /// The answer as text without blanks around it.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

/// `git` with the environment that every command has.
pub(super) fn git() -> Command {
    let mut command = Command::new("git");
    command.env_clear();
    for name in KEPT_VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .env("HOME", "/nonexistent")
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "")
        .env("SSH_ASKPASS_REQUIRE", "never")
        .env("GIT_LFS_SKIP_SMUDGE", "1")
        .env("GIT_ALLOW_PROTOCOL", "none");
    add_config(&mut command, &CONFIG);
    add_config(&mut command, &MEMORY);
    command
}

/// The program that serves a repository of this machine to a fetch, as git's shell is told it: git hands on no configuration to
/// commands in another repository.
pub(super) fn upload_pack() -> String {
    let options = MEMORY.map(|(name, value)| format!("-c {name}={value}"));
    format!("git {} upload-pack", options.join(" "))
}

/// Adds configuration by the environment, where no argument list shows it.
pub(super) fn add_config(command: &mut Command, entries: &[(&str, &str)]) {
    let present = command
        .as_std()
        .get_envs()
        .filter(|(name, _)| name.to_string_lossy().starts_with("GIT_CONFIG_KEY_"))
        .count();
    for (offset, (name, value)) in entries.iter().enumerate() {
        let number = present + offset;
        command
            .env(format!("GIT_CONFIG_KEY_{number}"), name)
            .env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }
    let count = present + entries.len();
    command.env("GIT_CONFIG_COUNT", count.to_string());
}

/// Ends a command with everything it started when it is dropped before its end.
pub(super) struct Group {
    pub(super) child: Child,
}

impl Group {
    /// Starts a command that is told nothing.
    pub(super) fn start(mut command: Command) -> Result<Group, GitError> {
        command.stdin(Stdio::null());
        Group::start_with(command)
    }

    /// Starts a command as the leader of a group of its own.
    pub(super) fn start_with(mut command: Command) -> Result<Group, GitError> {
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|cause| match cause.kind() {
            std::io::ErrorKind::NotFound => GitError::NotInstalled,
            _ => GitError::io("start git", cause),
        })?;
        let group = Group { child };
        group.bound_memory();
        Ok(group)
    }

    /// Bounds the memory of the command and of all that it starts from now on; it has hardly begun.
    fn bound_memory(&self) {
        let limit = Rlimit {
            current: Some(MEMORY_BYTES_MAX),
            maximum: Some(MEMORY_BYTES_MAX),
        };
        let bounded = self.id().map(|id| prlimit(Some(id), Resource::Data, limit));
        if let Some(Err(error)) = bounded {
            tracing::warn!(%error, "the memory of a git command is not bounded");
        }
    }

    /// The process, until it was waited for; its id may be another's afterwards.
    fn id(&self) -> Option<Pid> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok())?;
        Pid::from_raw(id)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.id() {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// Runs a command to its end.
pub(super) async fn run(
    command: Command,
    watch: Option<&Watch>,
    within: Duration,
) -> Result<Finished, GitError> {
    let mut group = Group::start(command)?;
    let stdout = group.child.stdout.take();
    let stderr = group.child.stderr.take();
    let work = async {
        let (first, last) = tokio::join!(keep_first(stdout), keep_last(stderr));
        let status = group.child.wait().await;
        status.map(|status| Finished {
            success: status.success(),
            stdout: first,
            stderr: String::from_utf8_lossy(&last).trim().to_owned(),
        })
    };
    let grown = async {
        match watch {
            Some(watch) => too_large(watch).await,
            None => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        done = work => Some(done.map_err(|cause| GitError::io("wait for git", cause))),
        error = grown => Some(Err(error)),
        () = tokio::time::sleep(within) => None,
    };
    outcome.unwrap_or(Err(GitError::TooSlow {
        seconds: within.as_secs(),
    }))
}

async fn keep_first(output: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut output) = output else {
        return kept;
    };
    let mut buffer = vec![0; 8 << 10];
    while let Ok(count @ 1..) = output.read(&mut buffer).await {
        let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
    kept
}

async fn keep_last(output: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = VecDeque::new();
    let Some(mut output) = output else {
        return Vec::new();
    };
    let mut buffer = vec![0; 8 << 10];
    while let Ok(count @ 1..) = output.read(&mut buffer).await {
        kept.extend(&buffer[..count]);
        let surplus = kept.len().saturating_sub(OUTPUT_BYTES_MAX);
        kept.drain(..surplus);
    }
    kept.into()
}

/// Ends when the directory has grown too far.
async fn too_large(watch: &Watch) -> GitError {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let dir = watch.dir.clone();
        let size = tokio::task::spawn_blocking(move || size_of(&dir)).await;
        if size.is_ok_and(|bytes| bytes > watch.bytes_max) {
            return GitError::TooLarge {
                bytes_max: watch.bytes_max,
            };
        }
    }
}

/// Bytes of the files below a directory.
fn size_of(dir: &Path) -> u64 {
    let mut bytes = 0;
    let mut entries = 0;
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            entries += 1;
            if entries > LOOK_ENTRIES_MAX {
                return bytes;
            }
            match entry.metadata() {
                Ok(found) if found.is_dir() => left.push(entry.path()),
                Ok(found) => bytes += found.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn a_commands_memory_is_bounded() {
        let mut command = Command::new("sh");
        // It looks when it is told to: the bound comes after its start.
        command
            .args(["-c", "read -r go; ulimit -d"])
            .stdin(Stdio::piped());
        let mut group = Group::start_with(command).unwrap();
        let mut input = group.child.stdin.take().unwrap();
        input.write_all(b"go\n").await.unwrap();
        let said = keep_first(group.child.stdout.take()).await;
        let kibibytes = MEMORY_BYTES_MAX >> 10;
        assert_eq!(String::from_utf8_lossy(&said).trim(), kibibytes.to_string());
        assert!(group.child.wait().await.unwrap().success());
    }
}
