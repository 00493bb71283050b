//! The tags of parameters.

use super::record::{PARAMETER_RECORDS, ParameterRecord};
use super::{PARAMETERS_MAX, ParameterStore, error, stored};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_store::Change;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Tags of one parameter (AWS: 50).
const TAGS_MAX: usize = 50;

/// A tag on the wire.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OnResource {
    resource_type: String,
    resource_id: String,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    tag_keys: Vec<String>,
}

impl OnResource {
    fn check(&self) -> Result<(), ApiError> {
        match self.resource_type.as_str() {
            "Parameter" => Ok(()),
            other => Err(error(
                "InvalidResourceType",
                format!(
                    "{other} is not available in this installation of Apron; there are parameters."
                ),
            )),
        }
    }
}

fn no_resource() -> ApiError {
    error(
        "InvalidResourceId",
        "The resource ID isn't valid. Verify that you entered the correct ID and try again.",
    )
}

impl ParameterStore {
    pub(super) async fn add_tags_to_resource(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OnResource = call.input()?;
        self.change_tags(call, &input, |tags| checked_tags(tags, &input.tags))
            .await
    }

    pub(super) async fn remove_tags_from_resource(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OnResource = call.input()?;
        self.change_tags(call, &input, |mut tags| {
            tags.retain(|key, _| !input.tag_keys.contains(key));
            Ok(tags)
        })
        .await
    }

    pub(super) async fn list_tags_for_resource(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OnResource = call.input()?;
        input.check()?;
        let name = self
            .selected(&input.resource_id)
            .ok_or_else(no_resource)?
            .name;
        let record = self.look_up(call, &name).await?.ok_or_else(no_resource)?;
        let tags: Vec<Value> = record
            .tags
            .iter()
            .map(|(key, value)| json!({"Key": key, "Value": value}))
            .collect();
        Ok(json!({ "TagList": tags }))
    }

    async fn change_tags(
        &self,
        call: &Call,
        input: &OnResource,
        change: impl FnOnce(BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ApiError>
        + Send,
    ) -> Result<Value, ApiError> {
        input.check()?;
        let name = self
            .selected(&input.resource_id)
            .ok_or_else(no_resource)?
            .name;
        let change = |record: Option<ParameterRecord>| {
            let mut record = record.ok_or_else(no_resource)?;
            record.tags = change(record.tags)?;
            Ok(Change::record(record, json!({})))
        };
        self.store
            .vault_change(PARAMETER_RECORDS, &name, PARAMETERS_MAX, change)
            .await
            .map_err(|e| stored(call, "tag the parameter", &e))?
    }
}

/// The tags with the new ones among them, if a parameter may have those.
pub(super) fn checked_tags(
    mut tags: BTreeMap<String, String>,
    new: &[Tag],
) -> Result<BTreeMap<String, String>, ApiError> {
    for tag in new {
        if tag.key.to_ascii_lowercase().starts_with("aws:") {
            return Err(error(
                "ValidationException",
                format!(
                    "The tag key {} starts with the reserved prefix aws:",
                    tag.key
                ),
            ));
        }
        tags.insert(tag.key.clone(), tag.value.clone());
    }
    match tags.len() > TAGS_MAX {
        true => Err(error(
            "TooManyTagsError",
            format!(
                "The parameter would have {} tags, {TAGS_MAX} are allowed",
                tags.len()
            ),
        )),
        false => Ok(tags),
    }
}
