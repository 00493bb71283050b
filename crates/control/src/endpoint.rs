//! The AWS endpoint: one HTTP request to one operation of one service, and back.
//!
//! In order: the service is found, the signer is looked up from the head of the request, the body is read (bounded in size
//! and time), the signature is proved, the input is held against the model, the policies are asked, the service is called, the
//! answer is encoded. Nothing of a request that is not authentic or not allowed reaches a service.

mod answer;
mod body;
mod caller;
mod listing;
mod page_token;
mod route;
#[cfg(test)]
mod tests;
mod unsigned;

pub(crate) use answer::request_id;
pub use caller::{Caller, Principal};
pub use listing::Listing;
pub use page_token::{InvalidPageToken, PageToken};

use crate::audit::{Deed, Door, Trail};
use crate::authorizer::{
    Answered, Asked, Authorizer, ResourceFacts, ResourceQuestion, Surroundings,
};
use crate::clock::{Chance, Clock, random};
use crate::iam::Identities;
use apron_aws::model::{Lookup, Operation, Protocol};
use apron_aws::sigv4::{AuthFailure, Authorization, Head, KeyCache, Payload, verify};
use apron_aws::{ApiError, Model, codec};
use apron_domain::Millis;
use async_trait::async_trait;
use body::BodyError;
use bytes::Bytes;
use http::header::USER_AGENT;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::Full;
use route::Route;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

/// Body of a request, bytes. PutLogEvents takes 1 MiB of events, which escaping can double; nothing else comes near.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// The region in which the SDKs sign for services that have one endpoint for the whole world.
const GLOBAL_REGION: &str = "us-east-1";

/// One call of an operation, authenticated and valid.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operation, one of the model's.
    pub operation: String,
    /// The input, which satisfies the model.
    pub input: Value,
    /// Who calls.
    pub caller: Caller,
    /// The session token that came with temporary credentials.
    pub session_token: Option<String>,
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

    /// Who calls an operation that is not signed, as its input proves, with what the policies answered.
    ///
    /// # Errors
    /// The input proves nobody, or somebody who may not.
    async fn vouch(
        &self,
        _call: &Call,
        _surroundings: &Surroundings,
    ) -> Result<(Caller, Vec<Answered>), ApiError> {
        Err(ApiError::missing_authentication_token_query())
    }

    /// Whether resources of this service have policies of their own that have a say about an action.
    fn has_resource_policy(&self, _action: &str) -> bool {
        false
    }

    /// What policies need to know of a resource of this service; none when there is no such resource.
    ///
    /// # Errors
    /// It cannot be read now; the request is refused then.
    async fn resource(
        &self,
        _question: &ResourceQuestion<'_>,
    ) -> Result<Option<ResourceFacts>, ApiError> {
        Ok(None)
    }
}

/// Logs what really happened and answers `InternalFailure`, so that no internals leave the house.
pub fn internal(call: &Call, doing: &str, cause: &dyn Display) -> ApiError {
    tracing::error!(operation = call.operation, request_id = call.request_id, %cause, "cannot {doing}");
    ApiError::internal_failure()
}

