//! The filters of `DescribeParameters` and `GetParametersByPath`.

use super::error;
use super::record::{ParameterRecord, VersionRecord};
use apron_aws::ApiError;
use serde::Deserialize;

/// The options of keys that compare texts.
const TEXT_OPTIONS: [&str; 3] = ["Equals", "BeginsWith", "Contains"];

/// A filter: one of its values has to fit.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StringFilter {
    pub key: String,
    pub option: Option<String>,
    #[serde(default)]
    pub values: Vec<String>,
}

/// Refuses filters with another key than these, or an option or number of values that their key does not have.
pub(super) fn check_all(filters: &[StringFilter], keys: &[&str]) -> Result<(), ApiError> {
    filters.iter().try_for_each(|filter| filter.check(keys))
}

impl StringFilter {
    fn check(&self, keys: &[&str]) -> Result<(), ApiError> {
        let known = keys.contains(&self.key.as_str())
            || (keys.contains(&"tag:") && self.key.starts_with("tag:"));
        if !known {
            return Err(error(
                "InvalidFilterKey",
                format!(
                    "The filter key {} is not one of {}.",
                    self.key,
                    keys.join(", ")
                ),
            ));
        }
        let options: &[&str] = match self.key.as_str() {
            "Name" | "KeyId" => &TEXT_OPTIONS,
            "Path" => &["Recursive", "OneLevel"],
            _ => &TEXT_OPTIONS[..1],
        };
        if let Some(option) = self.option.as_deref().filter(|o| !options.contains(o)) {
            return Err(error(
                "InvalidFilterOption",
                format!(
                    "The filter option {option} is not one of {} for {}.",
                    options.join(", "),
                    self.key
                ),
            ));
        }
        let needs_values = !self.key.starts_with("tag:");
        match needs_values && self.values.is_empty() {
            true => Err(error(
                "InvalidFilterValue",
                format!("The filter {} has no values.", self.key),
            )),
            false => Ok(()),
        }
    }

    /// Whether a parameter passes.
    pub fn passes(&self, name: &str, record: &ParameterRecord) -> bool {
        let Some((_, newest)) = record.newest() else {
            return false;
        };
        let any = |text: &str| self.values.iter().any(|value| self.fits(text, value));
        match self.key.as_str() {
            // A name without a hierarchy is found with and without its slash.
            "Name" => any(name) || any(&format!("/{name}")),
            "Type" => any(&newest.kind),
            "KeyId" => newest.key_id.as_deref().is_some_and(any),
            "Tier" => any(&newest.tier),
            "DataType" => any(&newest.data_type),
            "Label" => self.version(record).is_some(),
            "Path" => self.values.iter().any(|path| self.is_below(name, path)),
            tag => tag.strip_prefix("tag:").is_some_and(|key| {
                let value = record.tags.get(key);
                value.is_some_and(|value| self.values.is_empty() || self.values.contains(value))
            }),
        }
    }

    /// The version with one of the labels; none for another filter.
    pub fn version<'a>(&self, record: &'a ParameterRecord) -> Option<(u64, &'a VersionRecord)> {
        match self.key.as_str() {
            "Label" => self.values.iter().find_map(|label| record.labelled(label)),
            _ => None,
        }
    }

    fn fits(&self, text: &str, value: &str) -> bool {
        match self.option.as_deref() {
            Some("BeginsWith") => text.starts_with(value),
            Some("Contains") => text.contains(value),
            _ => text == value,
        }
    }

    fn is_below(&self, name: &str, path: &str) -> bool {
        let base = format!("{}/", path.trim_end_matches('/'));
        let name = if name.starts_with('/') {
            name.to_owned()
        } else {
            format!("/{name}")
        };
        let recursive = self.option.as_deref() == Some("Recursive");
        name.strip_prefix(&base)
            .is_some_and(|rest| recursive || !rest.contains('/'))
    }
}
