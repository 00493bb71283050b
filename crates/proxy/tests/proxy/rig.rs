//! A real proxy process with the tests' own control plane and listeners.

pub mod client;
pub mod control;
pub mod frames;
pub mod h2c;
pub mod origin;

use apron_link::proxy::{
    Certificate, FromProxy, Route, RouteChange, RouteState, RouteTable, ToProxy, Upstream,
};
use client::Wire;
use control::Control;
use rustix::io::{FdFlags, fcntl_setfd};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The host name of the service in most tests.
pub const HOST: &str = "app.apron.test";

/// The proxy, its listeners and its control plane.
pub struct Rig {
    pub control: Control,
    pub https: SocketAddr,
    pub http: SocketAddr,
    pub plain: SocketAddr,
    process: Option<Child>,
    pub directory: tempfile::TempDir,
    pub authority: Authority,
    listeners: [Vec<TcpListener>; 3],
    arguments: Vec<String>,
}

/// What is needed to connect.
pub struct Dial {
    https: SocketAddr,
    plain: SocketAddr,
    root_pem: String,
}

impl Dial {
    pub fn plain(&self) -> Wire {
        Wire::plain(self.plain)
    }

    pub fn tls(&self, host: &str) -> Wire {
        Wire::tls(self.https, host, &self.root_pem)
    }
}

/// A certificate authority of the test.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub root_pem: String,
}

impl Authority {
    fn new() -> Authority {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root_pem = parameters.self_signed(&key).unwrap().pem();
        Authority {
            issuer: rcgen::Issuer::new(parameters, key),
            root_pem,
        }
    }

    pub fn certificate(&self, names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(names.clone()).unwrap();
        let chain_pem = parameters.signed_by(&key, &self.issuer).unwrap().pem();
        Certificate {
            id: names.join(","),
            names,
            chain_pem,
            key_pem: key.serialize_pem(),
        }
    }
}

const WORKERS: usize = 2;

/// Descriptors are inherited by whatever is started while they are inheritable: one start at a time.
static STARTING: Mutex<()> = Mutex::new(());

impl Rig {
    /// Starts a proxy that has no table yet.
    pub fn start() -> Rig {
        Rig::start_with(&[])
    }

    pub fn start_with(arguments: &[&str]) -> Rig {
        let mut rig = Rig::prepare(arguments);
        rig.start_another();
        rig
    }

    /// Everything but the process.
    pub fn prepare(arguments: &[&str]) -> Rig {
        let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = [(); 3].map(|()| {
            let first = listener();
            // One socket for both workers: what the kernel gives out is not the tests' matter.
            let second = first.try_clone().unwrap();
            vec![first, second]
        });
        let address = |list: &Vec<TcpListener>| list[0].local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let control = Control::listen(&directory.path().join("link.sock"));
        let arguments: Vec<String> = arguments
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect();
        Rig {
            control,
            https: address(&listeners[0]),
            http: address(&listeners[1]),
            plain: address(&listeners[2]),
            process: None,
            directory,
            authority: Authority::new(),
            listeners,
            arguments,
        }
    }

    /// A proxy that serves `HOST` from one application.
    pub fn serving(origin: SocketAddr) -> Rig {
        let mut rig = Rig::start();
        let table = rig.table(1, vec![route(&[("one", origin)])]);
        rig.publish(table);
        rig
    }

    /// A table with a certificate for all hosts of the tests.
    pub fn table(&self, generation: u64, routes: Vec<Route>) -> RouteTable {
        let certificates = vec![self.authority.certificate(&["*.apron.test"])];
        RouteTable {
            generation,
            certificates,
            routes,
        }
    }

    /// Publishes a table and waits until it is in force.
    pub fn publish(&mut self, table: RouteTable) -> Vec<apron_link::proxy::Draining> {
        self.control.publish(table)
    }

