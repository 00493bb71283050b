//! What a push to the platform's own repository sets off.

use super::GitDoor;
use super::packets;
use crate::apprunner::AppRunner;
use crate::endpoint::{ApiService, Call, Caller};
use crate::operations::Plan;
use crate::source::choice::{Choice, choose};
use crate::source::{Place, own_url, place};
use apron_aws::ApiError;
use apron_builder::git::{self, Remote, Repository};
use apron_domain::{Operation, OperationId, OperationKind, Service, ServiceStatus, Trigger};
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc;

/// Time between two looks at whether the operation under way has ended.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Looks in a row that find nothing begun before a push that waited is taken for one that changed nothing.
const IDLE_LOOKS: u32 = 5;

/// The branches that a service is created for, in this order, or else for the first that was pushed.
const USUAL_BRANCHES: [&str; 2] = ["main", "master"];

/// A branch that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub branch: String,
    /// Its head before; none for a new branch.
    pub from: Option<String>,
    pub to: String,
}

/// A push that was stored.
pub(super) struct Pushed {
    pub name: String,
    pub repository: Repository,
    pub changes: Vec<Change>,
    pub caller: Caller,
}

/// What became of a push.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Deployed,
    /// It was stored, and there was nothing to deploy.
    Stored,
    /// It was built or deployed without success: the reason in a few words.
    Failed(String),
}

/// The client, who reads along.
pub(super) struct Reader(pub mpsc::Sender<Bytes>);

impl Reader {
    pub(super) async fn say(&self, text: &str) {
        // Who went away is not told.
        let _ = self.0.send(Bytes::from(packets::line(text))).await;
    }
}

/// Why nothing is deployed: a refusal for the client.
pub(super) struct Refused(pub String);

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Refused {
        Refused(error.message)
    }
}

impl From<apron_store::StoreError> for Refused {
    fn from(error: apron_store::StoreError) -> Refused {
        tracing::error!(%error, "a push cannot be deployed");
        Refused("the platform's state cannot be used now: see its log".to_owned())
    }
}

impl GitDoor {
    /// Creates the service of the repository's name, or deploys it again, and follows that to its end.
    pub(super) async fn deploy(&self, pushed: &Pushed, reader: &Reader) -> Ending {
        let begun = Box::pin(self.begin(pushed, reader)).await;
        let (service, operation) = match begun {
            Ok(Some(begun)) => begun,
            Ok(None) => return Ending::Stored,
            Err(Refused(reason)) => {
                reader.say(&format!("Not deployed: {reason}")).await;
                return Ending::Failed("not deployed".to_owned());
            }
        };
        let ended = self.follow(&service, &operation, reader).await;
        match ended {
            Ok(operation) => self.conclude(&service, &operation, reader).await,
            Err(Refused(reason)) => Ending::Failed(reason),
        }
    }

    async fn conclude(&self, service: &Service, operation: &Operation, reader: &Reader) -> Ending {
        match &operation.failure {
            None => {
                let url = self.engine.settings.service_url(&service.label);
                reader.say(&format!("Deployed: {url}")).await;
                Ending::Deployed
            }
            Some(failure) => {
                reader
                    .say(&format!("{}: {}", failure.reason(), failure.message))
                    .await;
                if operation.kind != OperationKind::CreateService {
                    reader.say("The version that ran before goes on.").await;
                }
                Ending::Failed(failure.reason().to_lowercase())
            }
        }
    }

    /// The operation that deploys the push; none when there is nothing to deploy.
    async fn begin(
        &self,
        pushed: &Pushed,
        reader: &Reader,
    ) -> Result<Option<(Service, OperationId)>, Refused> {
        let Some(service) = self.engine.store.service_find(&pushed.name).await? else {
            return self.create(pushed, reader).await.map(Some);
        };
        let Some(code) = service.config.code.as_ref().filter(|code| {
            let own = place(&self.engine.settings, &code.repository);
            own == Ok(Place::Own(pushed.name.clone()))
        }) else {
            let name = &service.name;
            let text = format!(
                "The service {name} is not built from this repository: nothing is deployed."
            );
            reader.say(&text).await;
            return Ok(None);
        };
        if !pushed
            .changes
            .iter()
            .any(|change| change.branch == code.branch)
        {
            let text = format!(
                "The service is built from the branch {}: nothing is deployed.",
                code.branch
            );
            reader.say(&text).await;
            return Ok(None);
        }
        if !service.config.auto_deployments {
            reader
                .say("Automatic deployments of the service are off: nothing is deployed.")
                .await;
            return Ok(None);
        }
        Box::pin(self.again(service, reader)).await
    }

