//! `apron serve`: names the concrete parts, introduces them to each other, and runs until it is told to end.

mod certificates;
mod doors;
mod lock;
mod root_key;

use crate::config::Config;
use crate::identity::Identity;
use crate::paths::Paths;
use crate::process::sibling;
use anyhow::{Context, Result, bail};
use apron_builder::Builder;
use apron_control::audit::{CloudTrail, Trail};
use apron_control::authorizer::Authorizer;
use apron_control::certificates::Authority;
use apron_control::clock::{Clock, Machine, random};
use apron_control::dataplane::link::{ProxyLink, Told};
use apron_control::dataplane::process::{ProxyConfig, Sockets, Upgrades, sockets, supervise};
use apron_control::ecr::{Ecr, PushWatcher, RegistryGate, Tokens};
use apron_control::endpoint::{ApiService, Endpoint};
use apron_control::engine::Unwatched;
use apron_control::iam::{Iam, Identities};
use apron_control::instance_credentials::InstanceCredentials;
use apron_control::listener::{self, Site};
use apron_control::logs::CloudWatchLogs;
use apron_control::platform::{Parts, Platform};
use apron_control::sts::Sts;
use apron_node::{Node, NodeConfig};
use apron_oci::{ContentStore, Puller, RegistryBounds, registry};
use apron_store::Store;
use apron_telemetry::{Audit, Logs};
use async_trait::async_trait;
use doors::InstanceDoors;
use root_key::RootKeys;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// How long audit records are kept, milliseconds (CloudTrail's event history: 90 days).
const AUDIT_KEPT_MS: u64 = 90 * 24 * 60 * 60 * 1000;

/// Runs the control plane until SIGTERM or SIGINT. Instances and the proxy go on without it.
pub fn serve(paths: &Paths, detach: bool) -> Result<()> {
    if detach {
        // Fails only when the process leads a group already, and then it has no terminal to leave.
        let _ = rustix::process::setsid();
    }
    require_root()?;
    keep_memory_private();
    let filter = EnvFilter::try_from_env("APRON_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("the TLS provider is installed twice"))?;
    crate::up::make_directories(paths)?;
    let lock = lock::take(&paths.lock())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(run(paths));
    // Tasks are cut, not waited for: whatever they were doing goes on from the store at the next start. A runtime that
    // is shut down would first tell them that their disk work was cancelled, and a deployment would fail by that: it and
    // the lock end with the process.
    std::mem::forget((runtime, lock));
    if let Err(error) = &result {
        tracing::error!("{error:#}");
    }
    result
}

/// This process has keys and secrets in its memory: whatever ends it, the kernel writes none of that into a file.
fn keep_memory_private() {
    let private = rustix::process::DumpableBehavior::NotDumpable;
    if let Err(error) = rustix::process::set_dumpable_behavior(private) {
        eprintln!("apron: core files of the control plane cannot be prevented: {error}");
    }
}

/// Fails with what to do unless this is root.
pub fn require_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("this needs root: it makes namespaces, control groups and mounts. Run it with sudo");
    }
    Ok(())
}

async fn run(paths: &Paths) -> Result<()> {
    let config = Config::read(paths)?;
    let identity = Identity::read_or_make(paths, config.account_id.as_deref())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;
    let mut listeners = Vec::new();
    for address in &config.listen.api {
        listeners.push(listener::bind(*address).await?);
    }
    let Started {
        site,
        logs,
        upgrades,
        root_keys,
        doors,
        credentials,
    } = start(paths, &config, &identity).await?;
    tokio::spawn(look_again(hangup, upgrades, root_keys));
    let authority = Authority::open(paths.data(), certificates::now())?;
    let tls = certificates::keep_api(authority, config.api_names(&identity.account_id))?;
    doors.serve(credentials, tls.clone(), site.clone());
    for listener in listeners {
        tokio::spawn(listener::serve(listener, tls.clone(), site.clone()));
    }
    tracing::info!(endpoint = config.endpoint(), "apron serves");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("apron serve ends; instances and traffic go on");
    logs.flush()
        .await
        .context("the newest log events could not be written")
}

/// What is behind the listeners.
struct Started {
    site: Site,
    logs: Arc<Logs>,
    upgrades: Upgrades,
    root_keys: RootKeys,
    doors: InstanceDoors,
    credentials: Arc<InstanceCredentials>,
}

async fn open_store(paths: &Paths, config: &Config) -> Result<Store> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let source = config.sealing_source(&paths.store(), credentials.as_deref())?;
    Store::open_with(&paths.store(), source)
        .await
        .context("cannot open the database")
}

