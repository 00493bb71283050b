//! The control plane put together and set going. The composition root brings the parts that touch the machine.

use crate::agenda::Agenda;
use crate::apprunner::AppRunner;
use crate::audit::Trail;
use crate::authorizer::Authorizer;
use crate::auto_deploy::{Asker, AutoDeploy};
use crate::chronicle::Chronicle;
use crate::clock::{Chance, Clock};
use crate::configurations;
use crate::dataplane::DataPlane;
use crate::dataplane::link::News;
use crate::engine::{Checkpoints, Engine, Locks};
use crate::executor::{Executor, StepError};
use crate::fleet::Fleet;
use crate::git::GitDoor;
use crate::hooks::HookDoor;
use crate::housekeeping;
use crate::images::Images;
use crate::injection::Injection;
use crate::instance_credentials::Paths;
use crate::operations::Operations;
use crate::operator::Operator;
use crate::routes::Routes;
use crate::scaler::Scaler;
use crate::secret_refresh::SecretRefresh;
use crate::settings::Settings;
use crate::source::{SourceSettings, Sources};
use crate::steady::Steady;
use crate::traffic::Traffic;
use crate::troubles::Troubles;
use crate::vault::Vault;
use crate::web_identity::{FetchSettings, Projection, WebIdentity};
use apron_builder::Build;
use apron_compute::{Compute, TokenFiles};
use apron_link::proxy::Certificate;
use apron_oci::{ContentStore, Puller};
use apron_store::Store;
use apron_telemetry::Logs;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

/// Pause before routes that could not be published are tried again.
const PUBLISH_AGAIN: Duration = Duration::from_millis(200);

/// What the control plane is made of.
pub struct Parts {
    /// The operator's settings.
    pub settings: Settings,
    /// Who callers and roles are, and what they may.
    pub authorizer: Arc<Authorizer>,
    /// What was done by whom.
    pub trail: Arc<Trail>,
    /// Whether issuers of identities may have addresses that are not public.
    pub private_issuers: bool,
    /// Durable state.
    pub store: Store,
    /// Image content.
    pub content: Arc<ContentStore>,
    /// The client of other registries.
    pub puller: Puller,
    /// Certificates (PEM) to trust when pulling from other registries, besides the system's.
    pub authorities: Vec<String>,
    /// Directories for source code.
    pub sources: SourceSettings,
    /// What builds images from source code.
    pub builder: Arc<dyn Build>,
    /// The backend.
    pub compute: Arc<dyn Compute>,
    /// The tokens of the backend's instances.
    pub tokens: Arc<dyn TokenFiles>,
    /// The log store.
    pub logs: Arc<Logs>,
    /// The data plane.
    pub dataplane: Arc<dyn DataPlane>,
    /// What the data plane tells.
    pub news: mpsc::Receiver<News>,
    /// The services' certificates; replaced in time by whoever made them.
    pub certificates: watch::Receiver<Vec<Certificate>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub chance: Arc<dyn Chance>,
    /// Where tests stop operations.
    pub checkpoints: Arc<dyn Checkpoints>,
}

/// A running control plane. Its tasks end with the runtime.
pub struct Platform {
    engine: Arc<Engine>,
    operations: Arc<Operations>,
    auto_deploy: Arc<AutoDeploy>,
    asker: Arc<Asker>,
}

impl Platform {
    /// Puts the parts together, takes over what a former run left, and sets everything going.
    pub async fn start(parts: Parts) -> Result<Arc<Platform>, StepError> {
        let paths = Paths::load(&parts.store, parts.chance.as_ref()).await?;
        let tokens = parts.tokens.clone();
        let (engine, news) = assemble(parts, paths);
        let engine = Arc::new(engine);
        configurations::install(&engine.store, engine.clock.now()).await?;
        for service in engine.store.services_live().await? {
            engine.chronicle.introduce(&service);
        }
        let unfinished = engine.store.operations_unfinished().await?;
        engine.sources.clear().await?;
        let ids = unfinished.into_iter().map(|operation| operation.id);
        engine.builder.tidy(&ids.collect()).await;
        engine.fleet.refresh().await?;
        tokio::spawn(engine.fleet.clone().follow());
        let executor = Executor::new(engine.clone());
        let operations = Arc::new(Operations::new(engine.clone(), executor.clone()));
        let auto_deploy = Arc::new(AutoDeploy::new(engine.clone(), operations.clone()));
        let refresh = SecretRefresh::new(engine.clone(), operations.clone());
        let asker = Asker::new(auto_deploy.clone());
        tokio::spawn(asker.clone().run());
        tokio::spawn(publish(engine.clone()));
        // The numbers of instances are taken over before anybody can ask for a change of them.
        let steady = Steady::new(engine.clone());
        steady.sweep().await?;
        executor.resume().await?;
        tokio::spawn(steady.run());
        tokio::spawn(refresh.run());
        tokio::spawn(Projection::new(engine.clone(), tokens).run());
        tokio::spawn(engine.vault.clone().sweep(engine.clock.clone()));
        let traffic = Traffic::new(
            engine.clock.clone(),
            engine.agenda.clone(),
            engine.scaler.clone(),
            engine.meters.clone(),
        );
        tokio::spawn(traffic.read(news));
        let tidy = Arc::new(Notify::new());
        tokio::spawn(housekeeping::run(engine.clone(), tidy.clone()));
        tokio::spawn(after_operations(executor, auto_deploy.clone(), tidy));
        Ok(Arc::new(Platform {
            engine,
            operations,
            auto_deploy,
            asker,
        }))
    }

