//! The platform's own git endpoint, `/git/<name>.git`: git's smart HTTP protocol (gitprotocol-http) with the access keys of
//! this installation. A push is built and deployed before it is answered, and its client sees the log.

mod deploy;
mod follow;
mod packets;
mod receive;
mod sign_in;

use crate::audit::{Deed, Door};
use crate::authorizer::{Answered, Surroundings};
use crate::endpoint::{Caller, Peer};
use crate::engine::Engine;
use crate::operations::Operations;
use crate::source::{OWN_PATH, is_repository_name};
use apron_aws::model::Protocol;
use apron_builder::git::{GitError, Repository, Service, Serving};
use apron_domain::Millis;
use axum::body::Body;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT,
    WWW_AUTHENTICATE,
};
use http::{Method, Request, Response, StatusCode};
use receive::feed;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;
use tokio::sync::mpsc;

/// Bytes that git may say before a client has said anything: its references.
const REFERENCES_BYTES_MAX: u64 = 64 << 20;

/// Time for that.
const REFERENCES_WITHIN: Duration = Duration::from_secs(60);

/// Pieces of an answer that wait for a client that reads slowly.
const PIECES_WAITING_MAX: usize = 16;

/// A push with this header and the value `off` is stored and nothing else: its sender deploys by the API.
pub const DEPLOY_HEADER: &str = "apron-deploy";

/// The endpoint.
pub struct GitDoor {
    engine: Arc<Engine>,
    operations: Arc<Operations>,
    /// One push at a time to a repository.
    locks: Mutex<BTreeMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    References(Service),
    Service(Service),
}

/// Who asks for something, from where.
#[derive(Clone, Copy)]
struct Ask<'a> {
    caller: &'a Caller,
    surroundings: &'a Surroundings,
    door: Door<'a>,
}

