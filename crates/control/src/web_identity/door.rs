//! The documents that others read of the issuer, for everybody: they hold nothing secret.

use super::WebIdentity;
use apron_domain::Millis;
use axum::body::Body;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::Value;

/// The discovery document below an issuer's URL (OpenID Connect Discovery 1.0, section 4).
pub(super) const CONFIGURATION: &str = "/.well-known/openid-configuration";
/// The set of keys below this issuer's URL.
pub(super) const KEYS: &str = "/.well-known/jwks.json";

/// Whether a path is one of the two documents.
pub fn is_path(path: &str) -> bool {
    path == CONFIGURATION || path == KEYS
}

/// Answers a request for a document.
pub async fn answer(
    identity: &WebIdentity,
    method: &Method,
    path: &str,
    now: Millis,
) -> Response<Body> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let document: Value = match path {
        KEYS => match identity.issuer.key_set(now).await {
            Ok(keys) => keys,
            Err(error) => {
                tracing::error!(%error, "the issuer's keys cannot be shown");
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                return response;
            }
        },
        _ => identity.issuer.configuration(),
    };
    let mut response = Response::new(Body::from(document.to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=3600"),
    );
    response
}
