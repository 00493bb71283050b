//! What is stored of a parameter besides its values.

use apron_domain::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The kind of the parameters' records.
pub const PARAMETER_RECORDS: &str = "parameter";
/// Versions of one parameter (Parameter Store's quota); the oldest goes when another comes, unless it has a label.
pub(super) const VERSIONS_MAX: usize = 100;

/// The type whose values are shown to those who may decrypt only.
pub(super) const SECURE: &str = "SecureString";

/// A parameter, stored under its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterRecord {
    /// Its versions by number; never empty.
    pub versions: BTreeMap<u64, VersionRecord>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A version of a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// `String`, `StringList` or `SecureString`.
    pub kind: String,
    /// The customer's key as its owner named it; of a `SecureString` only.
    pub key_id: Option<String>,
    /// What its owner says of it.
    pub description: Option<String>,
    /// The regular expression that values have to match.
    pub allowed_pattern: Option<String>,
    /// `Standard` or `Advanced`.
    pub tier: String,
    /// `text`, or another the owner named.
    pub data_type: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// When it was made.
    pub modified_at: Millis,
    /// The ARN of who made it.
    pub modified_by: String,
}

impl ParameterRecord {
    /// The newest version and its number.
    pub fn newest(&self) -> Option<(u64, &VersionRecord)> {
        self.versions.last_key_value().map(|(n, v)| (*n, v))
    }

    /// The version with a label and its number.
    pub fn labelled(&self, label: &str) -> Option<(u64, &VersionRecord)> {
        let found = self
            .versions
            .iter()
            .find(|(_, v)| v.labels.iter().any(|l| l == label));
        found.map(|(n, v)| (*n, v))
    }
}