    /// Publishes what is different of one route and waits until it is in force.
    pub fn change(&mut self, base: u64, routes: Vec<Route>) {
        let change = RouteChange {
            base,
            generation: base + 1,
            routes,
            ..RouteChange::default()
        };
        self.control.send(&ToProxy::Change(change));
        self.control
            .expect("an acknowledgement", |message| match message {
                FromProxy::Applied { generation, .. } => (*generation == base + 1).then_some(()),
                _ => None,
            });
    }

    /// The process.
    pub fn process(&mut self) -> &mut Child {
        self.process.as_mut().unwrap()
    }

    /// Starts a process, or another one with the same listeners.
    pub fn start_another(&mut self) {
        self.process = Some(spawn(&self.directory, &self.listeners, &self.arguments));
    }

    /// Kills the process as a crash would.
    pub fn kill(&mut self) {
        self.process().kill().unwrap();
        self.process().wait().unwrap();
    }

    /// What is needed to connect, for other threads.
    pub fn dial(&self) -> Dial {
        Dial {
            https: self.https,
            plain: self.plain,
            root_pem: self.authority.root_pem.clone(),
        }
    }

    /// A connection without TLS to the forwarding listener.
    pub fn plain(&self) -> Wire {
        Wire::plain(self.plain)
    }

    /// A TLS connection for `host`.
    pub fn tls(&self, host: &str) -> Wire {
        self.dial().tls(host)
    }

    /// Resident memory of the process in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!(
            "/proc/{}/status",
            self.process.as_ref().unwrap().id()
        ))
        .unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn spawn(
    directory: &tempfile::TempDir,
    listeners: &[Vec<TcpListener>; 3],
    arguments: &[String],
) -> Child {
    let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let set_inheritable = |flags: FdFlags| {
        for listener in listeners.iter().flatten() {
            fcntl_setfd(listener, flags).unwrap();
        }
    };
    let numbers = |list: &Vec<TcpListener>| {
        list.iter()
            .map(|listener| listener.as_raw_fd().to_string())
            .collect::<Vec<_>>()
            .join(",")
    };
    set_inheritable(FdFlags::empty());
    let child = Command::new(env!("CARGO_BIN_EXE_apron-proxy"))
        .arg("--link")
        .arg(directory.path().join("link.sock"))
        .arg("--snapshot")
        .arg(directory.path().join("routes.json"))
        .args(["--workers", &WORKERS.to_string(), "--log", "warn"])
        .args(["--https-fds", &numbers(&listeners[0])])
        .args(["--http-fds", &numbers(&listeners[1])])
        .args(["--plain-fds", &numbers(&listeners[2])])
        .args(arguments)
        .spawn()
        .unwrap();
    set_inheritable(FdFlags::CLOEXEC);
    child
}

/// A route of `HOST` to these instances.
pub fn route(instances: &[(&str, SocketAddr)]) -> Route {
    let upstream = |(id, address): &(&str, SocketAddr)| Upstream {
        instance: (*id).to_owned(),
        address: *address,
    };
    Route {
        service: "service".into(),
        hosts: vec![HOST.into()],
        state: RouteState::Serving,
        upstreams: instances.iter().map(upstream).collect(),
        max_concurrency: 100,
        ..Route::default()
    }
}

/// Asks again until the answer is yes.
pub fn eventually(what: &str, mut question: impl FnMut() -> bool) {
    let start = Instant::now();
    while !question() {
        assert!(start.elapsed() < PATIENCE, "never happened: {what}");
        be_slow(Duration::from_millis(2));
    }
}

/// Waits until a number that grows has come to a stand, and answers it.
pub fn at_a_stand(what: &str, number: impl Fn() -> u64) -> u64 {
    let mut last = None;
    eventually(what, || {
        be_slow(Duration::from_millis(100));
        let now = number();
        now > 0 && last.replace(now) == Some(now)
    });
    number()
}

/// Takes its time, as slow clients and applications do.
pub fn be_slow(time: Duration) {
    std::thread::sleep(time);
}
