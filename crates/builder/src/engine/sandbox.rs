//! Running commands in an instance, and taking what they changed.

use super::events::Events;
use super::mask::Mask;
use super::script::{self, Progress, SCRIPT, Said, TOOLS};
use super::tools;
use crate::BuildLog;
use crate::options::BuilderOptions;
use crate::plan::Step;
use apron_compute::{
    Compute, ComputeError, ComputeEvent, Exhausted, Exit, Export, InstanceClass, InstanceSpec,
};
use apron_domain::{Digest, Failure, FailureKind, InstanceId, ServiceId};
use apron_oci::{ContentStore, Layer, NewImage};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

/// The port a build's instance is given; nothing listens there.
const PORT: u16 = 8080;

/// Lines of one script that are written to the log; a command that says more says it to nobody, but for its end.
const LINES_LOGGED_MAX: usize = 20_000;

/// Directories that a build writes and nobody ships: the platform's own, and what is temporary.
pub const NEVER_SHIPPED: &[&str] = &[
    TOOLS,
    "/tmp",
    "/var/tmp",
    "/run",
    "/root/.npm/_logs",
    "/var/log",
    "/var/cache/apt",
    "/var/cache/ldconfig",
    "/var/cache/debconf",
    "/var/lib/apt/lists",
];

/// Gives 16 random bytes.
pub type Chance = Arc<dyn Fn() -> [u8; 16] + Send + Sync>;

/// Where commands run.
pub struct Sandbox {
    /// Image content.
    pub content: Arc<ContentStore>,
    /// The backend's instances for builds.
    pub compute: Arc<dyn Compute>,
    /// What they say.
    pub events: Arc<Events>,
    /// The operator's settings.
    pub options: BuilderOptions,
    /// Random bytes.
    pub chance: Chance,
    /// What is kept out of logs.
    pub mask: Mask,
    /// Images whose unpacked layers are kept for the next build.
    pub kept: Mutex<BTreeSet<Digest>>,
}

/// What is to be run.
pub struct Job<'a> {
    /// The image it runs in.
    pub image: NewImage,
    /// The commands.
    pub steps: &'a [Step],
    /// Where they run.
    pub directory: &'a str,
    /// Their variables.
    pub env: BTreeMap<String, String>,
    /// The service it is for.
    pub service: &'a ServiceId,
    /// Its name.
    pub service_name: &'a str,
    /// When all has to be done.
    pub deadline: Instant,
    /// What may not stand in the log, besides the operator's passwords.
    pub secrets: &'a [String],
}

/// An instance that goes with this: at once, and completely, also when the build is given up.
struct Held {
    compute: Arc<dyn Compute>,
    events: Arc<Events>,
    id: InstanceId,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.events.forget(&self.id);
        let (compute, id) = (self.compute.clone(), self.id.clone());
        // Without a runtime the process is ending; the next one removes it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = compute.remove(&id).await {
                    tracing::warn!(instance = %id, %error, "what a build left cannot be removed");
                }
            });
        }
    }
}

/// An instance whose commands have all ended well.
pub struct Finished {
    sandbox: Arc<Sandbox>,
    held: Held,
    /// The last lines of the last command.
    pub tail: Vec<String>,
}

impl Sandbox {
    /// Runs commands to their end.
    ///
    /// # Errors
    /// With the command that failed, how it ended, the bound it met and its last lines.
    pub async fn run(
        self: &Arc<Sandbox>,
        job: Job<'_>,
        log: &dyn BuildLog,
    ) -> Result<Finished, Failure> {
        let id = InstanceId::from_random((self.chance)());
        let mark = mark((self.chance)());
        let deadline = job.deadline;
        let mask = self.mask.with(job.secrets);
        let spec = self.instance(&id, &job, &mark).await?;
        let mut events = self.events.listen(&id);
        let held = Held {
            compute: self.compute.clone(),
            events: self.events.clone(),
            id: id.clone(),
        };
        self.compute.create(&spec).await.map_err(refused)?;
        let mut progress = Progress::new(&mark, job.steps.len());
        let follow = self.follow(&mut events, &mut progress, &mask, job.steps, log);
        let exit = tokio::time::timeout_at(deadline, follow).await;
        let exhausted = self.compute.exhausted(&id).await.unwrap_or_default();
        let how = match exit {
            Ok(Ok(exit)) if exit.code == Some(0) && progress.is_done() => {
                return Ok(Finished {
                    sandbox: self.clone(),
                    held,
                    tail: progress.tail(),
                });
            }
            Ok(Ok(exit)) => ending(&exit),
            Ok(Err(failure)) => return Err(failure),
            Err(_) => {
                let limit = self.options.limits.time.as_secs();
                format!("was ended: the build reached its time limit of {limit} s")
            }
        };
        Err(self.failure(&progress, &mask, job.steps, how, exhausted))
    }

