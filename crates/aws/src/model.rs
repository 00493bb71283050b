//! Shape tables: what a service's operations are called, take, answer and refuse, as data.
//!
//! The tables (`models/*.json`) are derived from the published API models by `models/derive.py`; they hold facts only.

pub mod pattern;

use crate::error::ApiError;
use pattern::Pattern;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// How a service is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    /// awsJson1_0 (<https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html>).
    #[serde(rename = "json-1.0")]
    Json10,
    /// awsJson1_1 (<https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>).
    #[serde(rename = "json-1.1")]
    Json11,
    /// awsQuery: form in, XML out (<https://smithy.io/2.0/aws/protocols/aws-query-protocol.html>).
    #[serde(rename = "query")]
    Query,
}

/// One service: its names, operations and shapes.
#[derive(Debug, Deserialize)]
pub struct Model {
    /// The name the SDKs use, for example `apprunner`.
    pub service: String,
    /// The name for people, for example `CloudWatch Logs`.
    pub service_name: String,
    /// The API version, a date.
    pub api_version: String,
    /// The protocol this table is for.
    pub protocol: Protocol,
    /// The service part of the SigV4 credential scope.
    pub signing_name: String,
    /// What stands before the dot of `X-Amz-Target` in the JSON protocols.
    pub target_prefix: String,
    /// The namespace of XML answers.
    pub xml_namespace: String,
    /// What stands before the `#` of `__type` for the operations' own errors; empty: the bare code is sent.
    pub error_namespace: String,
    /// The exception for an input that breaks a constraint.
    pub validation_error: String,
    /// The operations this platform answers, by name.
    pub operations: BTreeMap<String, Operation>,
    /// The names of the service's further operations, which exist at AWS and are not offered here.
    pub other_operations: BTreeSet<String>,
    /// The shapes of the operations, by name.
    pub shapes: BTreeMap<String, Shape>,
}

/// One operation.
#[derive(Debug, Deserialize)]
pub struct Operation {
    /// The shape of the input; none: no input.
    pub input: Option<String>,
    /// The shape of the output; none: an empty answer.
    pub output: Option<String>,
    /// The element around the output in XML answers.
    pub result_wrapper: Option<String>,
    /// The shapes of the operation's own errors.
    pub errors: Vec<String>,
    /// Whether it is called without a signature: what proves the caller is in the input.
    #[serde(default)]
    pub unsigned: bool,
}

/// A reference to a shape.
#[derive(Debug, Deserialize)]
pub struct Member {
    /// The name of the shape.
    pub shape: String,
    /// The name on the wire, where it differs from the member's name.
    pub wire_name: Option<String>,
}

/// Bounds of a length (text, lists, maps, bytes) or of a value (numbers). Lengths of text are in characters.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub struct Bounds {
    /// The least.
    pub min: Option<f64>,
    /// The most.
    pub max: Option<f64>,
}

/// How an error shape is answered.
#[derive(Debug, Clone, Deserialize)]
pub struct ErrorTrait {
    /// The HTTP status.
    pub status: u16,
    /// The code on the wire, where it differs from the shape's name (query protocol).
    pub code: Option<String>,
}

/// A structure's members.
#[derive(Debug, Deserialize)]
pub struct Structure {
    /// The members by name.
    pub members: BTreeMap<String, Member>,
    /// The names of those that must be there.
    #[serde(default)]
    pub required: Vec<String>,
    /// Set when the structure is an error.
    pub error: Option<ErrorTrait>,
}

/// A text and its constraints.
#[derive(Debug, Deserialize)]
pub struct Text {
    /// Bounds of the length in characters.
    #[serde(flatten)]
    pub bounds: Bounds,
    /// The pattern the whole text must match.
    pub pattern: Option<Pattern>,
    /// The allowed values; empty: any.
    #[serde(default, rename = "enum")]
    pub values: Vec<String>,
    /// Whether the value must not be echoed or logged.
    #[serde(default)]
    pub sensitive: bool,
}

/// The type of a value and its constraints.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Shape {
    /// Named members.
    Structure(Structure),
    /// A sequence.
    List {
        /// The shape of an element.
        member: Member,
        /// Whether elements follow each other without a wrapper in the query protocol.
        #[serde(default)]
        flattened: bool,
        /// Bounds of the number of elements.
        #[serde(flatten)]
        bounds: Bounds,
    },
    /// Text keys to values.
    Map {
        /// The shape of a key.
        key: Member,
        /// The shape of a value.
        value: Member,
        /// Whether entries follow each other without a wrapper in the query protocol.
        #[serde(default)]
        flattened: bool,
        /// Bounds of the number of entries.
        #[serde(flatten)]
        bounds: Bounds,
    },
    /// A text.
    String(Text),
    /// A whole number of 32 bits.
    Integer(Bounds),
    /// A whole number of 64 bits.
    Long(Bounds),
    /// A number with a fraction.
    Double(Bounds),
    /// A number with a fraction, of 32 bits.
    Float(Bounds),
    /// True or false.
    Boolean {},
    /// A point in time: a number of seconds since the epoch in our values and in JSON, ISO 8601 in query and XML.
    Timestamp {
        /// The format where the model names one.
        format: Option<String>,
    },
    /// Bytes, as Base64 text.
    Blob(Bounds),
}

/// What an operation name turned out to be.
#[derive(Debug)]
pub enum Lookup<'a> {
    /// Answered here.
    Offered(&'a Operation),
    /// Real, but not offered here.
    NotOffered,
    /// Not an operation of the service.
    Unknown,
}

