//! The brakes of instances: put on by the link when an instance had no request for a while, taken off by whoever sends it
//! the next one. They are given up, with all instances at full speed, when the link ends and when the process retires: then
//! another process has them.

use crate::instance::Instance;
use crate::instance::brake::Brake;
use crate::route::registry::Registry;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an instance has no request until its brake is put on.
pub const QUIET: Duration = Duration::from_secs(1);

/// How often it is looked.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Most brakes, each of which is an open file. Instances beyond it keep their processor.
pub const BRAKES_MAX: usize = 4_096;

/// The brakes of this connection.
#[derive(Debug, Default)]
pub struct Brakes {
    held: HashMap<String, Held>,
    /// Brakes of instances that are not in the table yet.
    early: HashMap<String, Brake>,
    retired: bool,
}

#[derive(Debug)]
struct Held {
    instance: Arc<Instance>,
    quiet_since: Instant,
}

impl Brakes {
    /// Takes a brake over; `None` is one whose file could not be taken.
    pub fn take(&mut self, id: String, brake: Option<Brake>, registry: &Registry, now: Instant) {
        if self.retired {
            return;
        }
        let room = self.held.len() + self.early.len() < BRAKES_MAX;
        let Some(brake) = brake.filter(|_| room) else {
            tracing::warn!(
                instance = id,
                "there are no descriptors for more brakes: the instance keeps its processor"
            );
            return;
        };
        match registry.instance(&id) {
            Some(instance) => self.hold(id, Arc::clone(instance), brake, now),
            None => {
                self.early.insert(id, brake);
            }
        }
    }

    fn hold(&mut self, id: String, instance: Arc<Instance>, brake: Brake, now: Instant) {
        instance.brake.hold(brake);
        let quiet_since = now;
        let held = Held {
            instance,
            quiet_since,
        };
        self.held.insert(id, held);
    }

    /// Gives instances that have come into the table the brakes that came before them.
    pub fn settle(&mut self, registry: &Registry, now: Instant) {
        let known = self
            .early
            .extract_if(|id, _| registry.instance(id).is_some());
        let known: Vec<_> = known.collect();
        for (id, brake) in known {
            if let Some(instance) = registry.instance(&id) {
                self.hold(id, Arc::clone(instance), brake, now);
            }
        }
    }

    /// Puts on the brakes of instances that had no request for [`QUIET`].
    pub fn look(&mut self, now: Instant) {
        // An instance that left the table has given its brake up.
        self.held.retain(|_, held| !held.instance.departed());
        for held in self.held.values_mut() {
            if held.instance.take_used() || !held.instance.throttled() {
                held.quiet_since = now;
                if !held.instance.throttled() {
                    held.instance.brake.take_off();
                }
            } else if now.duration_since(held.quiet_since) >= QUIET {
                held.instance.put_brake_on();
            }
        }
    }

    /// Whether there is anything to look at.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes all brakes off and gives them up.
    pub fn give_up(&mut self) {
        for (_, held) in self.held.drain() {
            held.instance.brake.give_up();
        }
        // These were taken off when they came.
        self.early.clear();
    }

    /// Gives them up and takes no more.
    pub fn retire(&mut self) {
        self.retired = true;
        self.give_up();
    }
}