    /// Deploys the branch's head of a service that exists.
    async fn again(
        &self,
        service: Service,
        reader: &Reader,
    ) -> Result<Option<(Service, OperationId)>, Refused> {
        let begun = self.operations.begin(&service.id, |service| {
            let kind = match service.status {
                ServiceStatus::Running => OperationKind::StartDeployment,
                ServiceStatus::CreateFailed => OperationKind::UpdateService,
                status => return Err(status),
            };
            Ok(Plan {
                kind,
                trigger: Trigger::Push,
                config: service.config.clone(),
                image: None,
            })
        });
        match begun.await? {
            Ok((operation, service)) => Ok(Some((service, operation.id))),
            Err(ServiceStatus::OperationInProgress) => {
                reader
                    .say("An operation is under way: this is deployed when it has ended.")
                    .await;
                self.after_the_present(service).await
            }
            Err(status) => {
                let status = status.as_str();
                reader
                    .say(&format!("The service is {status}: nothing is deployed."))
                    .await;
                Ok(None)
            }
        }
    }

    /// The operation that begins when the one under way has ended.
    async fn after_the_present(
        &self,
        service: Service,
    ) -> Result<Option<(Service, OperationId)>, Refused> {
        let store = &self.engine.store;
        let present = store.operation_unfinished(&service.id).await?;
        let present = present.map(|operation| operation.id);
        let stored = store.service_update(&service.id, |s| s.push_pending = true);
        stored.await?;
        self.operations.poke();
        let mut idle = 0;
        while idle < IDLE_LOOKS {
            tokio::time::sleep(LOOK_EVERY).await;
            let newest = store.operations(&service.id, None, 1).await?;
            if let Some(newest) = newest.into_iter().next()
                && Some(&newest.id) != present.as_ref()
            {
                return Ok(Some((service, newest.id)));
            }
            let now = store.service_get(&service.id).await?;
            let waits = now
                .is_some_and(|s| s.status == ServiceStatus::OperationInProgress || s.push_pending);
            idle = if waits { 0 } else { idle + 1 };
        }
        Ok(None)
    }

    /// Creates a service of the repository's name from the branch that was pushed.
    async fn create(
        &self,
        pushed: &Pushed,
        reader: &Reader,
    ) -> Result<(Service, OperationId), Refused> {
        let of = |branch: &&str| pushed.changes.iter().find(|c| c.branch == *branch);
        let usual = USUAL_BRANCHES.iter().find_map(of);
        let Some(change) = usual.or_else(|| pushed.changes.first()) else {
            return Err(Refused("no branch was pushed".to_owned()));
        };
        let found = self.look_at(pushed, change).await?;
        for line in &found.said {
            reader.say(line).await;
        }
        let engine = &self.engine;
        let tags: Vec<Value> = found
            .dockerfile
            .then(|| json!({ "Key": "apron:build", "Value": "dockerfile" }))
            .into_iter()
            .collect();
        let input = json!({
            "ServiceName": pushed.name,
            "Tags": tags,
            "SourceConfiguration": {
                "AutoDeploymentsEnabled": true,
                "CodeRepository": {
                    "RepositoryUrl": own_url(&engine.settings, &pushed.name),
                    "SourceCodeVersion": { "Type": "BRANCH", "Value": change.branch },
                    "CodeConfiguration": found.configuration(),
                },
            },
        });
        let call = Call {
            operation: "CreateService".to_owned(),
            input,
            caller: pushed.caller.clone(),
            session_token: None,
            request_id: format!("push of {}", change.to),
            now: engine.clock.now(),
        };
        let app_runner = AppRunner::new(engine.clone(), self.operations.clone());
        let answer = app_runner.call(call).await?;
        let id = answer["OperationId"].as_str().unwrap_or_default();
        let id = OperationId::parse(id).map_err(|error| Refused(error.to_string()))?;
        let service = engine.store.service_find(&pushed.name).await?;
        let service = service.ok_or_else(|| Refused("the service is gone again".to_owned()))?;
        reader
            .say(&format!("The service {} is created.", service.name))
            .await;
        Ok((service, id))
    }

    /// How the files of a branch are to be built.
    async fn look_at(&self, pushed: &Pushed, change: &Change) -> Result<Choice, Refused> {
        let sources = &self.engine.sources;
        let remote = Remote::local(
            sources.own_repository(&pushed.name),
            own_url(&self.engine.settings, &pushed.name),
        );
        let dir = sources.new_look();
        let fetched = git::fetch(&remote, &change.branch, "/", &dir).await;
        let found = match fetched {
            Ok(fetched) => tokio::task::spawn_blocking(move || choose(&fetched.files))
                .await
                .unwrap_or_else(|error| Err(error.to_string()))
                .map_err(Refused),
            Err(error) => Err(Refused(error.to_string())),
        };
        if let Err(error) = tokio::fs::remove_dir_all(&dir).await {
            tracing::debug!(%error, "the files of a push are removed at the next start");
        }
        found
    }
}