impl Model {
    fn parse(text: &str) -> Model {
        serde_json::from_str(text).expect("the shape tables are part of the program and tested")
    }

    /// Looks an operation up by name.
    pub fn operation(&self, name: &str) -> Lookup<'_> {
        match self.operations.get(name) {
            Some(operation) => Lookup::Offered(operation),
            None if self.other_operations.contains(name) => Lookup::NotOffered,
            None => Lookup::Unknown,
        }
    }

    /// The shape of that name.
    pub fn shape(&self, name: &str) -> &Shape {
        self.shapes
            .get(name)
            .expect("shape tables are closed under reference, which a test checks")
    }

    /// One of the service's own errors by the name of its shape, with the status and wire code of the model.
    pub fn error(&self, shape: &str, message: impl Into<String>) -> ApiError {
        let (status, code) = match self.shapes.get(shape) {
            Some(Shape::Structure(Structure {
                error: Some(error), ..
            })) => (error.status, error.code.as_deref().unwrap_or(shape)),
            _ => (400, shape),
        };
        ApiError::client(code, message).with_status(status)
    }

    /// The name of the error's text member: `Message` in some services, `message` in others.
    pub fn message_member(&self, code: &str) -> &'static str {
        match self.shapes.get(code) {
            Some(Shape::Structure(structure)) if structure.members.contains_key("Message") => {
                "Message"
            }
            Some(Shape::Structure(_)) => "message",
            _ if self.protocol == Protocol::Json10 => "Message",
            _ => "message",
        }
    }

    /// Characters that the text of an error may have, where the model bounds it.
    pub fn message_chars_max(&self, code: &str) -> Option<usize> {
        let Some(Shape::Structure(structure)) = self.shapes.get(code) else {
            return None;
        };
        let member = structure.members.get(self.message_member(code))?;
        match self.shape(&member.shape) {
            Shape::String(text) => text.bounds.max.map(|max| max as usize),
            _ => None,
        }
    }

    /// A copy of an input with the values of sensitive members replaced, for audit and logs.
    pub fn redacted(&self, shape: &str, value: &Value) -> Value {
        match (self.shape(shape), value) {
            (Shape::Structure(structure), Value::Object(members)) => {
                let member = |(name, v): (&String, &Value)| {
                    structure
                        .members
                        .get(name)
                        .map(|m| (name.clone(), self.redacted(&m.shape, v)))
                };
                Value::Object(members.iter().filter_map(member).collect())
            }
            (Shape::List { member, .. }, Value::Array(items)) => items
                .iter()
                .map(|item| self.redacted(&member.shape, item))
                .collect(),
            (Shape::Map { value: of, .. }, Value::Object(entries)) => entries
                .iter()
                .map(|(k, v)| (k.clone(), self.redacted(&of.shape, v)))
                .collect(),
            (Shape::String(text), _) if text.sensitive => Value::from("***"),
            _ => value.clone(),
        }
    }
}

static APPRUNNER: LazyLock<Model> =
    LazyLock::new(|| Model::parse(include_str!("../models/apprunner.json")));
static CLOUDTRAIL: LazyLock<Model> =
    LazyLock::new(|| Model::parse(include_str!("../models/cloudtrail.json")));
static IAM: LazyLock<Model> = LazyLock::new(|| Model::parse(include_str!("../models/iam.json")));
static ECR: LazyLock<Model> = LazyLock::new(|| Model::parse(include_str!("../models/ecr.json")));
static KMS: LazyLock<Model> = LazyLock::new(|| Model::parse(include_str!("../models/kms.json")));
static LOGS: LazyLock<Model> = LazyLock::new(|| Model::parse(include_str!("../models/logs.json")));
static SECRETSMANAGER: LazyLock<Model> =
    LazyLock::new(|| Model::parse(include_str!("../models/secretsmanager.json")));
static SSM: LazyLock<Model> = LazyLock::new(|| Model::parse(include_str!("../models/ssm.json")));
static STS: LazyLock<Model> = LazyLock::new(|| Model::parse(include_str!("../models/sts.json")));

/// AWS App Runner, 2020-05-15, all 37 operations.
pub fn apprunner() -> &'static Model {
    &APPRUNNER
}

/// AWS CloudTrail, 2013-11-01.
pub fn cloudtrail() -> &'static Model {
    &CLOUDTRAIL
}

/// AWS IAM, 2010-05-08.
pub fn iam() -> &'static Model {
    &IAM
}

/// Amazon ECR, 2015-09-21.
pub fn ecr() -> &'static Model {
    &ECR
}

/// AWS KMS, 2014-11-01.
pub fn kms() -> &'static Model {
    &KMS
}

/// Amazon CloudWatch Logs, 2014-03-28.
pub fn logs() -> &'static Model {
    &LOGS
}

/// AWS Secrets Manager, 2017-10-17.
pub fn secretsmanager() -> &'static Model {
    &SECRETSMANAGER
}

/// AWS Systems Manager, 2014-11-06: of it, Parameter Store.
pub fn ssm() -> &'static Model {
    &SSM
}

/// AWS STS, 2011-06-15.
pub fn sts() -> &'static Model {
    &STS
}

static APRON: LazyLock<Model> =
    LazyLock::new(|| Model::parse(include_str!("../models/apron.json")));

/// The platform's own operations, for what the AWS APIs cannot say.
pub fn apron() -> &'static Model {
    &APRON
}
