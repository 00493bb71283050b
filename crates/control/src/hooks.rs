//! Webhooks of the hosts of repositories, `POST /hooks/<connection id>`: GitHub, Gitea, Bitbucket and GitLab tell of pushes.
//!
//! What they send is only believed with the signature or token of the connection's secret, and then only that it is time
//! to look: what is deployed is what the repository says.

use crate::audit::Door;
use crate::authorizer::Surroundings;
use crate::auto_deploy::Asker;
use crate::configurations::{CONNECTION, arn_of};
use crate::endpoint::Peer;
use crate::engine::Engine;
use crate::source::credentials::WEBHOOK_SECRETS;
use apron_domain::ServiceId;
use apron_domain::configuration::{Connection, Revision};
use apron_store::StoreError;
use aws_lc_rs::{constant_time, hmac};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// The path of all of them.
const PATH: &str = "/hooks/";

/// Bytes of a webhook's body; a push of very many commits is more on no host.
const BODY_BYTES_MAX: usize = 5 << 20;

/// Time for a body.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// Headers with an HMAC-SHA256 of the body in hexadecimal, with or without `sha256=` before it: GitHub, Gitea, Bitbucket.
const SIGNATURES: [&str; 4] = [
    "x-hub-signature-256",
    "x-gitea-signature",
    "x-gogs-signature",
    "x-hub-signature",
];

/// The header with the secret itself: GitLab.
const TOKEN: &str = "x-gitlab-token";

/// Takes webhooks.
pub struct HookDoor {
    engine: Arc<Engine>,
    asker: Arc<Asker>,
}

/// Whether a path belongs to webhooks.
pub fn is_path(path: &str) -> bool {
    path.starts_with(PATH)
}

impl HookDoor {
    /// Has this asker look at what was pushed.
    pub fn new(engine: Arc<Engine>, asker: Arc<Asker>) -> HookDoor {
        HookDoor { engine, asker }
    }

    /// Answers a webhook.
    pub async fn handle(&self, request: Request<Body>) -> Response<Body> {
        let (status, text) = self.perform(request).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a webhook cannot be taken");
            (StatusCode::INTERNAL_SERVER_ERROR, "try again later")
        });
        tracing::info!(status = status.as_u16(), "webhook");
        let mut response = Response::new(Body::from(format!("{text}\n")));
        *response.status_mut() = status;
        response
    }

    async fn perform(
        &self,
        request: Request<Body>,
    ) -> Result<(StatusCode, &'static str), StoreError> {
        if request.method() != Method::POST {
            return Ok((StatusCode::METHOD_NOT_ALLOWED, "webhooks are posted"));
        }
        let id = request.uri().path().trim_start_matches(PATH).to_owned();
        let store = &self.engine.store;
        let secret = store.secret_get(WEBHOOK_SECRETS, &id).await?;
        let all = store.configurations::<Connection>(CONNECTION).await?;
        let connection = all.iter().find(|revision| revision.id == id);
        let (Some(secret), Some(connection)) = (secret, connection) else {
            return Ok((StatusCode::NOT_FOUND, "there is no such connection"));
        };
        let (parts, body) = request.into_parts();
        let surroundings = self.surroundings(&parts);
        let door = Door::Hook { connection: &id };
        let body = Limited::new(body, BODY_BYTES_MAX).collect();
        let body = match tokio::time::timeout(BODY_WITHIN, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            _ => {
                return Ok((
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "the body is too large or too slow",
                ));
            }
        };
        let trail = &self.engine.trail;
        if !is_authentic(&parts.headers, &body, &secret) {
            let (code, text) = ("Unauthorized", "the signature is missing or wrong");
            return Ok(
                match trail.turn_away("", &surroundings, door, code, text).await {
                    true => (StatusCode::TOO_MANY_REQUESTS, "too many were not authentic"),
                    false => (StatusCode::UNAUTHORIZED, text),
                },
            );
        }
        if let Err(error) = trail.heard(&surroundings, door) {
            tracing::error!(%error, "a webhook is refused because it cannot be recorded");
            return Ok((StatusCode::SERVICE_UNAVAILABLE, "try again later"));
        }
        let concerned = self.concerned(connection, &branches(&body)).await?;
        self.asker.told(concerned);
        Ok((StatusCode::ACCEPTED, "thank you"))
    }

    fn surroundings(&self, parts: &http::request::Parts) -> Surroundings {
        let agent = parts.headers.get(http::header::USER_AGENT);
        Surroundings {
            source: parts.extensions.get::<Peer>().map(|peer| peer.0),
            user_agent: agent.and_then(|agent| agent.to_str().ok().map(str::to_owned)),
            now: self.engine.clock.now(),
        }
    }

    /// The services of a connection that track one of these branches; without branches all of them.
    async fn concerned(
        &self,
        connection: &Revision<Connection>,
        branches: &[String],
    ) -> Result<Vec<ServiceId>, StoreError> {
        let arn = arn_of(&self.engine.settings, CONNECTION, connection);
        let services = self.engine.store.services_live().await?;
        let tracks = |service: &apron_domain::Service| {
            let code = service.config.code.as_ref()?;
            let same = code.connection_arn.as_ref() == Some(&arn);
            let tracked = branches.is_empty() || branches.contains(&code.branch);
            (same && tracked).then(|| service.id.clone())
        };
        Ok(services.iter().filter_map(tracks).collect())
    }
}

