//! Deploying by itself when the tracked branch of a repository has another head: told by a webhook, or found by asking.
//!
//! Only changes below the source directory count (developer guide, automatic deployments). A commit that was tried is not
//! tried again by itself, whatever came of it.

use super::AutoDeploy;
use crate::clock::random;
use crate::executor::StepError;
use crate::operations::Plan;
use crate::source::{Place, place};
use apron_domain::code::CodeSource;
use apron_domain::{OperationKind, Service, ServiceId, ServiceStatus, Trigger};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Repositories asked at the same time.
const ASKED_AT_ONCE: usize = 4;

/// Rounds of asking in which a service is left out that a webhook tells of: it is asked now and then all the same.
const ROUNDS_WITH_WEBHOOK: u32 = 10;

/// What is known of the services between two rounds.
#[derive(Default)]
struct Rounds {
    /// Services that are being asked.
    busy: BTreeSet<ServiceId>,
    /// Rounds left in which a service is not asked.
    spared: BTreeMap<ServiceId, u32>,
}

/// Asks repositories for their heads, in rounds.
pub struct Asker {
    auto_deploy: Arc<AutoDeploy>,
    rounds: Mutex<Rounds>,
    turns: Semaphore,
}

impl Asker {
    /// An asker that begins deployments here.
    pub fn new(auto_deploy: Arc<AutoDeploy>) -> Arc<Asker> {
        Arc::new(Asker {
            auto_deploy,
            rounds: Mutex::default(),
            turns: Semaphore::new(ASKED_AT_ONCE),
        })
    }

    /// Asks for ever: each service once a round, at a time of its own within it, so that hosts are not asked for all of
    /// them at once.
    pub async fn run(self: Arc<Self>) {
        let every = self.auto_deploy.engine.sources.options().ask_every;
        loop {
            match self.auto_deploy.engine.store.services_live().await {
                Ok(services) => self.round(services, every),
                Err(error) => tracing::warn!(%error, "repositories are asked in the next round"),
            }
            tokio::time::sleep(every).await;
        }
    }

    fn round(self: &Arc<Self>, services: Vec<Service>, every: Duration) {
        let engine = &self.auto_deploy.engine;
        let asked = services.into_iter().filter(|service| {
            let code = service.config.code.as_ref();
            let elsewhere = |code: &CodeSource| {
                matches!(
                    place(&engine.settings, &code.repository),
                    Ok(Place::Other(_))
                )
            };
            service.status == ServiceStatus::Running
                && service.config.auto_deployments
                && code.is_some_and(elsewhere)
        });
        for service in asked {
            if !self.takes_turn(&service.id) {
                continue;
            }
            let share = f64::from(u16::from_be_bytes(random(engine.chance.as_ref())));
            let wait = every.mul_f64(share / f64::from(u16::MAX) / 2.0);
            let asker = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                asker.ask(&service.id).await;
                asker.rounds().busy.remove(&service.id);
            });
        }
    }

    fn rounds(&self) -> std::sync::MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a service is asked in this round; it is busy from then on.
    fn takes_turn(&self, service: &ServiceId) -> bool {
        let mut rounds = self.rounds();
        match rounds.spared.get_mut(service) {
            Some(0) => {
                rounds.spared.remove(service);
            }
            Some(left) => {
                *left -= 1;
                return false;
            }
            None => {}
        }
        rounds.busy.insert(service.clone())
    }

    async fn ask(&self, service: &ServiceId) {
        let _turn = self.turns.acquire().await;
        let auto_deploy = &self.auto_deploy;
        let looked = match auto_deploy.engine.store.service_get(service).await {
            Ok(Some(service)) => auto_deploy.look(&service).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = looked {
            tracing::error!(%service, %error, "a branch could not be looked at");
        }
    }

    /// A webhook told of a push: these services are asked at once, and spared for a while in the rounds.
    pub fn told(self: &Arc<Self>, services: Vec<ServiceId>) {
        for service in services {
            self.rounds()
                .spared
                .insert(service.clone(), ROUNDS_WITH_WEBHOOK);
            let asker = self.clone();
            tokio::spawn(async move { asker.ask(&service).await });
        }
    }
}

impl AutoDeploy {
    /// Looks at the head of a service's branch, and deploys it if it was not tried yet and changes the source directory.
    pub async fn look(&self, service: &Service) -> Result<(), StepError> {
        let Some(code) = service
            .config
            .code
            .as_ref()
            .filter(|_| service.config.auto_deployments)
        else {
            return Ok(());
        };
        match service.status {
            ServiceStatus::Running => {}
            ServiceStatus::OperationInProgress => return self.remember(&service.id).await,
            _ => return Ok(()),
        }
        let sources = &self.engine.sources;
        let head = match sources.head(code).await {
            Ok(head) => head,
            Err(failure) => {
                tracing::info!(
                    service = service.name,
                    reason = failure.message,
                    "a branch cannot be looked at"
                );
                return Ok(());
            }
        };
        if service.tried_commit.as_ref() == Some(&head) {
            return Ok(());
        }
        if code.directory != "/" && self.leaves_directory(service, code).await? {
            return Ok(());
        }
        let begun = self
            .operations
            .begin(&service.id, |service| match service.status {
                ServiceStatus::Running => Ok(Plan {
                    kind: OperationKind::StartDeployment,
                    trigger: Trigger::Push,
                    config: service.config.clone(),
                    image: None,
                }),
                status => Err(status),
            });
        match begun.await? {
            Err(ServiceStatus::OperationInProgress) => self.remember(&service.id).await,
            _ => Ok(()),
        }
    }

    /// Whether the head has the source directory that is built; it counts as tried then.
    async fn leaves_directory(
        &self,
        service: &Service,
        code: &CodeSource,
    ) -> Result<bool, StepError> {
        let Some(built) = &code.built else {
            return Ok(false);
        };
        let head = match self.engine.sources.peek(code).await {
            Ok(head) => head,
            // The deployment that follows says in the service's events what is wrong, for example that the directory is gone.
            Err(_) => return Ok(false),
        };
        if head.tree != built.tree {
            return Ok(false);
        }
        let tried = move |s: &mut Service| s.tried_commit = Some(head.commit);
        self.engine.store.service_update(&service.id, tried).await?;
        Ok(true)
    }
}
