//! One repository in another registry: requests with authentication, redirects and retries.

use super::answer::Answer;
use super::connect::{Origin, send, tls_config};
use super::{Credentials, PullError, PullerOptions};
use crate::ImageName;
use crate::reference::excerpt;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::Empty;
use rustls::ClientConfig;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::sleep;

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

/// A repository in another registry.
pub(super) struct Remote {
    /// As the image's name says it, for messages.
    host: String,
    pub(super) origin: Origin,
    pub(super) repository: String,
    pub(super) credentials: Option<Credentials>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) authorization: Mutex<Option<String>>,
}

/// What is asked for.
pub(super) struct Get<'a> {
    /// Below `/v2/<repository>/`.
    pub(super) path: &'a str,
    pub(super) accept: &'a str,
    /// Where the content should begin.
    pub(super) first_byte: u64,
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

    pub(super) fn request(
        &self,
        target: &str,
        get: &Get<'_>,
        origin: &Origin,
    ) -> Request<Empty<Bytes>> {
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
}

impl Get<'_> {
    pub(super) fn ping() -> Get<'static> {
        Get {
            path: "",
            accept: "",
            first_byte: 0,
        }
    }
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
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
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
pub(super) fn absolute(url: &str) -> Option<(Origin, String)> {
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
}
