//! How long it takes from asking for an instance to its application's first instruction, next to `crun run` and
//! `runc run` of an equal bundle.
//!
//! `start_speed --runs N [--shim PATH]`, as root. The application writes the time of its first instruction to its
//! output; the clock starts when `create` is called, or just before the other program is started. The three take turns, so
//! that a noisy machine is noisy for all of them. The last line printed is the result as JSON.

mod image;

use anyhow::{Context, Result, bail, ensure};
use apron_compute::{Compute, ComputeEvent, InstanceSpec};
use apron_domain::{Digest, InstanceId, Millis, ServiceId};
use apron_node::{Node, NodeConfig};
use apron_oci::ContentStore;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::Receiver;

const PEERS: [&str; 2] = ["crun", "runc"];

struct Options {
    runs: usize,
    shim: PathBuf,
}

fn main() -> Result<()> {
    let options = options()?;
    hide_unified()?;
    tokio::runtime::Runtime::new()?.block_on(measure(options))
}

/// crun refuses to work where the unified hierarchy is mounted next to version 1 and has controllers. For this process
/// and what it starts, it is not mounted.
fn hide_unified() -> Result<()> {
    const UNIFIED: &str = "/sys/fs/cgroup/unified";
    if !Path::new(UNIFIED).exists() {
        return Ok(());
    }
    #[allow(unsafe_code)]
    // SAFETY: no thread has been started yet, and no descriptor is affected.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }?;
    let private =
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    Ok(rustix::mount::unmount(
        UNIFIED,
        rustix::mount::UnmountFlags::DETACH,
    )?)
}

async fn measure(options: Options) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let program = first_instruction(directory.path())?;
    let mut bench = Bench::start(&options, directory.path(), &program).await?;
    let mut taken: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let outcome = bench.run(options.runs, &mut taken).await;
    drop(bench.node.take());
    Node::purge(bench.config.clone()).await?;
    outcome?;
    report(options.runs, taken)
}

fn options() -> Result<Options> {
    let mut arguments = std::env::args().skip(1);
    let beside = std::env::current_exe()?;
    let shim = beside
        .ancestors()
        .nth(2)
        .context("the target directory")?
        .join("apron-shim");
    let mut options = Options { runs: 20, shim };
    while let Some(argument) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--runs" => options.runs = value.parse().context("--runs takes a number")?,
            "--shim" => options.shim = value.into(),
            other => bail!("{other} is not known; --runs N, --shim PATH"),
        }
    }
    ensure!(
        options.shim.exists(),
        "{} is missing: cargo build -p apron-shim",
        options.shim.display()
    );
    Ok(options)
}

/// A static program whose first act is to print the monotonic clock, in nanoseconds.
fn first_instruction(directory: &Path) -> Result<PathBuf> {
    image::compile(
        directory,
        "first",
        "#include <stdio.h>\n#include <time.h>\nint main(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t);\n\
         printf(\"%lld\\n\", t.tv_sec * 1000000000LL + t.tv_nsec); return 0; }\n",
    )
}

struct Bench {
    node: Option<Arc<Node>>,
    events: Receiver<ComputeEvent>,
    config: NodeConfig,
    image: Digest,
    bundle: PathBuf,
    count: u32,
}

impl Bench {
    async fn start(options: &Options, directory: &Path, program: &Path) -> Result<Bench> {
        let mut config = NodeConfig::new(
            "speed",
            directory.join("data"),
            directory.join("run"),
            options.shim.clone(),
        );
        config.instance_network = "10.212.0.0/16".parse()?;
        let store = ContentStore::open(&directory.join("images"))?;
        let image = image::put(&directory.join("images"), program)?;
        let bundle = bundle(&directory.join("bundle"), program)?;
        let node = Node::start(config.clone(), store, clock()).await?;
        node.prepare(&image).await?;
        let events = node.subscribe();
        Ok(Bench {
            node: Some(node),
            events,
            config,
            image,
            bundle,
            count: 0,
        })
    }

    async fn run(
        &mut self,
        runs: usize,
        taken: &mut BTreeMap<&'static str, Vec<f64>>,
    ) -> Result<()> {
        // One of each to warm up.
        for run in 0..=runs {
            let ours = self.ours().await?;
            if run > 0 {
                taken.entry("apron-shim").or_default().push(ours);
            }
            for peer in PEERS {
                let time = self.peer(peer)?;
                if run > 0 {
                    taken.entry(peer).or_default().push(time);
                }
            }
        }
        Ok(())
    }

