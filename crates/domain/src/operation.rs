//! Operations: what is being done to a service, as a pure state machine.
//!
//! An operation is one stored row. Its [`Stage`] says which [`Step`] comes next; the executor performs the step and
//! hands its [`Outcome`] to [`Operation::advance`], whose result is stored before the next step begins. Every step can
//! be repeated, so an operation that was killed anywhere goes on from its row.
//!
//! ```text
//! deploy:  Resolve ► (Build ►) Prepare ► Launch ► Settle ► Route ► Drain ► Retire ► Finish
//!             └──────────┴────────┴─────────┴────────┴─► Discard ► Finish            (failed: the old version never stopped)
//! resume:            Prepare ► … the same
//! pause, delete:                                 Route ► Drain ► Retire ► Finish
//! ```
//! A service from source code has `Build`; its `Resolve` finds the branch's head.
//!
//! `Route` is the point of no return: in it the candidates become what the service runs.

use crate::code::BuiltCode;
use crate::failure::{Failure, FailureKind};
use crate::ids::{Digest, InstanceId, OperationId, ServiceId};
use crate::service::{Deployed, Service, ServiceConfig, ServiceStatus};
use crate::time::Millis;
use serde::{Deserialize, Serialize};

/// How long the waiting stages of an operation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Milliseconds from launch until every candidate must be healthy.
    pub settle_ms: u64,
    /// Milliseconds an instance that left the routes is given to answer what it has.
    pub drain_ms: u64,
}

impl Default for Patience {
    /// Five minutes to become healthy (developer guide) and two to drain: the longest request.
    fn default() -> Self {
        Patience {
            settle_ms: 300_000,
            drain_ms: 120_000,
        }
    }
}

/// The kind of an operation (App Runner API, `OperationSummary.Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationKind {
    /// The first deployment.
    CreateService,
    /// The same configuration with the newest image.
    StartDeployment,
    /// A changed configuration.
    UpdateService,
    /// To no instances.
    PauseService,
    /// Back from a pause with the same image.
    ResumeService,
    /// To nothing.
    DeleteService,
}

impl OperationKind {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            OperationKind::CreateService => "CREATE_SERVICE",
            OperationKind::StartDeployment => "START_DEPLOYMENT",
            OperationKind::UpdateService => "UPDATE_SERVICE",
            OperationKind::PauseService => "PAUSE_SERVICE",
            OperationKind::ResumeService => "RESUME_SERVICE",
            OperationKind::DeleteService => "DELETE_SERVICE",
        }
    }

    /// Whether the operation starts instances of a candidate revision.
    pub fn deploys(self) -> bool {
        !matches!(
            self,
            OperationKind::PauseService | OperationKind::DeleteService
        )
    }
}

/// The status an API caller sees (App Runner API, `OperationSummary.Status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationStatus {
    /// Written down, not begun.
    Pending,
    /// Going on.
    InProgress,
    /// Ended without its effect.
    Failed,
    /// Ended with its effect.
    Succeeded,
    /// The deployment failed and its candidates are being taken away.
    RollbackInProgress,
    /// The deployment failed and the old version is no more.
    RollbackFailed,
    /// The deployment failed and the old version goes on.
    RollbackSucceeded,
}

impl OperationStatus {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            OperationStatus::Pending => "PENDING",
            OperationStatus::InProgress => "IN_PROGRESS",
            OperationStatus::Failed => "FAILED",
            OperationStatus::Succeeded => "SUCCEEDED",
            OperationStatus::RollbackInProgress => "ROLLBACK_IN_PROGRESS",
            OperationStatus::RollbackFailed => "ROLLBACK_FAILED",
            OperationStatus::RollbackSucceeded => "ROLLBACK_SUCCEEDED",
        }
    }
}

