//! The input side of the query protocol: `A.member.1.B=value` fields as a value
//! (<https://smithy.io/2.0/aws/protocols/aws-query-protocol.html>).

use crate::error::ApiError;
use crate::model::{Member, Model, Shape};
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Fields of one form.
pub(super) const FIELDS_MAX: usize = 5_000;
/// Parts of one field's name.
const NAME_PARTS_MAX: usize = 32;

/// The fields as a tree by the parts of their names.
#[derive(Default)]
struct Node {
    value: Option<String>,
    children: BTreeMap<String, Node>,
}

pub(super) fn decode(model: &Model, shape: &str, form: &[u8]) -> Result<Value, ApiError> {
    let mut root = Node::default();
    for (i, (name, value)) in form_urlencoded::parse(form).enumerate() {
        if i >= FIELDS_MAX {
            return Err(malformed(format!(
                "the form has more than {FIELDS_MAX} fields"
            )));
        }
        root.insert(&name, value.into_owned())?;
    }
    read(model, shape, &root, "")
}

impl Node {
    fn insert(&mut self, name: &str, value: String) -> Result<(), ApiError> {
        let mut node = self;
        for (i, part) in name.split('.').enumerate() {
            if i >= NAME_PARTS_MAX {
                return Err(malformed(format!(
                    "a field's name has more than {NAME_PARTS_MAX} parts"
                )));
            }
            node = node.children.entry(part.to_owned()).or_default();
        }
        match node.value.replace(value) {
            None => Ok(()),
            Some(_) => Err(malformed(format!(
                "the field {name} is there more than once"
            ))),
        }
    }

    /// The children that have a number for a name, in the order of the numbers.
    fn numbered(&self) -> Vec<&Node> {
        let mut items: Vec<(u32, &Node)> = self
            .children
            .iter()
            .filter_map(|(name, node)| Some((name.parse().ok()?, node)))
            .collect();
        items.sort_by_key(|(number, _)| *number);
        items.into_iter().map(|(_, node)| node).collect()
    }

    /// The numbered elements below `wrapper`, or right here when flattened.
    fn elements(&self, wrapper: &str, flattened: bool) -> Vec<&Node> {
        match flattened {
            true => self.numbered(),
            false => self
                .children
                .get(wrapper)
                .map_or_else(Vec::new, Node::numbered),
        }
    }
}

fn malformed(message: impl Into<String>) -> ApiError {
    let mut error = ApiError::validation(message);
    error.code = "MalformedInput".to_owned();
    error
}

fn wire<'a>(member: &'a Member, name: &'a str) -> &'a str {
    member.wire_name.as_deref().unwrap_or(name)
}

fn read(model: &Model, shape: &str, node: &Node, path: &str) -> Result<Value, ApiError> {
    match model.shape(shape) {
        Shape::Structure(structure) => {
            let mut out = Map::new();
            for (name, member) in &structure.members {
                if let Some(child) = node.children.get(wire(member, name)) {
                    out.insert(
                        name.clone(),
                        read(model, &member.shape, child, &format!("{path}{name}."))?,
                    );
                }
            }
            Ok(Value::Object(out))
        }
        Shape::List {
            member, flattened, ..
        } => {
            let items = node
                .elements(wire(member, "member"), *flattened)
                .into_iter();
            items
                .map(|item| read(model, &member.shape, item, path))
                .collect()
        }
        Shape::Map {
            key,
            value,
            flattened,
            ..
        } => {
            let mut out = Map::new();
            for entry in node.elements("entry", *flattened) {
                let (k, v) = (
                    entry.children.get(wire(key, "key")),
                    entry.children.get(wire(value, "value")),
                );
                let (Some(k), Some(v)) = (k.and_then(|k| k.value.as_deref()), v) else {
                    return Err(malformed(format!(
                        "an entry of '{}' has no key or no value",
                        field(path)
                    )));
                };
                out.insert(k.to_owned(), read(model, &value.shape, v, path)?);
            }
            Ok(Value::Object(out))
        }
        scalar => scalar_value(scalar, node.value.as_deref().unwrap_or_default(), path),
    }
}