/// Starts everything behind the listeners.
async fn start(paths: &Paths, config: &Config, identity: &Identity) -> Result<Started> {
    let settings = config.settings(&identity.account_id);
    let store = open_store(paths, config).await?;
    let logs = Logs::open(&paths.logs())
        .await
        .context("cannot open the log store")?;
    let content = ContentStore::open(&paths.images()).context("cannot open the image store")?;
    // Before anything is made on this machine: a port that is in use is the most usual reason not to start.
    let doors = listen(paths, config)?;
    let authority = Authority::open(paths.data(), certificates::now())?;
    let mut node = node_config(paths, config)?;
    let instance_doors = InstanceDoors::open(paths, &authority, &mut node)?;
    let node = start_node(node, content.clone()).await?;
    let service_names = vec![format!("*.{}.{}", config.region, config.domain)];
    let service_certificates = certificates::keep_services(authority, service_names)?;
    let upgrades = supervise(doors.proxy, doors.sockets, doors.link.clone())?;
    doors.link.brake_by(node.clone()).await;
    let authorizer = authorizer(&store, config, identity).await?;
    let trail = open_trail(paths, &config.region)?;
    let root_keys = RootKeys::open(paths, &authorizer, &trail).await?;
    let tokens = node.clone();
    let (services, builds) = apron_compute::part(node)
        .await
        .context("this machine's instances cannot be listed")?;
    let builder = Builder::open(apron_builder::Parts {
        content: content.clone(),
        compute: builds,
        options: config.build.options(),
        clock: Arc::new(|| Machine.now()),
        chance: Arc::new(|| random(&Machine)),
    });
    let platform = Platform::start(Parts {
        authorizer,
        trail: trail.clone(),
        private_issuers: config.private_issuers,
        tokens,
        settings: settings.clone(),
        store: store.clone(),
        content: content.clone(),
        puller: Puller::new(),
        authorities: config.authorities()?,
        sources: paths.sources(config),
        builder,
        compute: services,
        logs: logs.clone(),
        dataplane: doors.link,
        news: doors.told.news,
        certificates: service_certificates,
        clock: Arc::new(Machine),
        chance: Arc::new(Machine),
        checkpoints: Arc::new(Unwatched),
    })
    .await
    .context("cannot start the control plane")?;
    let chronicle = platform.engine().chronicle.clone();
    tokio::spawn(doors.told.access_log.write(chronicle));
    tokio::spawn(retain_logs(logs.clone()));
    let credentials = InstanceCredentials::new(platform.engine().clone());
    let site = site(trail, settings, store, content, logs.clone(), platform).await?;
    Ok(Started {
        site,
        logs,
        upgrades,
        root_keys,
        doors: instance_doors,
        credentials,
    })
}

/// Who decides, by the identities in the store.
async fn authorizer(
    store: &Store,
    config: &Config,
    identity: &Identity,
) -> Result<Arc<Authorizer>> {
    let identities = Identities::open(store.clone(), &identity.account_id, &Machine)
        .await
        .context("cannot read the identities")?;
    tokio::spawn(keep_last_used(identities.clone()));
    Ok(Arc::new(Authorizer::new(identities, &config.region)))
}

/// A hang-up is the operator's word that another proxy may be installed, or another key of the root user be there.
async fn look_again(mut hangup: Signal, upgrades: Upgrades, root_keys: RootKeys) {
    while hangup.recv().await.is_some() {
        upgrades.look();
        if let Err(error) = root_keys.take_over().await {
            tracing::error!("{error:#}");
        }
    }
}

async fn site(
    trail: Arc<Trail>,
    settings: apron_control::Settings,
    store: Store,
    content: Arc<ContentStore>,
    logs: Arc<Logs>,
    platform: Arc<Platform>,
) -> Result<Site> {
    let settings = Arc::new(settings);
    let clock: Arc<dyn Clock> = Arc::new(Machine);
    let authorizer = platform.engine().authorizer.clone();
    let identities = authorizer.identities().clone();
    let issuers = platform.engine().web_identity.clone();
    let tokens = Arc::new(
        Tokens::load(&store, &Machine)
            .await
            .context("cannot load the registry's token key")?,
    );
    let ecr = Arc::new(Ecr::new(
        settings.clone(),
        store.clone(),
        content.clone(),
        tokens.clone(),
    ));
    tokio::spawn(sweep_images(ecr.clone()));
    let vault = platform.engine().vault.clone();
    let services: Vec<Arc<dyn ApiService>> = vec![
        Arc::new(platform.app_runner()),
        ecr,
        vault.kms,
        vault.secrets,
        vault.parameters,
        Arc::new(CloudWatchLogs::new(settings.clone(), logs)),
        Arc::new(Iam::new(identities.clone(), Arc::new(Machine))),
        Arc::new(Sts::new(identities, issuers.clone(), Arc::new(Machine))),
        Arc::new(CloudTrail::new(trail.clone())),
        Arc::new(platform.operator()),
    ];
    let endpoint = Endpoint::new(
        services,
        authorizer.clone(),
        trail.clone(),
        settings.region.clone(),
        clock.clone(),
        Arc::new(Machine),
    );
    let (git, hooks) = (platform.git(), platform.hooks());
    let watcher = Arc::new(Pushes(platform));
    let gate = Arc::new(RegistryGate::new(
        settings, store, tokens, authorizer, trail, clock, watcher,
    ));
    let registry = registry(content, gate, RegistryBounds::default());
    Ok(Site {
        endpoint: Arc::new(endpoint),
        registry: Some(registry),
        git: Some(git),
        hooks: Some(hooks),
        issuer: Some((issuers, Arc::new(Machine))),
    })
}

