//! A deterministic backend: no processes, the same contract. Tests script what images and instances do.

use crate::{
    Brake, Compute, ComputeError, ComputeEvent, Exhausted, Exit, Export, Exported, InstanceClass,
    InstanceSpec, InstanceState, InstanceStatus, OutputStream, Probe, ProbeAnswer, TokenFiles,
};
use apron_domain::{Digest, InstanceId, Millis};
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Events that wait for a reader before the oldest are refused; tests read them at once.
const EVENTS_MAX: usize = 1024;

/// What instances of an image do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Runs and is healthy.
    Healthy,
    /// Prints the line and exits with the code at once.
    Crash {
        /// Its exit code.
        code: i32,
        /// Its last line.
        line: String,
    },
    /// Runs and fails every probe with this evidence.
    Unhealthy(String),
    /// Cannot be prepared, for this reason.
    Unusable(String),
    /// Ends at once without a fault and leaves this archive as its changes.
    Builds(Vec<u8>),
}

/// The end of an archive without entries (POSIX, ustar interchange format).
const EMPTY_ARCHIVE: [u8; 1024] = [0; 1024];

/// An instance that is not there.
struct Simulated {
    spec: InstanceSpec,
    state: InstanceState,
    /// Its number among all that were ever started, of which its address is made.
    number: u64,
}

impl Simulated {
    fn status(&self) -> InstanceStatus {
        let number = u32::try_from(self.number).unwrap_or(u32::MAX);
        let host = u32::from(Ipv4Addr::new(127, 1, 0, 0)).saturating_add(number);
        InstanceStatus {
            id: self.spec.id.clone(),
            service: self.spec.service.clone(),
            revision: self.spec.revision,
            state: self.state.clone(),
            address: Some(SocketAddr::from((Ipv4Addr::from(host), self.spec.port))),
            class: self.spec.class,
        }
    }
}

#[derive(Default)]
struct World {
    behaviours: BTreeMap<Digest, Behaviour>,
    prepared: BTreeSet<Digest>,
    instances: BTreeMap<InstanceId, Simulated>,
    created: u64,
    brakes: BTreeMap<InstanceId, SimulatedBrake>,
    reader: Option<mpsc::Sender<ComputeEvent>>,
}

/// What stands for the kernel's file: what goes in at one end is read at the other.
struct SimulatedBrake {
    inner: UnixStream,
    outer: UnixStream,
    written: String,
}

impl SimulatedBrake {
    fn new() -> std::io::Result<SimulatedBrake> {
        let (inner, outer) = UnixStream::pair()?;
        inner.set_nonblocking(true)?;
        Ok(SimulatedBrake {
            inner,
            outer,
            written: String::new(),
        })
    }

    fn catch_up(&mut self) -> &str {
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = self.inner.read(&mut buffer) {
            let read = buffer.get(..count).unwrap_or_default();
            self.written.push_str(&String::from_utf8_lossy(read));
        }
        &self.written
    }
}

/// The simulated backend. It outlives a simulated control plane, as real instances do.
#[derive(Default)]
pub struct Simulator {
    world: Mutex<World>,
}

