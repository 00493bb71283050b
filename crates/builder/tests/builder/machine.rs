//! A platform's lower half of the test's own: content store, backend, engine.

use apron_builder::{
    Build, BuildLog, BuildRequest, Builder, BuilderOptions, Built, Configuration, Origin, Parts,
    Supplies,
};
use apron_compute::{Compute, InstanceClass, InstanceSpec, Probe, ProbeAnswer, part};
use apron_domain::{Failure, FailureKind, InstanceId, Millis, OperationId, ServiceId};
use apron_node::{Node, NodeConfig};
use apron_oci::{ContentStore, Digest, ImageName, Puller};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest wait for an application.
const SOON: Duration = Duration::from_secs(60);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Where a test works.
pub struct Machine {
    pub services: Arc<dyn Compute>,
    pub builds: Arc<dyn Compute>,
    pub builder: Arc<Builder>,
    pub content: Arc<ContentStore>,
    /// What the service has of secrets.
    pub secrets: Mutex<BTreeMap<String, String>>,
    number: u32,
}

#[async_trait]
impl Supplies for Machine {
    async fn image(&self, reference: &str) -> Result<Digest, Failure> {
        let failed = |error: &dyn ToString| Failure::new(FailureKind::ImagePull, error.to_string());
        let name = ImageName::parse(reference).map_err(|error| failed(&error))?;
        let pulled = Puller::new().pull(&self.content, &name, None, &[]).await;
        pulled.map_err(|error| failed(&error))
    }

    async fn secret(&self, name: &str) -> Result<Option<String>, Failure> {
        Ok(self.secrets.lock().unwrap().get(name).cloned())
    }
}

/// What a build said.
#[derive(Default)]
pub struct Lines(Mutex<Vec<String>>);

impl BuildLog for Lines {
    fn line(&self, text: &str) {
        println!("{text}");
        self.0.lock().unwrap().push(text.to_owned());
    }
}

impl Lines {
    pub fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

/// Runs a test with a backend and an engine, and cleans up after it, however it ends. Base images are kept between runs in the
/// build directory, as a machine keeps them.
pub fn on_a_machine<F>(
    options: BuilderOptions,
    test: impl FnOnce(Arc<Machine>) -> F + Send + 'static,
) where
    F: Future<Output = ()>,
{
    // One process at a time writes to a store.
    std::fs::create_dir_all(state()).unwrap();
    let alone = std::fs::File::create(state().join("lock")).unwrap();
    alone.lock().unwrap();
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let directory = tempfile::Builder::new()
        .prefix("apron-builder-test-")
        .tempdir()
        .unwrap();
    let name = format!("b{:x}-{number}", std::process::id());
    let path = directory.path();
    let mut config = NodeConfig::new(&name, path.join("data"), path.join("run"), shim());
    let second = 60 + (std::process::id() + number) % 40;
    config.instance_network = format!("10.{second}.{}.0/24", number % 250)
        .parse()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let to_purge = config.clone();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(async {
            let machine = Machine::start(config, options, number).await;
            test(machine).await;
        });
    }));
    runtime.shutdown_timeout(Duration::from_secs(5));
    let purged = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(Node::purge(to_purge));
    if let Err(panic) = outcome {
        println!("purging after a failure: {purged:?}");
        std::panic::resume_unwind(panic);
    }
    purged.expect("purging after the test");
    drop(alone);
}

impl Machine {
    async fn start(config: NodeConfig, options: BuilderOptions, number: u32) -> Arc<Machine> {
        let content = ContentStore::open(&state().join("images")).unwrap();
        let node = Node::start(config, content.clone(), Arc::new(now))
            .await
            .unwrap();
        let (services, builds) = part(node).await.unwrap();
        let builder = Builder::open(Parts {
            content: content.clone(),
            compute: builds.clone(),
            options,
            clock: Arc::new(now),
            chance: Arc::new(random),
        });
        Arc::new(Machine {
            services,
            builds,
            builder,
            content,
            secrets: Mutex::default(),
            number,
        })
    }

    /// A request for what is in a directory, as its `apprunner.yaml` says.
    pub fn request(&self, source: &Path) -> BuildRequest {
        BuildRequest {
            operation: OperationId::from_random(random()),
            service: ServiceId::from_random([u8::try_from(self.number).unwrap(); 16]),
            service_name: "tested".to_owned(),
            source: source.to_owned(),
            directory: "/".to_owned(),
            configuration: Configuration::Repository,
            origin: Origin {
                repository: "https://git.example.com/team/tested".to_owned(),
                branch: "main".to_owned(),
                commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            },
        }
    }

