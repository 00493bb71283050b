//! From an operation and its input to the questions for the policies.
//!
//! Resources are written as texts with members of the input in braces: `{ServiceArn}`, `{a.b}` for a member of a member,
//! `{a|b}` for the first that is given, `{a|}` for one that may be missing, `{@account}` for what the request's surroundings
//! know. A member that is a list gives one resource for each entry. A member that is itself an ARN takes the place of all that
//! stands before it.

use super::{Operation, SERVICES};
use crate::policy::Context;
use serde_json::Value;

/// Resources that one operation may name. More are in no input that its model lets through.
const RESOURCES_MAX: usize = 1_000;

/// Where a request is made.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The partition, for example `aws`.
    pub partition: &'a str,
    /// The region.
    pub region: &'a str,
    /// The account whose resources are meant.
    pub account: &'a str,
    /// The name of the user who asks, for operations that mean the caller when no user is named.
    pub user: Option<&'a str>,
}

/// One question for the policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The action, for example `apprunner:CreateService`.
    pub action: String,
    /// The ARN of the resource, or `*`.
    pub resource: String,
    /// Whether the input does not tell the whole ARN (the path of a user, the last characters of a secret): the ARN of what is
    /// stored under that name has to take its place, unless there is nothing.
    pub provisional: bool,
    /// The condition keys that the input gives. Those of caller, resource and surroundings are added by who asks.
    pub context: Context,
}

/// Why there are no checks. The call must not be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// There is no table of the service.
    #[error("there is no table of actions for the service {0}")]
    UnknownService(String),
    /// The service's table has no row for the operation.
    #[error("the table of actions of {0} has no row for the operation {1}")]
    UnknownOperation(String, String),
    /// The input lacks a member that names the resource.
    #[error("the input of {0} does not name a resource: {1} is missing")]
    Unnamed(String, String),
    /// The input names too many resources.
    #[error("the input of {0} names more than {RESOURCES_MAX} resources")]
    TooMany(String),
}

/// The questions that an operation with this input needs answered, all of them with yes. The input is to be valid by its
/// model. No questions: everybody with credentials may, which is so for
/// `sts:GetCallerIdentity` and `sts:GetSessionToken` alone.
///
/// # Errors
/// See [`CheckError`].
pub fn checks(
    service: &str,
    operation: &str,
    input: &Value,
    scope: &Scope<'_>,
) -> Result<Vec<Check>, CheckError> {
    let table = SERVICES
        .get(service)
        .ok_or_else(|| CheckError::UnknownService(service.to_owned()))?;
    let row = table
        .operations
        .get(operation)
        .ok_or_else(|| CheckError::UnknownOperation(service.to_owned(), operation.to_owned()))?;
    if row.free {
        return Ok(Vec::new());
    }
    let context = input_context(row, input);
    let action = format!("{service}:{operation}");
    let mut checks = Vec::new();
    let mut add = |action: &str, resource: String, provisional: bool, context: &Context| {
        checks.push(Check {
            action: action.to_owned(),
            resource,
            provisional,
            context: with_encryption_context(context.clone(), row, action, input),
        });
    };
    for (ask, template) in &row.asks {
        let expanded = expand(template, input, scope);
        let unnamed = |member| CheckError::Unnamed(operation.to_owned(), member);
        for resource in expanded.map_err(unnamed)? {
            add(
                &format!("{service}:{ask}"),
                resource,
                row.provisional,
                &context,
            );
        }
    }
    let resources = match row.asks.is_empty() {
        true => resources(operation, row, input, scope)?,
        false => Vec::new(),
    };
    for resource in &resources {
        add(&action, resource.clone(), row.provisional, &context);
    }
    for template in &row.also {
        for resource in expand(template, input, scope).unwrap_or_default() {
            add(&action, resource, false, &context);
        }
    }
    for (member, implied) in &row.implies {
        for resource in resources.iter().filter(|_| given(input, member).is_some()) {
            add(implied, resource.clone(), row.provisional, &context);
        }
    }
    for role in &row.passes {
        if let Some(Value::String(arn)) = given(input, &role.member) {
            let passed = Context::new().with("iam:PassedToService", &role.service);
            add("iam:PassRole", arn.clone(), false, &passed);
        }
    }
    if checks.len() > RESOURCES_MAX {
        return Err(CheckError::TooMany(operation.to_owned()));
    }
    Ok(checks)
}

/// A context with that of KMS, for an action that has one.
fn with_encryption_context(
    mut context: Context,
    row: &Operation,
    action: &str,
    input: &Value,
) -> Context {
    let (_, name) = action.split_once(':').unwrap_or_default();
    if let Some(member) = row.encryption_contexts.get(name) {
        set_encryption_context(&mut context, pairs(input, member));
    }
    context
}

