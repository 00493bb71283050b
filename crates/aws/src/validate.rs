//! Holds an input against its shape: types first ([`coerce`]), constraints second ([`check`]).
//!
//! The texts are those of AWS's own framework, so that people find them: `1 validation error detected: Value 'x' at
//! 'serviceName' failed to satisfy constraint: Member must have length less than or equal to 40`.

use crate::error::ApiError;
use crate::model::{Bounds, Model, Shape, Text};
use serde_json::{Map, Number, Value};
use std::fmt::Write as _;

/// Broken constraints reported in one answer.
const REPORTED_MAX: usize = 10;
/// Characters of a value echoed in a message.
const ECHO_CHARS_MAX: usize = 128;

/// Checks the types of an input and drops what the shape does not know, as AWS does: unknown members and nulls.
///
/// # Errors
/// `SerializationException` that names the place and the two types.
pub fn coerce(model: &Model, shape: &str, value: Value) -> Result<Value, ApiError> {
    coerce_at(model, shape, value, "")
}

fn coerce_at(model: &Model, shape: &str, value: Value, path: &str) -> Result<Value, ApiError> {
    match (model.shape(shape), value) {
        (Shape::Structure(structure), Value::Object(mut given)) => {
            let mut out = Map::new();
            for (name, member) in &structure.members {
                match given.remove(name) {
                    None | Some(Value::Null) => {}
                    Some(v) => {
                        let v =
                            coerce_at(model, &member.shape, v, &join(path, &lower_first(name)))?;
                        out.insert(name.clone(), v);
                    }
                }
            }
            Ok(Value::Object(out))
        }
        (Shape::List { member, .. }, Value::Array(items)) => {
            let items = items.into_iter().filter(|item| !item.is_null()).enumerate();
            let item = |(i, v)| {
                coerce_at(
                    model,
                    &member.shape,
                    v,
                    &join(path, &format!("{}.member", i + 1)),
                )
            };
            items
                .map(item)
                .collect::<Result<Vec<Value>, ApiError>>()
                .map(Value::Array)
        }
        (Shape::Map { value: of, .. }, Value::Object(entries)) => {
            let entries = entries
                .into_iter()
                .filter(|(_, v)| !v.is_null())
                .enumerate();
            let entry = |(i, (k, v))| {
                let v = coerce_at(
                    model,
                    &of.shape,
                    v,
                    &join(path, &format!("{}.value", i + 1)),
                )?;
                Ok((k, v))
            };
            entries
                .map(entry)
                .collect::<Result<Map<String, Value>, ApiError>>()
                .map(Value::Object)
        }
        (Shape::Integer(_), Value::Number(n)) => whole(
            &n,
            i64::from(i32::MIN),
            i64::from(i32::MAX),
            "Integer",
            path,
        ),
        (Shape::Long(_), Value::Number(n)) => whole(&n, i64::MIN, i64::MAX, "Long", path),
        (Shape::Double(_) | Shape::Float(_) | Shape::Timestamp { .. }, v @ Value::Number(_))
        | (Shape::String(_) | Shape::Blob(_), v @ Value::String(_))
        | (Shape::Boolean {}, v @ Value::Bool(_)) => Ok(v),
        (shape, v) => Err(mistyped(given_type(&v), wanted_type(shape), path)),
    }
}

fn whole(n: &Number, min: i64, max: i64, wanted: &str, path: &str) -> Result<Value, ApiError> {
    let exact = n.as_i64().or_else(|| {
        n.as_f64()
            .filter(|f| f.fract() == 0.0 && f.abs() < 9e15)
            .map(|f| f as i64)
    });
    match exact {
        Some(i) if (min..=max).contains(&i) => Ok(Value::from(i)),
        _ => Err(mistyped("NUMBER_VALUE", wanted, path)),
    }
}

fn mistyped(given: &str, wanted: &str, path: &str) -> ApiError {
    let article = if wanted.starts_with(['A', 'E', 'I', 'O', 'U']) {
        "an"
    } else {
        "a"
    };
    let place = if path.is_empty() {
        "the top of the request".to_owned()
    } else {
        format!("'{path}'")
    };
    ApiError::serialization(format!(
        "{given} can not be converted to {article} {wanted} at {place}"
    ))
}

fn given_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "NULL_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    }
}

fn wanted_type(shape: &Shape) -> &'static str {
    match shape {
        Shape::Structure(_) => "Structure",
        Shape::List { .. } => "List",
        Shape::Map { .. } => "Map",
        Shape::String(_) => "String",
        Shape::Integer(_) => "Integer",
        Shape::Long(_) => "Long",
        Shape::Double(_) => "Double",
        Shape::Float(_) => "Float",
        Shape::Boolean {} => "Boolean",
        Shape::Timestamp { .. } => "Timestamp",
        Shape::Blob(_) => "Blob",
    }
}