/// Whether the body was sent by who knows the secret.
fn is_authentic(headers: &HeaderMap, body: &Bytes, secret: &[u8]) -> bool {
    if let Some(token) = headers.get(TOKEN) {
        return constant_time::verify_slices_are_equal(token.as_bytes(), secret).is_ok();
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signed = |name: &&str| {
        let text = headers.get(*name)?.to_str().ok()?;
        let signature = hex::decode(text.strip_prefix("sha256=").unwrap_or(text)).ok()?;
        hmac::verify(&key, body, &signature).ok()
    };
    SIGNATURES.iter().find_map(signed).is_some()
}

/// The branches a webhook tells of: `ref` of GitHub, Gitea and GitLab, `push.changes` of Bitbucket. GitHub can send its
/// JSON inside a form.
fn branches(body: &Bytes) -> Vec<String> {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Vec::new();
    };
    let of_ref = value["ref"]
        .as_str()
        .and_then(|name| name.strip_prefix("refs/heads/"));
    let changes = value["push"]["changes"].as_array();
    let of_changes = changes
        .into_iter()
        .flatten()
        .filter_map(|change| change["new"]["name"].as_str());
    of_ref
        .into_iter()
        .chain(of_changes)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const BODY: &[u8] = br#"{"ref":"refs/heads/main"}"#;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn only_who_knows_the_secret_is_believed() {
        let body = Bytes::from_static(BODY);
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let signature = hex::encode(hmac::sign(&key, BODY));
        let believed = |headers: &HeaderMap| is_authentic(headers, &body, b"secret");
        for name in ["x-hub-signature-256", "x-hub-signature"] {
            assert!(believed(&headers(name, &format!("sha256={signature}"))));
        }
        assert!(believed(&headers("x-gitea-signature", &signature)));
        assert!(believed(&headers(TOKEN, "secret")));
        let other = hex::encode(hmac::sign(&key, b"other"));
        for wrong in [
            headers("x-hub-signature-256", &format!("sha256={other}")),
            headers("x-hub-signature-256", "sha256="),
            headers(
                "x-hub-signature-256",
                &format!("sha256={}", &signature[2..]),
            ),
            headers(TOKEN, "secre"),
            headers(TOKEN, ""),
            headers("x-other", &signature),
            HeaderMap::new(),
        ] {
            assert!(!believed(&wrong), "{wrong:?}");
        }
    }

    #[test]
    fn every_host_names_its_branches() {
        let of = |text: &'static str| branches(&Bytes::from_static(text.as_bytes()));
        assert_eq!(of(r#"{"ref":"refs/heads/a/b"}"#), ["a/b"]);
        assert_eq!(
            of(r#"{"push":{"changes":[{"new":{"name":"x"}},{"new":null}]}}"#),
            ["x"]
        );
        assert!(of(r#"{"ref":"refs/tags/v1"}"#).is_empty() && of("payload=%7B%7D").is_empty());
    }
}