    /// Keeps the layers of an image unpacked: most builds begin with it.
    pub async fn keep_unpacked(&self, image: &str) -> Result<(), Failure> {
        let kept = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.insert(Digest::parse(image).map_err(platform)?);
            kept.clone()
        };
        self.compute.retain_images(&kept).await.map_err(refused)
    }

    /// What the instance is made from; its image has the script as a layer of its own.
    async fn instance(
        &self,
        id: &InstanceId,
        job: &Job<'_>,
        mark: &str,
    ) -> Result<InstanceSpec, Failure> {
        let script = script::script(job.steps, job.directory, mark);
        let (content, trust) = (self.content.clone(), self.options.trust.clone());
        let (tools, trusts) = blocking(move || {
            let certificates = tools::certificates(trust.as_deref());
            let layer = tools::layer(&content, &script, certificates.as_deref());
            layer.map(|layer| (layer, certificates.is_some()))
        })
        .await?
        .map_err(platform)?;
        let mut image = job.image.clone();
        image.layers.push(tools);
        let image = self.content.compose(&image).await.map_err(platform)?;
        let image = Digest::parse(image.as_str()).map_err(platform)?;
        self.compute.prepare(&image).await.map_err(refused)?;
        let mut env = self.options.environment.clone();
        match trusts {
            true => env = tools::trusting(env, job.env.clone()),
            false => env.extend(job.env.clone()),
        }
        let limits = self.options.limits;
        Ok(InstanceSpec {
            id: id.clone(),
            service: job.service.clone(),
            service_name: format!("build-{}", job.service_name),
            revision: 0,
            image,
            start_command: Some(format!("/bin/sh {TOOLS}/{SCRIPT}")),
            env,
            defaults: Default::default(),
            trusts_platform: false,
            identity_token: None,
            port: PORT,
            cpu_millis: limits.cpu_millis,
            memory_bytes: limits.memory_bytes,
            pids_max: limits.pids_max,
            disk_bytes: limits.disk_bytes,
            class: InstanceClass::Build,
        })
    }

    async fn follow(
        &self,
        events: &mut Receiver<ComputeEvent>,
        progress: &mut Progress,
        mask: &Mask,
        steps: &[Step],
        log: &dyn BuildLog,
    ) -> Result<Exit, Failure> {
        let mut logged = 0;
        while let Some(event) = events.recv().await {
            match event {
                ComputeEvent::Started { .. } => {}
                ComputeEvent::Exited { exit, .. } => return Ok(exit),
                ComputeEvent::Output { line, .. } => {
                    let line = mask.apply(line);
                    let parts: Vec<&str> = progress.parts(&line).collect();
                    for part in parts {
                        told(progress, part, mask, steps, &mut logged, log);
                    }
                }
            }
        }
        Err(platform(
            "the backend ended its events in the middle of a build",
        ))
    }

    fn failure(
        &self,
        progress: &Progress,
        mask: &Mask,
        steps: &[Step],
        mut how: String,
        exhausted: Exhausted,
    ) -> Failure {
        let limits = self.options.limits;
        // What the kernel counted is a fact; that the command ended for it is likely and not certain, so both are told.
        for (met, bound) in [
            (
                exhausted.memory,
                format!("memory limit of {} MiB", limits.memory_bytes >> 20),
            ),
            (
                exhausted.disk,
                format!("disk limit of {} MiB", limits.disk_bytes >> 20),
            ),
            (
                exhausted.pids,
                format!("limit of {} processes", limits.pids_max),
            ),
        ] {
            if met {
                how.push_str(&format!("; the build reached its {bound}"));
            }
        }
        let message = sentence(progress, steps, &how, mask);
        Failure::new(FailureKind::Build, message).with_evidence(progress.tail())
    }
}

