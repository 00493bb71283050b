//! One run of the control plane.

use crate::checkpoint::StopAt;
use crate::client::Client;
use crate::line::Line;
use crate::sdk::SdkConnector;
use crate::world::World;
use apron_aws::sigv4::Secret;
use apron_control::audit::{CloudTrail, Trail};
use apron_control::authorizer::Authorizer;
use apron_control::clock::Machine;
use apron_control::ecr::{Ecr, Tokens};
use apron_control::endpoint::{ApiService, Call, Caller, Endpoint};
use apron_control::engine::Engine;
use apron_control::git::GitDoor;
use apron_control::hooks::HookDoor;
use apron_control::iam::{Iam, Identities, RootKey};
use apron_control::logs::CloudWatchLogs;
use apron_control::platform::{Parts, Platform};
use apron_control::sts::Sts;
use apron_domain::{Instance, InstanceId, Millis};
use apron_oci::Puller;
use apron_store::Store;
use apron_telemetry::{Audit, Logs};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Longest wait for something that must come.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Longest time to wait for file work that a killed control plane had handed to threads.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// The access key of the account's root.
pub const ACCESS_KEY_ID: &str = "AKIATESTTESTTESTTEST";

/// Its secret.
pub const SECRET_ACCESS_KEY: &str = "a secret of no worth";

/// A running control plane with a runtime of its own, so that killing it drops every task.
pub struct Life {
    runtime: Runtime,
    platform: Arc<Platform>,
    logs: Arc<Logs>,
    repositories: PathBuf,
    trail: Arc<Trail>,
    audit_dir: TempDir,
    /// Where its operations stop.
    pub checkpoints: Arc<StopAt>,
}

impl Life {
    /// Starts a control plane over this world.
    pub fn begin(world: &World) -> Life {
        Life::begin_watched(world, StopAt::default())
    }

    /// Starts a control plane whose operations stop somewhere.
    pub fn begin_watched(world: &World, stop: StopAt) -> Life {
        let runtime = Runtime::new().unwrap();
        let checkpoints = Arc::new(stop);
        let audit_dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(audit_dir.path()).unwrap();
        let trail = Arc::new(Trail::new(audit, &world.settings.region, Arc::new(Machine)));
        let platform = runtime.block_on(async {
            let store = Store::open(&world.store_dir()).await.unwrap();
            // A write waits for what a killed run had handed to its database threads: those would have died with it.
            store.fact_put("life", "begun").await.unwrap();
            let account = &world.settings.account;
            let root = RootKey {
                access_key_id: ACCESS_KEY_ID.to_owned(),
                secret: Secret::new(SECRET_ACCESS_KEY),
            };
            let identities = Identities::open(store.clone(), account, &Machine);
            let identities = identities.await.unwrap();
            if identities.directory().root.keys.is_empty() {
                identities
                    .set_root_key(root, world.clock.now())
                    .await
                    .unwrap();
            }
            let authorizer = Authorizer::new(identities, &world.settings.region);
            Platform::start(Parts {
                authorizer: Arc::new(authorizer),
                trail: trail.clone(),
                private_issuers: world.private_issuers,
                settings: world.settings.clone(),
                store,
                content: world.content.clone(),
                puller: Puller::new(),
                authorities: world.authorities.clone(),
                sources: world.source_settings(),
                builder: world.builder.clone(),
                compute: world.instances.clone(),
                tokens: world.instances.clone(),
                logs: world.logs.clone(),
                dataplane: world.proxy.clone(),
                news: world.proxy.connect(),
                certificates: watch::channel(Vec::new()).1,
                clock: world.clock.clone(),
                chance: Arc::new(Machine),
                checkpoints: checkpoints.clone(),
            })
            .await
            .unwrap()
        });
        Life {
            runtime,
            platform,
            logs: world.logs.clone(),
            repositories: world.source_settings().repositories,
            trail,
            audit_dir,
            checkpoints,
        }
    }

    /// Ends the control plane as `kill -9` would: every task is dropped where it is.
    pub fn kill(self) {
        self.runtime.shutdown_timeout(KILLED_WITHIN);
    }

    /// The parts of the control plane.
    pub fn engine(&self) -> &Arc<Engine> {
        self.platform.engine()
    }

    /// Runs a task in the control plane's runtime, which ends with it.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// As [`World::commit`].
    pub fn commit(&self, repository: &str, path: &str, text: &str) -> String {
        crate::builder::commit(&self.repositories, repository, path, text)
    }

    /// Waits until an operation is held at its stop.
    pub fn wait_for_stop(&self) {
        let reached = async { tokio::time::timeout(WAIT_MAX, self.checkpoints.reached()).await };
        self.runtime.block_on(reached).unwrap();
    }

    /// Calls an App Runner operation; the error is `(code, message)`.
    pub fn call(&self, operation: &str, input: Value) -> Result<Value, (String, String)> {
        let api = self.platform.app_runner();
        let answer = self.runtime.block_on(api.call(call(operation, input)));
        answer.map_err(|error| (error.code, error.message))
    }

    /// Calls an operation of the operator's API; the error is `(code, message)`.
    pub fn operate(&self, operation: &str, input: Value) -> Result<Value, (String, String)> {
        let api = self.platform.operator();
        let answer = self.runtime.block_on(api.call(call(operation, input)));
        answer.map_err(|error| (error.code, error.message))
    }

