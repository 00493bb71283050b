//! The tags of secrets.

use super::{SecretsManager, invalid_parameter};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_store::Change;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Tags of one secret (AWS: 50).
const TAGS_MAX: usize = 50;

/// A tag on the wire.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OnSecret {
    secret_id: String,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    tag_keys: Vec<String>,
}

impl SecretsManager {
    pub(super) async fn tag_resource(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OnSecret = call.input()?;
        let (name, _) = self.find_live(call, &input.secret_id).await?;
        let new = input.tags;
        self.change(call, &name, |mut secret| {
            secret.tags = checked_tags(secret.tags, new)?;
            Ok(Change::record(secret, Value::Null))
        })
        .await
    }

    pub(super) async fn untag_resource(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OnSecret = call.input()?;
        let (name, _) = self.find_live(call, &input.secret_id).await?;
        self.change(call, &name, |mut secret| {
            secret.tags.retain(|key, _| !input.tag_keys.contains(key));
            Ok(Change::record(secret, Value::Null))
        })
        .await
    }
}

/// The tags with the new ones among them, if a secret may have those.
pub(super) fn checked_tags(
    mut tags: BTreeMap<String, String>,
    new: Vec<Tag>,
) -> Result<BTreeMap<String, String>, ApiError> {
    for tag in new {
        if tag.key.is_empty() {
            return Err(invalid_parameter("The key of a tag can't be empty."));
        }
        if tag.key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid_parameter(format!(
                "The tag key {} starts with the reserved prefix aws:",
                tag.key
            )));
        }
        tags.insert(tag.key, tag.value);
    }
    match tags.len() > TAGS_MAX {
        true => Err(invalid_parameter(format!(
            "The secret would have {} tags, {TAGS_MAX} are allowed",
            tags.len()
        ))),
        false => Ok(tags),
    }
}
