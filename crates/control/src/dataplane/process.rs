//! The proxy's process: its listening sockets, its start, its replacement when it ends.
//!
//! The control plane binds the sockets and keeps duplicates: while no proxy runs, connections wait in the backlog instead of
//! being refused. A control plane that starts again takes the duplicates back out of the running proxy.

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Connections that wait to be accepted, per socket; the kernel may lower it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// The first descriptor number that sockets have in the proxy.
const FIRST_FD: i32 = 10;

/// Pause before a proxy that ended soon after its start is started again; doubled each time.
const RESTART_FIRST: Duration = Duration::from_millis(20);

/// Longest such pause.
const RESTART_MAX: Duration = Duration::from_secs(5);

/// A proxy that ran this long is started again at once.
const RAN_LONG: Duration = Duration::from_secs(10);

/// How the proxy is run.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// The program.
    pub program: PathBuf,
    /// The control plane's socket it connects to.
    pub link: PathBuf,
    /// The directory where it keeps the last route table; made here and given to its user.
    pub data: PathBuf,
    /// Where the running process is written down.
    pub state: PathBuf,
    /// Where it serves HTTPS.
    pub https: Vec<SocketAddr>,
    /// Where it redirects plain HTTP.
    pub http: Vec<SocketAddr>,
    /// Worker threads.
    pub workers: usize,
    /// The user it becomes.
    pub uid: u32,
    /// The group it becomes.
    pub gid: u32,
}

/// Why the data plane could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address}: {error}. See who uses it with `ss -ltnp 'sport = :{}'`, or choose another \
         address in the configuration file",
        address.port()
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        error: io::Error,
    },
    /// The proxy's program cannot be started.
    #[error("cannot start the proxy {program}: {error}")]
    Start {
        /// The program.
        program: String,
        /// The system's answer.
        error: io::Error,
    },
    /// A file of the proxy cannot be written.
    #[error("cannot prepare {path} for the proxy: {error}")]
    Prepare {
        /// The file or directory.
        path: String,
        /// The system's answer.
        error: io::Error,
    },
}

/// What is written down of a running proxy.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Running {
    pid: i32,
    /// Start time in clock ticks since boot: a process id alone may be somebody else's by now.
    started: u64,
    https: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    workers: usize,
}

/// The listening sockets, in the order the proxy gets them.
struct Listeners {
    https: Vec<OwnedFd>,
    http: Vec<OwnedFd>,
}

/// The data plane's listening sockets, with the proxy that has them already if one runs.
pub struct Sockets {
    listeners: Listeners,
    running: Option<OwnedFd>,
}

/// Takes the listening sockets of a running proxy, or binds them; nothing is started yet, so a port that is in use is found
/// before anything is made. `retire` is called when the running proxy is of another program version and is to be replaced.
pub fn sockets(config: &ProxyConfig, retire: impl Fn(u32)) -> Result<Sockets, ProxyError> {
    prepare(config)?;
    match adopt(config) {
        Some((listeners, pid, pidfd)) if is_same_program(pid, &config.program) => {
            tracing::info!(pid, "proxy goes on");
            Ok(Sockets {
                listeners,
                running: Some(pidfd),
            })
        }
        Some((listeners, pid, _)) => {
            tracing::info!(
                pid,
                "proxy of another version finishes its requests and is replaced"
            );
            retire(u32::try_from(pid).unwrap_or_default());
            Ok(Sockets {
                listeners,
                running: None,
            })
        }
        None => Ok(Sockets {
            listeners: bind_all(config)?,
            running: None,
        }),
    }
}

/// Starts the proxy if none runs, and keeps one running for ever.
pub fn supervise(config: ProxyConfig, sockets: Sockets) -> Result<(), ProxyError> {
    let first = match sockets.running {
        Some(pidfd) => Process { pidfd, child: None },
        None => spawn(&config, &sockets.listeners)?,
    };
    tokio::spawn(keep_running(config, Arc::new(sockets.listeners), first));
    Ok(())
}

struct Process {
    pidfd: OwnedFd,
    child: Option<Child>,
}

