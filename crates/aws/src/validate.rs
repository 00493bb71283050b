//! Holds an input against its shape: types first ([`coerce`]), constraints second ([`check`]).
//!
//! The texts are those of AWS's own framework, so that people find them: `1 validation error detected: Value 'x' at
//! 'serviceName' failed to satisfy constraint: Member must have length less than or equal to 40`.

mod place;

use crate::error::ApiError;
use crate::model::{Bounds, Model, Shape, Text};
use place::Place;
use serde_json::{Number, Value};
use std::fmt::Write as _;

/// Broken constraints reported in one answer.
const REPORTED_MAX: usize = 10;
/// Characters of a value echoed in a message.
const ECHO_CHARS_MAX: usize = 128;

/// Checks the types of an input and drops what the shape does not know, as AWS does: unknown members and nulls.
///
/// # Errors
/// `SerializationException` that names the place and the two types.
pub fn coerce(model: &Model, shape: &str, mut value: Value) -> Result<Value, ApiError> {
    coerce_at(model, shape, &mut value, &Place::Top)?;
    Ok(value)
}

fn coerce_at(
    model: &Model,
    shape: &str,
    value: &mut Value,
    place: &Place<'_>,
) -> Result<(), ApiError> {
    match (model.shape(shape), value) {
        (Shape::Structure(structure), Value::Object(given)) => {
            given.retain(|name, v| !v.is_null() && structure.members.contains_key(name));
            for (name, v) in given {
                if let Some(member) = structure.members.get(name) {
                    coerce_at(model, &member.shape, v, &Place::Member(place, name))?;
                }
            }
        }
        (Shape::List { member, .. }, Value::Array(items)) => {
            items.retain(|item| !item.is_null());
            for (i, v) in items.iter_mut().enumerate() {
                coerce_at(model, &member.shape, v, &Place::Item(place, i))?;
            }
        }
        (Shape::Map { value: of, .. }, Value::Object(entries)) => {
            entries.retain(|_, v| !v.is_null());
            for (i, (_, v)) in entries.iter_mut().enumerate() {
                coerce_at(model, &of.shape, v, &Place::Entry(place, i))?;
            }
        }
        (Shape::Integer(_), Value::Number(n)) => {
            *n = whole(n, i32::MIN.into(), i32::MAX.into(), "Integer", place)?;
        }
        (Shape::Long(_), Value::Number(n)) => *n = whole(n, i64::MIN, i64::MAX, "Long", place)?,
        (Shape::Double(_) | Shape::Float(_) | Shape::Timestamp { .. }, Value::Number(_))
        | (Shape::String(_) | Shape::Blob(_), Value::String(_))
        | (Shape::Boolean {}, Value::Bool(_)) => {}
        (shape, v) => return Err(mistyped(given_type(v), wanted_type(shape), place)),
    }
    Ok(())
}

fn whole(
    n: &Number,
    min: i64,
    max: i64,
    wanted: &str,
    place: &Place<'_>,
) -> Result<Number, ApiError> {
    let exact = n.as_i64().or_else(|| {
        n.as_f64()
            .filter(|f| f.fract() == 0.0 && f.abs() < 9e15)
            .map(|f| f as i64)
    });
    match exact {
        Some(i) if (min..=max).contains(&i) => Ok(Number::from(i)),
        _ => Err(mistyped("NUMBER_VALUE", wanted, place)),
    }
}

fn mistyped(given: &str, wanted: &str, place: &Place<'_>) -> ApiError {
    let article = if wanted.starts_with(['A', 'E', 'I', 'O', 'U']) {
        "an"
    } else {
        "a"
    };
    let place = match place.is_top() {
        true => "the top of the request".to_owned(),
        false => format!("'{place}'"),
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
    found.visit(shape, value, &Place::Top);
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
    fn visit(&mut self, shape: &str, value: &Value, place: &Place<'_>) {
        match (self.model.shape(shape), value) {
            (Shape::Structure(structure), Value::Object(given)) => {
                for name in structure
                    .required
                    .iter()
                    .filter(|name| !given.contains_key(*name))
                {
                    let place = Place::Member(place, name);
                    self.broken.push(format!(
                        "Value null at '{place}' failed to satisfy constraint: Member must not be null"
                    ));
                }
                for (name, v) in given {
                    if let Some(member) = structure.members.get(name) {
                        self.visit(&member.shape, v, &Place::Member(place, name));
                    }
                }
            }
            (Shape::List { member, bounds, .. }, Value::Array(items)) => {
                self.length(items.len(), *bounds, None, place);
                for (i, v) in items.iter().enumerate() {
                    self.visit(&member.shape, v, &Place::Item(place, i));
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
                self.length(entries.len(), *bounds, None, place);
                for (i, (k, v)) in entries.iter().enumerate() {
                    if let Shape::String(text) = self.model.shape(&key.shape) {
                        self.text(text, k, &Place::Key(place, i));
                    }
                    self.visit(&of.shape, v, &Place::Entry(place, i));
                }
            }
            (Shape::String(text), Value::String(s)) => self.text(text, s, place),
            (Shape::Blob(bounds), Value::String(s)) => {
                self.length(s.len() / 4 * 3, *bounds, None, place)
            }
            (
                Shape::Integer(b) | Shape::Long(b) | Shape::Double(b) | Shape::Float(b),
                Value::Number(n),
            ) => {
                self.range(n, *b, place);
            }
            _ => {}
        }
    }

    fn fail(&mut self, value: Option<&str>, place: &Place<'_>, constraint: &str) {
        let echo = value.map_or(String::new(), |v| {
            format!(" '{}'", shortened(v, ECHO_CHARS_MAX))
        });
        self.broken.push(format!(
            "Value{echo} at '{place}' failed to satisfy constraint: {constraint}"
        ));
    }

    fn length(&mut self, length: usize, bounds: Bounds, value: Option<&str>, place: &Place<'_>) {
        let length = length as f64;
        if let Some(min) = bounds.min.filter(|min| length < *min) {
            self.fail(
                value,
                place,
                &format!("Member must have length greater than or equal to {min}"),
            );
        }
        if let Some(max) = bounds.max.filter(|max| length > *max) {
            self.fail(
                value,
                place,
                &format!("Member must have length less than or equal to {max}"),
            );
        }
    }

    fn range(&mut self, number: &Number, bounds: Bounds, place: &Place<'_>) {
        let (value, text) = (number.as_f64().unwrap_or_default(), number.to_string());
        if let Some(min) = bounds.min.filter(|min| value < *min) {
            self.fail(
                Some(&text),
                place,
                &format!("Member must have value greater than or equal to {min}"),
            );
        }
        if let Some(max) = bounds.max.filter(|max| value > *max) {
            self.fail(
                Some(&text),
                place,
                &format!("Member must have value less than or equal to {max}"),
            );
        }
    }

    fn text(&mut self, text: &Text, value: &str, place: &Place<'_>) {
        let echo = Some(value).filter(|_| !text.sensitive);
        self.length(value.chars().count(), text.bounds, echo, place);
        if !text.values.is_empty() && !text.values.iter().any(|allowed| allowed == value) {
            let set = text.values.join(", ");
            self.fail(
                echo,
                place,
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
            self.fail(echo, place, &constraint);
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
