//! A client of the AWS endpoint that can be anybody: it signs with the keys it is given and reads what any client would.

use apron_aws::Model;
use apron_aws::codec::request_content_type;
use apron_aws::model::Protocol;
use apron_aws::sigv4::{Secret, Signer, sign};
use apron_control::clock::{Clock, Machine};
use apron_control::endpoint::Endpoint;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use std::sync::Arc;

/// A client with some access key.
#[derive(Clone)]
pub struct Client {
    endpoint: Arc<Endpoint>,
    key: String,
    secret: String,
    token: Option<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Client {
    /// A client of an endpoint.
    pub fn new(endpoint: Arc<Endpoint>, key: &str, secret: &str, token: Option<&str>) -> Client {
        Client {
            endpoint,
            key: key.to_owned(),
            secret: secret.to_owned(),
            token: token.map(str::to_owned),
        }
    }

    /// The same endpoint with other keys.
    #[must_use]
    pub fn with_keys(&self, key: &str, secret: &str, token: Option<&str>) -> Client {
        Client::new(self.endpoint.clone(), key, secret, token)
    }

    /// Calls an operation of the query protocol without a signature.
    pub async fn call_unsigned(&self, model: &Model, operation: &str, input: &Value) -> Answer {
        let body = form(model, operation, input);
        let request = Request::post("/")
            .header("host", "localhost")
            .header("content-type", request_content_type(Protocol::Query))
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        self.send(request).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let answered = self.endpoint.handle(request).await;
        let status = answered.status().as_u16();
        let body = answered.into_body().collect().await;
        let body = body.unwrap_or_else(|never| match never {}).to_bytes();
        Answer {
            status,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// Calls an operation.
    pub async fn call(&self, model: &Model, operation: &str, input: &Value) -> Answer {
        let body = match model.protocol {
            Protocol::Query => form(model, operation, input),
            Protocol::Json10 | Protocol::Json11 => input.to_string(),
        };
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("localhost"));
        let content_type = request_content_type(model.protocol);
        headers.insert("content-type", HeaderValue::from_static(content_type));
        if model.protocol != Protocol::Query {
            let target = format!("{}.{operation}", model.target_prefix);
            headers.insert("x-amz-target", target.parse().unwrap());
        }
        if let Some(token) = &self.token {
            headers.insert("x-amz-security-token", token.parse().unwrap());
        }
        let signer = Signer {
            access_key_id: self.key.clone(),
            secret: Secret::new(self.secret.as_str()),
            region: "us-east-1".to_owned(),
            service: model.signing_name.clone(),
        };
        let now = Machine.now().0;
        sign(&signer, "POST", "/", "", &mut headers, body.as_bytes(), now).unwrap();
        let mut request = Request::post("/")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        *request.headers_mut() = headers;
        self.send(request).await
    }
}

impl Answer {
    /// The answer of a call that has to go well.
    #[must_use]
    pub fn ok(self) -> Answer {
        assert_eq!(self.status, 200, "{}", self.body);
        self
    }

    /// A call that has to be refused, with this code and a message with this in it.
    pub fn refused(&self, code: &str, part: &str) {
        let found = self.status >= 400 && self.body.contains(code) && self.body.contains(part);
        assert!(
            found,
            "{} {}, expected {code} {part}",
            self.status, self.body
        );
    }

    /// Whether it is the refusal of somebody who may not.
    pub fn is_denied(&self) -> bool {
        let code = ["<Code>AccessDenied</Code>", "\"AccessDeniedException\""];
        self.status >= 400 && code.iter().any(|code| self.body.contains(code))
            || self.body.contains("#AccessDeniedException\"")
    }

    /// The text of the first element of that name, in an answer in XML.
    pub fn text(&self, element: &str) -> String {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        let start = self.body.find(&open).map(|at| at + open.len());
        let start = start.unwrap_or_else(|| panic!("no {element} in {}", self.body));
        let length = self.body[start..].find(&close).unwrap();
        self.body[start..start + length].to_owned()
    }

    /// The answer in JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// An input as a form of the query protocol.
fn form(model: &Model, operation: &str, input: &Value) -> String {
    let mut fields = form_urlencoded::Serializer::new(String::new());
    fields.append_pair("Action", operation);
    fields.append_pair("Version", &model.api_version);
    flatten(&mut fields, "", input);
    fields.finish()
}

fn flatten(fields: &mut form_urlencoded::Serializer<'_, String>, name: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Object(members) => {
            let dot = if name.is_empty() { "" } else { "." };
            for (member, value) in members {
                flatten(fields, &format!("{name}{dot}{member}"), value);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                flatten(fields, &format!("{name}.member.{}", index + 1), item);
            }
        }
        Value::String(text) => {
            fields.append_pair(name, text);
        }
        other => {
            fields.append_pair(name, &other.to_string());
        }
    }
}
