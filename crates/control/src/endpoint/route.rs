//! Which service and operation a request is for.

use super::ApiService;
use apron_aws::ApiError;
use apron_aws::codec::{form_field, request_content_type};
use apron_aws::model::{Model, Protocol};
use apron_aws::sigv4::Authorization;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::request::Parts;
use http::{Method, Uri};
use std::sync::Arc;

/// Where a request goes.
pub(super) struct Route {
    pub service: Arc<dyn ApiService>,
    /// The operation of `X-Amz-Target`; none in the query protocol, where it stands in the form.
    pub target: Option<String>,
}

/// `GET /` without any operation asks whether the endpoint is up.
pub(super) fn is_health(method: &Method, uri: &Uri) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && uri.path() == "/" && uri.query().is_none()
}

/// With HTTP/2 the host comes as the authority of the target; the client signed it as `host`.
pub(super) fn host_from_authority(parts: &mut Parts) {
    if let Some(authority) = parts
        .uri
        .authority()
        .filter(|_| !parts.headers.contains_key(HOST))
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, value);
    }
}

/// Finds the service: by the prefix of `X-Amz-Target`, or by the service of the credential scope in the query protocol.
pub(super) fn find(
    services: &[Arc<dyn ApiService>],
    parts: &Parts,
    authorization: Option<&Authorization>,
) -> Result<Route, ApiError> {
    if !matches!(parts.method, Method::POST | Method::GET) {
        return Err(ApiError::method_not_allowed(parts.method.as_str()));
    }
    if parts.uri.path() != "/" {
        return Err(ApiError::unknown_operation());
    }
    match parts.headers.get("x-amz-target") {
        Some(target) if parts.method == Method::POST => {
            let target = target.to_str().map_err(|_| ApiError::unknown_operation())?;
            let (prefix, operation) = target
                .rsplit_once('.')
                .ok_or_else(ApiError::unknown_operation)?;
            let is_it =
                |model: &Model| model.protocol != Protocol::Query && model.target_prefix == prefix;
            let service = services.iter().find(|service| is_it(service.model()));
            let service = service.ok_or_else(ApiError::unknown_operation)?;
            Ok(Route {
                service: Arc::clone(service),
                target: Some(operation.to_owned()),
            })
        }
        _ => {
            let mut speaking = services
                .iter()
                .filter(|service| speaks_query_to(service.model(), parts, authorization));
            // Of those whose requests are not signed, the one that takes such.
            let unsigned = |service: &&Arc<dyn ApiService>| {
                let mut operations = service.model().operations.values();
                authorization.is_some() || operations.any(|operation| operation.unsigned)
            };
            let first = speaking.clone().next();
            let service = speaking.find(unsigned).or(first);
            match (service, authorization) {
                (Some(service), _) => Ok(Route {
                    service: Arc::clone(service),
                    target: None,
                }),
                (None, Some(_)) => Err(ApiError::unknown_operation()),
                (None, None) => Err(ApiError::missing_authentication_token()),
            }
        }
    }
}

/// Whether a request without `X-Amz-Target` is for this service. One whose signature cannot be read is taken for the query
/// protocol when it looks like it, so that the refusal comes in the form the client reads.
fn speaks_query_to(model: &Model, parts: &Parts, authorization: Option<&Authorization>) -> bool {
    let form = media_type(parts) == request_content_type(Protocol::Query);
    model.protocol == Protocol::Query
        && match authorization {
            Some(authorization) => authorization.service == model.signing_name,
            None => {
                form || parts
                    .uri
                    .query()
                    .is_some_and(|query| form_field(query.as_bytes(), "Action").is_some())
            }
        }
}

fn media_type(parts: &Parts) -> String {
    let given = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    given
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

/// Refuses a body that claims to be something else than the protocol's.
pub(super) fn check_content_type(model: &Model, parts: &Parts) -> Result<(), ApiError> {
    if parts.method == Method::GET {
        return Ok(());
    }
    let expected = request_content_type(model.protocol);
    let media_type = media_type(parts);
    let accepted = match model.protocol {
        Protocol::Query => media_type == expected,
        // Both versions are the same bytes on the way in; scripts send plain JSON.
        _ => {
            media_type.starts_with("application/x-amz-json-1.") || media_type == "application/json"
        }
    };
    if accepted {
        Ok(())
    } else {
        Err(ApiError::unsupported_media_type(expected))
    }
}

/// The name of the operation.
pub(super) fn operation_name(
    model: &Model,
    target: Option<String>,
    form: &[u8],
) -> Result<String, ApiError> {
    if let Some(target) = target {
        return Ok(target);
    }
    let name = form_field(form, "Action").filter(|name| !name.is_empty());
    let mut missing =
        ApiError::validation(format!("{} needs the parameter Action", model.service_name));
    missing.code = "MissingAction".to_owned();
    name.ok_or(missing)
}
