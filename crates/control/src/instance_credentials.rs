//! The container credentials endpoint: what an instance's SDK asks for the temporary credentials of its instance role.
//!
//! An application asks `http://169.254.170.2` for the path in `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` (AWS SDKs and Tools,
//! "Container credential provider"). Which instance asks is told twice: by the address the connection comes from, which the
//! machine's firewall lets no instance but that one use, and by the path, which only that one knows. Both have to agree.

use crate::clock::{Chance, random};
use crate::engine::Engine;
use crate::iam::{ServicePrincipal, Temporary};
use apron_compute::InstanceStatus;
use apron_domain::{InstanceId, Millis};
use apron_store::{Store, StoreError};
use aws_lc_rs::hmac;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections served at the same time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 512;
/// Longest life of a connection: an SDK asks once and goes.
const CONNECTION_WITHIN: Duration = Duration::from_secs(10);
/// Pause after an accept that failed, for example because there are no descriptors left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// Credentials are handed out as long as they are good for this long; SDKs ask for others 5 to 15 minutes before their end.
const GOOD_FOR_MS: u64 = 20 * 60 * 1000;
/// Where the key that makes the paths is sealed in the store.
const SECRET: (&str, &str) = ("platform", "instance-credentials-key");
const PATH: &str = "/v2/credentials/";

/// Makes the paths that only their instances know.
pub struct Paths {
    key: hmac::Key,
}

impl Paths {
    /// Reads the key from the store; makes it at the first start.
    pub async fn load(store: &Store, chance: &dyn Chance) -> Result<Paths, StoreError> {
        let (kind, name) = SECRET;
        let bytes = match store.secret_get(kind, name).await? {
            Some(bytes) => bytes,
            None => {
                let bytes = random::<32>(chance).to_vec();
                store.secret_put(kind, name, &bytes).await?;
                bytes
            }
        };
        Ok(Paths {
            key: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
        })
    }

    /// The path of an instance.
    pub fn of(&self, instance: &InstanceId) -> String {
        let tag = hmac::sign(&self.key, instance.as_str().as_bytes());
        format!("{PATH}{}", hex::encode(tag.as_ref()))
    }

    /// Whether a path is that of an instance; takes the same time whatever it is.
    fn is_of(&self, instance: &InstanceId, path: &str) -> bool {
        let tag = path
            .strip_prefix(PATH)
            .and_then(|tag| hex::decode(tag).ok());
        tag.is_some_and(|tag| hmac::verify(&self.key, instance.as_str().as_bytes(), &tag).is_ok())
    }
}

/// Answers instances.
pub struct InstanceCredentials {
    engine: Arc<Engine>,
    given: Mutex<BTreeMap<InstanceId, Temporary>>,
}

/// Why an instance gets no credentials.
struct Refusal(StatusCode, &'static str, String);

impl InstanceCredentials {
    /// An endpoint for the instances of this engine.
    pub fn new(engine: Arc<Engine>) -> Arc<InstanceCredentials> {
        Arc::new(InstanceCredentials {
            engine,
            given: Mutex::default(),
        })
    }

    /// Accepts for ever.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = connections.clone().acquire_owned().await else {
                return;
            };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of an instance");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let endpoint = self.clone();
            tokio::spawn(async move {
                endpoint.converse(stream, peer.ip().to_canonical()).await;
                drop(permit);
            });
        }
    }

    async fn converse(self: Arc<Self>, stream: TcpStream, peer: IpAddr) {
        let answer = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            let endpoint = self.clone();
            async move { Ok::<_, Infallible>(endpoint.answer(&request, peer).await) }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(CONNECTION_WITHIN);
        let conversation = builder.serve_connection(TokioIo::new(stream), answer);
        if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_WITHIN, conversation).await {
            tracing::debug!(%error, "connection of an instance ended");
        }
    }

    async fn answer<B>(&self, request: &Request<B>, peer: IpAddr) -> Response<Full<Bytes>> {
        let (status, body) = match self.credentials(request, peer).await {
            Ok(body) => (StatusCode::OK, body),
            Err(Refusal(status, code, message)) => {
                tracing::warn!(%peer, code, message, "an instance was given no credentials");
                (status, json!({ "code": code, "message": message }))
            }
        };
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = status;
        response.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/json"),
        );
        response
    }

    async fn credentials<B>(&self, request: &Request<B>, peer: IpAddr) -> Result<Value, Refusal> {
        if request.method() != Method::GET {
            let text = "credentials are read with GET".to_owned();
            return Err(Refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "MethodNotAllowed",
                text,
            ));
        }
        let instance = self.engine.fleet.at(peer);
        let path = request.uri().path();
        let known = instance.filter(|i| self.engine.credential_paths.is_of(&i.id, path));
        let Some(instance) = known else {
            let text = "this address has no credentials at this path".to_owned();
            return Err(Refusal(StatusCode::FORBIDDEN, "AccessDenied", text));
        };
        let role = self.role(&instance).await?;
        let given = self.session(&instance, &role)?;
        Ok(json!({
            "RoleArn": role,
            "AccessKeyId": given.access_key_id,
            "SecretAccessKey": given.secret.reveal(),
            "Token": given.token.reveal(),
            "Expiration": iso8601(given.expires),
        }))
    }

    /// The role of the revision that an instance runs.
    async fn role(&self, instance: &InstanceStatus) -> Result<String, Refusal> {
        let record = self
            .engine
            .injection
            .record(&instance.service, instance.revision)
            .await
            .map_err(|error| {
                tracing::error!(instance = %instance.id, %error, "the role of an instance cannot be read");
                let text = "the platform's state cannot be read".to_owned();
                Refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", text)
            })?;
        record.and_then(|record| record.role).ok_or_else(|| {
            let text = "the service has no instance role".to_owned();
            Refusal(StatusCode::NOT_FOUND, "NoRole", text)
        })
    }

    /// The credentials that the instance has been given, or others when those end soon.
    fn session(&self, instance: &InstanceStatus, role: &str) -> Result<Temporary, Refusal> {
        let engine = &self.engine;
        let now = engine.clock.now();
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.retain(|id, temporary| temporary.expires > now && engine.fleet.status(id).is_some());
        if let Some(temporary) = given.get(&instance.id)
            && temporary.expires.since(now) > GOOD_FOR_MS
        {
            return Ok(temporary.clone());
        }
        let issued = engine.authorizer.identities().role_session(
            ServicePrincipal::Tasks,
            role,
            instance.id.as_str(),
            now,
            engine.chance.as_ref(),
        );
        let temporary = issued.map_err(|cause| {
            Refusal(
                StatusCode::BAD_REQUEST,
                "CredentialsNotAvailable",
                cause.to_string(),
            )
        })?;
        given.insert(instance.id.clone(), temporary.clone());
        Ok(temporary)
    }
}

/// A point in time as SDKs read it in credentials (RFC 3339, whole seconds).
fn iso8601(at: Millis) -> String {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    let time = time::OffsetDateTime::from_unix_timestamp(seconds).ok();
    time.and_then(|time| {
        time.format(&time::format_description::well_known::Rfc3339)
            .ok()
    })
    .unwrap_or_default()
}
