//! Between the bytes of a protocol and values, driven by the shape tables.
//!
//! Values are `serde_json::Value`s by member name: timestamps are numbers of seconds, blobs are Base64 text. What
//! [`decode`] returns satisfies the model; what [`encode`] writes does too, or it is an error of ours.

mod form;
mod json;
mod xml;

use crate::error::ApiError;
use crate::model::{Model, Operation, Protocol};
use crate::validate;
use serde_json::{Map, Value};

/// An encoded answer.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// The HTTP status.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

/// The `Content-Type` of a protocol's requests.
pub fn request_content_type(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Json10 => "application/x-amz-json-1.0",
        Protocol::Json11 => "application/x-amz-json-1.1",
        Protocol::Query => "application/x-www-form-urlencoded",
    }
}

/// Reads an operation's input and holds it against the model. For the query protocol `body` is the form, from the body
/// or from the query of a GET request.
///
/// # Errors
/// `SerializationException` (JSON) or `MalformedInput` (query) for bytes that are no input, the service's exception for
/// a broken constraint.
pub fn decode(model: &Model, operation: &Operation, body: &[u8]) -> Result<Value, ApiError> {
    let given = match (model.protocol, &operation.input) {
        (Protocol::Json10 | Protocol::Json11, _) => json::decode(body)?,
        (Protocol::Query, Some(shape)) => form::decode(model, shape, body)?,
        (Protocol::Query, None) => Value::Object(Map::new()),
    };
    let Some(shape) = &operation.input else {
        return Ok(Value::Object(Map::new()));
    };
    let input = validate::coerce(model, shape, given)?;
    validate::check(model, shape, &input)?;
    Ok(input)
}

/// Writes an operation's output. Members the model does not know and nulls are left out.
///
/// # Errors
/// The output does not have the types of the model, which is our fault; the text says where.
pub fn encode(
    model: &Model,
    name: &str,
    operation: &Operation,
    output: Value,
    request_id: &str,
) -> Result<Encoded, ApiError> {
    let output = match &operation.output {
        Some(shape) => validate::coerce(model, shape, output)?,
        None => Value::Null,
    };
    let body = match model.protocol {
        Protocol::Json10 | Protocol::Json11 if output.is_null() => b"{}".to_vec(),
        Protocol::Json10 | Protocol::Json11 => output.to_string().into_bytes(),
        Protocol::Query => xml::encode(model, name, operation, &output, request_id),
    };
    Ok(Encoded {
        status: 200,
        content_type: content_type(model.protocol),
        body,
    })
}

/// Writes an error answer. A message longer than the model allows is cut: it may echo what the caller sent.
pub fn encode_error(model: &Model, error: &ApiError, request_id: &str) -> Encoded {
    let mut error = error.clone();
    if let Some(max) = model.message_chars_max(&error.code) {
        error.message = validate::shortened(&error.message, max);
    }
    let error = &error;
    let body = match model.protocol {
        Protocol::Json10 | Protocol::Json11 => json::encode_error(model, error),
        Protocol::Query => xml::encode_error(model, error, request_id),
    };
    Encoded {
        status: error.status,
        content_type: content_type(model.protocol),
        body,
    }
}

/// Writes an error answer where the service is not known, as JSON.
pub fn encode_error_without_service(error: &ApiError) -> Encoded {
    let body = json::error_body("", "message", error);
    Encoded {
        status: error.status,
        content_type: "application/x-amz-json-1.1",
        body,
    }
}

fn content_type(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Query => "text/xml",
        json => request_content_type(json),
    }
}

/// The value of one field of a form, the first of that name; for routing by `Action` before anything else is read.
pub fn form_field(form: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(form)
        .take(form::FIELDS_MAX)
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}
