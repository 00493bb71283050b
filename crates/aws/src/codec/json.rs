//! awsJson 1.0 and 1.1.

use crate::error::ApiError;
use crate::model::{Model, Protocol};
use serde_json::{Map, Value};

/// Nesting of a body: `serde_json` refuses more than 128 levels, which bounds every recursion over the value.
///
/// The namespace of the errors common to all services in awsJson 1.0.
const COMMON_NAMESPACE: &str = "com.amazon.coral.service";

pub(super) fn decode(body: &[u8]) -> Result<Value, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(Map::new()));
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(ApiError::serialization(
            "Start of structure or map expected at the top of the request",
        )),
        Err(error) => Err(ApiError::serialization(format!(
            "the body is not valid JSON: {error}"
        ))),
    }
}

pub(super) fn encode_error(model: &Model, error: &ApiError) -> Vec<u8> {
    let namespace = match (error.common, model.protocol) {
        (true, Protocol::Json10) => COMMON_NAMESPACE,
        (true, _) => "",
        (false, _) => model.error_namespace.as_str(),
    };
    let member = if error.common {
        "message"
    } else {
        model.message_member(&error.code)
    };
    error_body(namespace, member, error)
}

pub(super) fn error_body(namespace: &str, message_member: &str, error: &ApiError) -> Vec<u8> {
    let kind = match namespace {
        "" => error.code.clone(),
        namespace => format!("{namespace}#{}", error.code),
    };
    let mut body = error.members.clone();
    body.insert("__type".to_owned(), Value::from(kind));
    if !error.message.is_empty() {
        body.insert(
            message_member.to_owned(),
            Value::from(error.message.as_str()),
        );
    }
    Value::Object(body).to_string().into_bytes()
}
