//! A machine of the test's own: network namespace, directories, name.
#![allow(unsafe_code)]

use crate::image;
use apron_compute::{Compute, ComputeEvent, Exit, InstanceSpec, InstanceState, OutputStream};
use apron_domain::{Digest, InstanceId, Millis, ServiceId};
use apron_node::{Node, NodeConfig};
use apron_oci::ContentStore;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::Receiver;

/// Longest wait for anything that has to happen.
pub const SOON: Duration = Duration::from_secs(30);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Where a test works.
pub struct Machine {
    pub directory: tempfile::TempDir,
    pub config: NodeConfig,
    pub store: Arc<ContentStore>,
    pub busybox: Digest,
    number: u32,
    instances: AtomicU32,
}

/// Runs a test in a network namespace of its own and cleans up after it, however it ends.
pub fn on_a_machine<F>(test: impl FnOnce(Arc<Machine>) -> F + Send + 'static)
where
    F: Future<Output = ()>,
{
    // The namespace belongs to a thread and to the threads it starts: the runtime and its helpers are among those.
    let thread = std::thread::spawn(move || {
        // SAFETY: only this thread and those it starts later see another network.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
            .expect("root is needed");
        run(&["ip", "link", "set", "lo", "up"]);
        // A new namespace takes this over from the machine.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let machine = Arc::new(Machine::new());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(test(machine.clone()));
        }));
        runtime.shutdown_timeout(Duration::from_secs(5));
        let purged = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(Node::purge(machine.config.clone()));
        if let Err(panic) = outcome {
            println!("purging after a failure: {purged:?}");
            std::panic::resume_unwind(panic);
        }
        purged.expect("purging after the test");
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Gives the calling thread and those it starts later a network namespace of their own.
pub fn leave_network() {
    // SAFETY: no descriptors or memory are affected, and the thread ends with what it was made for.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
        .expect("root is needed");
    run(&["ip", "link", "set", "lo", "up"]);
}

impl Machine {
    fn new() -> Machine {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::Builder::new()
            .prefix("apron-node-test-")
            .tempdir()
            .unwrap();
        let path = directory.path();
        let name = format!("t{:x}-{number}", std::process::id());
        let mut config = NodeConfig::new(&name, path.join("data"), path.join("run"), shim());
        config.instance_network = format!("10.{}.0.0/16", 100 + number % 100).parse().unwrap();
        config.resolvers = vec!["192.0.2.53".parse().unwrap()];
        let store = ContentStore::open(&path.join("images")).unwrap();
        let busybox = image::put(
            &path.join("images"),
            vec![image::busybox_layer()],
            json!({"Cmd": ["httpd", "-f", "-p", "8080", "-h", "/www"], "Env": ["PATH=/bin"]}),
        );
        Machine {
            directory,
            config,
            store,
            busybox,
            number,
            instances: AtomicU32::new(0),
        }
    }

    /// Starts the backend, which may have run before.
    pub async fn node(&self) -> Arc<Node> {
        Node::start(self.config.clone(), self.store.clone(), clock())
            .await
            .expect("the backend starts")
    }

    /// Puts an image of busybox and further layers into the store.
    pub fn image(&self, layers: Vec<image::Layer>, config: serde_json::Value) -> Digest {
        let mut all = vec![image::busybox_layer()];
        all.extend(layers);
        image::put(&self.directory.path().join("images"), all, config)
    }

    /// An instance that runs a shell script.
    pub fn script(&self, script: &str) -> InstanceSpec {
        self.spec(Some(format!(
            "/bin/sh -c {}",
            shlex::try_quote(script).unwrap()
        )))
    }

    /// An instance that serves files.
    pub fn server(&self) -> InstanceSpec {
        self.spec(None)
    }

    fn spec(&self, start_command: Option<String>) -> InstanceSpec {
        let instance = self.instances.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; 16];
        id[..4].copy_from_slice(&std::process::id().to_be_bytes());
        id[8..12].copy_from_slice(&self.number.to_be_bytes());
        id[12..].copy_from_slice(&instance.to_be_bytes());
        InstanceSpec {
            id: InstanceId::from_random(id),
            service: ServiceId::from_random([7; 16]),
            service_name: "Test_Service".to_owned(),
            revision: 1,
            image: self.busybox.clone(),
            start_command,
            env: BTreeMap::new(),
            defaults: Default::default(),
            trusts_platform: false,
            identity_token: None,
            port: 8080,
            cpu_millis: 1000,
            memory_bytes: 64 << 20,
            pids_max: 64,
            disk_bytes: 64 << 20,
            class: apron_compute::InstanceClass::Service,
        }
    }

    pub fn instance_directory(&self, id: &InstanceId) -> PathBuf {
        self.config.run_dir.join("instances").join(id.as_str())
    }
}

