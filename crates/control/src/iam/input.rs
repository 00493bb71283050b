//! Members of inputs, which the model has let through, and pages of answers.

use super::entity::{Holder, Tags};
use super::errors::{invalid_input, quota};
use super::quotas;
use crate::endpoint::{Call, Listing};
use apron_aws::ApiError;
use serde_json::{Value, json};

/// Entries of a page when the caller does not say, and at most (IAM: `MaxItems`).
const PAGE_ENTRIES_DEFAULT: u64 = 100;
const PAGE_ENTRIES_MAX: u64 = 1_000;

/// A text that the model requires; empty where it is optional and not given.
pub fn text<'a>(call: &'a Call, member: &str) -> &'a str {
    optional(call, member).unwrap_or_default()
}

/// A text that may be missing.
pub fn optional<'a>(call: &'a Call, member: &str) -> Option<&'a str> {
    call.input.get(member).and_then(Value::as_str)
}

/// A list of texts.
pub fn texts<'a>(call: &'a Call, member: &str) -> Vec<&'a str> {
    let items = call.input.get(member).and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The name of the user, group or role that is meant. A user who names none means itself.
pub fn name(call: &Call, holder: Holder) -> Result<&str, ApiError> {
    let named = optional(call, &format!("{}Name", holder.title()));
    match (named, holder) {
        (Some(name), _) => Ok(name),
        (None, Holder::User) => call.caller.user_name().ok_or_else(|| {
            let text = "Must specify userName when calling with non-User credentials";
            ApiError::validation(text)
        }),
        (None, _) => Ok(""),
    }
}

/// The path of something new.
pub fn path(call: &Call) -> String {
    optional(call, "Path").unwrap_or("/").to_owned()
}

/// The tags of a request, checked.
pub fn tags(call: &Call) -> Result<Tags, ApiError> {
    let given = call.input.get("Tags").and_then(Value::as_array);
    let mut tags = Tags::new();
    for tag in given.into_iter().flatten() {
        let member = |name: &str| tag.get(name).and_then(Value::as_str).unwrap_or_default();
        let (key, value) = (member("Key"), member("Value"));
        if key.to_ascii_lowercase().starts_with("aws:") {
            let text = format!("The tag key '{key}' starts with the reserved prefix aws:.");
            return Err(invalid_input(text));
        }
        let taken = tags.keys().any(|known| known.eq_ignore_ascii_case(key));
        if taken {
            let text = format!("Duplicate tag keys found: {key}. Tag keys are case insensitive.");
            return Err(invalid_input(text));
        }
        tags.insert(key.to_owned(), value.to_owned());
    }
    checked_tags(tags)
}

/// Tags that something would have.
pub fn checked_tags(tags: Tags) -> Result<Tags, ApiError> {
    if tags.len() > quotas::TAGS {
        return Err(quota("TagsPerResource", quotas::TAGS));
    }
    Ok(tags)
}

/// One page of a listing: `items` are pairs of the entry's key and its form in the answer, in the order of the keys.
pub fn page(
    call: &Call,
    kind: &str,
    member: &str,
    items: impl Iterator<Item = (String, Value)>,
) -> Result<Value, ApiError> {
    let limit = call.input.get("MaxItems").and_then(Value::as_u64);
    let limit = limit.unwrap_or(PAGE_ENTRIES_DEFAULT).min(PAGE_ENTRIES_MAX);
    let listing = Listing {
        kind,
        token: optional(call, "Marker"),
        entries_max: usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let page = listing.page(items, |(key, _)| key);
    let (items, marker) = page.map_err(|_| ApiError::validation("Invalid Marker"))?;
    let entries: Vec<Value> = items.into_iter().map(|(_, value)| value).collect();
    Ok(json!({ member: entries, "IsTruncated": marker.is_some(), "Marker": marker }))
}
