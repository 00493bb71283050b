//! The engine: builds in sandboxes of the compute backend, images in the content store.

mod base;
mod configure;
mod copy;
mod events;
mod fetched;
mod keep;
mod keystore;
mod mask;
mod mounts;
mod pipeline;
mod sandbox;
mod script;
mod stages;
mod state;
mod tools;

pub use sandbox::Chance;

use crate::options::BuilderOptions;
use crate::{Build, BuildLog, BuildRequest, Built, Supplies};
use apron_compute::Compute;
use apron_domain::{Failure, FailureKind, Millis, OperationId};
use apron_oci::ContentStore;
use async_trait::async_trait;
use base::Bases;
use events::Events;
use keep::Keep;
use mask::Mask;
use sandbox::Sandbox;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// What the pins of this engine begin with; they are for nobody else to remove.
pub const PIN_PREFIX: &str = "build-";

/// What the engine is made of.
pub struct Parts {
    /// Image content.
    pub content: Arc<ContentStore>,
    /// The backend's view of builds ([`apron_compute::part`]), whose events nobody has subscribed to.
    pub compute: Arc<dyn Compute>,
    /// The operator's settings.
    pub options: BuilderOptions,
    /// The time.
    pub clock: Arc<dyn Fn() -> Millis + Send + Sync>,
    /// Random bytes.
    pub chance: Chance,
}

/// The engine.
pub struct Builder {
    sandbox: Arc<Sandbox>,
    bases: Arc<Bases>,
    keep: Keep,
    turns: Semaphore,
    waiting: AtomicUsize,
}

impl Builder {
    /// An engine. Called inside a runtime.
    pub fn open(parts: Parts) -> Arc<Builder> {
        let Parts {
            content,
            compute,
            options,
            clock,
            chance,
        } = parts;
        let events = Events::follow(compute.subscribe());
        let turns = Semaphore::new(options.parallel.max(1));
        let mask = Mask::of(&options.environment);
        let sandbox = Arc::new(Sandbox {
            content,
            compute,
            events,
            options,
            chance,
            mask,
            kept: Mutex::default(),
        });
        let bases = Bases::new(sandbox.clone(), clock.clone());
        let keep = Keep::new(sandbox.clone(), clock);
        Arc::new(Builder {
            sandbox,
            bases,
            keep,
            turns,
            waiting: AtomicUsize::new(0),
        })
    }
}

/// Counts a build that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Build for Builder {
    async fn build(
        &self,
        request: &BuildRequest,
        supplies: &dyn Supplies,
        log: &dyn BuildLog,
    ) -> Result<Built, Failure> {
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        let queue_max = self.sandbox.options.queue_max.max(1);
        if ahead >= queue_max {
            let text =
                format!("{queue_max} builds wait already; deploy again when some of them are done");
            return Err(Failure::new(FailureKind::Capacity, text));
        }
        if self.turns.available_permits() == 0 {
            log.line("[AppRunner] Waiting for other builds to end.");
        }
        let turn = self.turns.acquire().await;
        drop(waiting);
        let _turn = turn.map_err(sandbox::platform)?;
        let (sandbox, bases, keep) = (&self.sandbox, &self.bases, &self.keep);
        let mut built = pipeline::build(sandbox, bases, keep, request, supplies, log).await?;
        built.start_command = built
            .start_command
            .as_deref()
            .map(crate::plan::start_command);
        let pin = format!("operation-{}", request.operation);
        let pinned = self.sandbox.content.pin(&pin, built.image.as_str()).await;
        pinned.map_err(sandbox::platform)?;
        Ok(built)
    }

    async fn tidy(&self, _unfinished: &BTreeSet<OperationId>) {
        // No build goes on by itself after a restart: those of unfinished operations start over.
        let listed = match self.sandbox.compute.list().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(%error, "what former builds left cannot be listed");
                return;
            }
        };
        for status in listed {
            if self.sandbox.events.is_heard(&status.id) {
                continue;
            }
            if let Err(error) = self.sandbox.compute.remove(&status.id).await {
                tracing::warn!(instance = %status.id, %error, "what a former build left cannot be removed");
            }
        }
    }
}
