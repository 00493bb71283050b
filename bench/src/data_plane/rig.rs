//! `apron-proxy` with a control plane that only hands it its table: listeners, a certificate for [`HOST`], one route to
//! the application that is measured and as many others as a table has.

use anyhow::{Context as _, Result, bail, ensure};
use apron_e2e::wait;
use apron_link::environment;
use apron_link::frame::{Decoder, encode};
use apron_link::proxy::{
    Certificate, FromProxy, Route, RouteState, RouteTable, ToProxy, Upstream, UpstreamProtocol,
    VERSION,
};
use apron_node::prompt;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The host name of the service that is measured.
pub const HOST: &str = "localhost";

/// Longest time the proxy may take to start, also on a machine that only counts.
const START_MAX: Duration = Duration::from_secs(60);

/// Longest time it may take to end.
const END_MAX: Duration = Duration::from_secs(60);

/// Connections that wait to be accepted, per listener.
const BACKLOG: i32 = 4_096;

/// A certificate and its key in PEM.
pub struct Identity {
    /// The certificate.
    pub chain_pem: String,
    /// The key.
    pub key_pem: String,
}

impl Identity {
    /// A self-signed certificate for [`HOST`] with a P-256 key.
    pub fn make() -> Result<Identity> {
        let certified = rcgen::generate_simple_self_signed(vec![HOST.to_owned()])
            .context("no certificate could be made")?;
        Ok(Identity {
            chain_pem: certified.cert.pem(),
            key_pem: certified.signing_key.serialize_pem(),
        })
    }
}

/// A running proxy.
pub struct Rig {
    /// Where it takes TLS.
    pub https: SocketAddr,
    /// Where it takes plain HTTP.
    pub plain: SocketAddr,
    /// Lines of its access log that were received.
    pub logged: Arc<AtomicU64>,
    process: Child,
    _link: UnixStream,
}

/// What is started.
pub struct Setup<'a> {
    /// The proxy.
    pub program: Program<'a>,
    /// A directory for its socket and its table.
    pub directory: &'a Path,
    /// Its threads.
    pub workers: usize,
    /// Services in the table beside the one that is measured.
    pub other_services: usize,
    /// The application.
    pub application: SocketAddr,
    /// How it is spoken to.
    pub protocol: UpstreamProtocol,
}

