//! The distribution server, `/v2/…` (OCI distribution specification 1.1 and what Docker's clients expect).
//!
//! Content streams between the socket and the disk in bounded batches, never whole layers in memory. What a client
//! is told was stored is synced to disk. Who may do what is the [`Gate`]'s decision.

mod answer;
mod blobs;
mod body;
mod gate;
mod lists;
mod manifests;
mod path;
mod range;
mod uploads;

pub use gate::{Action, Gate, Refusal, Visitor};

use crate::ContentStore;
use answer::{Failure, HeaderSet};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use http::{Method, StatusCode, header};
use path::Endpoint;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// Manifest writes to one repository wait for each other; repositories share this many queues.
const PUT_LOCKS: usize = 64;

/// Bounds of the distribution server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryBounds {
    /// Largest blob in bytes.
    pub blob_bytes_max: u64,
    /// How long a client may send nothing in the middle of a body.
    pub body_idle: Duration,
    /// Most entries in one page of a list.
    pub page_entries_max: usize,
}

impl Default for RegistryBounds {
    fn default() -> RegistryBounds {
        RegistryBounds {
            blob_bytes_max: 10 * 1024 * 1024 * 1024,
            body_idle: Duration::from_secs(60),
            page_entries_max: 1000,
        }
    }
}

/// The router that serves `/v2/…` from a content store; `gate` decides who may do what. Deadlines for request heads
/// and for clients that do not read their answers are the listener's.
pub fn registry(
    store: Arc<ContentStore>,
    gate: Arc<dyn Gate>,
    bounds: RegistryBounds,
) -> axum::Router {
    let put_locks = (0..PUT_LOCKS)
        .map(|_| tokio::sync::Mutex::new(()))
        .collect();
    let server = Arc::new(Server {
        store,
        gate,
        bounds,
        put_locks,
    });
    axum::Router::new()
        .route("/v2", axum::routing::any(serve))
        .route("/v2/", axum::routing::any(serve))
        .route("/v2/{*rest}", axum::routing::any(serve))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(server)
}

struct Server {
    store: Arc<ContentStore>,
    gate: Arc<dyn Gate>,
    bounds: RegistryBounds,
    put_locks: Vec<tokio::sync::Mutex<()>>,
}

async fn serve(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let failure = match server.route(&parts, &mut body).await {
        Ok(response) => return response,
        Err(failure) => failure,
    };
    if failure.status.is_server_error() {
        let (method, path) = (&parts.method, parts.uri.path());
        tracing::error!(%method, path, error = %failure.message, "image registry request failed");
    }
    body::linger(body);
    failure.into_response()
}

impl Server {
    async fn route(self: &Arc<Self>, parts: &Parts, body: &mut Body) -> Result<Response, Failure> {
        let endpoint = Endpoint::parse(parts.uri.path())?;
        let whole = uploads::query(parts, "digest").is_some();
        let action = endpoint.action(&parts.method, whole);
        self.authorize(parts, endpoint.repository(), action).await?;
        match (&parts.method, &endpoint) {
            (&Method::GET | &Method::HEAD, Endpoint::Base) => {
                Ok(HeaderSet::new().json(StatusCode::OK, &serde_json::json!({})))
            }
            (&Method::GET, Endpoint::Catalog) => self.catalog(parts).await,
            (&Method::GET, Endpoint::Tags { name }) => self.tags(parts, name).await,
            (&Method::GET, Endpoint::Referrers { name, digest }) => {
                self.referrers(parts, name, digest).await
            }
            (&Method::GET, Endpoint::Blob { name, digest }) => {
                self.blob_get(parts, name, digest).await
            }
            (&Method::HEAD, Endpoint::Blob { name, digest }) => self.blob_head(name, digest).await,
            (&Method::DELETE, Endpoint::Blob { name, digest }) => {
                self.blob_delete(name, digest).await
            }
            (&Method::GET | &Method::HEAD, Endpoint::Manifest { name, reference }) => {
                self.manifest_get(name, reference).await
            }
            (&Method::PUT, Endpoint::Manifest { name, reference }) => {
                self.manifest_put(parts, name, reference, body).await
            }
            (&Method::DELETE, Endpoint::Manifest { name, reference }) => {
                self.manifest_delete(name, reference).await
            }
            (&Method::POST, Endpoint::Uploads { name }) => {
                self.upload_start(parts, name, body).await
            }
            (&Method::GET, Endpoint::Upload { name, id }) => self.upload_status(name, id).await,
            (&Method::PATCH, Endpoint::Upload { name, id }) => {
                self.upload_chunk(parts, name, id, body).await
            }
            (&Method::PUT, Endpoint::Upload { name, id }) => {
                self.upload_end(parts, name, id, body).await
            }
            (&Method::DELETE, Endpoint::Upload { name, id }) => self.upload_delete(name, id).await,
            (method, _) => Err(Failure::unsupported(method)),
        }
    }

    async fn authorize(
        &self,
        parts: &Parts,
        repository: Option<&str>,
        action: Action,
    ) -> Result<(), Failure> {
        let authorization = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let visitor = Visitor {
            authorization,
            extensions: &parts.extensions,
        };
        self.gate
            .authorize(visitor, repository, action)
            .await
            .map_err(Failure::from)
    }

    /// Holds back other manifest writes to the repository, so that asking whether a tag may move and moving it are
    /// one step.
    async fn lock_puts(&self, repository: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        repository.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % PUT_LOCKS as u64).unwrap_or(0);
        self.put_locks[index].lock().await
    }
}
