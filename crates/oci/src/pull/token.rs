//! Authentication: what a 401 asks for (Docker registry token authentication; RFC 7617).

use super::answer::Answer;
use super::challenge::{Challenge, choose};
use super::connect::send;
use super::remote::{Get, Remote, absolute};
use super::{Credentials, PullError};
use crate::reference::excerpt;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::sync::PoisonError;

/// Largest answer of a token server in bytes.
const TOKEN_BYTES_MAX: u64 = 256 * 1024;

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Remote {
    /// Does what a 401 asks for, so that the next request is allowed.
    pub(super) async fn authenticate(&self, answer: Answer) -> Result<(), PullError> {
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

fn basic(credentials: &Credentials) -> String {
    let pair = format!("{}:{}", credentials.username, credentials.password);
    format!("Basic {}", STANDARD.encode(pair))
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