/// Checks a coerced input against the constraints of its shape: required, length, range, pattern, enum.
///
/// # Errors
/// The service's exception for invalid input, with every broken constraint up to a bound, none of the sensitive values.
pub fn check(model: &Model, shape: &str, value: &Value) -> Result<(), ApiError> {
    let mut found = Findings {
        model,
        broken: Vec::new(),
    };
    found.visit(shape, value, "");
    let count = found.broken.len();
    if count == 0 {
        return Ok(());
    }
    let plural = if count == 1 { "" } else { "s" };
    let mut message = format!("{count} validation error{plural} detected: ");
    let reported: Vec<String> = found.broken.into_iter().take(REPORTED_MAX).collect();
    message.push_str(&reported.join("; "));
    if count > REPORTED_MAX {
        let _ = write!(message, "; and {} more", count - REPORTED_MAX);
    }
    Err(model.error(&model.validation_error, message))
}

struct Findings<'a> {
    model: &'a Model,
    broken: Vec<String>,
}

impl Findings<'_> {
    fn visit(&mut self, shape: &str, value: &Value, path: &str) {
        match (self.model.shape(shape), value) {
            (Shape::Structure(structure), Value::Object(given)) => {
                for name in structure
                    .required
                    .iter()
                    .filter(|name| !given.contains_key(*name))
                {
                    let path = join(path, &lower_first(name));
                    self.broken.push(format!(
                        "Value null at '{path}' failed to satisfy constraint: Member must not be null"
                    ));
                }
                for (name, v) in given {
                    if let Some(member) = structure.members.get(name) {
                        self.visit(&member.shape, v, &join(path, &lower_first(name)));
                    }
                }
            }
            (Shape::List { member, bounds, .. }, Value::Array(items)) => {
                self.length(items.len(), *bounds, None, path);
                for (i, v) in items.iter().enumerate() {
                    self.visit(&member.shape, v, &join(path, &format!("{}.member", i + 1)));
                }
            }
            (
                Shape::Map {
                    key,
                    value: of,
                    bounds,
                    ..
                },
                Value::Object(entries),
            ) => {
                self.length(entries.len(), *bounds, None, path);
                for (i, (k, v)) in entries.iter().enumerate() {
                    let place = join(path, &(i + 1).to_string());
                    self.visit(&key.shape, &Value::from(k.as_str()), &join(&place, "key"));
                    self.visit(&of.shape, v, &join(&place, "value"));
                }
            }
            (Shape::String(text), Value::String(s)) => self.text(text, s, path),
            (Shape::Blob(bounds), Value::String(s)) => {
                self.length(s.len() / 4 * 3, *bounds, None, path)
            }
            (
                Shape::Integer(b) | Shape::Long(b) | Shape::Double(b) | Shape::Float(b),
                Value::Number(n),
            ) => {
                self.range(n, *b, path);
            }
            _ => {}
        }
    }

    fn fail(&mut self, value: Option<&str>, path: &str, constraint: &str) {
        let echo = value.map_or(String::new(), |v| {
            format!(" '{}'", shortened(v, ECHO_CHARS_MAX))
        });
        self.broken.push(format!(
            "Value{echo} at '{path}' failed to satisfy constraint: {constraint}"
        ));
    }

    fn length(&mut self, length: usize, bounds: Bounds, value: Option<&str>, path: &str) {
        let length = length as f64;
        if let Some(min) = bounds.min.filter(|min| length < *min) {
            self.fail(
                value,
                path,
                &format!("Member must have length greater than or equal to {min}"),
            );
        }
        if let Some(max) = bounds.max.filter(|max| length > *max) {
            self.fail(
                value,
                path,
                &format!("Member must have length less than or equal to {max}"),
            );
        }
    }

    fn range(&mut self, number: &Number, bounds: Bounds, path: &str) {
        let (value, text) = (number.as_f64().unwrap_or_default(), number.to_string());
        if let Some(min) = bounds.min.filter(|min| value < *min) {
            self.fail(
                Some(&text),
                path,
                &format!("Member must have value greater than or equal to {min}"),
            );
        }
        if let Some(max) = bounds.max.filter(|max| value > *max) {
            self.fail(
                Some(&text),
                path,
                &format!("Member must have value less than or equal to {max}"),
            );
        }
    }

    fn text(&mut self, text: &Text, value: &str, path: &str) {
        let echo = Some(value).filter(|_| !text.sensitive);
        self.length(value.chars().count(), text.bounds, echo, path);
        if !text.values.is_empty() && !text.values.iter().any(|allowed| allowed == value) {
            let set = text.values.join(", ");
            self.fail(
                echo,
                path,
                &format!("Member must satisfy enum value set: [{set}]"),
            );
        }
        if let Some(pattern) = text
            .pattern
            .as_ref()
            .filter(|pattern| !pattern.matches(value))
        {
            let constraint = format!(
                "Member must satisfy regular expression pattern: {}",
                pattern.source()
            );
            self.fail(echo, path, &constraint);
        }
    }
}

/// The text, or its beginning with an ellipsis where it has more than `chars_max` characters.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some(_) => text.chars().take(chars_max - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_ascii_lowercase().to_string() + chars.as_str()
    })
}
