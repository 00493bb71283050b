//! A distribution server on a loopback port, with a gate that the test controls.

use apron_oci::{
    Action, ContentStore, Gate, Refusal, RegistryBounds, StoreBounds, Visitor, registry,
};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A gate that allows everything unless it was told otherwise, and notes what was pushed.
#[derive(Default)]
pub struct TestGate {
    /// `user:password` that requests must carry.
    pub credentials: Option<String>,
    /// Repositories whose tags cannot be moved.
    pub immutable: Mutex<BTreeSet<String>>,
    /// Repositories that do not exist.
    pub unknown: Mutex<BTreeSet<String>>,
    /// Repositories that may not be read.
    pub secret: Mutex<BTreeSet<String>>,
    pub pushed: Mutex<Vec<(String, Option<String>, String)>>,
    /// The `Authorization` header of each request.
    pub authorizations: Mutex<Vec<Option<String>>>,
}

#[async_trait]
impl Gate for TestGate {
    async fn authorize(
        &self,
        visitor: Visitor<'_>,
        repository: Option<&str>,
        action: Action,
    ) -> Result<(), Refusal> {
        self.authorizations
            .lock()
            .unwrap()
            .push(visitor.authorization.map(str::to_owned));
        if let Some(pair) = &self.credentials {
            let expected = format!("Basic {}", STANDARD.encode(pair));
            if visitor.authorization != Some(expected.as_str()) {
                return Err(Refusal::Unauthenticated {
                    realm: "https://registry.test/".to_owned(),
                });
            }
        }
        let Some(repository) = repository else {
            return Ok(());
        };
        if self.unknown.lock().unwrap().contains(repository) {
            let text = format!("The repository with name '{repository}' does not exist");
            return Err(Refusal::UnknownRepository(text));
        }
        let reads = matches!(
            action,
            Action::ReadLayer | Action::ReadManifest | Action::CheckLayer | Action::List
        );
        if reads && self.secret.lock().unwrap().contains(repository) {
            return Err(Refusal::Denied("not yours".to_owned()));
        }
        Ok(())
    }

    async fn may_overwrite_tag(&self, repository: &str, tag: &str) -> Result<(), Refusal> {
        match self.immutable.lock().unwrap().contains(repository) {
            true => Err(Refusal::Denied(format!(
                "tag {tag} of {repository} is immutable"
            ))),
            false => Ok(()),
        }
    }

    async fn pushed(&self, repository: &str, tag: Option<&str>, digest: &str) {
        let push = (
            repository.to_owned(),
            tag.map(str::to_owned),
            digest.to_owned(),
        );
        self.pushed.lock().unwrap().push(push);
    }
}

/// A running server; ends when dropped.
pub struct TestServer {
    pub address: SocketAddr,
    pub store: Arc<ContentStore>,
    pub gate: Arc<TestGate>,
    pub directory: TempDir,
    listener: JoinHandle<()>,
}

impl TestServer {
    pub async fn start() -> TestServer {
        TestServer::with_gate(TestGate::default()).await
    }

    pub async fn with_gate(gate: TestGate) -> TestServer {
        TestServer::with(gate, test_store_bounds(), test_bounds()).await
    }

    pub async fn with(gate: TestGate, store: StoreBounds, bounds: RegistryBounds) -> TestServer {
        let directory = tempfile::tempdir().unwrap();
        let store = ContentStore::open_bounded(directory.path(), store).unwrap();
        let gate = Arc::new(gate);
        let (address, listener) = serve(Arc::clone(&store), Arc::clone(&gate), bounds).await;
        TestServer {
            address,
            store,
            gate,
            directory,
            listener,
        }
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

pub fn test_store_bounds() -> StoreBounds {
    StoreBounds {
        disk_reserve_bytes: 0,
        ..StoreBounds::default()
    }
}

pub fn test_bounds() -> RegistryBounds {
    RegistryBounds {
        body_idle: Duration::from_secs(20),
        ..RegistryBounds::default()
    }
}

/// Serves on a free loopback port until the task is aborted.
pub async fn serve(
    store: Arc<ContentStore>,
    gate: Arc<TestGate>,
    bounds: RegistryBounds,
) -> (SocketAddr, JoinHandle<()>) {
    let router = registry(store, gate, bounds);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(router.clone());
            connections.spawn(async move {
                let builder = Builder::new(TokioExecutor::new());
                // A client that goes away in the middle is what some tests are about.
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (address, task)
}