/// The AWS endpoint of this installation.
pub struct Endpoint {
    services: Vec<Arc<dyn ApiService>>,
    authorizer: Arc<Authorizer>,
    trail: Arc<Trail>,
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
    /// An endpoint for these services in one region. The authorizer says who callers are and what they may, the trail keeps
    /// what they did.
    pub fn new(
        services: Vec<Arc<dyn ApiService>>,
        authorizer: Arc<Authorizer>,
        trail: Arc<Trail>,
        region: String,
        clock: Arc<dyn Clock>,
        chance: Arc<dyn Chance>,
    ) -> Endpoint {
        authorizer.introduce(&services);
        Endpoint {
            services,
            authorizer,
            trail,
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
        let (encoded, refused) = match result {
            Ok(encoded) => (encoded, None),
            Err(error) => {
                let encoded = answer::error(journey.model, &error, &journey.request_id);
                (encoded, Some(error.code))
            }
        };
        tracing::info!(
            service = journey.model.map(|model| model.service.as_str()),
            operation = journey.operation,
            status = encoded.status,
            error = refused,
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
        let authorization = match authorization {
            Ok(authorization) => authorization,
            Err(failure) => {
                let unsigned = self.unsigned(service, &parts, body, failure, now, journey);
                return unsigned.await;
            }
        };
        journey
            .access_key_id
            .clone_from(&authorization.access_key_id);
        let (principal, body) = self
            .authenticate(&parts, body, &authorization, model, now)
            .await?;
        let form: &[u8] = match parts.method {
            Method::GET => parts.uri.query().unwrap_or_default().as_bytes(),
            _ => &body,
        };
        journey.operation = route::operation_name(model, target, form)?;
        let operation = offered(model, &journey.operation, form)?;
        let input = codec::decode(model, operation, form)?;
        let identities = self.authorizer.identities();
        note_use(identities, &principal.caller, model, &authorization, now);
        let call = Call {
            operation: journey.operation.clone(),
            input,
            caller: principal.caller,
            session_token: authorization.session_token,
            request_id: journey.request_id.clone(),
            now,
        };
        let output = match operation.unsigned {
            true => self.act_for_stranger(service, call, &parts).await?,
            false => self.act(service, call, &surroundings(&parts, now)).await?,
        };
        codec::encode(model, &journey.operation, operation, output, &journey.request_id).map_err(|cause| {
            tracing::error!(operation = journey.operation, %cause, "an answer does not satisfy the model");
            ApiError::internal_failure()
        })
    }

    /// Proves who signed, with the body that was signed.
    async fn authenticate<B>(
        &self,
        parts: &Parts,
        body: B,
        authorization: &Authorization,
        model: &'static Model,
        now: Millis,
    ) -> Result<(Principal, Bytes), ApiError>
    where
        B: hyper::body::Body + Send,
        B::Data: Send,
        B::Error: Display + Send,
    {
        let refuse = |failure: AuthFailure| failure.to_error(model.protocol);
        let scope = authorization.check_scope(&self.regions(model), &model.signing_name, now.0);
        if let Err(failure) = scope {
            let key = &authorization.access_key_id;
            return Err(self.pass_over(parts, key, model, now, refuse(failure)));
        }
        let token = authorization.session_token.as_deref();
        let identities = self.authorizer.identities();
        let found = identities.find(&authorization.access_key_id, token, now);
        let principal = match found {
            Ok(principal) => principal,
            Err(failure) => {
                let key = &authorization.access_key_id;
                return Err(self
                    .turn_away(parts, key, model, now, refuse(failure))
                    .await);
            }
        };
        let body = body::read(&parts.headers, body, BODY_BYTES_MAX)
            .await
            .map_err(|error| body_error(&error))?;
        let verified = verify(
            authorization,
            head(parts),
            &body,
            &principal.secret,
            Payload::Signed,
            &self.keys,
        );
        if let Err(failure) = verified {
            let key = &authorization.access_key_id;
            return Err(self
                .turn_away(parts, key, model, now, refuse(failure))
                .await);
        }
        Ok((principal, body))
    }

    /// Performs what the policies allow, with a record before and after it.
    async fn act(
        &self,
        service: Arc<dyn ApiService>,
        call: Call,
        surroundings: &Surroundings,
    ) -> Result<Value, ApiError> {
        let model = service.model();
        let asked = Asked {
            caller: &call.caller,
            service: &model.service,
            operation: &call.operation,
            input: &call.input,
            surroundings,
        };
        let refusal = match self.authorizer.check(&asked).await {
            Ok(answered) => {
                return self
                    .perform_recorded(service, call, &answered, surroundings)
                    .await;
            }
            Err(refusal) => refusal,
        };
        let deed = Deed {
            request_id: &call.request_id,
            caller: &call.caller,
            surroundings,
            door: Door::Api {
                model,
                operation: &call.operation,
                input: &call.input,
            },
            answered: &[],
        };
        let error = refusal.clone().into_error(model.protocol);
        self.trail.refused(&deed, &refusal, &error)?;
        Err(error)
    }

    /// Performs what was allowed, with a record before and after it.
    async fn perform_recorded(
        &self,
        service: Arc<dyn ApiService>,
        call: Call,
        answered: &[Answered],
        surroundings: &Surroundings,
    ) -> Result<Value, ApiError> {
        let model = service.model();
        // The call goes to a task of its own.
        let Call {
            caller,
            operation,
            input,
            request_id,
            ..
        } = call.clone();
        let door = Door::Api {
            model,
            operation: &operation,
            input: &input,
        };
        let deed = Deed {
            request_id: &request_id,
            caller: &caller,
            surroundings,
            door,
            answered,
        };
        let opened = self.trail.open(&deed).await?;
        let result = call_isolated(service, call).await;
        let ended = self
            .trail
            .close(opened, door, result.as_ref(), self.clock.now());
        ended.and(result)
    }

    /// Refuses a request that is not authentic: recorded, and slower with each from the same address.
    async fn turn_away(
        &self,
        parts: &Parts,
        access_key_id: &str,
        model: &'static Model,
        now: Millis,
        error: ApiError,
    ) -> ApiError {
        let around = surroundings(parts, now);
        self.refuse(access_key_id, &around, unknown(model), error)
            .await
    }

    /// Refuses a request that proves nothing and guesses nothing: recorded.
    fn pass_over(
        &self,
        parts: &Parts,
        access_key_id: &str,
        model: &'static Model,
        now: Millis,
        error: ApiError,
    ) -> ApiError {
        let (around, code, text) = (surroundings(parts, now), &error.code, &error.message);
        self.trail
            .stranger(access_key_id, &around, unknown(model), code, text);
        error
    }

    async fn refuse(
        &self,
        access_key_id: &str,
        surroundings: &Surroundings,
        door: Door<'_>,
        error: ApiError,
    ) -> ApiError {
        let (code, text) = (&error.code, &error.message);
        match self
            .trail
            .turn_away(access_key_id, surroundings, door, code, text)
            .await
        {
            true => ApiError::throttling("Too many requests that are not authentic."),
            false => error,
        }
    }

    /// The regions a client may have signed for. IAM is a global service, and STS is also reached as the one it once was.
    fn regions(&self, model: &Model) -> Vec<&str> {
        let mut regions = vec![self.region.as_str()];
        if matches!(model.service.as_str(), "iam" | "sts") {
            regions.push(GLOBAL_REGION);
        }
        regions
    }
}

/// A call that was not read as far as its operation.
fn unknown(model: &Model) -> Door<'_> {
    Door::Api {
        model,
        operation: "unknown",
        input: &Value::Null,
    }
}

/// Where a request came from, put into its extensions by the listener.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

fn surroundings(parts: &Parts, now: Millis) -> Surroundings {
    let agent = parts.headers.get(USER_AGENT);
    Surroundings {
        source: parts.extensions.get::<Peer>().map(|peer| peer.0),
        user_agent: agent.and_then(|agent| agent.to_str().ok().map(str::to_owned)),
        now,
    }
}

fn note_use(
    identities: &Identities,
    caller: &Caller,
    model: &Model,
    authorization: &Authorization,
    now: Millis,
) {
    let id = match &caller.identity {
        apron_aws::policy::Caller::RoleSession { role_id, .. } => role_id,
        // Nobody can ask about a key that is there for an hour.
        _ if caller.session.is_some() => return,
        _ => &caller.access_key_id,
    };
    identities
        .last_used()
        .note(id, now, &model.signing_name, &authorization.region);
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
        BodyError::TooLarge(bytes_max) => ApiError::too_large(*bytes_max),
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