impl Finished {
    /// The changes below some paths and without others, as a layer; `None` when there are none. Everything in it is given
    /// the time, in seconds since the Unix epoch.
    pub async fn changes(
        &self,
        below: &[&str],
        without: &[&str],
        time: u64,
    ) -> Result<Option<Layer>, Failure> {
        let sandbox = &self.sandbox;
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        let what = Export {
            below: owned(below),
            without: owned(without),
            time,
            bytes_max: sandbox.options.limits.result_bytes,
            entries_max: u64::from(u32::MAX),
        };
        let mut writer = sandbox.content.layer_writer().map_err(platform)?;
        let (mut read, write) = std::io::pipe().map_err(platform)?;
        let reading = tokio::task::spawn_blocking(move || {
            std::io::copy(&mut read, &mut writer).map(|_| writer)
        });
        let into = File::from(OwnedFd::from(write));
        let exported = sandbox.compute.export(&self.held.id, &what, into).await;
        // Its own error comes first: it is why the other side could not write.
        let writer = reading.await.map_err(platform)?.map_err(|error| {
            Failure::new(
                FailureKind::Capacity,
                format!("store the result of the build: {error}"),
            )
        })?;
        let exported =
            exported.map_err(|error| Failure::new(FailureKind::Build, error.to_string()))?;
        if exported.entries == 0 {
            return Ok(None);
        }
        let layer = blocking(move || writer.finish()).await?;
        layer.map(Some).map_err(platform)
    }
}

/// Takes in what a script said, and logs it.
fn told(
    progress: &mut Progress,
    line: &str,
    mask: &Mask,
    steps: &[Step],
    logged: &mut usize,
    log: &dyn BuildLog,
) {
    match progress.take(line) {
        Said::Begins(number) => {
            if let Some(step) = steps.get(number) {
                let shown = one_line(&mask.apply(step.shown().to_owned()));
                log.line(&match step.title {
                    Some(_) => format!("[Build] {shown}"),
                    None => format!("[Build] {} $ {shown}", step.phase.key()),
                });
            }
        }
        Said::Done => {}
        Said::Line => {
            *logged += 1;
            if *logged < LINES_LOGGED_MAX {
                log.line(&format!("[Build] {line}"));
            } else if *logged == LINES_LOGGED_MAX {
                log.line("[AppRunner] Further output of the build is not shown.");
            }
        }
    }
}

/// A word that commands cannot know.
fn mark(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("::apron-{hex}")
}

fn one_line(command: &str) -> String {
    let mut lines = command.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    match lines.next() {
        Some(_) => format!("{first} …"),
        None => first,
    }
}

/// The sentence of App Runner's event, and what it leaves out.
fn sentence(progress: &Progress, steps: &[Step], how: &str, mask: &Mask) -> String {
    match progress.current().and_then(|number| steps.get(number)) {
        Some(step) => format!(
            "Failed to execute '{}' command. `{}` {how}",
            step.phase.key(),
            mask.apply(one_line(step.shown()))
        ),
        None => format!("Failed to begin the build, it {how}"),
    }
}

fn ending(exit: &Exit) -> String {
    match exit {
        Exit {
            error: Some(error), ..
        } => format!("could not be started: {error}"),
        Exit {
            code: Some(code), ..
        } => format!("ended with exit code {code}"),
        Exit {
            signal: Some(signal),
            ..
        } => format!("was ended by signal {signal}"),
        _ => "ended".to_owned(),
    }
}

/// Runs disk work where it may block.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(platform)
}

/// A failure of the platform's own.
pub fn platform(error: impl std::fmt::Display) -> Failure {
    Failure::new(
        FailureKind::Platform,
        format!("the build cannot go on: {error}"),
    )
}

/// The backend's refusal.
fn refused(error: ComputeError) -> Failure {
    let kind = match &error {
        ComputeError::Image { .. } => FailureKind::ImageContent,
        ComputeError::Capacity(_) => FailureKind::Capacity,
        ComputeError::Unknown(_) | ComputeError::Failed(_) => FailureKind::Platform,
    };
    Failure::new(kind, error.to_string())
}

/// How long is left of a build.
pub fn deadline(limit: Duration) -> Instant {
    Instant::now() + limit
}