fn field(path: &str) -> &str {
    path.trim_end_matches('.')
}

fn scalar_value(shape: &Shape, text: &str, path: &str) -> Result<Value, ApiError> {
    let value = match shape {
        Shape::Integer(_) | Shape::Long(_) => text.parse::<i64>().ok().map(Value::from),
        Shape::Double(_) | Shape::Float(_) => text
            .parse::<f64>()
            .ok()
            .and_then(Number::from_f64)
            .map(Value::from),
        Shape::Boolean {} => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        Shape::Timestamp { .. } => timestamp(text),
        _ => Some(Value::from(text)),
    };
    value.ok_or_else(|| {
        malformed(format!(
            "the value of '{}' cannot be read as its type",
            field(path)
        ))
    })
}

/// ISO 8601, or seconds since the epoch.
fn timestamp(text: &str) -> Option<Value> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Number::from_f64(seconds).map(Value::from);
    }
    let date = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Number::from_f64(date.unix_timestamp_nanos() as f64 / 1e9).map(Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A made-up service with every kind of shape, since the real tables use few of them.
    fn model() -> Model {
        serde_json::from_value(json!({
            "service": "t", "service_name": "T", "api_version": "2011-01-01", "protocol": "query", "signing_name": "t",
            "target_prefix": "", "xml_namespace": "", "error_namespace": "", "validation_error": "ValidationError",
            "operations": {}, "other_operations": [],
            "shapes": {
                "In": {"type": "structure", "members": {
                    "Name": {"shape": "S"}, "Count": {"shape": "I"}, "Big": {"shape": "B"}, "When": {"shape": "T"},
                    "Tags": {"shape": "L"}, "Flat": {"shape": "F"}, "Map": {"shape": "M"}}},
                "S": {"type": "string"}, "I": {"type": "integer"}, "B": {"type": "boolean"}, "T": {"type": "timestamp"},
                "Tag": {"type": "structure", "members": {"Key": {"shape": "S"}, "Value": {"shape": "S"}}},
                "L": {"type": "list", "member": {"shape": "Tag"}},
                "F": {"type": "list", "member": {"shape": "S"}, "flattened": true},
                "M": {"type": "map", "key": {"shape": "S"}, "value": {"shape": "I"}}
            }
        }))
        .unwrap()
    }

    fn check(form: &str, expect: &Value) {
        assert_eq!(
            &decode(&model(), "In", form.as_bytes()).unwrap(),
            expect,
            "{form}"
        );
    }

    #[test]
    fn fields_become_values() {
        check("Action=X&Version=1", &json!({}));
        check(
            "Name=a+b%2Fc&Count=-3&Big=true",
            &json!({"Name": "a b/c", "Count": -3, "Big": true}),
        );
        check("When=1970-01-01T00:00:01.500Z", &json!({"When": 1.5}));
        check(
            "Tags.member.2.Key=b&Tags.member.10.Key=c&Tags.member.1.Key=a&Tags.member.1.Value=1",
            &json!({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "b"}, {"Key": "c"}]}),
        );
        check("Flat.1=a&Flat.2=b", &json!({"Flat": ["a", "b"]}));
        check("Tags=", &json!({"Tags": []}));
        check(
            "Map.entry.1.key=k&Map.entry.1.value=7",
            &json!({"Map": {"k": 7}}),
        );
    }

    #[test]
    fn garbage_is_refused() {
        let deep = format!("{}x=1", "a.".repeat(40));
        let many = "a=1&".repeat(2);
        let fields: String = (0..=FIELDS_MAX).map(|i| format!("f{i}=1&")).collect();
        for form in [
            "Count=x",
            "Big=yes",
            "When=soon",
            "Map.entry.1.key=k",
            &deep,
            &many,
            &fields,
        ] {
            let error = decode(&model(), "In", form.as_bytes()).unwrap_err();
            assert_eq!((error.code.as_str(), error.status), ("MalformedInput", 400));
        }
    }
}
