//! One repository in another registry: requests with authentication, redirects and retries.

use super::challenge::{Challenge, choose};
use super::connect::{Origin, send, tls_config};
use super::{Credentials, PullError, PullerOptions};
use crate::ImageName;
use crate::reference::excerpt;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::ClientConfig;
use serde::Deserialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How often a request is sent when the registry cannot be reached or is overloaded.
const ATTEMPTS_MAX: u32 = 4;
/// The pause before the second attempt; it triples each time.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause that a registry may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Redirects followed for one request.
const REDIRECTS_MAX: usize = 5;
/// How long a registry may send nothing in the middle of an answer.
pub(super) const BODY_IDLE: Duration = Duration::from_secs(60);
/// How much of an error answer is read, in bytes.
const ERROR_BYTES_MAX: u64 = 16 * 1024;
/// Largest answer of a token server in bytes.
const TOKEN_BYTES_MAX: u64 = 256 * 1024;

/// A repository in another registry.
pub(super) struct Remote {
    /// As the image's name says it, for messages.
    host: String,
    origin: Origin,
    repository: String,
    credentials: Option<Credentials>,
    tls: Arc<ClientConfig>,
    authorization: Mutex<Option<String>>,
}

/// What is asked for.
pub(super) struct Get<'a> {
    /// Below `/v2/<repository>/`.
    pub(super) path: &'a str,
    pub(super) accept: &'a str,
    /// Where the content should begin.
    pub(super) first_byte: u64,
}

