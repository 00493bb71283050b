//! The tags of repositories.

use super::Ecr;
use super::repositories::Tags;
use crate::endpoint::Call;
use apron_aws::{ApiError, Arn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Tags of one resource (AWS: 50).
const TAGS_MAX: usize = 50;
/// Characters of a tag's key.
const KEY_CHARS_MAX: usize = 128;
/// Characters of a tag's value.
const VALUE_CHARS_MAX: usize = 256;

/// A tag on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OnResource {
    resource_arn: String,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    tag_keys: Vec<String>,
}

/// Holds the tags a resource would have against AWS's rules.
pub(super) fn check_tags(ecr: &Ecr, tags: &Tags) -> Result<(), ApiError> {
    if tags.len() > TAGS_MAX {
        let message = format!(
            "The repository would have {} tags, {TAGS_MAX} are allowed",
            tags.len()
        );
        return Err(ecr.error("TooManyTagsException", message));
    }
    for (key, value) in tags {
        let problem = if key.is_empty() || key.chars().count() > KEY_CHARS_MAX {
            format!("a tag key must have 1 to {KEY_CHARS_MAX} characters")
        } else if value.chars().count() > VALUE_CHARS_MAX {
            format!("the value of the tag '{key}' has more than {VALUE_CHARS_MAX} characters")
        } else if key.to_ascii_lowercase().starts_with("aws:") {
            format!("the tag key '{key}' starts with the reserved prefix aws:")
        } else {
            continue;
        };
        let message =
            format!("Invalid tag parameter at 'tags' failed to satisfy constraint: '{problem}'");
        return Err(ecr.error("InvalidTagParameterException", message));
    }
    Ok(())
}

impl Ecr {
    pub(super) async fn list_tags_for_resource(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OnResource = call.input()?;
        let name = self.repository_name(&input.resource_arn)?;
        let repository = self.repository(call, None, &name).await?;
        let tags: Vec<Tag> = repository
            .tags
            .into_iter()
            .map(|(key, value)| Tag { key, value })
            .collect();
        Ok(json!({"tags": tags}))
    }

    pub(super) async fn tag_resource(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OnResource = call.input()?;
        let name = self.repository_name(&input.resource_arn)?;
        let _one_at_a_time = self.lifecycle.lock().await;
        let mut tags = self.repository(call, None, &name).await?.tags;
        tags.extend(input.tags.into_iter().map(|tag| (tag.key, tag.value)));
        check_tags(self, &tags)?;
        self.change(call, &name, |repository| repository.tags = tags)
            .await?;
        Ok(json!({}))
    }

    pub(super) async fn untag_resource(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OnResource = call.input()?;
        let name = self.repository_name(&input.resource_arn)?;
        let _one_at_a_time = self.lifecycle.lock().await;
        self.change(call, &name, |repository| {
            repository
                .tags
                .retain(|key, _| !input.tag_keys.contains(key))
        })
        .await?;
        Ok(json!({}))
    }

    /// The repository an ARN of this registry names.
    fn repository_name(&self, text: &str) -> Result<String, ApiError> {
        let arn: Arn = text
            .parse()
            .map_err(|_| self.invalid("resourceArn", "Invalid ARN"))?;
        let ours = arn.service == "ecr"
            && arn.region == self.settings.region
            && arn.account == self.settings.account;
        let name = arn.resource.strip_prefix("repository/").filter(|_| ours);
        name.map(str::to_owned)
            .ok_or_else(|| self.invalid("resourceArn", "Invalid ARN"))
    }
}
