//! Requests without a valid signature: nobody's, but for operations whose input says who asks.

use super::{ApiService, Call, Caller, Endpoint, Journey, body, body_error, surroundings};
use crate::audit::Door;
use apron_aws::model::Lookup;
use apron_aws::sigv4::AuthFailure;
use apron_aws::{ApiError, codec};
use apron_domain::Millis;
use bytes::Bytes;
use http::Method;
use http::request::Parts;
use serde_json::Value;
use std::fmt::Display;
use std::sync::Arc;

/// Body of a request that nobody signed, bytes: a token of 20,000 characters, a policy, all of it escaped.
const BODY_BYTES_MAX: usize = 128 << 10;

impl Endpoint {
    /// Answers a request that is not signed, or not so that its signature could be read.
    pub(super) async fn unsigned<B>(
        &self,
        service: Arc<dyn ApiService>,
        parts: &Parts,
        body: B,
        failure: AuthFailure,
        now: Millis,
        journey: &mut Journey,
    ) -> Result<codec::Encoded, ApiError>
    where
        B: hyper::body::Body + Send,
        B::Data: Send,
        B::Error: Display + Send,
    {
        let model = service.model();
        let refusal = failure.to_error(model.protocol);
        let some = model
            .operations
            .values()
            .any(|operation| operation.unsigned);
        if failure != AuthFailure::Missing || !some {
            return Err(self.pass_over(parts, "", model, now, refusal));
        }
        let body = body::read(&parts.headers, body, BODY_BYTES_MAX).await;
        let body: Bytes = body.map_err(|error| body_error(&error))?;
        let form: &[u8] = match parts.method {
            Method::GET => parts.uri.query().unwrap_or_default().as_bytes(),
            _ => &body,
        };
        let name = codec::form_field(form, "Action").unwrap_or_default();
        let operation = match model.operation(&name) {
            Lookup::Offered(operation) if operation.unsigned => operation,
            _ => return Err(self.pass_over(parts, "", model, now, refusal)),
        };
        journey.operation.clone_from(&name);
        let call = Call {
            input: codec::decode(model, operation, form)?,
            operation: name,
            caller: Caller::new(apron_aws::policy::Caller::Anonymous, "", None),
            session_token: None,
            request_id: journey.request_id.clone(),
            now,
        };
        let output = self.act_for_stranger(service, call, parts).await?;
        codec::encode(model, &journey.operation, operation, output, &journey.request_id).map_err(|cause| {
            tracing::error!(operation = journey.operation, %cause, "an answer does not satisfy the model");
            ApiError::internal_failure()
        })
    }

    /// Performs an operation for whom its input names, whoever signed the request.
    pub(super) async fn act_for_stranger(
        &self,
        service: Arc<dyn ApiService>,
        mut call: Call,
        parts: &Parts,
    ) -> Result<Value, ApiError> {
        let surroundings = surroundings(parts, call.now);
        match service.vouch(&call, &surroundings).await {
            Ok((caller, answered)) => {
                call.caller = caller;
                self.perform_recorded(service, call, &answered, &surroundings)
                    .await
            }
            Err(error) => {
                let door = Door::Api {
                    model: service.model(),
                    operation: &call.operation,
                    input: &call.input,
                };
                Err(self.refuse("", &surroundings, door, error).await)
            }
        }
    }
}
