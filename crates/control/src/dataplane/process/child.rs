//! One process of a proxy: started, found again, watched, ended.

use super::listeners::{Listeners, numbers};
use super::state::Known;
use super::{ProxyConfig, ProxyError};
use apron_link::environment;
use command_fds::{CommandFdExt, FdMapping};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::sync::watch;

/// How long an ended process may take to be gone, in seconds.
const GONE_WITHIN_S: i64 = 5;

/// A running proxy.
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Names the process although its id may be given again.
    pub pidfd: Arc<OwnedFd>,
    /// How it ended, as soon as it has.
    ended: watch::Receiver<Option<String>>,
}

impl Process {
    /// The proxy that is written down, if it still runs.
    pub fn find(known: &Known) -> Option<Process> {
        let pidfd = open(known.pid).ok()?;
        // Looked at after the process is held: the id cannot be given again from here on.
        if start_time(known.pid) != Some(known.started) {
            return None;
        }
        Process::watch(known.pid, pidfd, None).ok()
    }

    /// Starts a proxy with these sockets.
    pub fn start(config: &ProxyConfig, listeners: &Listeners) -> Result<Process, ProxyError> {
        let failed = |error| ProxyError::Start {
            program: config.program.display().to_string(),
            error,
        };
        let child = command(config, listeners)
            .and_then(|mut command| (config.spawn)(&mut command))
            .map_err(failed)?;
        let pid = i32::try_from(child.id()).map_err(|e| failed(io::Error::other(e)))?;
        let process = open(pid).and_then(|pidfd| Process::watch(pid, pidfd, Some(child)));
        process.map_err(failed)
    }

    /// A thread of its own waits in the kernel, once per life of a proxy.
    fn watch(pid: i32, pidfd: OwnedFd, child: Option<Child>) -> io::Result<Process> {
        let (sender, ended) = watch::channel(None);
        let pidfd = Arc::new(pidfd);
        let waited = pidfd.clone();
        std::thread::Builder::new()
            .name("proxy-wait".to_owned())
            .spawn(move || {
                let how = wait(&waited, child).unwrap_or_else(|error| error.to_string());
                sender.send_replace(Some(how));
            })?;
        Ok(Process {
            pid: u32::try_from(pid).map_err(io::Error::other)?,
            pidfd,
            ended,
        })
    }

    /// Waits until it has ended; says how.
    pub async fn ended(&self) -> String {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_default(),
            Err(_) => "nobody knows how".to_owned(),
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.borrow().is_some() || self.ended.has_changed().is_err()
    }

    /// What is written down of it.
    pub fn known(&self) -> Known {
        let pid = i32::try_from(self.pid).unwrap_or_default();
        Known {
            pid,
            started: start_time(pid).unwrap_or_default(),
            by_ms: None,
        }
    }

    /// Whether it runs the file that the program's path names now.
    pub fn runs(&self, program: &Path) -> bool {
        runs(i32::try_from(self.pid).unwrap_or_default(), program)
    }

    /// Asks it to finish what it has, in the way that needs no common version of messages.
    pub fn terminate(&self) {
        if let Err(error) = pidfd_send_signal(self.pidfd.as_fd(), Signal::TERM) {
            tracing::debug!(pid = self.pid, %error, "proxy has ended before it was asked to");
        }
    }

    /// Ends it at once.
    pub fn kill(&self) {
        if let Err(error) = pidfd_send_signal(self.pidfd.as_fd(), Signal::KILL) {
            tracing::debug!(pid = self.pid, %error, "proxy has ended before it was killed");
        }
    }

    /// Ends it at once and waits until its sockets are free. Blocks.
    pub fn end(&self) {
        self.kill();
        let mut polled = [PollFd::new(self.pidfd.as_ref(), PollFlags::IN)];
        let limit = Timespec {
            tv_sec: GONE_WITHIN_S,
            tv_nsec: 0,
        };
        if let Err(error) = poll(&mut polled, Some(&limit)) {
            tracing::warn!(pid = self.pid, %error, "the proxy's end cannot be waited for");
        }
    }
}

/// Whether a process runs the file that the program's path names now.
pub fn runs(pid: i32, program: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    identity(Path::new(&format!("/proc/{pid}/exe"))) == identity(program)
}

fn wait(pidfd: &OwnedFd, child: Option<Child>) -> io::Result<String> {
    if let Some(mut child) = child {
        return child.wait().map(|status| status.to_string());
    }
    let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
    while rustix::io::retry_on_intr(|| poll(&mut polled, None))? == 0 {}
    Ok("ended".to_owned())
}

fn command(config: &ProxyConfig, listeners: &Listeners) -> io::Result<Command> {
    let (https, http) = numbers(listeners.https.len(), listeners.http.len());
    let join = |list: &[i32]| {
        list.iter()
            .map(i32::to_string)
            .collect::<Vec<_>>()
            .join(",")
    };
    let mut command = Command::new(&config.program);
    command
        .args(["--https-fds", &join(&https), "--http-fds", &join(&http)])
        .args(["--workers", &config.workers.to_string()])
        .args(["--uid", &config.uid.to_string()])
        .args(["--gid", &config.gid.to_string()])
        .arg("--link")
        .arg(&config.link)
        .arg("--snapshot")
        .arg(config.data.join("routes.json"))
        .envs(environment::tuning())
        .stdin(Stdio::null());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut mappings = Vec::new();
    for (parent, number) in listeners
        .https
        .iter()
        .chain(&listeners.http)
        .zip(https.iter().chain(&http))
    {
        mappings.push(FdMapping {
            parent_fd: parent.try_clone()?,
            child_fd: *number,
        });
    }
    command
        .fd_mappings(mappings)
        .map_err(|error| io::Error::other(error.to_string()))?;
    Ok(command)
}

fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}

/// The start time of a process in clock ticks since boot (proc(5), field 22 of `stat`).
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_start_time() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(start_time(own).is_some_and(|ticks| ticks > 0));
    }
}
