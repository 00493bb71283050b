//! The output side of the query protocol: XML.

use crate::error::ApiError;
use crate::model::{Member, Model, Operation, Shape};
use crate::sigv4::date::format_extended;
use quick_xml::escape::escape;
use serde_json::Value;
use std::fmt::Write as _;

pub(super) fn encode(
    model: &Model,
    name: &str,
    operation: &Operation,
    output: &Value,
    request_id: &str,
) -> Vec<u8> {
    let mut out = String::with_capacity(512);
    open_root(&mut out, &format!("{name}Response"), model);
    if let Some(shape) = &operation.output {
        match &operation.result_wrapper {
            Some(wrapper) => element(&mut out, wrapper, |out| members(model, shape, output, out)),
            None => members(model, shape, output, &mut out),
        }
    }
    element(&mut out, "ResponseMetadata", |out| {
        text_element(out, "RequestId", request_id)
    });
    let _ = write!(out, "</{name}Response>");
    out.into_bytes()
}

pub(super) fn encode_error(model: &Model, error: &ApiError, request_id: &str) -> Vec<u8> {
    let mut out = String::with_capacity(512);
    open_root(&mut out, "ErrorResponse", model);
    element(&mut out, "Error", |out| {
        text_element(
            out,
            "Type",
            if error.receiver_fault {
                "Receiver"
            } else {
                "Sender"
            },
        );
        text_element(out, "Code", &error.code);
        text_element(out, "Message", &error.message);
    });
    text_element(&mut out, "RequestId", request_id);
    out.push_str("</ErrorResponse>");
    out.into_bytes()
}

fn open_root(out: &mut String, name: &str, model: &Model) {
    match model.xml_namespace.as_str() {
        "" => {
            let _ = write!(out, "<{name}>");
        }
        namespace => {
            let _ = write!(out, "<{name} xmlns=\"{}\">", escape(namespace));
        }
    }
}

fn element(out: &mut String, name: &str, content: impl FnOnce(&mut String)) {
    let _ = write!(out, "<{name}>");
    content(out);
    let _ = write!(out, "</{name}>");
}

fn text_element(out: &mut String, name: &str, text: &str) {
    // XML 1.0 has no way to write most control characters.
    let allowed = |c: &char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..);
    let text: String = text.chars().filter(allowed).collect();
    let text = escape(&text).replace('\r', "&#13;");
    let _ = write!(out, "<{name}>{text}</{name}>");
}

fn wire<'a>(member: &'a Member, name: &'a str) -> &'a str {
    member.wire_name.as_deref().unwrap_or(name)
}

/// The members of a structure, without an element around them.
fn members(model: &Model, shape: &str, value: &Value, out: &mut String) {
    if let (Shape::Structure(structure), Value::Object(given)) = (model.shape(shape), value) {
        for (name, member) in &structure.members {
            if let Some(v) = given.get(name) {
                named(model, &member.shape, wire(member, name), v, out);
            }
        }
    }
}

/// A value in an element of that name.
fn named(model: &Model, shape: &str, name: &str, value: &Value, out: &mut String) {
    match (model.shape(shape), value) {
        (Shape::Structure(_), _) => element(out, name, |out| members(model, shape, value, out)),
        (
            Shape::List {
                member, flattened, ..
            },
            Value::Array(items),
        ) => {
            let each = |out: &mut String, name: &str| {
                items
                    .iter()
                    .for_each(|item| named(model, &member.shape, name, item, out));
            };
            match flattened {
                true => each(out, name),
                false => element(out, name, |out| each(out, wire(member, "member"))),
            }
        }
        (
            Shape::Map {
                key,
                value: of,
                flattened,
                ..
            },
            Value::Object(entries),
        ) => {
            let each = |out: &mut String, name: &str| {
                for (k, v) in entries {
                    element(out, name, |out| {
                        text_element(out, wire(key, "key"), k);
                        named(model, &of.shape, wire(of, "value"), v, out);
                    });
                }
            };
            match flattened {
                true => each(out, name),
                false => element(out, name, |out| each(out, "entry")),
            }
        }
        (Shape::Timestamp { .. }, Value::Number(seconds)) => {
            let ms = seconds.as_f64().unwrap_or_default().max(0.0) * 1000.0;
            text_element(out, name, &format_extended(ms.round() as u64));
        }
        (_, Value::String(text)) => text_element(out, name, text),
        (_, other) => text_element(out, name, &other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn model() -> Model {
        serde_json::from_value(json!({
            "service": "t", "service_name": "T", "api_version": "2011-01-01", "protocol": "query", "signing_name": "t",
            "target_prefix": "", "xml_namespace": "https://t/", "error_namespace": "", "validation_error": "V",
            "operations": {"Do": {"output": "Out", "result_wrapper": "DoResult", "errors": []}}, "other_operations": [],
            "shapes": {
                "Out": {"type": "structure", "members": {
                    "S": {"shape": "S"}, "I": {"shape": "I"}, "W": {"shape": "W"}, "L": {"shape": "L"},
                    "F": {"shape": "F"}, "M": {"shape": "M"}}},
                "S": {"type": "string"}, "I": {"type": "integer"}, "W": {"type": "timestamp"},
                "L": {"type": "list", "member": {"shape": "S"}},
                "F": {"type": "list", "member": {"shape": "S"}, "flattened": true},
                "M": {"type": "map", "key": {"shape": "S"}, "value": {"shape": "I"}}
            }
        }))
        .unwrap()
    }

    #[test]
    fn values_become_elements() {
        let model = model();
        let output = json!({"S": "<a&\u{1}b>", "I": 5, "W": 1.5, "L": ["x", "y"], "F": ["z"], "M": {"k": 1}});
        let body = encode(&model, "Do", &model.operations["Do"], &output, "id-1");
        assert_eq!(
            String::from_utf8(body).unwrap(),
            "<DoResponse xmlns=\"https://t/\"><DoResult><F>z</F><I>5</I><L><member>x</member><member>y</member></L>\
             <M><entry><key>k</key><value>1</value></entry></M><S>&lt;a&amp;b&gt;</S><W>1970-01-01T00:00:01.500Z</W>\
             </DoResult><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></DoResponse>"
        );
    }

    #[test]
    fn errors_say_whose_fault_it_is() {
        let body = encode_error(&model(), &ApiError::internal_failure(), "id-2");
        let body = String::from_utf8(body).unwrap();
        assert!(body.starts_with("<ErrorResponse xmlns=\"https://t/\"><Error><Type>Receiver</Type><Code>InternalFailure</Code>"));
        assert!(body.ends_with("</Error><RequestId>id-2</RequestId></ErrorResponse>"));
    }
}