    /// Builds, and gives what it said too.
    pub async fn build(&self, request: &BuildRequest) -> (Result<Built, Failure>, Lines) {
        let lines = Lines::default();
        let result = self.builder.build(request, self, &lines).await;
        (result, lines)
    }

    /// Builds something that is to build well.
    pub async fn built(&self, request: &BuildRequest) -> Built {
        let (result, lines) = self.build(request).await;
        result.unwrap_or_else(|failure| panic!("{failure:?}\n{}", lines.text()))
    }

    /// Starts what was built, and gives what it answers on its port.
    pub async fn answer(&self, built: &Built) -> String {
        let spec = spec(built);
        self.services.prepare(&spec.image).await.unwrap();
        self.services.create(&spec).await.unwrap();
        let address = self
            .services
            .status(&spec.id)
            .await
            .unwrap()
            .unwrap()
            .address
            .unwrap();
        let deadline = tokio::time::Instant::now() + SOON;
        let root = Probe::Http {
            path: "/".to_owned(),
        };
        loop {
            let probe: ProbeAnswer = self
                .services
                .probe(&spec.id, &root, Duration::from_secs(5))
                .await;
            if probe.healthy {
                break;
            }
            let status = self.services.status(&spec.id).await.unwrap();
            assert!(
                tokio::time::Instant::now() < deadline,
                "{probe:?} {status:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let body = get(address).await;
        self.services.remove(&spec.id).await.unwrap();
        body
    }

    /// An instance of a build that nobody looks after, as a killed platform leaves it.
    pub async fn leave_a_build(&self) {
        let spec = self.idle(InstanceClass::Build, "sleep 1000").await;
        self.builds.create(&spec).await.unwrap();
    }

    /// A running service that listens, and where.
    pub async fn leave_a_server(&self) -> (InstanceId, std::net::SocketAddr) {
        let spec = self
            .idle(InstanceClass::Service, "python3 -m http.server 8080")
            .await;
        self.services.create(&spec).await.unwrap();
        let status = self.services.status(&spec.id).await.unwrap().unwrap();
        let deadline = tokio::time::Instant::now() + SOON;
        while !self
            .services
            .probe(&spec.id, &Probe::Tcp, Duration::from_secs(5))
            .await
            .healthy
        {
            assert!(tokio::time::Instant::now() < deadline, "{status:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (spec.id, status.address.unwrap())
    }

    async fn idle(&self, class: InstanceClass, command: &str) -> InstanceSpec {
        let source = tempfile::tempdir().unwrap();
        let mut request = self.request(source.path());
        request.configuration = Configuration::Api(apron_builder::ApiConfiguration {
            runtime: "PYTHON_311".to_owned(),
            build_command: None,
            start_command: None,
        });
        let built = self.built(&request).await;
        self.services.prepare(&built.image).await.unwrap();
        InstanceSpec {
            class,
            start_command: Some(command.to_owned()),
            ..spec(&built)
        }
    }

    /// Waits until no instance of a build is left.
    pub async fn nothing_left(&self) {
        let deadline = tokio::time::Instant::now() + SOON;
        while !self.builds.list().await.unwrap().is_empty() {
            assert!(
                tokio::time::Instant::now() < deadline,
                "instances of builds are left"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn spec(built: &Built) -> InstanceSpec {
    InstanceSpec {
        id: InstanceId::from_random(random()),
        service: ServiceId::from_random([9; 16]),
        service_name: "tested".to_owned(),
        revision: 1,
        image: built.image.clone(),
        start_command: built.start_command.clone(),
        env: built.environment.clone(),
        defaults: Default::default(),
        trusts_platform: false,
        identity_token: None,
        port: built.port.unwrap_or(8080),
        cpu_millis: 1000,
        memory_bytes: 1 << 30,
        pids_max: 200,
        disk_bytes: 1 << 30,
        class: InstanceClass::Service,
    }
}

async fn get(address: std::net::SocketAddr) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: tested\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// What is kept between runs.
pub fn state() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    target.join("assets/builder-test")
}

fn shim() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let shim = test.ancestors().nth(2).unwrap().join("apron-shim");
    assert!(
        shim.exists(),
        "{} is missing: cargo build -p apron-shim",
        shim.display()
    );
    shim
}

/// The sources of the applications.
pub fn apps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/apps/source")
}

#[allow(clippy::disallowed_methods, reason = "tests are an edge")]
fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Millis(since.as_millis() as u64)
}

pub fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut file = std::fs::File::open("/dev/urandom").unwrap();
    std::io::Read::read_exact(&mut file, &mut bytes).unwrap();
    bytes
}
