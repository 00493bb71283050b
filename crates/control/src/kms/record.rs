//! What is stored of a key besides its material.

use apron_domain::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The kind of the aliases' records; the keys' is the store's own.
pub(super) const ALIAS_RECORDS: &str = "kms-alias";

/// Whether a key can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyState {
    /// It can.
    Enabled,
    /// Its owner took it out of use.
    Disabled,
    /// It is destroyed at that time.
    PendingDeletion {
        /// When.
        at: Millis,
    },
}

impl KeyState {
    /// The text on the wire (KMS API, `KeyState`).
    pub fn as_str(self) -> &'static str {
        match self {
            KeyState::Enabled => "Enabled",
            KeyState::Disabled => "Disabled",
            KeyState::PendingDeletion { .. } => "PendingDeletion",
        }
    }
}

/// A key, stored under its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// What its owner says of it.
    pub description: String,
    /// Whether it can be used.
    pub state: KeyState,
    /// Its policy.
    pub policy: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Millis,
}

/// An alias, stored under its name with `alias/` before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AliasRecord {
    /// The id of the key it stands for.
    pub target: String,
    /// When it was made.
    pub created_at: Millis,
    /// When it last changed.
    pub updated_at: Millis,
}
