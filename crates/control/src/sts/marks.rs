//! What a session is marked with besides its rights: tags and a source identity, asked for by a request or by the claims of a
//! token.

use super::assume_role::text;
use super::{denied, error};
use crate::iam::{Session, Tags};
use crate::web_identity::Claims;
use apron_aws::policy::Context;
use apron_aws::{ApiError, model, validate};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Tags of a session.
const TAGS_MAX: usize = 50;

/// The marks of a session.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub tags: Tags,
    /// The keys of the tags that go on to sessions made from this one.
    pub transitive: Vec<String>,
    pub source_identity: Option<String>,
}

impl Marks {
    /// Those of a request, and those that go on from the session that calls.
    pub fn asked(input: &Value, earlier: Option<&Session>) -> Result<Marks, ApiError> {
        let (tags, transitive) = tags(input, earlier)?;
        Ok(Marks {
            tags,
            transitive,
            source_identity: source_identity(input, earlier)?,
        })
    }

    /// Those of a token, which have the form and the bounds of a request's.
    pub fn claimed(claims: &Claims) -> Result<Marks, ApiError> {
        let tag = |(key, value): &(String, String)| json!({"Key": key, "Value": value});
        let tags: Vec<Value> = claims.tags.iter().map(tag).collect();
        let mut input = json!({"Tags": tags, "TransitiveTagKeys": claims.transitive});
        let mut checks = vec![
            ("tagListType", "Tags"),
            ("tagKeyListType", "TransitiveTagKeys"),
        ];
        if let Some(identity) = &claims.source_identity {
            input["SourceIdentity"] = json!(identity);
            checks.push(("sourceIdentityType", "SourceIdentity"));
        }
        let checked = checks
            .into_iter()
            .try_for_each(|(shape, member)| validate::check(model::sts(), shape, &input[member]));
        checked
            .and_then(|()| Marks::asked(&input, None))
            .map_err(|refused| error("InvalidIdentityTokenException", refused.message))
    }

    /// The actions that who sets them needs besides that of assuming the role
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_permissions-required>).
    pub fn needs(&self) -> impl Iterator<Item = &'static str> {
        let tags = (!self.tags.is_empty()).then_some("sts:TagSession");
        let identity = self.source_identity.as_ref();
        tags.into_iter()
            .chain(identity.map(|_| "sts:SetSourceIdentity"))
    }

    /// What conditions of a trust policy are told of them.
    pub fn describe(&self, context: &mut Context) {
        if !self.tags.is_empty() {
            let tags = self.tags.iter();
            context.set_request_tags(tags.map(|(key, value)| (key.as_str(), value.as_str())));
        }
        if !self.transitive.is_empty() {
            context.set_all("sts:TransitiveTagKeys", &self.transitive);
        }
        if let Some(identity) = &self.source_identity {
            context.set("sts:SourceIdentity", identity);
        }
    }
}

/// The tags of the new session, and which of them go on: those of the request, and the transitive ones of the session that
/// calls, which the request cannot change.
fn tags(input: &Value, earlier: Option<&Session>) -> Result<(Tags, Vec<String>), ApiError> {
    let mut tags = Tags::new();
    let given = input.get("Tags").and_then(Value::as_array);
    for tag in given.into_iter().flatten() {
        let key = text(tag, "Key").to_owned();
        let known = tags.keys().any(|known| known.eq_ignore_ascii_case(&key));
        if known || key.to_ascii_lowercase().starts_with("aws:") {
            let text = format!("The session tag key '{key}' is given twice or reserved.");
            return Err(ApiError::validation(text));
        }
        tags.insert(key, text(tag, "Value").to_owned());
    }
    let keys = input.get("TransitiveTagKeys").and_then(Value::as_array);
    let keys = keys.into_iter().flatten().filter_map(Value::as_str);
    let mut transitive: BTreeSet<String> = keys.map(str::to_owned).collect();
    if let Some(missing) = transitive.iter().find(|key| !tags.contains_key(*key)) {
        let text = format!("The transitive tag key '{missing}' is no session tag of the request.");
        return Err(ApiError::validation(text));
    }
    for key in earlier.iter().flat_map(|session| &session.transitive) {
        if tags.keys().any(|known| known.eq_ignore_ascii_case(key)) {
            let text = format!("The session tag '{key}' is inherited and cannot be set.");
            return Err(ApiError::validation(text));
        }
        let value = earlier.and_then(|session| session.tags.get(key));
        tags.insert(key.clone(), value.cloned().unwrap_or_default());
        transitive.insert(key.clone());
    }
    if tags.len() > TAGS_MAX {
        let text = format!("The session would have more than {TAGS_MAX} tags.");
        return Err(ApiError::validation(text));
    }
    Ok((tags, transitive.into_iter().collect()))
}

/// Once set, it stays for all sessions made from one another.
fn source_identity(input: &Value, earlier: Option<&Session>) -> Result<Option<String>, ApiError> {
    let given = input.get("SourceIdentity").and_then(Value::as_str);
    let inherited = earlier.and_then(|session| session.source_identity.as_deref());
    match (given, inherited) {
        (Some(given), Some(inherited)) if given != inherited => Err(denied(
            "The SourceIdentity of a session cannot be changed by a session made from it.",
        )),
        _ => Ok(given.or(inherited).map(str::to_owned)),
    }
}
