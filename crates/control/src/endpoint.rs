//! The AWS endpoint: one HTTP request to one operation of one service, and back.
//!
//! In order: the service is found, the signer is looked up from the head of the request, the body is read (bounded in size
//! and time), the signature is proved, the input is held against the model, the service is called, the answer is encoded.
//! Nothing of an unauthenticated request reaches a service.

mod answer;
mod body;
mod page_token;
mod root;
mod route;
#[cfg(test)]
mod tests;

pub use page_token::{InvalidPageToken, PageToken};
pub use root::RootCredentials;

use crate::clock::{Chance, Clock, random};
use apron_aws::model::{Lookup, Operation, Protocol};
use apron_aws::sigv4::{AuthFailure, Authorization, Head, KeyCache, Payload, Secret, verify};
use apron_aws::{ApiError, Model, codec};
use apron_domain::Millis;
use async_trait::async_trait;
use body::BodyError;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::Full;
use route::Route;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Display;
use std::sync::Arc;

/// Body of a request, bytes. PutLogEvents takes 1 MiB of events, which escaping can double; nothing else comes near.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// The region in which the SDKs sign for services that have one endpoint for the whole world.
const GLOBAL_REGION: &str = "us-east-1";

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The twelve-digit account.
    pub account: String,
    /// The access key id that signed.
    pub access_key_id: String,
    /// The ARN of the identity, `arn:aws:iam::<account>:root` for the account itself.
    pub arn: String,
    /// The unique id of the identity; the account id for the account itself.
    pub user_id: String,
}

/// A caller and the secret that proves it.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The secret access key.
    pub secret: Secret,
    /// Who it belongs to.
    pub caller: Caller,
}

/// The access keys of this installation.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// Whose key it is.
    ///
    /// # Errors
    /// [`AuthFailure::UnknownKey`] for a key or session token that is not ours, [`AuthFailure::ExpiredToken`].
    async fn find(
        &self,
        access_key_id: &str,
        session_token: Option<&str>,
    ) -> Result<Principal, AuthFailure>;
}

/// One call of an operation, authenticated and valid.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operation, one of the model's.
    pub operation: String,
    /// The input, which satisfies the model.
    pub input: Value,
    /// Who calls.
    pub caller: Caller,
    /// The id of this request, as the client is told.
    pub request_id: String,
    /// When the request came.
    pub now: Millis,
}

impl Call {
    /// The input as the handler's own type, which names the members it uses.
    ///
    /// # Errors
    /// The type and the model disagree, which is a fault of ours and logged as such.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        T::deserialize(&self.input).map_err(|cause| internal(self, "read the input", &cause))
    }
}

/// The operations of one AWS service.
#[async_trait]
pub trait ApiService: Send + Sync {
    /// The service's tables.
    fn model(&self) -> &'static Model;

    /// Performs one operation and returns its output by member name.
    ///
    /// # Errors
    /// What the client is told.
    async fn call(&self, call: Call) -> Result<Value, ApiError>;
}

/// Logs what really happened and answers `InternalFailure`, so that no internals leave the house.
pub fn internal(call: &Call, doing: &str, cause: &dyn Display) -> ApiError {
    tracing::error!(operation = call.operation, request_id = call.request_id, %cause, "cannot {doing}");
    ApiError::internal_failure()
}

/// The AWS endpoint of this installation.
pub struct Endpoint {
    services: Vec<Arc<dyn ApiService>>,
    credentials: Arc<dyn Credentials>,
    region: String,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
    keys: KeyCache,
}

/// A request on its way: what is known of it, for the answer and the log.
#[derive(Default)]
struct Journey {
    request_id: String,
    model: Option<&'static Model>,
    operation: String,
    access_key_id: String,
}

impl Endpoint {
    /// An endpoint for these services in one region.
    pub fn new(
        services: Vec<Arc<dyn ApiService>>,
        credentials: Arc<dyn Credentials>,
        region: String,
        clock: Arc<dyn Clock>,
        chance: Arc<dyn Chance>,
    ) -> Endpoint {
        Endpoint {
            services,
            credentials,
            region,
            clock,
            chance,
            keys: KeyCache::default(),
        }
    }

