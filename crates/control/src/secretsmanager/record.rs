//! What is stored of a secret besides its values, and how its staging labels move.

use crate::settings::Settings;
use apron_aws::Arn;
use apron_domain::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The kind of the secrets' records.
pub const SECRET_RECORDS: &str = "secret";
/// The label of the version that is read when nothing else is said.
pub(super) const CURRENT: &str = "AWSCURRENT";
/// The label of the version that was current before.
pub(super) const PREVIOUS: &str = "AWSPREVIOUS";
/// Versions of one secret (Secrets Manager's quota); those without labels go first, the oldest before the others.
pub(super) const VERSIONS_MAX: usize = 100;
/// Labels of one version (Secrets Manager's quota).
pub(super) const STAGES_MAX: usize = 20;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A secret, stored under its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// The six characters after its name in its ARN: a secret of the same name made later is another one.
    pub suffix: String,
    /// What its owner says of it.
    pub description: Option<String>,
    /// The customer's key as its owner named it.
    pub kms_key_id: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its resource policy.
    pub policy: Option<String>,
    /// When it was made.
    pub created_at: Millis,
    /// When it last changed.
    pub changed_at: Millis,
    /// The day on which a value was last read.
    pub accessed_at: Option<Millis>,
    /// When its owner deleted it.
    pub deleted_at: Option<Millis>,
    /// When it is destroyed; until then it can be restored.
    pub destroy_at: Option<Millis>,
    /// Its versions by id.
    pub versions: BTreeMap<String, VersionRecord>,
}

/// A version of a secret. Its value does not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// When it was made.
    pub created_at: Millis,
    /// The day on which it was last read.
    pub accessed_at: Option<Millis>,
    /// Its labels; none: it is deprecated.
    pub stages: Vec<String>,
    /// Whether its value is bytes and not a text.
    pub binary: bool,
}

/// The ARN of a secret.
pub fn secret_arn(settings: &Settings, name: &str, suffix: &str) -> String {
    let resource = format!("secret:{name}-{suffix}");
    Arn::new(
        "secretsmanager",
        &settings.region,
        &settings.account,
        resource,
    )
    .to_string()
}

/// The beginning of the day, which is all that is told of accesses.
pub(super) fn day(now: Millis) -> Millis {
    Millis(now.0 - now.0 % DAY_MS)
}

impl SecretRecord {
    /// The version with a label.
    pub fn staged(&self, stage: &str) -> Option<&str> {
        let has = |version: &VersionRecord| version.stages.iter().any(|s| s == stage);
        let found = self.versions.iter().find(|(_, version)| has(version));
        found.map(|(id, _)| id.as_str())
    }

    /// Takes a label from the version that has it.
    pub(super) fn unstage(&mut self, stage: &str) {
        for version in self.versions.values_mut() {
            version.stages.retain(|s| s != stage);
        }
    }

    /// Gives a label to a version, which takes it from another. The version that was current becomes the previous one.
    pub(super) fn stage(&mut self, stage: &str, id: &str) {
        let before = self.staged(stage).map(str::to_owned);
        if before.as_deref() == Some(id) {
            return;
        }
        self.unstage(stage);
        if let Some(version) = self.versions.get_mut(id) {
            version.stages.push(stage.to_owned());
        }
        if let (CURRENT, Some(before)) = (stage, before) {
            self.unstage(PREVIOUS);
            if let Some(version) = self.versions.get_mut(&before) {
                version.stages.push(PREVIOUS.to_owned());
            }
        }
    }

    /// Forgets versions without labels, the oldest first, until there are as many as there may be; their ids. Those that
    /// are left over have labels.
    pub(super) fn forget_deprecated(&mut self) -> Vec<String> {
        let surplus = self.versions.len().saturating_sub(VERSIONS_MAX);
        let mut deprecated: Vec<(Millis, String)> = self
            .versions
            .iter()
            .filter(|(_, version)| version.stages.is_empty())
            .map(|(id, version)| (version.created_at, id.clone()))
            .collect();
        deprecated.sort();
        let gone: Vec<String> = deprecated
            .into_iter()
            .take(surplus)
            .map(|(_, id)| id)
            .collect();
        for id in &gone {
            self.versions.remove(id);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(ids: &[&str]) -> SecretRecord {
        let mut secret = SecretRecord::default();
        for (index, id) in ids.iter().enumerate() {
            let version = VersionRecord {
                created_at: Millis(index as u64),
                accessed_at: None,
                stages: Vec::new(),
                binary: false,
            };
            secret.versions.insert((*id).to_owned(), version);
            secret.stage(CURRENT, id);
        }
        secret
    }

    #[test]
    fn the_former_current_version_becomes_the_previous_one() {
        let mut secret = secret(&["a", "b", "c"]);
        assert_eq!(secret.staged(CURRENT), Some("c"));
        assert_eq!(secret.staged(PREVIOUS), Some("b"));
        assert!(secret.versions["a"].stages.is_empty());
        // Going back.
        secret.stage(CURRENT, "b");
        assert_eq!(secret.staged(CURRENT), Some("b"));
        assert_eq!(secret.staged(PREVIOUS), Some("c"));
        secret.stage(CURRENT, "b");
        assert_eq!(secret.staged(PREVIOUS), Some("c"));
    }

    #[test]
    fn only_versions_without_labels_are_forgotten() {
        let ids: Vec<String> = (0..VERSIONS_MAX + 3).map(|n| format!("{n:03}")).collect();
        let mut secret = secret(&ids.iter().map(String::as_str).collect::<Vec<_>>());
        secret.stage("mine", "000");
        assert_eq!(secret.forget_deprecated(), ["001", "002", "003"]);
        assert_eq!(secret.versions.len(), VERSIONS_MAX);
        assert!(secret.forget_deprecated().is_empty());
    }
}