/// Opens the audit file and has old records removed.
fn open_trail(paths: &Paths, region: &str) -> Result<Arc<Trail>> {
    let audit = Audit::open(&paths.audit())
        .with_context(|| format!("cannot open the audit file in {}", paths.audit().display()))?;
    tokio::spawn(retain_audit(audit.clone()));
    Ok(Arc::new(Trail::new(audit, region, Arc::new(Machine))))
}

async fn retain_audit(audit: Audit) {
    loop {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let since = Machine.now().0.saturating_sub(AUDIT_KEPT_MS);
        if let Err(error) = audit.retain(since) {
            tracing::warn!(%error, "old audit records could not be removed");
        }
    }
}

async fn start_node(node: NodeConfig, content: Arc<ContentStore>) -> Result<Arc<Node>> {
    let clock = || Machine.now();
    Node::start(node, content, Arc::new(clock))
        .await
        .context("this machine cannot run instances")
}

/// The local backend's configuration, also for removing its traces.
pub fn node_config(paths: &Paths, config: &Config) -> Result<NodeConfig> {
    let shim = sibling("apron-shim")?;
    let mut node = NodeConfig::new(&config.name, paths.node_data(), paths.node_run(), shim);
    node.instance_network = config
        .instance_network
        .parse()
        .context("instance_network in apron.toml")?;
    node.user_namespaces = config.user_namespaces;
    node.builds_on_every_processor = config.build.every_processor;
    Ok(node)
}

/// What the data plane is started with.
struct Doors {
    link: Arc<ProxyLink>,
    told: Told,
    proxy: ProxyConfig,
    sockets: Sockets,
}

/// Listens for the proxy, and where the proxy will.
fn listen(paths: &Paths, config: &Config) -> Result<Doors> {
    let (link, told) = ProxyLink::listen(&paths.link(), config.proxy_uid)
        .with_context(|| format!("cannot listen on {}", paths.link().display()))?;
    let proxy = ProxyConfig {
        program: sibling("apron-proxy")?,
        spawn: apron_node::prompt::spawn,
        link: paths.link(),
        data: paths.proxy_data(),
        state: paths.proxy_state(),
        https: config.listen.https.clone(),
        http: config.listen.http.clone(),
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        uid: config.proxy_uid,
        gid: config.proxy_uid,
        retire_within: Duration::from_secs(config.deployment.proxy_drain_seconds),
    };
    let sockets = sockets(&proxy)?;
    Ok(Doors {
        link,
        told,
        proxy,
        sockets,
    })
}

async fn retain_logs(logs: Arc<Logs>) {
    loop {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        if let Err(error) = logs.enforce_retention(Machine.now().0).await {
            tracing::warn!(%error, "old log events could not be removed");
        }
    }
}

/// Stores when keys and roles were last used, now and then.
async fn keep_last_used(identities: Arc<Identities>) {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        if let Err(error) = identities.keep_last_used().await {
            tracing::warn!(%error, "the last uses of access keys could not be stored");
        }
    }
}

/// Removes what deletions of repositories that were cut short have left, now and then.
async fn sweep_images(ecr: Arc<Ecr>) {
    loop {
        match ecr.sweep().await {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => tracing::info!(?removed, "images without a repository removed"),
            Err(error) => {
                tracing::warn!(%error, "images without a repository could not be removed")
            }
        }
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
}

/// Hands pushes to the platform without letting the pushing client wait.
struct Pushes(Arc<Platform>);

#[async_trait]
impl PushWatcher for Pushes {
    async fn pushed(&self, repository: &str, tag: &str) {
        let (platform, repository, tag) = (self.0.clone(), repository.to_owned(), tag.to_owned());
        tokio::spawn(async move { platform.pushed(&repository, &tag).await });
    }
}