/// An answer with a good status.
pub(super) struct Answer {
    host: String,
    request: String,
    pub(super) response: Response<Incoming>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Remote {
    /// Finds out how the registry is spoken to, and prepares to.
    pub(super) async fn open(
        options: &PullerOptions,
        name: &ImageName,
        credentials: Option<Credentials>,
        ca_pem: &[String],
    ) -> Result<Remote, PullError> {
        let unreachable = |reason| PullError::Unreachable {
            host: name.host.clone(),
            reason,
        };
        let mut remote = Remote {
            host: name.host.clone(),
            origin: origin_of(name, !options.plain_http.contains(&name.host)),
            repository: name.repository.clone(),
            credentials,
            tls: tls_config(ca_pem).map_err(unreachable)?,
            authorization: Mutex::new(None),
        };
        if remote.origin.tls && name.is_loopback() && !remote.speaks_tls().await {
            remote.origin = origin_of(name, false);
        }
        Ok(remote)
    }

    /// Whether a registry on this machine takes TLS, whatever it then answers. A certificate that is not trusted is
    /// TLS too: the connection must not fall back to plain text because of it.
    async fn speaks_tls(&self) -> bool {
        match send(
            &self.origin,
            &self.tls,
            self.request("/v2/", &Get::ping(), &self.origin),
        )
        .await
        {
            Ok(_) => true,
            Err(reason) => reason.contains("certificate"),
        }
    }

    /// Asks for something in the repository; the answer's status is 200 or 206.
    pub(super) async fn get(&self, get: &Get<'_>) -> Result<Answer, PullError> {
        let mut attempt = 1;
        let mut authenticated = false;
        loop {
            let failed = match self.try_get(get).await {
                Ok(answer) if answer.response.status().is_success() => return Ok(answer),
                Ok(answer) => {
                    let status = answer.response.status();
                    if status == StatusCode::UNAUTHORIZED && !authenticated {
                        authenticated = true;
                        self.authenticate(answer).await?;
                        continue;
                    }
                    let pause = retry_after(answer.response.headers());
                    (answer.refused().await, is_passing(status), pause)
                }
                Err(error) => {
                    let passing = matches!(error, PullError::Unreachable { .. });
                    (error, passing, None)
                }
            };
            let (error, passing, asked) = failed;
            if !passing || attempt == ATTEMPTS_MAX {
                return Err(error);
            }
            sleep(
                asked
                    .unwrap_or(PAUSE * 3u32.pow(attempt - 1))
                    .min(PAUSE_MAX),
            )
            .await;
            attempt += 1;
        }
    }

    pub(super) fn bad_answer(&self, path: &str, reason: String) -> PullError {
        let request = format!("GET /v2/{}/{path}", self.repository);
        PullError::BadAnswer {
            host: self.host.clone(),
            request,
            reason,
        }
    }

    /// Sends the request and follows redirects. Credentials go to the registry only.
    async fn try_get(&self, get: &Get<'_>) -> Result<Answer, PullError> {
        let mut origin = self.origin.clone();
        let mut target = format!("/v2/{}/{}", self.repository, get.path);
        let named = format!("GET {target}");
        for _ in 0..=REDIRECTS_MAX {
            let request = self.request(&target, get, &origin);
            let response = send(&origin, &self.tls, request).await.map_err(|reason| {
                PullError::Unreachable {
                    host: self.shown(&origin),
                    reason,
                }
            })?;
            let location = match response.status() {
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => response.headers().get(header::LOCATION),
                _ => {
                    let host = self.shown(&origin);
                    return Ok(Answer {
                        host,
                        request: named,
                        response,
                    });
                }
            };
            let location = location
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            (origin, target) = redirected(&origin, location).ok_or_else(|| {
                self.bad_answer(get.path, format!("it redirects to `{}`", excerpt(location)))
            })?;
        }
        Err(self.bad_answer(
            get.path,
            format!("it redirects more than {REDIRECTS_MAX} times"),
        ))
    }

    fn request(&self, target: &str, get: &Get<'_>, origin: &Origin) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::GET;
        // What cannot be sent becomes a request that every registry refuses.
        *request.uri_mut() = target.parse().unwrap_or_else(|_| Uri::from_static("/"));
        let mut headers = vec![
            (header::HOST, origin.authority()),
            (
                header::USER_AGENT,
                concat!("apron/", env!("CARGO_PKG_VERSION")).to_owned(),
            ),
        ];
        if !get.accept.is_empty() {
            headers.push((header::ACCEPT, get.accept.to_owned()));
        }
        if get.first_byte > 0 {
            headers.push((header::RANGE, format!("bytes={}-", get.first_byte)));
        }
        if *origin == self.origin
            && let Some(authorization) = self.authorization()
        {
            headers.push((header::AUTHORIZATION, authorization));
        }
        for (name, value) in headers {
            if let Ok(value) = value.parse() {
                request.headers_mut().insert(name, value);
            }
        }
        request
    }

    fn authorization(&self) -> Option<String> {
        self.authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The name of a host in messages: the registry's own is as the image's name says it.
    fn shown(&self, origin: &Origin) -> String {
        match *origin == self.origin {
            true => self.host.clone(),
            false => origin.authority(),
        }
    }

    /// Does what a 401 asks for, so that the next request is allowed.
    async fn authenticate(&self, answer: Answer) -> Result<(), PullError> {
        let values = answer.response.headers().get_all(header::WWW_AUTHENTICATE);
        let challenge = choose(values.iter().filter_map(|value| value.to_str().ok()));
        let authorization = match (challenge, &self.credentials) {
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                _,
            ) => {
                let token = self
                    .token(&realm, service.as_deref(), scope.as_deref())
                    .await?;
                format!("Bearer {token}")
            }
            (Some(Challenge::Basic), Some(credentials)) => basic(credentials),
            _ => return Err(answer.refused().await),
        };
        *self
            .authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        Ok(())
    }

    /// Gets a token for pulling from the repository (Docker registry token authentication).
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<String, PullError> {
        let bad = |reason: String| self.bad_answer("", reason);
        let (origin, target) = absolute(realm)
            .filter(|(origin, _)| origin.tls || !self.origin.tls)
            .ok_or_else(|| bad(format!("its token server is `{}`", excerpt(realm))))?;
        let wanted = format!("repository:{}:pull", self.repository);
        let mut query = format!("scope={}", encode(scope.unwrap_or(&wanted)));
        if let Some(service) = service {
            query = format!("service={}&{query}", encode(service));
        }
        let separator = if target.contains('?') { '&' } else { '?' };
        let target = format!("{target}{separator}{query}");
        let mut request = self.request(&target, &Get::ping(), &origin);
        request.headers_mut().remove(header::AUTHORIZATION);
        if let Some(credentials) = &self.credentials
            && let Ok(value) = basic(credentials).parse()
        {
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let host = origin.authority();
        let response =
            send(&origin, &self.tls, request)
                .await
                .map_err(|reason| PullError::Unreachable {
                    host: host.clone(),
                    reason,
                })?;
        let path = target.split('?').next().unwrap_or_default();
        let answer = Answer {
            host,
            request: format!("GET {path}"),
            response,
        };
        if !answer.response.status().is_success() {
            return Err(answer.refused().await);
        }
        let bytes = answer.read(TOKEN_BYTES_MAX).await?;
        let token: Option<Token> = serde_json::from_slice(&bytes).ok();
        token
            .and_then(|token| token.token.or(token.access_token))
            .ok_or_else(|| bad(format!("its token server {path} gave no token")))
    }
}

impl Get<'_> {
    fn ping() -> Get<'static> {
        Get {
            path: "",
            accept: "",
            first_byte: 0,
        }
    }
}