    /// Answers one request, whatever it is.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: hyper::body::Body + Send,
        B::Data: Send,
        B::Error: Display + Send,
    {
        if route::is_health(request.method(), request.uri()) {
            return answer::health();
        }
        let now = self.clock.now();
        let mut journey = Journey {
            request_id: answer::request_id(random(&*self.chance)),
            ..Journey::default()
        };
        let result = self.perform(request, now, &mut journey).await;
        let took_ms = self.clock.now().since(now);
        let encoded = match &result {
            Ok(encoded) => encoded.clone(),
            Err(error) => answer::error(journey.model, error, &journey.request_id),
        };
        tracing::info!(
            service = journey.model.map(|model| model.service.as_str()),
            operation = journey.operation,
            status = encoded.status,
            error = result.err().map(|error| error.code),
            access_key_id = journey.access_key_id,
            request_id = journey.request_id,
            took_ms,
            "api request"
        );
        answer::response(encoded, &journey.request_id)
    }

    async fn perform<B>(
        &self,
        request: Request<B>,
        now: Millis,
        journey: &mut Journey,
    ) -> Result<codec::Encoded, ApiError>
    where
        B: hyper::body::Body + Send,
        B::Data: Send,
        B::Error: Display + Send,
    {
        let (mut parts, body) = request.into_parts();
        route::host_from_authority(&mut parts);
        let head = head(&parts);
        let authorization = Authorization::parse(head);
        let Route { service, target } =
            route::find(&self.services, &parts, authorization.as_ref().ok())?;
        let model = service.model();
        journey.model = Some(model);
        route::check_content_type(model, &parts)?;
        let refuse = |failure: AuthFailure| failure.to_error(model.protocol);
        let authorization = authorization.map_err(refuse)?;
        authorization
            .check_scope(&self.regions(model), &model.signing_name, now.0)
            .map_err(refuse)?;
        let token = authorization.session_token.as_deref();
        let principal = self
            .credentials
            .find(&authorization.access_key_id, token)
            .await
            .map_err(refuse)?;
        journey
            .access_key_id
            .clone_from(&authorization.access_key_id);
        let body = body::read(&parts.headers, body)
            .await
            .map_err(|error| body_error(&error))?;
        verify(
            &authorization,
            head,
            &body,
            &principal.secret,
            Payload::Signed,
            &self.keys,
        )
        .map_err(refuse)?;
        let form: &[u8] = match parts.method {
            Method::GET => parts.uri.query().unwrap_or_default().as_bytes(),
            _ => &body,
        };
        journey.operation = route::operation_name(model, target, form)?;
        let operation = offered(model, &journey.operation, form)?;
        let input = codec::decode(model, operation, form)?;
        let call = Call {
            operation: journey.operation.clone(),
            input,
            caller: principal.caller,
            request_id: journey.request_id.clone(),
            now,
        };
        let output = call_isolated(service, call).await?;
        codec::encode(model, &journey.operation, operation, output, &journey.request_id).map_err(|cause| {
            tracing::error!(operation = journey.operation, %cause, "an answer does not satisfy the model");
            ApiError::internal_failure()
        })
    }

    /// The regions a client may have signed for. STS is also reached as the global service it once was.
    fn regions(&self, model: &Model) -> Vec<&str> {
        let mut regions = vec![self.region.as_str()];
        if model.service == "sts" {
            regions.push(GLOBAL_REGION);
        }
        regions
    }
}

fn head(parts: &Parts) -> Head<'_> {
    Head {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
    }
}

fn offered<'a>(model: &'a Model, name: &str, form: &[u8]) -> Result<&'a Operation, ApiError> {
    match model.operation(name) {
        Lookup::Offered(operation) => Ok(operation),
        Lookup::NotOffered => Err(ApiError::not_available(&model.service_name, name)),
        Lookup::Unknown if model.protocol == Protocol::Query => {
            let version =
                codec::form_field(form, "Version").unwrap_or_else(|| model.api_version.clone());
            Err(ApiError::invalid_action(name, &version))
        }
        Lookup::Unknown => Err(ApiError::unknown_operation()),
    }
}

fn body_error(error: &BodyError) -> ApiError {
    match error {
        BodyError::TooLarge => ApiError::too_large(BODY_BYTES_MAX),
        BodyError::Broken(_) | BodyError::TooSlow => ApiError::serialization(error.to_string()),
    }
}

/// Runs the call in a task of its own: a panic ends that task and nothing else, and a client that goes away does not stop
/// an operation half way.
async fn call_isolated(service: Arc<dyn ApiService>, call: Call) -> Result<Value, ApiError> {
    let (operation, request_id) = (call.operation.clone(), call.request_id.clone());
    let task = tokio::spawn(async move { service.call(call).await });
    task.await.unwrap_or_else(|cause| {
        tracing::error!(operation, request_id, %cause, "an operation ended without an answer");
        Err(ApiError::internal_failure())
    })
}
