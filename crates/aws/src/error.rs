//! The error an AWS operation answers with.
//!
//! Constructors here are for errors that belong to every service (AWS "Common Errors" page). An operation's own errors
//! are made with [`ApiError::client`] or [`ApiError::server`] and the shape's name; `Model::error` fills the status
//! from the model. How an error looks on the wire is the codec's business.

use serde_json::{Map, Value};
use std::fmt;

/// An error answer: what the client sees, nothing else. Internal causes belong in the log, not here.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// The error code a client matches on, for example `InvalidRequestException`.
    pub code: String,
    /// The HTTP status.
    pub status: u16,
    /// The text for people. Never contains a secret or a sensitive input.
    pub message: String,
    /// Whether the fault is ours (`Receiver`, 5xx) rather than the caller's (`Sender`).
    pub receiver_fault: bool,
    /// Whether the code is one of the errors common to all services rather than one of the operation's own.
    pub common: bool,
    /// Further members of the error shape, by wire name.
    pub members: Map<String, Value>,
}

impl ApiError {
    /// An operation's own error that is the caller's fault, status 400.
    pub fn client(code: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError::new(code.into(), 400, message.into(), false)
    }

    /// An operation's own error that is our fault, status 500.
    pub fn server(code: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError::new(code.into(), 500, message.into(), false)
    }

    fn common(code: &str, status: u16, message: impl Into<String>) -> ApiError {
        ApiError::new(code.to_owned(), status, message.into(), true)
    }

    fn new(code: String, status: u16, message: String, common: bool) -> ApiError {
        ApiError {
            code,
            status,
            message,
            receiver_fault: status >= 500,
            common,
            members: Map::new(),
        }
    }

    /// The same error with another HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> ApiError {
        self.status = status;
        self.receiver_fault = status >= 500;
        self
    }

    /// The same error with one more member of its shape.
    #[must_use]
    pub fn with_member(mut self, name: &str, value: impl Into<Value>) -> ApiError {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The operation name is not one of the service's (JSON protocols), 404.
    pub fn unknown_operation() -> ApiError {
        ApiError::common("UnknownOperationException", 404, "")
    }

    /// The action is not one of the service's (query protocol), 400.
    pub fn invalid_action(action: &str, version: &str) -> ApiError {
        let message = format!("Could not find operation {action} for version {version}");
        ApiError::common("InvalidAction", 400, message)
    }

    /// A real AWS operation that this platform does not offer (yet), 400. Never answered with a pretended success.
    pub fn not_available(service: &str, operation: &str) -> ApiError {
        let message =
            format!("{service} {operation} is not available in this installation of Apron");
        ApiError::common("UnsupportedOperationException", 400, message)
    }

    /// The body cannot be read as the operation's input, 400.
    pub fn serialization(message: impl Into<String>) -> ApiError {
        ApiError::common("SerializationException", 400, message)
    }

    /// The body is over the bound, 413.
    pub fn too_large(bytes_max: usize) -> ApiError {
        let message =
            format!("Request body is larger than the {bytes_max} bytes that are accepted");
        ApiError::common("RequestEntityTooLarge", 413, message)
    }

    /// The HTTP method is not one the endpoint takes, 405.
    pub fn method_not_allowed(method: &str) -> ApiError {
        let message = format!("The method {method} is not allowed for this endpoint");
        ApiError::common("MethodNotAllowed", 405, message)
    }

    /// The `Content-Type` is not the protocol's, 415.
    pub fn unsupported_media_type(expected: &str) -> ApiError {
        let message = format!("The Content-Type of the request must be {expected}");
        ApiError::common("UnsupportedMediaTypeException", 415, message)
    }

    /// An input does not satisfy the model and the service has no exception of its own for it, 400.
    pub fn validation(message: impl Into<String>) -> ApiError {
        ApiError::common("ValidationError", 400, message)
    }

    /// The caller may not do this, 403 (400 in JSON 1.1 services, which the codec leaves as it is given).
    pub fn access_denied(message: impl Into<String>) -> ApiError {
        ApiError::common("AccessDeniedException", 403, message)
    }

    /// The access key is not one of ours (JSON protocols), 403.
    pub fn unrecognized_client() -> ApiError {
        let message = "The security token included in the request is invalid.";
        ApiError::common("UnrecognizedClientException", 403, message)
    }

    /// The access key is not one of ours (query protocol), 403.
    pub fn invalid_client_token_id() -> ApiError {
        let message = "The security token included in the request is invalid.";
        ApiError::common("InvalidClientTokenId", 403, message)
    }

    /// The signature or its scope or date is wrong (JSON protocols), 403.
    pub fn invalid_signature(message: impl Into<String>) -> ApiError {
        ApiError::common("InvalidSignatureException", 403, message)
    }

    /// The signature or its scope or date is wrong (query protocol), 403.
    pub fn signature_does_not_match(message: impl Into<String>) -> ApiError {
        ApiError::common("SignatureDoesNotMatch", 403, message)
    }

    /// The authorization is there but has parts missing, 403 in JSON protocols, 400 in query ones.
    pub fn incomplete_signature(message: impl Into<String>) -> ApiError {
        ApiError::common("IncompleteSignature", 403, message)
    }

    /// The request is not signed at all (JSON protocols), 403.
    pub fn missing_authentication_token() -> ApiError {
        let message = "Missing Authentication Token";
        ApiError::common("MissingAuthenticationTokenException", 403, message)
    }

    /// The request is not signed at all (query protocol), 403.
    pub fn missing_authentication_token_query() -> ApiError {
        let message = "Request is missing Authentication Token";
        ApiError::common("MissingAuthenticationToken", 403, message)
    }

    /// The session token has expired (JSON protocols), 403.
    pub fn expired_token() -> ApiError {
        let message = "The security token included in the request is expired";
        ApiError::common("ExpiredTokenException", 403, message)
    }

    /// The session token has expired (query protocol), 403.
    pub fn expired_token_query() -> ApiError {
        let message = "The security token included in the request is expired";
        ApiError::common("ExpiredToken", 403, message)
    }

    /// Too many requests, 400 with the code the SDKs back off on.
    pub fn throttling(message: impl Into<String>) -> ApiError {
        ApiError::common("ThrottlingException", 400, message)
    }

    /// Something of ours failed and nothing more can be told, 500. Log the cause next to the request id.
    pub fn internal_failure() -> ApiError {
        let message =
            "The request processing has failed because of an unknown error, exception or failure.";
        ApiError::common("InternalFailure", 500, message)
    }

    /// We cannot answer now, trying again may help, 503.
    pub fn service_unavailable(message: impl Into<String>) -> ApiError {
        ApiError::common("ServiceUnavailable", 503, message)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ApiError {}