impl<'a> Ask<'a> {
    fn deed(&self, answered: &'a [Answered]) -> Deed<'a> {
        Deed {
            request_id: "",
            caller: self.caller,
            surroundings: self.surroundings,
            door: self.door,
            answered,
        }
    }
}

/// The answer to what cannot be recorded.
fn unrecorded(error: apron_aws::ApiError) -> Refusal {
    Refusal(StatusCode::SERVICE_UNAVAILABLE, error.message)
}

/// A request that is answered with a few words.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl From<GitError> for Refusal {
    fn from(error: GitError) -> Refusal {
        tracing::error!(%error, "git does not do what a client asks");
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

/// Whether a path belongs to this endpoint.
pub fn is_path(path: &str) -> bool {
    path.strip_prefix('/')
        .is_some_and(|path| path.starts_with(OWN_PATH))
}

impl GitDoor {
    /// An endpoint of this engine.
    pub fn new(engine: Arc<Engine>, operations: Arc<Operations>) -> GitDoor {
        GitDoor {
            engine,
            operations,
            locks: Mutex::default(),
        }
    }

    /// Answers a request below `/git/`.
    pub async fn handle(self: &Arc<Self>, request: Request<Body>) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = self.perform(request).await;
        let answer = answer.unwrap_or_else(|Refusal(status, text)| refused(status, &text));
        tracing::info!(%method, path, status = answer.status().as_u16(), "git request");
        answer
    }

    async fn perform(self: &Arc<Self>, request: Request<Body>) -> Result<Response<Body>, Refusal> {
        let (name, wanted) = parse(&request)
            .ok_or_else(|| Refusal(StatusCode::NOT_FOUND, "there is no such page".to_owned()))?;
        let protocol = protocol(request.headers());
        let repository = Repository::at(self.engine.sources.own_repository(&name));
        let receives = matches!(
            wanted,
            Wanted::References(Service::Receive) | Wanted::Service(Service::Receive)
        );
        let surroundings = surroundings(&request, self.engine.clock.now());
        // A list of references changes nothing, also when it is the beginning of a push.
        let door = Door::Git {
            repository: &name,
            pushes: wanted == Wanted::Service(Service::Receive),
        };
        let caller = match self.caller(request.headers()) {
            Ok(caller) => caller,
            Err(refusal) => {
                let signed = request.headers().contains_key(http::header::AUTHORIZATION);
                return Err(self.turn_away(refusal, signed, &surroundings, door).await);
            }
        };
        let ask = Ask {
            caller: &caller,
            surroundings: &surroundings,
            door,
        };
        self.permit(&ask, &name, receives).await?;
        match (receives, repository.exists()) {
            (_, true) => {}
            (true, false) => repository.make().await?,
            (false, false) => {
                let text =
                    format!("repository {name} does not exist: nothing was pushed to it yet");
                return Err(Refusal(StatusCode::NOT_FOUND, text));
            }
        }
        match wanted {
            Wanted::References(service) => references(&repository, service, protocol).await,
            Wanted::Service(Service::Upload) => upload(&repository, protocol, request).await,
            Wanted::Service(Service::Receive) => {
                self.receive(name, repository, protocol, caller, request)
                    .await
            }
        }
    }

    /// Whether a caller may read or push. A push deploys the service of the repository's name, or makes it: it needs what these
    /// calls need.
    async fn permit(&self, ask: &Ask<'_>, name: &str, receives: bool) -> Result<(), Refusal> {
        let failed = |error: apron_store::StoreError| {
            tracing::error!(%error, "the service of a repository cannot be looked up");
            let text = "the platform's state cannot be used now: see its log";
            Refusal(StatusCode::INTERNAL_SERVER_ERROR, text.to_owned())
        };
        let service = self.engine.store.service_find(name).await.map_err(failed)?;
        let id = service.as_ref().map_or("*", |service| service.id.as_str());
        let arn = self.engine.settings.service_arn(name, id);
        let action = match (receives, &service) {
            (false, _) => "apprunner:DescribeService",
            (true, Some(_)) => "apprunner:StartDeployment",
            (true, None) => "apprunner:CreateService",
        };
        let authorizer = &self.engine.authorizer;
        let asked = authorizer.permit(ask.caller, action, &arn, ask.surroundings);
        match asked.await {
            Ok(answered) => self.record(ask, &[answered]).await,
            Err(refusal) => {
                let error = refusal.clone().into_error(Protocol::Json11);
                let recorded = self.engine.trail.refused(&ask.deed(&[]), &refusal, &error);
                recorded.map_err(unrecorded)?;
                let text = refusal.message().to_owned();
                Err(Refusal(StatusCode::FORBIDDEN, text))
            }
        }
    }

    /// Records what is allowed: a push is on disk before it is taken.
    async fn record(&self, ask: &Ask<'_>, answered: &[Answered]) -> Result<(), Refusal> {
        let trail = &self.engine.trail;
        let opened = trail.open(&ask.deed(answered)).await.map_err(unrecorded)?;
        let nothing = serde_json::json!({});
        let closed = trail.close(opened, ask.door, Ok(&nothing), ask.surroundings.now);
        closed.map_err(unrecorded)
    }

    /// Refuses who is not known. Clients ask without a password first: that is no log-in that failed.
    async fn turn_away(
        &self,
        refusal: Refusal,
        signed: bool,
        surroundings: &Surroundings,
        door: Door<'_>,
    ) -> Refusal {
        if !signed {
            return refusal;
        }
        let (trail, code) = (&self.engine.trail, "Unauthorized");
        match trail
            .turn_away("", surroundings, door, code, &refusal.1)
            .await
        {
            true => {
                let text = "too many log-ins were refused, wait a moment";
                Refusal(StatusCode::TOO_MANY_REQUESTS, text.to_owned())
            }
            false => refusal,
        }
    }

    fn lock(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks.insert(name.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

/// The repository and what is wanted of it.
fn parse(request: &Request<Body>) -> Option<(String, Wanted)> {
    let path = request.uri().path().strip_prefix('/')?;
    let (name, rest) = path.strip_prefix(OWN_PATH)?.split_once('/')?;
    let name = name.strip_suffix(".git").unwrap_or(name);
    if !is_repository_name(name) {
        return None;
    }
    let wanted = match (request.method(), rest) {
        (&Method::GET, "info/refs") => {
            let query = request.uri().query()?;
            let mut words = query.split('&').filter_map(|word| word.split_once('='));
            let (_, service) = words.find(|(key, _)| *key == "service")?;
            Wanted::References(Service::of(service)?)
        }
        (&Method::POST, rest) => Wanted::Service(Service::of(rest)?),
        _ => return None,
    };
    Some((name.to_owned(), wanted))
}

fn surroundings(request: &Request<Body>, now: Millis) -> Surroundings {
    let agent = request.headers().get(USER_AGENT);
    Surroundings {
        source: request.extensions().get::<Peer>().map(|peer| peer.0),
        user_agent: agent.and_then(|v| v.to_str().ok()).map(str::to_owned),
        now,
    }
}

/// The version of git's protocol that the client asks for; only its plain forms are handed on.
fn protocol(headers: &HeaderMap) -> Option<String> {
    let given = headers.get("git-protocol")?.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"=:-_.".contains(&byte);
    (given.len() <= 256 && given.bytes().all(plain)).then(|| given.to_owned())
}

fn is_gzip(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_ENCODING)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"gzip"))
}

async fn references(
    repository: &Repository,
    service: Service,
    protocol: Option<String>,
) -> Result<Response<Body>, Refusal> {
    let mut serving = repository.advertise(service, protocol.as_deref()).await?;
    let mut said = Vec::new();
    let mut answer = (&mut serving.answer).take(REFERENCES_BYTES_MAX);
    let read = tokio::time::timeout(REFERENCES_WITHIN, answer.read_to_end(&mut said)).await;
    let whole = matches!(read, Ok(Ok(_))) && serving.ended().await?;
    if !whole {
        let text = "the repository's references cannot be read";
        return Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, text.to_owned()));
    }
    let version_two = protocol.is_some_and(|p| p.split(':').any(|part| part == "version=2"));
    let mut body = match version_two && service == Service::Upload {
        true => Vec::new(),
        false => packets::announcement(service),
    };
    body.append(&mut said);
    let kind = format!("application/x-{}-advertisement", service.name());
    Ok(answered(&kind, Body::from(body)))
}