/// Which program is started.
pub enum Program<'a> {
    /// `apron-proxy`, which inherits its listeners.
    Released(&'a Path),
    /// Words that start the proxy's example `count`, which makes its own, under a tool that counts.
    Counted(&'a [String]),
}

impl Rig {
    /// Starts the proxy and waits until its table is in force.
    pub fn start(setup: &Setup<'_>, identity: &Identity) -> Result<Rig> {
        let socket = setup.directory.join("link.sock");
        let link = UnixListener::bind(&socket).context("the link's socket could not be made")?;
        let (mut process, https, plain) = match setup.program {
            Program::Released(program) => inherited(program, setup, &socket)?,
            Program::Counted(words) => own(words, setup, &socket)?,
        };
        let stream = accept(&link, &mut process)?;
        let mut rig = Rig {
            https: ([127, 0, 0, 1], https).into(),
            plain: ([127, 0, 0, 1], plain).into(),
            logged: Arc::default(),
            process,
            _link: stream.try_clone()?,
        };
        rig.publish(stream, &table(setup, identity))?;
        Ok(rig)
    }

    /// The proxy's process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Asks the proxy to end in order, and waits until it has.
    pub fn end(&mut self) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no process")?, Signal::TERM)?;
        let status = wait::until("the proxy to end", END_MAX, || {
            Ok(self.process.try_wait()?)
        })?;
        ensure!(status.success(), "the proxy ended with {status}");
        Ok(())
    }

    fn publish(&mut self, mut stream: UnixStream, table: &RouteTable) -> Result<()> {
        stream.write_all(&encode(&ToProxy::Welcome { version: VERSION })?)?;
        stream.write_all(&encode(&ToProxy::Routes(table.clone()))?)?;
        let (applied, wait) = std::sync::mpsc::sync_channel(1);
        let logged = Arc::clone(&self.logged);
        std::thread::spawn(move || {
            let (mut decoder, mut bytes) = (Decoder::default(), vec![0; 256 << 10]);
            while let Ok(read @ 1..) = stream.read(&mut bytes) {
                decoder.push(&bytes[..read]);
                while let Ok(Some(message)) = decoder.next::<FromProxy>() {
                    match message {
                        // Only the first is waited for.
                        FromProxy::Applied { .. } => drop(applied.try_send(())),
                        FromProxy::AccessLog(log) => {
                            let lines: usize = log.services.iter().map(|it| it.lines.len()).sum();
                            logged.fetch_add(lines as u64, Relaxed);
                        }
                        _ => {}
                    }
                }
            }
        });
        wait.recv()
            .context("the proxy ended before its table was in force")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // It has ended already if this fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until the proxy connects, as long as it lives.
fn accept(link: &UnixListener, process: &mut Child) -> Result<UnixStream> {
    link.set_nonblocking(true)?;
    wait::until("the proxy to connect", START_MAX, || {
        if let Some(status) = process.try_wait()? {
            bail!("the proxy ended with {status}");
        }
        match link.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                Ok(Some(stream))
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
}

type Started = (Child, u16, u16);

fn inherited(program: &Path, setup: &Setup<'_>, socket: &Path) -> Result<Started> {
    let (https, plain) = (listeners(setup.workers)?, listeners(setup.workers)?);
    let numbers = |list: &[TcpListener]| {
        let numbers: Vec<_> = list.iter().map(|it| it.as_raw_fd().to_string()).collect();
        numbers.join(",")
    };
    let set_inheritable = |flags: FdFlags| {
        let mut all = https.iter().chain(&plain);
        all.try_for_each(|listener| fcntl_setfd(listener, flags))
    };
    let mut command = Command::new(program);
    command
        .envs(environment::tuning())
        .arg("--link")
        .arg(socket)
        .arg("--snapshot")
        .arg(setup.directory.join("routes.json"))
        .args(["--https-fds", &numbers(&https)])
        .args(["--plain-fds", &numbers(&plain)])
        .args(["--workers", &https.len().to_string(), "--log", "error"])
        .stdin(Stdio::null());
    set_inheritable(FdFlags::empty())?;
    let child = prompt::spawn(&mut command);
    set_inheritable(FdFlags::CLOEXEC)?;
    let child = child.with_context(|| format!("{} did not start", program.display()))?;
    let port = |list: &[TcpListener]| list[0].local_addr().map(|address| address.port());
    Ok((child, port(&https)?, port(&plain)?))
}

fn own(words: &[String], setup: &Setup<'_>, socket: &Path) -> Result<Started> {
    let (program, arguments) = words.split_first().context("no program is named")?;
    let mut child = Command::new(program)
        .args(arguments)
        .arg(socket)
        .arg(setup.directory.join("routes.json"))
        .arg(setup.workers.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} did not start"))?;
    let output = child.stdout.take().context("no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let ports = line.trim().split_once(' ');
    let (https, plain) = ports.with_context(|| format!("{program} says no ports: {line:?}"))?;
    Ok((child, https.parse()?, plain.parse()?))
}

fn listeners(workers: usize) -> Result<Vec<TcpListener>> {
    let mut port = 0;
    let mut listeners = Vec::new();
    for _ in 0..workers {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_reuse_port(true)?;
        let address: SocketAddr = ([127, 0, 0, 1], port).into();
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener: TcpListener = socket.into();
        port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(listeners)
}

/// The name of the n-th service that is not measured.
pub fn other_host(number: usize) -> String {
    format!("other-{number}.apron.test")
}

fn table(setup: &Setup<'_>, identity: &Identity) -> RouteTable {
    let route = |(service, host): (String, String)| Route {
        upstreams: vec![Upstream {
            instance: format!("instance-of-{service}"),
            address: setup.application,
        }],
        service,
        hosts: vec![host],
        state: RouteState::Serving,
        max_concurrency: 1_000,
        protocol: setup.protocol,
        request_timeout_ms: 120_000,
        access_log: true,
        ..Route::default()
    };
    let others = (0..setup.other_services).map(|n| (format!("other-{n}"), other_host(n)));
    let measured = std::iter::once(("measured".to_owned(), HOST.to_owned()));
    RouteTable {
        generation: 1,
        certificates: vec![Certificate {
            id: "measured".into(),
            names: vec![HOST.to_owned()],
            chain_pem: identity.chain_pem.clone(),
            key_pem: identity.key_pem.clone(),
        }],
        routes: measured.chain(others).map(route).collect(),
    }
}