/// What set an operation off, in the words of App Runner's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// The user's call.
    User,
    /// A push to the tracked tag.
    Push,
    /// Another value of a secret or parameter that the service uses.
    Secret,
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Find the image, or the commit, and have its content here.
    Resolve,
    /// Build the image from the commit.
    Build,
    /// Unpack it.
    Prepare,
    /// Start the candidates.
    Launch,
    /// Wait until every candidate is healthy.
    Settle,
    /// Give the traffic to the candidates, or to nobody.
    Route,
    /// Wait until the retiring instances have answered what they had.
    Drain,
    /// End and remove them.
    Retire,
    /// End and remove the candidates of a failed deployment.
    Discard,
    /// Write the result down.
    Finish,
    /// Nothing is left to do.
    Done,
}

impl Stage {
    /// Whether an operation in this stage can still end without its effect: before `Route` is begun.
    pub fn can_be_cancelled(self) -> bool {
        matches!(
            self,
            Stage::Resolve | Stage::Build | Stage::Prepare | Stage::Launch | Stage::Settle
        )
    }
}

/// Work for the executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Answer [`Outcome::Image`].
    ResolveImage,
    /// Answer [`Outcome::Commit`].
    ResolveSource,
    /// Build this commit, or a newer one of the branch if it cannot be had any more; answer [`Outcome::Built`].
    Build(String),
    /// Make this image ready on the machine.
    PrepareImage(Digest),
    /// Start these instances of the operation's revision.
    Launch(Vec<InstanceId>),
    /// Probe these instances once where a probe is due; [`Outcome::Waiting`] until all are healthy.
    Settle(Vec<InstanceId>),
    /// Make exactly these the service's active instances, retire the others, publish, wait for the proxy.
    Route(Vec<InstanceId>),
    /// [`Outcome::Waiting`] until no retiring instance has requests or the drain time is over.
    Drain,
    /// End and remove the retiring instances.
    Retire,
    /// End and remove these instances.
    Discard(Vec<InstanceId>),
    /// Store the operation and the service that [`Operation::conclude`] gives.
    Finish,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has its effect.
    Done,
    /// The image was found: the digest of the manifest to run.
    Image(Digest),
    /// The head of the branch was found and its files are here: the commit.
    Commit(String),
    /// The source was built: the digest of the manifest to run, and how it runs.
    Built(Digest, Box<BuiltCode>),
    /// The candidates are healthy, and the load has grown: as many more, with these ids, before they take over.
    Short(Vec<InstanceId>),
    /// Not yet; ask again later.
    Waiting,
    /// It cannot have its effect.
    Failed(Failure),
}

/// An operation as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// Its service.
    pub service: ServiceId,
    /// Its kind.
    pub kind: OperationKind,
    /// What set it off.
    pub trigger: Trigger,
    /// What a caller sees.
    pub status: OperationStatus,
    /// Where it is.
    pub stage: Stage,
    /// When it came there.
    pub stage_since: Millis,
    /// The revision it deploys; meaningless for pause and delete.
    pub revision: u32,
    /// The configuration it deploys.
    pub config: ServiceConfig,
    /// The commit it deploys, once known; services from source code only.
    #[serde(default)]
    pub commit: Option<String>,
    /// The image it deploys, once known.
    pub image: Option<Digest>,
    /// The instances it starts, chosen before any exists.
    pub candidates: Vec<InstanceId>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When it was accepted.
    pub started_at: Millis,
    /// When it last moved.
    pub updated_at: Millis,
    /// When it ended.
    pub ended_at: Option<Millis>,
}

/// What an operation is made from.
#[derive(Clone, Debug)]
pub struct NewOperation {
    /// Its id.
    pub id: OperationId,
    /// Its kind.
    pub kind: OperationKind,
    /// What set it off.
    pub trigger: Trigger,
    /// The configuration to deploy.
    pub config: ServiceConfig,
    /// The image to deploy when it is not to be looked up again.
    pub image: Option<Digest>,
    /// Ids for the candidates; as many as the service should have instances now, none for pause and delete.
    pub candidates: Vec<InstanceId>,
}