async fn upload(
    repository: &Repository,
    protocol: Option<String>,
    request: Request<Body>,
) -> Result<Response<Body>, Refusal> {
    let gzip = is_gzip(request.headers());
    let mut serving = repository.serve(Service::Upload, protocol.as_deref())?;
    let body = request.into_body();
    let (sender, pieces) = mpsc::channel(PIECES_WAITING_MAX);
    tokio::spawn(async move {
        let Serving {
            request, answer, ..
        } = &mut serving;
        let (fed, ()) = tokio::join!(feed(body, gzip, request), hand_on(answer, sender));
        if let Err(error) = fed {
            tracing::debug!(%error, "a fetch ended early");
        }
    });
    Ok(answered(
        "application/x-git-upload-pack-result",
        body_of(pieces),
    ))
}

/// Hands on what git answers, until it ends or nobody listens.
async fn hand_on(answer: &mut ChildStdout, sender: mpsc::Sender<Bytes>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = answer.read(&mut buffer).await {
        let piece = Bytes::copy_from_slice(&buffer[..count]);
        if sender.send(piece).await.is_err() {
            return;
        }
    }
}

/// A body that arrives in pieces.
fn body_of(pieces: mpsc::Receiver<Bytes>) -> Body {
    let next = |mut pieces: mpsc::Receiver<Bytes>| async move {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(piece), pieces))
    };
    Body::from_stream(futures_util::stream::unfold(pieces, next))
}

fn answered(kind: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(kind) {
        headers.insert(CONTENT_TYPE, kind);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn refused(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if status == StatusCode::UNAUTHORIZED {
        let realm = HeaderValue::from_static("Basic realm=\"Apron\", charset=\"UTF-8\"");
        headers.insert(WWW_AUTHENTICATE, realm);
    }
    response
}

#[cfg(test)]
mod tests;