    /// The App Runner API of this platform.
    pub fn app_runner(&self) -> AppRunner {
        AppRunner::new(self.engine.clone(), self.operations.clone())
    }

    /// The operator's API of this platform.
    pub fn operator(&self) -> Operator {
        Operator::new(self.engine.clone(), self.operations.clone())
    }

    /// The git endpoint of this platform.
    pub fn git(&self) -> Arc<GitDoor> {
        let (engine, operations) = (self.engine.clone(), self.operations.clone());
        Arc::new(GitDoor::new(engine, operations))
    }

    /// The webhooks of this platform.
    pub fn hooks(&self) -> Arc<HookDoor> {
        Arc::new(HookDoor::new(self.engine.clone(), self.asker.clone()))
    }

    /// A tag was pushed into the platform's registry.
    pub async fn pushed(&self, repository: &str, tag: &str) {
        if let Err(error) = self.auto_deploy.pushed(repository, tag).await {
            tracing::error!(%error, repository, tag, "the push could not be deployed");
        }
    }

    /// The parts, for the command line's own purposes and for tests.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }
}

fn web_identity(parts: &Parts) -> WebIdentity {
    let fetching = FetchSettings {
        authorities: parts.authorities.clone(),
        private_addresses: parts.private_issuers,
    };
    let (store, chance) = (parts.store.clone(), parts.chance.clone());
    WebIdentity::new(&parts.settings.issuer, store, chance, fetching)
}

fn assemble(parts: Parts, credential_paths: Paths) -> (Engine, mpsc::Receiver<News>) {
    let web_identity = web_identity(&parts);
    let settings = Arc::new(parts.settings);
    let agenda = Arc::new(Agenda::default());
    let scaler = Arc::new(Scaler::new(parts.clock.clone(), agenda.clone()));
    let chronicle = Chronicle::new(parts.logs);
    let fleet = Fleet::new(
        parts.compute.clone(),
        chronicle.clone(),
        parts.clock.clone(),
        agenda.clone(),
    );
    let troubles = Arc::new(Troubles::default());
    let routes = Routes::new(
        settings.clone(),
        parts.store.clone(),
        fleet.clone(),
        troubles.clone(),
        parts.dataplane,
        parts.certificates,
    );
    let images = Images::new(
        settings.clone(),
        parts.store.clone(),
        parts.content,
        parts.puller,
        parts.authorities,
    );
    let (authorizer, chance) = (parts.authorizer.clone(), parts.chance.clone());
    let vault = Vault::new(&settings, &parts.store, authorizer, chance);
    let injection = Injection::new(
        settings.clone(),
        parts.store.clone(),
        vault.clone(),
        parts.authorizer.clone(),
        parts.trail.clone(),
        parts.clock.clone(),
    );
    let sources = Sources::new(settings.clone(), parts.store.clone(), parts.sources);
    let engine = Engine {
        vault,
        injection,
        credential_paths,
        settings,
        authorizer: parts.authorizer,
        trail: parts.trail,
        web_identity: Arc::new(web_identity),
        store: parts.store,
        images,
        sources,
        builder: parts.builder,
        compute: parts.compute,
        fleet,
        agenda,
        scaler,
        meters: Arc::default(),
        troubles,
        routes,
        chronicle,
        clock: parts.clock,
        chance: parts.chance,
        locks: Locks::default(),
        configurations: tokio::sync::RwLock::new(()),
        preparations: tokio::sync::RwLock::new(()),
        checkpoints: parts.checkpoints,
    };
    (engine, parts.news)
}

/// Publishes the routes once at the start, and certificates whenever they are replaced.
async fn publish(engine: Arc<Engine>) {
    let mut certificates = engine.routes.certificates();
    let mut published = engine.routes.refresh().await;
    loop {
        while let Err(error) = published {
            tracing::warn!(%error, "routes are not in force yet");
            tokio::time::sleep(PUBLISH_AGAIN).await;
            published = engine.routes.refresh().await;
        }
        if certificates.changed().await.is_err() {
            return;
        }
        published = engine.routes.refresh_certificates().await;
    }
}

/// What is to be done when an operation has ended.
async fn after_operations(
    executor: Arc<Executor>,
    auto_deploy: Arc<AutoDeploy>,
    tidy: Arc<Notify>,
) {
    loop {
        executor.finished().await;
        if let Err(error) = auto_deploy.catch_up().await {
            tracing::error!(%error, "pushes that waited could not be deployed");
        }
        tidy.notify_one();
    }
}