impl Simulator {
    /// A backend where every image is healthy until told otherwise.
    pub fn new() -> Simulator {
        Simulator::default()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what instances of an image do from now on.
    pub fn script(&self, image: &Digest, behaviour: Behaviour) {
        self.world().behaviours.insert(image.clone(), behaviour);
    }

    /// Ends an instance from outside, as a crash of its application would.
    pub fn kill(&self, id: &InstanceId, code: i32) {
        self.end(
            id,
            Exit {
                code: Some(code),
                signal: None,
                out_of_memory: false,
                error: None,
                at: Millis(0),
            },
        );
    }

    /// What was written to an instance's brake so far: an `i` for each time its processor was taken away, a `b` for each
    /// time it was given back. Empty while nobody has asked for the brake.
    pub fn braked(&self, id: &InstanceId) -> String {
        let mut world = self.world();
        let brake = world.brakes.get_mut(id);
        brake.map(|b| b.catch_up().to_owned()).unwrap_or_default()
    }

    /// What an instance was started with.
    pub fn spec(&self, id: &InstanceId) -> Option<InstanceSpec> {
        let world = self.world();
        world.instances.get(id).map(|found| found.spec.clone())
    }

    /// How many instances were ever started.
    pub fn created(&self) -> u64 {
        self.world().created
    }

    fn end(&self, id: &InstanceId, exit: Exit) {
        let mut world = self.world();
        let Some(instance) = world.instances.get_mut(id) else {
            return;
        };
        if matches!(instance.state, InstanceState::Exited(_)) {
            return;
        }
        instance.state = InstanceState::Exited(exit.clone());
        send(
            &world,
            ComputeEvent::Exited {
                id: id.clone(),
                exit,
            },
        );
    }
}

fn send(world: &World, event: ComputeEvent) {
    if let Some(reader) = &world.reader {
        // A reader that went away is a control plane that ended; the next one lists.
        let _ = reader.try_send(event);
    }
}

#[async_trait]
impl TokenFiles for Simulator {
    async fn put_token(&self, id: &InstanceId, token: &str) -> Result<(), ComputeError> {
        let mut world = self.world();
        let held = world.instances.get_mut(id);
        let held = held.and_then(|instance| instance.spec.identity_token.as_mut());
        let held = held.ok_or_else(|| ComputeError::Unknown(id.clone()))?;
        token.clone_into(held);
        Ok(())
    }
}

#[async_trait]
impl Compute for Simulator {
    async fn prepare(&self, image: &Digest) -> Result<(), ComputeError> {
        let mut world = self.world();
        if let Some(Behaviour::Unusable(reason)) = world.behaviours.get(image) {
            return Err(ComputeError::Image {
                image: image.clone(),
                reason: reason.clone(),
            });
        }
        world.prepared.insert(image.clone());
        Ok(())
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<(), ComputeError> {
        {
            let mut world = self.world();
            if world.instances.contains_key(&spec.id) {
                return Ok(());
            }
            if !world.prepared.contains(&spec.image) {
                let reason = "it was not prepared".to_owned();
                return Err(ComputeError::Image {
                    image: spec.image.clone(),
                    reason,
                });
            }
            world.created += 1;
            let instance = Simulated {
                spec: spec.clone(),
                state: InstanceState::Running { since: Millis(0) },
                number: world.created,
            };
            world.instances.insert(spec.id.clone(), instance);
            send(
                &world,
                ComputeEvent::Started {
                    id: spec.id.clone(),
                },
            );
        }
        let behaviour = self.world().behaviours.get(&spec.image).cloned();
        if let Some(Behaviour::Crash { code, line }) = behaviour {
            let id = spec.id.clone();
            send(
                &self.world(),
                ComputeEvent::Output {
                    id,
                    stream: OutputStream::Stderr,
                    at: Millis(0),
                    line,
                },
            );
            self.kill(&spec.id, code);
        } else if let Some(Behaviour::Builds(_)) = behaviour {
            self.kill(&spec.id, 0);
        }
        Ok(())
    }

    async fn stop(&self, id: &InstanceId, _grace: Duration) -> Result<(), ComputeError> {
        self.end(
            id,
            Exit {
                code: None,
                signal: Some(15),
                out_of_memory: false,
                error: None,
                at: Millis(0),
            },
        );
        Ok(())
    }

    async fn remove(&self, id: &InstanceId) -> Result<(), ComputeError> {
        let mut world = self.world();
        world.instances.remove(id);
        world.brakes.remove(id);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<InstanceStatus>, ComputeError> {
        let world = self.world();
        Ok(world.instances.values().map(Simulated::status).collect())
    }

    async fn status(&self, id: &InstanceId) -> Result<Option<InstanceStatus>, ComputeError> {
        Ok(self.world().instances.get(id).map(Simulated::status))
    }

    async fn probe(&self, id: &InstanceId, _probe: &Probe, _timeout: Duration) -> ProbeAnswer {
        let world = self.world();
        let no = |answered, detail: &str| ProbeAnswer {
            healthy: false,
            answered,
            detail: detail.to_owned(),
        };
        match world.instances.get(id) {
            None => no(false, "no such instance"),
            Some(instance) if matches!(instance.state, InstanceState::Exited(_)) => {
                no(false, "connection refused")
            }
            Some(instance) => match world.behaviours.get(&instance.spec.image) {
                Some(Behaviour::Unhealthy(detail)) => no(true, detail),
                _ => ProbeAnswer {
                    healthy: true,
                    answered: true,
                    detail: "200".to_owned(),
                },
            },
        }
    }

    async fn brake(&self, id: &InstanceId) -> Result<Option<Brake>, ComputeError> {
        let failed = |error: std::io::Error| ComputeError::Failed(error.to_string());
        let mut world = self.world();
        match world.instances.get(id) {
            None => return Ok(None),
            Some(simulated) if matches!(simulated.state, InstanceState::Exited(_)) => {
                return Ok(None);
            }
            Some(_) => {}
        }
        if !world.brakes.contains_key(id) {
            let brake = SimulatedBrake::new().map_err(failed)?;
            world.brakes.insert(id.clone(), brake);
        }
        let outer = world.brakes.get(id).map(|brake| brake.outer.try_clone());
        let file = outer.transpose().map_err(failed)?;
        Ok(file.map(|file| Brake {
            file: file.into(),
            idle: "i".to_owned(),
            busy: "b".to_owned(),
        }))
    }

    fn subscribe(&self) -> mpsc::Receiver<ComputeEvent> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        self.world().reader = Some(sender);
        receiver
    }

    async fn retain_images(&self, keep: &BTreeSet<Digest>) -> Result<(), ComputeError> {
        let mut world = self.world();
        let used: BTreeSet<Digest> = world
            .instances
            .values()
            .map(|instance| instance.spec.image.clone())
            .collect();
        world
            .prepared
            .retain(|image| keep.contains(image) || used.contains(image));
        Ok(())
    }

    async fn exhausted(&self, id: &InstanceId) -> Result<Exhausted, ComputeError> {
        match self.world().instances.contains_key(id) {
            true => Ok(Exhausted::default()),
            false => Err(ComputeError::Unknown(id.clone())),
        }
    }

    async fn export(
        &self,
        id: &InstanceId,
        what: &Export,
        mut into: File,
    ) -> Result<Exported, ComputeError> {
        let archive = {
            let world = self.world();
            let instance = world.instances.get(id);
            let instance = instance.ok_or_else(|| ComputeError::Unknown(id.clone()))?;
            let ended = matches!(instance.state, InstanceState::Exited(_));
            if !ended || instance.spec.class != InstanceClass::Build {
                let text = format!("instance {id} is not a build that has ended");
                return Err(ComputeError::Failed(text));
            }
            match world.behaviours.get(&instance.spec.image) {
                Some(Behaviour::Builds(archive)) => archive.clone(),
                _ => EMPTY_ARCHIVE.to_vec(),
            }
        };
        let bytes = archive.len() as u64;
        if bytes > what.bytes_max {
            let text = format!("the changes have more than {} bytes", what.bytes_max);
            return Err(ComputeError::Failed(text));
        }
        into.write_all(&archive)
            .map_err(|error| ComputeError::Failed(error.to_string()))?;
        Ok(Exported {
            bytes,
            entries: u64::from(archive != EMPTY_ARCHIVE),
        })
    }
}