/// What came of an instance that was run to its end.
#[derive(Debug)]
pub struct Outcome {
    pub exit: Exit,
    pub lines: Vec<String>,
    pub errors: Vec<String>,
}

impl Outcome {
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }
}

/// Creates an instance and follows it to its end.
pub async fn run_to_end(
    node: &Node,
    events: &mut Receiver<ComputeEvent>,
    spec: &InstanceSpec,
) -> Outcome {
    node.create(spec).await.expect("creating an instance");
    let outcome = follow(events, &spec.id).await;
    node.remove(&spec.id).await.expect("removing an instance");
    outcome
}

/// Collects what an instance prints until it ends.
pub async fn follow(events: &mut Receiver<ComputeEvent>, id: &InstanceId) -> Outcome {
    let mut outcome = (Vec::new(), Vec::new());
    loop {
        match next(events).await {
            ComputeEvent::Output {
                id: of,
                stream,
                line,
                ..
            } if of == *id => match stream {
                OutputStream::Stdout => outcome.0.push(line),
                OutputStream::Stderr => outcome.1.push(line),
            },
            ComputeEvent::Exited { id: of, exit } if of == *id => {
                return Outcome {
                    exit,
                    lines: outcome.0,
                    errors: outcome.1,
                };
            }
            _ => {}
        }
    }
}

/// Waits for an instance to print a line.
pub async fn line(events: &mut Receiver<ComputeEvent>, id: &InstanceId) -> String {
    loop {
        match next(events).await {
            ComputeEvent::Output { id: of, line, .. } if of == *id => return line,
            ComputeEvent::Exited { id: of, exit } if of == *id => panic!("it ended: {exit:?}"),
            _ => {}
        }
    }
}

pub async fn next(events: &mut Receiver<ComputeEvent>) -> ComputeEvent {
    tokio::time::timeout(SOON, events.recv())
        .await
        .expect("an event in time")
        .expect("the stream goes on")
}

/// Waits until something is so.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + SOON;
    while !condition() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited {SOON:?} for {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The state the backend lists for an instance.
pub async fn state(node: &Node, id: &InstanceId) -> Option<InstanceState> {
    node.list()
        .await
        .unwrap()
        .into_iter()
        .find(|status| status.id == *id)
        .map(|status| status.state)
}

/// The address the backend lists for an instance, without its port.
pub async fn address(node: &Node, id: &InstanceId) -> std::net::IpAddr {
    let listed = node.list().await.unwrap();
    listed
        .iter()
        .find(|status| status.id == *id)
        .and_then(|status| status.address)
        .expect("it has an address")
        .ip()
}

/// The process id a shim noted.
pub fn shim_pid(directory: &Path) -> i32 {
    std::fs::read_to_string(directory.join("shim.pid"))
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

pub fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Runs a program of the machine in the test's network.
pub fn run(command: &[&str]) -> String {
    let output = Command::new(command[0])
        .args(&command[1..])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[allow(clippy::disallowed_methods, reason = "tests are an edge")]
pub fn clock() -> apron_node::Clock {
    Arc::new(|| {
        Millis(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_millis() as u64,
        )
    })
}

fn shim() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let shim = test.ancestors().nth(2).unwrap().join("apron-shim");
    assert!(
        shim.exists(),
        "{} is missing: cargo build -p apron-shim",
        shim.display()
    );
    shim
}