/// The pairs of a member that is a map of texts.
fn pairs<'a>(input: &'a Value, member: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let map = given(input, member).and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
}

/// Sets the condition keys of an encryption context; without pairs they are missing
/// (<https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html>).
pub fn set_encryption_context<'a>(
    context: &mut Context,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) {
    let mut names = Vec::new();
    for (name, value) in pairs {
        context.set(&format!("kms:EncryptionContext:{name}"), value);
        names.push(name);
    }
    if !names.is_empty() {
        context.set_all("kms:EncryptionContextKeys", names);
    }
}

fn resources(
    operation: &str,
    row: &Operation,
    input: &Value,
    scope: &Scope<'_>,
) -> Result<Vec<String>, CheckError> {
    let unnamed = |member: String| CheckError::Unnamed(operation.to_owned(), member);
    match (expand(&row.resource, input, scope), &row.otherwise) {
        (Ok(resources), _) => Ok(resources),
        (Err(_), Some(otherwise)) => expand(otherwise, input, scope).map_err(unnamed),
        (Err(member), None) => Err(unnamed(member)),
    }
}

/// A member that is given: not null, no empty text, no empty list or map.
fn given<'a>(input: &'a Value, path: &str) -> Option<&'a Value> {
    let found = path.split('.').try_fold(input, |at, name| at.get(name))?;
    let empty = match found {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    (!empty).then_some(found)
}

/// The texts of a member: one, or one for each entry of a list.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Bool(is) => vec![is.to_string()],
        Value::Number(number) => vec![number.to_string()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Null | Value::Object(_) => Vec::new(),
    }
}

/// Fills a template in; the error is the member that is missing.
fn expand(template: &str, input: &Value, scope: &Scope<'_>) -> Result<Vec<String>, String> {
    let mut filled = vec![String::new()];
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (names, after) = after.split_once('}').unwrap_or((after, ""));
        let values = alternatives(names, input, scope).ok_or_else(|| names.to_owned())?;
        let mut next = Vec::new();
        for start in &filled {
            for value in &values {
                next.push(joined(&format!("{start}{before}"), value));
            }
        }
        filled = next;
        rest = after;
    }
    for text in &mut filled {
        text.push_str(rest);
    }
    Ok(filled)
}

fn alternatives(names: &str, input: &Value, scope: &Scope<'_>) -> Option<Vec<String>> {
    names.split('|').find_map(|name| match name {
        "" => Some(vec![String::new()]),
        "/" => Some(vec!["/".to_owned()]),
        "@partition" => Some(vec![scope.partition.to_owned()]),
        "@region" => Some(vec![scope.region.to_owned()]),
        "@account" => Some(vec![scope.account.to_owned()]),
        "@user" => scope.user.map(|user| vec![user.to_owned()]),
        name => given(input, name).map(texts),
    })
}

fn joined(start: &str, value: &str) -> String {
    if value.starts_with("arn:") {
        // Some services write the ARN of a log group with `:*` at its end.
        return value.strip_suffix(":*").unwrap_or(value).to_owned();
    }
    // A name such as `/app/key` of a parameter has its slash once.
    let value = match value.strip_prefix('/') {
        Some(without) if start.ends_with('/') => without,
        _ => value,
    };
    format!("{start}{value}")
}

/// The condition keys that the input gives.
fn input_context(row: &Operation, input: &Value) -> Context {
    let mut context = Context::new();
    for (key, member) in &row.context {
        if let Some(value) = given(input, member) {
            context.set_all(key, texts(value));
        }
    }
    if let Some(tags) = row.tags.as_deref().and_then(|path| given(input, path)) {
        let tags = tags_of(tags);
        context.set_request_tags(tags.iter().map(|(name, value)| (*name, *value)));
    }
    if let Some(names) = row.tag_keys.as_deref().and_then(|path| given(input, path)) {
        context.set_all("aws:TagKeys", texts(names));
    }
    context
}

/// Tags in the forms that services have: a map, or a list of `Key` and `Value` (in some services in lower case, in KMS
/// `TagKey` and `TagValue`).
fn tags_of(value: &Value) -> Vec<(&str, &str)> {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
            .collect(),
        Value::Array(tags) => tags
            .iter()
            .filter_map(|tag| {
                let member = |names: [&str; 3]| {
                    let found = names.into_iter().find_map(|name| tag.get(name));
                    found.and_then(Value::as_str)
                };
                Some((
                    member(["Key", "key", "TagKey"])?,
                    member(["Value", "value", "TagValue"]).unwrap_or_default(),
                ))
            })
            .collect(),
        _ => Vec::new(),
    }
}