impl Answer {
    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.response
            .headers()
            .get(name)?
            .to_str()
            .ok()
            .map(str::to_owned)
    }

    /// The whole body of an answer that has to be small.
    pub(super) async fn read(self, bound: u64) -> Result<Bytes, PullError> {
        let Answer {
            host,
            request,
            response,
        } = self;
        let bad = |reason| PullError::BadAnswer {
            host,
            request,
            reason,
        };
        match read_bounded(response.into_body(), bound).await {
            Ok((bytes, true)) => Ok(bytes),
            Ok((_, false)) => Err(bad(format!("it is larger than {bound} bytes"))),
            Err(reason) => Err(bad(reason)),
        }
    }

    /// The answer as an error: status and text.
    async fn refused(self) -> PullError {
        let status = self.response.status();
        let body = read_bounded(self.response.into_body(), ERROR_BYTES_MAX).await;
        let text = body.map_or_else(|reason| reason, |(bytes, _)| error_text(&bytes));
        let answer = match text.is_empty() {
            true => status.canonical_reason().unwrap_or("no text").to_owned(),
            false => text,
        };
        PullError::Refused {
            host: self.host,
            request: self.request,
            status: status.as_u16(),
            answer,
        }
    }
}

/// Reads a body up to a bound; tells whether that was all.
async fn read_bounded(mut body: Incoming, bound: u64) -> Result<(Bytes, bool), String> {
    let mut bytes = BytesMut::new();
    loop {
        let frame = timeout(BODY_IDLE, body.frame())
            .await
            .map_err(|_| format!("nothing came for {} s", BODY_IDLE.as_secs()))?;
        let Some(frame) = frame else {
            return Ok((bytes.freeze(), true));
        };
        if let Ok(data) = frame.map_err(|e| e.to_string())?.into_data() {
            bytes.extend_from_slice(&data);
            if bytes.len() as u64 > bound {
                return Ok((bytes.freeze(), false));
            }
        }
    }
}

/// The errors of an error document, or the start of other text.
fn error_text(bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Document {
        errors: Vec<Line>,
    }
    #[derive(Deserialize)]
    struct Line {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    if let Ok(document) = serde_json::from_slice::<Document>(bytes) {
        let lines = document
            .errors
            .iter()
            .map(|line| format!("{}: {}", line.code, line.message));
        return excerpt_long(&lines.collect::<Vec<_>>().join("; "));
    }
    excerpt_long(String::from_utf8_lossy(bytes).trim())
}

fn excerpt_long(text: &str) -> String {
    const CHARS: usize = 500;
    text.chars()
        .filter(|c| !c.is_control())
        .take(CHARS)
        .collect()
}

fn basic(credentials: &Credentials) -> String {
    let pair = format!("{}:{}", credentials.username, credentials.password);
    format!("Basic {}", STANDARD.encode(pair))
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Whether a status may be another one soon.
fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

fn origin_of(name: &ImageName, tls: bool) -> Origin {
    let port = name.port().unwrap_or(if tls { 443 } else { 80 });
    // The name that people use is not the one that serves.
    let host = match name.host_name() {
        "docker.io" => "registry-1.docker.io",
        host => host,
    };
    Origin {
        tls,
        host: host.to_owned(),
        port,
    }
}

/// Where a redirect leads; `None` when it cannot be followed, which includes from TLS to plain text.
fn redirected(from: &Origin, location: &str) -> Option<(Origin, String)> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some((from.clone(), location.to_owned()));
    }
    absolute(location).filter(|(to, _)| to.tls || !from.tls)
}

/// Splits an absolute URL.
fn absolute(url: &str) -> Option<(Origin, String)> {
    let uri: Uri = url.parse().ok()?;
    let tls = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let host = uri
        .host()?
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let target = uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
        .to_owned();
    Some((Origin { tls, host, port }, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_encrypted() {
        let from = Origin {
            tls: true,
            host: "r.example".to_owned(),
            port: 443,
        };
        let to =
            |location| redirected(&from, location).map(|(o, t)| format!("{} {t}", o.authority()));
        assert_eq!(to("/x?y=1").as_deref(), Some("r.example /x?y=1"));
        assert_eq!(
            to("https://c.example:8443/x?y").as_deref(),
            Some("c.example:8443 /x?y")
        );
        assert_eq!(to("https://[::1]:1/").as_deref(), Some("[::1]:1 /"));
        for bad in [
            "http://c.example/x",
            "ftp://c.example/x",
            "",
            "//c.example/x",
            "x y",
        ] {
            assert_eq!(to(bad), None, "{bad}");
        }
    }

    #[test]
    fn error_documents_become_text() {
        let document =
            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"not here"},{"code":"X"}]}"#;
        assert_eq!(error_text(document), "MANIFEST_UNKNOWN: not here; X: ");
        assert_eq!(error_text(b"  <html>\n oops"), "<html> oops");
    }
}