impl Process {
    /// Waits until the process has ended. A thread of its own waits in the kernel, once per life of a proxy.
    async fn ended(self) -> io::Result<String> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name("proxy-wait".to_owned())
            .spawn(move || {
                // Nobody waits any more when the control plane ends.
                let _ = sender.send(self.wait());
            })?;
        receiver.await.map_err(io::Error::other)?
    }

    fn wait(mut self) -> io::Result<String> {
        if let Some(child) = self.child.as_mut() {
            return child.wait().map(|status| status.to_string());
        }
        let mut poll = [rustix::event::PollFd::new(
            &self.pidfd,
            rustix::event::PollFlags::IN,
        )];
        while rustix::io::retry_on_intr(|| rustix::event::poll(&mut poll, None))? == 0 {}
        Ok("ended".to_owned())
    }
}

async fn keep_running(config: ProxyConfig, listeners: Arc<Listeners>, first: Process) {
    let mut process = Some(first);
    let mut pause = RESTART_FIRST;
    loop {
        let began = tokio::time::Instant::now();
        if let Some(process) = process.take() {
            let how = process.ended().await;
            tracing::error!(?how, "proxy ended, starting it again");
        }
        if began.elapsed() >= RAN_LONG {
            pause = RESTART_FIRST;
        } else {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RESTART_MAX);
        }
        match spawn(&config, &listeners) {
            Ok(started) => process = Some(started),
            Err(error) => {
                tracing::error!(%error, "proxy could not be started, will be tried again")
            }
        }
    }
}

fn prepare(config: &ProxyConfig) -> Result<(), ProxyError> {
    let failed = |error| ProxyError::Prepare {
        path: config.data.display().to_string(),
        error,
    };
    std::fs::create_dir_all(&config.data).map_err(failed)?;
    std::os::unix::fs::chown(&config.data, Some(config.uid), Some(config.gid)).map_err(failed)?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&config.data, private).map_err(failed)
}

fn bind_all(config: &ProxyConfig) -> Result<Listeners, ProxyError> {
    for address in config.https.iter().chain(&config.http) {
        // Sockets that share a port would also share it with a foreign one that shares: ask for it alone first.
        bind(*address, false)?;
    }
    let bind_list = |addresses: &[SocketAddr]| -> Result<Vec<OwnedFd>, ProxyError> {
        let per_worker = addresses
            .iter()
            .flat_map(|address| std::iter::repeat_n(*address, config.workers));
        per_worker.map(|address| bind(address, true)).collect()
    };
    Ok(Listeners {
        https: bind_list(&config.https)?,
        http: bind_list(&config.http)?,
    })
}

fn bind(address: SocketAddr, shared: bool) -> Result<OwnedFd, ProxyError> {
    let listen = || -> io::Result<OwnedFd> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        if shared {
            socket.listen(BACKLOG)?;
        }
        Ok(socket.into())
    };
    listen().map_err(|error| ProxyError::Listen { address, error })
}

/// Descriptor numbers in the proxy: first those for HTTPS, then those for plain HTTP.
fn numbers(https: usize, http: usize) -> (Vec<i32>, Vec<i32>) {
    let number = |index: usize| FIRST_FD + i32::try_from(index).unwrap_or(i32::MAX - FIRST_FD);
    (
        (0..https).map(number).collect(),
        (https..https + http).map(number).collect(),
    )
}

fn spawn(config: &ProxyConfig, listeners: &Listeners) -> Result<Process, ProxyError> {
    let failed = |error| ProxyError::Start {
        program: config.program.display().to_string(),
        error,
    };
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
        .args([
            "--uid",
            &config.uid.to_string(),
            "--gid",
            &config.gid.to_string(),
        ])
        .arg("--link")
        .arg(&config.link)
        .arg("--snapshot")
        .arg(config.data.join("routes.json"))
        // Huge pages would make the allocator's few megabytes many.
        .env("MIMALLOC_ALLOW_THP", "0")
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
            parent_fd: parent.try_clone().map_err(failed)?,
            child_fd: *number,
        });
    }
    command
        .fd_mappings(mappings)
        .map_err(|error| failed(io::Error::other(error.to_string())))?;
    let child = command.spawn().map_err(failed)?;
    let pid = i32::try_from(child.id()).map_err(|e| failed(io::Error::other(e)))?;
    let pidfd = open(pid).map_err(failed)?;
    write_state(config, pid)?;
    tracing::info!(pid, "proxy started");
    Ok(Process {
        pidfd,
        child: Some(child),
    })
}

fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    Ok(pidfd)
}

fn write_state(config: &ProxyConfig, pid: i32) -> Result<(), ProxyError> {
    let failed = |error| ProxyError::Prepare {
        path: config.state.display().to_string(),
        error,
    };
    let running = Running {
        pid,
        started: start_time(pid).unwrap_or_default(),
        https: config.https.clone(),
        http: config.http.clone(),
        workers: config.workers,
    };
    let text = serde_json::to_vec(&running).map_err(|e| failed(io::Error::other(e)))?;
    let temporary = config.state.with_extension("new");
    std::fs::write(&temporary, text).map_err(failed)?;
    std::fs::rename(&temporary, &config.state).map_err(failed)
}

/// The start time of a process in clock ticks since boot (proc(5), field 22 of `stat`).
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(19)?.parse().ok()
}

/// The sockets of a proxy that a former control plane started, if it still runs with the same addresses.
fn adopt(config: &ProxyConfig) -> Option<(Listeners, i32, OwnedFd)> {
    let text = std::fs::read(&config.state).ok()?;
    let running: Running = serde_json::from_slice(&text).ok()?;
    let pidfd = open(running.pid).ok()?;
    if start_time(running.pid) != Some(running.started) {
        return None;
    }
    let same = running.https == config.https
        && running.http == config.http
        && running.workers == config.workers;
    if !same {
        tracing::warn!("the configured addresses differ from the running proxy's: it is ended");
        end(&pidfd);
        return None;
    }
    let (https, http) = numbers(
        running.https.len() * running.workers,
        running.http.len() * running.workers,
    );
    match (take(&pidfd, &https), take(&pidfd, &http)) {
        (Ok(https), Ok(http)) => Some((Listeners { https, http }, running.pid, pidfd)),
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%error, "the running proxy's sockets cannot be taken over: it is ended");
            end(&pidfd);
            None
        }
    }
}

fn take(pidfd: &OwnedFd, numbers: &[i32]) -> io::Result<Vec<OwnedFd>> {
    let one = |number: &i32| pidfd_getfd(pidfd.as_fd(), *number, PidfdGetfdFlags::empty());
    numbers
        .iter()
        .map(|number| one(number).map_err(io::Error::from))
        .collect()
}

/// Ends a proxy whose sockets are of no use any more and waits until they are free.
fn end(pidfd: &OwnedFd) {
    let ended = rustix::process::pidfd_send_signal(pidfd.as_fd(), rustix::process::Signal::KILL);
    if let Err(error) = ended {
        tracing::warn!(%error, "the running proxy cannot be ended");
        return;
    }
    let mut poll = [rustix::event::PollFd::new(
        pidfd,
        rustix::event::PollFlags::IN,
    )];
    let limit = rustix::event::Timespec {
        tv_sec: 5,
        tv_nsec: 0,
    };
    if let Err(error) = rustix::event::poll(&mut poll, Some(&limit)) {
        tracing::warn!(%error, "the running proxy's end cannot be waited for");
    }
}

/// Ends the proxy that the state file names, for `apron down`; fine when none runs.
pub fn end_running(state: &Path) {
    let running = std::fs::read(state)
        .ok()
        .and_then(|text| serde_json::from_slice::<Running>(&text).ok());
    if let Some(running) = running
        && start_time(running.pid) == Some(running.started)
        && let Ok(pidfd) = open(running.pid)
    {
        end(&pidfd);
    }
}

/// Whether a process runs the file that the program's path names now.
fn is_same_program(pid: i32, program: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    identity(Path::new(&format!("/proc/{pid}/exe"))) == identity(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptor_numbers_give_each_worker_every_address() {
        let (https, http) = numbers(4, 2);
        assert_eq!((https, http), (vec![10, 11, 12, 13], vec![14, 15]));
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(address, false).unwrap_err().to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("in use"),
            "{error}"
        );
    }

    #[test]
    fn a_process_has_a_start_time() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(start_time(own).is_some_and(|ticks| ticks > 0));
    }
}
