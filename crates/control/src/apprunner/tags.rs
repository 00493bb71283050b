//! Tags of services.

use super::{AppRunner, invalid, store_failed};
use apron_aws::ApiError;
use apron_domain::service::TAGS_MAX;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTags {
    resource_arn: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AddTags {
    resource_arn: String,
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RemoveTags {
    resource_arn: String,
    tag_keys: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagList {
    tags: Vec<Tag>,
}

#[derive(Debug, Serialize)]
pub struct Nothing {}

/// The tags with these added, if there are not too many then and none names a platform feature that does not exist.
pub(super) fn checked(
    new: Vec<Tag>,
    mut tags: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, ApiError> {
    for tag in new {
        if tag.key.starts_with("apron:") {
            return Err(invalid(format!(
                "Tag {} is not valid: no tag with the prefix apron: is known to this installation.",
                tag.key
            )));
        }
        tags.insert(tag.key, tag.value);
    }
    match tags.len() > TAGS_MAX {
        true => Err(invalid(format!(
            "A resource can have at most {TAGS_MAX} tags."
        ))),
        false => Ok(tags),
    }
}

impl AppRunner {
    pub(super) async fn tag_list(&self, input: ListTags) -> Result<TagList, ApiError> {
        let service = self.service_by_arn(&input.resource_arn).await?;
        Ok(TagList {
            tags: service
                .tags
                .into_iter()
                .map(|(key, value)| Tag { key, value })
                .collect(),
        })
    }

    pub(super) async fn tag_add(&self, input: AddTags) -> Result<Nothing, ApiError> {
        let service = self.service_to_change(&input.resource_arn).await?;
        let tags = checked(input.tags, service.tags.clone())?;
        let added: BTreeMap<_, _> = tags
            .into_iter()
            .filter(|(k, v)| service.tags.get(k) != Some(v))
            .collect();
        let change = move |service: &mut apron_domain::Service| service.tags.extend(added);
        self.engine
            .store
            .service_update(&service.id, change)
            .await
            .map_err(store_failed)?;
        Ok(Nothing {})
    }

    pub(super) async fn tag_remove(&self, input: RemoveTags) -> Result<Nothing, ApiError> {
        let service = self.service_to_change(&input.resource_arn).await?;
        let change = move |service: &mut apron_domain::Service| {
            service.tags.retain(|key, _| !input.tag_keys.contains(key));
        };
        self.engine
            .store
            .service_update(&service.id, change)
            .await
            .map_err(store_failed)?;
        Ok(Nothing {})
    }
}