impl Operation {
    /// Begins an operation: the operation's row, and the service's row as it is from now on.
    pub fn begin(new: NewOperation, service: &Service, now: Millis) -> (Operation, Service) {
        let mut service = service.clone();
        service.status = ServiceStatus::OperationInProgress;
        service.updated_at = now;
        if new.kind.deploys() {
            service.last_revision += 1;
            service.config = new.config.clone();
        }
        let stage = match (new.kind.deploys(), &new.image) {
            (true, None) => Stage::Resolve,
            (true, Some(_)) => Stage::Prepare,
            (false, _) => Stage::Route,
        };
        let operation = Operation {
            id: new.id,
            service: service.id.clone(),
            kind: new.kind,
            trigger: new.trigger,
            status: OperationStatus::InProgress,
            stage,
            stage_since: now,
            revision: service.last_revision,
            config: new.config,
            commit: None,
            image: new.image,
            candidates: new.candidates,
            failure: None,
            started_at: now,
            updated_at: now,
            ended_at: None,
        };
        (operation, service)
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// The next step; `None` when done.
    pub fn step(&self) -> Option<Step> {
        Some(match (self.stage, &self.image) {
            (Stage::Build, _) => match &self.commit {
                Some(commit) => Step::Build(commit.clone()),
                None => Step::ResolveSource,
            },
            (Stage::Resolve, _) | (Stage::Prepare, None) => match self.config.code {
                Some(_) if self.stage == Stage::Resolve => Step::ResolveSource,
                _ => Step::ResolveImage,
            },
            (Stage::Prepare, Some(image)) => Step::PrepareImage(image.clone()),
            (Stage::Launch, _) => Step::Launch(self.candidates.clone()),
            (Stage::Settle, _) => Step::Settle(self.candidates.clone()),
            (Stage::Route, _) => Step::Route(self.candidates.clone()),
            (Stage::Drain, _) => Step::Drain,
            (Stage::Retire, _) => Step::Retire,
            (Stage::Discard, _) => Step::Discard(self.candidates.clone()),
            (Stage::Finish, _) => Step::Finish,
            (Stage::Done, _) => return None,
        })
    }

    /// The operation after a step of its stage had this outcome.
    ///
    /// Failures before `Route` lead to `Discard`; from `Route` on the only way is forward, so a failed step there is
    /// tried again. A step that waits leaves the operation as it is, except that `Settle` and `Drain` end in time.
    pub fn advance(&self, outcome: Outcome, patience: Patience, now: Millis) -> Operation {
        let mut next = self.clone();
        next.updated_at = now;
        let stage = match (self.stage, outcome) {
            (Stage::Resolve, Outcome::Image(image)) => {
                next.image = Some(image);
                Stage::Prepare
            }
            (Stage::Resolve | Stage::Build, Outcome::Commit(commit)) => {
                next.commit = Some(commit);
                Stage::Build
            }
            (Stage::Build, Outcome::Built(image, built)) => {
                next.build_ended(image, *built);
                Stage::Prepare
            }
            (Stage::Prepare, Outcome::Image(image)) => {
                next.image = Some(image);
                Stage::Prepare
            }
            (Stage::Prepare, Outcome::Done) => Stage::Launch,
            (Stage::Launch, Outcome::Done) => Stage::Settle,
            (Stage::Settle, Outcome::Done) => Stage::Route,
            (Stage::Settle, Outcome::Short(more)) => {
                next.candidates.extend(more);
                Stage::Launch
            }
            (Stage::Settle, Outcome::Waiting)
                if now.since(self.stage_since) >= patience.settle_ms =>
            {
                let message = format!(
                    "the application was not healthy within {} seconds of its start",
                    patience.settle_ms / 1000
                );
                next.fail(Failure::new(FailureKind::HealthCheck, message))
            }
            (
                Stage::Resolve | Stage::Build | Stage::Prepare | Stage::Launch | Stage::Settle,
                Outcome::Failed(failure),
            ) => next.fail(failure),
            (Stage::Route, Outcome::Done) => Stage::Drain,
            (Stage::Drain, Outcome::Done) => Stage::Retire,
            (Stage::Drain, Outcome::Waiting)
                if now.since(self.stage_since) >= patience.drain_ms =>
            {
                Stage::Retire
            }
            (Stage::Retire | Stage::Discard, Outcome::Done) => Stage::Finish,
            (Stage::Finish, Outcome::Done) => Stage::Done,
            (stage, _) => stage,
        };
        if stage != self.stage {
            next.stage_since = now;
        }
        next.stage = stage;
        next
    }

    /// Whether the operation can still end without its effect: before `Route` is begun.
    pub fn can_be_cancelled(&self) -> bool {
        self.stage.can_be_cancelled()
    }

    /// The operation after the operator cancelled it; unchanged when it is too late for that.
    pub fn cancelled(&self, now: Millis) -> Operation {
        if !self.can_be_cancelled() {
            return self.clone();
        }
        let failure = Failure::new(
            FailureKind::Cancelled,
            "the operator cancelled the operation",
        );
        self.advance(Outcome::Failed(failure), Patience::default(), now)
    }

    /// What was built is deployed, the way the build and the user's words say.
    fn build_ended(&mut self, image: Digest, built: BuiltCode) {
        self.image = Some(image);
        self.commit = Some(built.commit.clone());
        if let Some(code) = &mut self.config.code {
            code.built = Some(built);
            self.config.image = code.running();
        }
    }

    fn fail(&mut self, failure: Failure) -> Stage {
        self.failure = Some(failure);
        if matches!(
            self.kind,
            OperationKind::UpdateService | OperationKind::StartDeployment
        ) {
            self.status = OperationStatus::RollbackInProgress;
        }
        Stage::Discard
    }

    /// The service once the candidates have the traffic, or nobody has: what `Route` stores.
    pub fn take_over(&self, service: &Service, now: Millis) -> Service {
        let mut service = service.clone();
        service.updated_at = now;
        if let (true, Some(image)) = (self.kind.deploys(), &self.image) {
            let replaced = service.deployed.take();
            // A resumption, and a step that runs again, replace a deployment by the same one.
            let is_another = |d: &Deployed| d.config != self.config || d.image != *image;
            if replaced.as_ref().is_some_and(is_another) {
                service.previous = replaced;
            }
            // With what a build said of how it runs: the next update goes on from there.
            service.config = self.config.clone();
            service.deployed = Some(Deployed {
                revision: self.revision,
                config: self.config.clone(),
                image: image.clone(),
            });
        }
        service
    }

    /// The ended operation and the service as it is then: what `Finish` stores in one transaction.
    pub fn conclude(&self, service: &Service, now: Millis) -> (Operation, Service) {
        let mut operation = self.advance(Outcome::Done, Patience::default(), now);
        let mut service = service.clone();
        service.updated_at = now;
        operation.ended_at = Some(now);
        if self.commit.is_some() {
            service.tried_commit = self.commit.clone();
        }
        match (&self.failure, self.kind) {
            (None, OperationKind::DeleteService) => {
                service.status = ServiceStatus::Deleted;
                service.deleted_at = Some(now);
                operation.status = OperationStatus::Succeeded;
            }
            (None, OperationKind::PauseService) => {
                service.status = ServiceStatus::Paused;
                operation.status = OperationStatus::Succeeded;
            }
            (None, _) => {
                service.status = ServiceStatus::Running;
                operation.status = OperationStatus::Succeeded;
            }
            (Some(_), OperationKind::ResumeService) => {
                service.status = ServiceStatus::Paused;
                operation.status = OperationStatus::Failed;
            }
            (Some(_), _) => match &service.deployed {
                Some(deployed) => {
                    service.config = deployed.config.clone();
                    service.status = ServiceStatus::Running;
                    operation.status = OperationStatus::RollbackSucceeded;
                }
                None => {
                    service.status = ServiceStatus::CreateFailed;
                    operation.status = OperationStatus::Failed;
                }
            },
        }
        (operation, service)
    }
}

#[cfg(test)]
mod tests;