    /// The connection of an AWS SDK to this control plane, for clients with the root's access key.
    pub fn sdk_connector(&self) -> SdkConnector {
        SdkConnector::new(self.endpoint())
    }

    /// The AWS endpoint of this control plane, for clients with the root's access key.
    pub fn endpoint(&self) -> Arc<Endpoint> {
        let engine = self.platform.engine();
        let (settings, store) = (&engine.settings, engine.store.clone());
        let identities = engine.authorizer.identities();
        let tokens = self.runtime.block_on(Tokens::load(&store, &Machine));
        let (content, tokens) = (engine.images.content().clone(), Arc::new(tokens.unwrap()));
        let trail = &self.trail;
        let logs = CloudWatchLogs::new(settings.clone(), self.logs.clone());
        let services: Vec<Arc<dyn ApiService>> = vec![
            Arc::new(self.platform.app_runner()),
            Arc::new(self.platform.operator()),
            Arc::new(Ecr::new(settings.clone(), store, content, tokens)),
            Arc::new(logs),
            engine.vault.kms.clone(),
            engine.vault.secrets.clone(),
            engine.vault.parameters.clone(),
            Arc::new(Iam::new(identities.clone(), Arc::new(Machine))),
            Arc::new(Sts::new(
                identities.clone(),
                engine.web_identity.clone(),
                Arc::new(Machine),
            )),
            Arc::new(CloudTrail::new(trail.clone())),
        ];
        Arc::new(Endpoint::new(
            services,
            engine.authorizer.clone(),
            trail.clone(),
            settings.region.clone(),
            Arc::new(Machine),
            Arc::new(Machine),
        ))
    }

    /// The git endpoint of this control plane.
    pub fn git(&self) -> Arc<GitDoor> {
        self.platform.git()
    }

    /// The webhooks of this control plane.
    pub fn hooks(&self) -> Arc<HookDoor> {
        self.platform.hooks()
    }

    /// Where the audit file of this run is.
    pub fn audit_dir(&self) -> &Path {
        self.audit_dir.path()
    }

    /// The root user as a client of the AWS endpoint.
    pub fn root(&self) -> Client {
        Client::new(self.endpoint(), ACCESS_KEY_ID, SECRET_ACCESS_KEY, None)
    }

    /// A way for a client of another thread, which outlives this run.
    pub fn line(&self) -> Line {
        Line {
            runtime: self.runtime.handle().clone(),
            app_runner: Arc::new(self.platform.app_runner()),
            operator: Arc::new(self.platform.operator()),
        }
    }

    /// Waits for something that needs the control plane's runtime.
    pub fn wait_for<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Creates a service from an image in the platform's registry; answers its ARN.
    pub fn create(&self, name: &str, image: &str) -> String {
        let input = json!({
            "ServiceName": name,
            "SourceConfiguration": { "ImageRepository": {
                "ImageIdentifier": image, "ImageRepositoryType": "ECR" } },
        });
        let answer = self.call("CreateService", input).unwrap();
        answer["Service"]["ServiceArn"].as_str().unwrap().to_owned()
    }

    /// Updates a service to another image.
    pub fn update(&self, arn: &str, image: &str) -> Result<Value, (String, String)> {
        let input = json!({
            "ServiceArn": arn,
            "SourceConfiguration": { "ImageRepository": {
                "ImageIdentifier": image, "ImageRepositoryType": "ECR" } },
        });
        self.call("UpdateService", input)
    }

    /// A service as `DescribeService` answers.
    pub fn describe(&self, arn: &str) -> Value {
        self.call("DescribeService", json!({ "ServiceArn": arn }))
            .unwrap()["Service"]
            .clone()
    }

    /// The newest operation of a service.
    pub fn newest_operation(&self, arn: &str) -> Value {
        let answer = self
            .call("ListOperations", json!({ "ServiceArn": arn }))
            .unwrap();
        answer["OperationSummaryList"][0].clone()
    }

    /// Waits until a service has no operation under way; answers its status.
    pub fn settle(&self, arn: &str) -> String {
        self.eventually("the operation to end", || {
            let status = self.describe(arn)["Status"].as_str().unwrap().to_owned();
            (status != "OPERATION_IN_PROGRESS").then_some(status)
        })
    }

    /// A push of a tag was completed.
    pub fn pushed(&self, repository: &str, tag: &str) {
        self.runtime.block_on(self.platform.pushed(repository, tag));
    }

    /// The instances as stored.
    pub fn stored_instances(&self) -> Vec<Instance> {
        self.runtime
            .block_on(self.platform.engine().store.instances())
            .unwrap()
    }

    /// The ids of instances the backend has a trace of.
    pub fn observed_instances(&self) -> Vec<InstanceId> {
        let compute = self.platform.engine().compute.clone();
        let list = self
            .runtime
            .block_on(async move { compute.list().await })
            .unwrap();
        list.into_iter().map(|status| status.id).collect()
    }

    /// Asks until there is an answer; panics when that takes too long.
    pub fn eventually<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(Instant::now() < deadline, "waited too long for {what}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

/// A call by the account's root.
pub(crate) fn call(operation: &str, input: Value) -> Call {
    Call {
        operation: operation.to_owned(),
        input,
        caller: Caller::root("111122223333", ACCESS_KEY_ID),
        session_token: None,
        request_id: "test".to_owned(),
        now: Millis(0),
    }
}