    /// Milliseconds from the call of `create` to the first instruction.
    async fn ours(&mut self) -> Result<f64> {
        let node = self.node.clone().context("the node runs")?;
        self.count += 1;
        let mut id = [0; 16];
        id[..4].copy_from_slice(&self.count.to_be_bytes());
        let spec = InstanceSpec {
            id: InstanceId::from_random(id),
            service: ServiceId::from_random([1; 16]),
            service_name: "speed".to_owned(),
            revision: 1,
            image: self.image.clone(),
            start_command: None,
            env: BTreeMap::new(),
            defaults: Default::default(),
            trusts_platform: false,
            identity_token: None,
            port: 8080,
            cpu_millis: 1000,
            memory_bytes: 512 << 20,
            pids_max: 1024,
            disk_bytes: 3 << 30,
            class: apron_compute::InstanceClass::Service,
        };
        // The pool is filled between starts, as it is between deployments.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let asked = monotonic_ns();
        node.create(&spec).await?;
        let mut first = None;
        loop {
            let event = tokio::time::timeout(Duration::from_secs(10), self.events.recv()).await?;
            match event.context("the stream of events goes on")? {
                ComputeEvent::Output { line, .. } => first = Some(line.parse::<u64>()?),
                ComputeEvent::Exited { exit, .. } => {
                    node.remove(&spec.id).await?;
                    let first = first.with_context(|| format!("it printed nothing: {exit:?}"))?;
                    return Ok((first - asked) as f64 / 1e6);
                }
                ComputeEvent::Started { .. } => {}
            }
        }
    }

    /// Milliseconds from the start of another container program to the first instruction.
    fn peer(&mut self, program: &str) -> Result<f64> {
        self.count += 1;
        let asked = monotonic_ns();
        let output = Command::new(program)
            .args(["run", "--bundle"])
            .arg(&self.bundle)
            .arg(format!("apron-speed-{}", self.count))
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {program}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let first: u64 = text
            .trim()
            .parse()
            .with_context(|| format!("{program} printed `{text}` and `{errors}`"))?;
        Ok((first - asked) as f64 / 1e6)
    }
}

/// A bundle with what an instance has: new namespaces, limits, a filter of system calls, masked paths, dropped
/// capabilities. It has neither an overlay, nor a disk of its own, nor a connected network.
fn bundle(directory: &Path, program: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(directory.join("rootfs"))?;
    std::fs::copy(program, directory.join("rootfs/first"))?;
    let made = Command::new("crun")
        .arg("spec")
        .current_dir(directory)
        .status()
        .context("starting crun")?;
    ensure!(made.success(), "crun spec failed");
    let path = directory.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/first"]);
    // Raising limits is not allowed everywhere, and not part of the comparison.
    config["process"]["rlimits"] = json!([]);
    config["linux"]["resources"] = json!({
    "memory": {"limit": 512 << 20}, "cpu": {"quota": 100_000, "period": 100_000}, "pids": {"limit": 1024},
    });
    config["linux"]["seccomp"] = seccomp();
    std::fs::write(&path, config.to_string())?;
    Ok(directory.to_owned())
}

/// A filter of the same kind: everything is allowed but what Docker's default profile refuses.
fn seccomp() -> serde_json::Value {
    let refused = [
        "acct",
        "add_key",
        "bpf",
        "clock_settime",
        "delete_module",
        "finit_module",
        "fsopen",
        "init_module",
        "ioperm",
        "iopl",
        "kcmp",
        "kexec_load",
        "keyctl",
        "mount",
        "move_mount",
        "open_by_handle_at",
        "perf_event_open",
        "pivot_root",
        "quotactl",
        "reboot",
        "request_key",
        "setns",
        "swapoff",
        "swapon",
        "umount2",
        "unshare",
        "userfaultfd",
    ];
    json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": refused, "action": "SCMP_ACT_ERRNO"}],
    })
}

fn report(runs: usize, taken: BTreeMap<&str, Vec<f64>>) -> Result<()> {
    let mut rows = Vec::new();
    let mut ours = None;
    for who in ["apron-shim", "crun", "runc"] {
        let mut times = taken.get(who).cloned().context("every row was measured")?;
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize];
        let p50 = at(0.5);
        let ratio = p50 / *ours.get_or_insert(p50);
        println!(
            "{who:<12} p50 {p50:7.2} ms   p90 {:7.2} ms   {ratio:5.2} times apron-shim",
            at(0.9)
        );
        rows.push(json!({"who": who, "p50_ms": p50, "p90_ms": at(0.9), "p95_ms": at(0.95)}));
    }
    println!(
        "{}",
        json!({"measurement": "start", "runs": runs, "rows": rows})
    );
    Ok(())
}

fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[allow(clippy::disallowed_methods, reason = "an example is an edge")]
fn clock() -> apron_node::Clock {
    Arc::new(|| {
        Millis(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64),
        )
    })
}
