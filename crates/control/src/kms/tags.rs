//! The tags of keys.

use super::{Kms, error, listed, page};
use crate::endpoint::Call;
use apron_aws::ApiError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const PAGE_KIND: &str = "kms-tags";
/// Tags of one key (AWS: 50).
const TAGS_MAX: usize = 50;

/// A tag on the wire.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    pub tag_key: String,
    pub tag_value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OnKey {
    key_id: String,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    tag_keys: Vec<String>,
    limit: Option<usize>,
    marker: Option<String>,
}

impl Kms {
    pub(super) async fn tag_resource(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OnKey = call.input()?;
        let (_, record) = self.key(call, &input.key_id).await?;
        let tags = checked_tags(record.tags, input.tags)?;
        self.change_key(call, &input.key_id, |record| record.tags = tags)
            .await?;
        Ok(Value::Null)
    }

    pub(super) async fn untag_resource(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OnKey = call.input()?;
        let gone = input.tag_keys;
        self.change_key(call, &input.key_id, |record| {
            record.tags.retain(|key, _| !gone.contains(key));
        })
        .await?;
        Ok(Value::Null)
    }

    pub(super) async fn list_resource_tags(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OnKey = call.input()?;
        let (_, record) = self.key(call, &input.key_id).await?;
        let all: Vec<(String, String)> = record.tags.into_iter().collect();
        let (tags, next) = page(
            PAGE_KIND,
            all,
            |entry| entry.0.as_str(),
            input.marker.as_deref(),
            input.limit,
        )?;
        let entries = tags
            .iter()
            .map(|(key, value)| json!({"TagKey": key, "TagValue": value}))
            .collect();
        Ok(listed("Tags", entries, next))
    }
}

/// The tags with the new ones among them, if a key may have those.
pub(super) fn checked_tags(
    mut tags: BTreeMap<String, String>,
    new: Vec<Tag>,
) -> Result<BTreeMap<String, String>, ApiError> {
    for tag in new {
        if tag.tag_key.to_ascii_lowercase().starts_with("aws:") {
            let text = format!(
                "The tag key {} starts with the reserved prefix aws:",
                tag.tag_key
            );
            return Err(error("TagException", text));
        }
        tags.insert(tag.tag_key, tag.tag_value);
    }
    match tags.len() > TAGS_MAX {
        true => Err(error(
            "TagException",
            format!(
                "The key would have {} tags, {TAGS_MAX} are allowed",
                tags.len()
            ),
        )),
        false => Ok(tags),
    }
}
