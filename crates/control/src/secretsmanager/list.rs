//! `ListSecrets`: filters, orders and pages.

use super::SecretsManager;
use super::read::{bad_page_token, stages_of};
use super::record::{SECRET_RECORDS, SecretRecord};
use crate::endpoint::{Call, PageToken, internal};
use apron_aws::ApiError;
use serde::Deserialize;
use serde_json::{Value, json};

const PAGE_KIND: &str = "secrets";
/// Secrets of one page, unless fewer are asked for.
const PAGE_ENTRIES_DEFAULT: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListSecrets {
    #[serde(default)]
    include_planned_deletion: bool,
    max_results: Option<usize>,
    next_token: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
    sort_order: Option<String>,
    sort_by: Option<String>,
}

/// A filter: one of its values has to fit. A value that begins with `!` fits what does not fit its rest.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Filter {
    #[serde(default)]
    key: String,
    #[serde(default)]
    values: Vec<String>,
}

impl Filter {
    /// Whether a secret passes.
    pub fn passes(&self, name: &str, secret: &SecretRecord) -> bool {
        self.values
            .iter()
            .any(|value| match value.strip_prefix('!') {
                Some(value) => !self.fits(value, name, secret),
                None => self.fits(value, name, secret),
            })
    }

    /// Names, tags: the beginning, as it is written. Descriptions and `all`: without regard to case
    /// (Secrets Manager API, `Filter`).
    fn fits(&self, value: &str, name: &str, secret: &SecretRecord) -> bool {
        let lower = value.to_lowercase();
        let description = secret
            .description
            .as_deref()
            .unwrap_or_default()
            .to_lowercase();
        let mut tags = secret.tags.iter();
        match self.key.as_str() {
            "name" => name.starts_with(value),
            "description" => description.starts_with(&lower),
            "tag-key" => tags.any(|(key, _)| key.starts_with(value)),
            "tag-value" => tags.any(|(_, tag)| tag.starts_with(value)),
            "all" => lower.split_whitespace().all(|word| {
                let has = |text: &str| text.to_lowercase().contains(word);
                has(name) || has(&description) || tags.clone().any(|(k, v)| has(k) || has(v))
            }),
            // Secrets here have one region and no owning service.
            _ => false,
        }
    }
}

impl ListSecrets {
    /// What secrets are put in order by; the name makes it one of a kind.
    fn place(&self, name: &str, secret: &SecretRecord) -> (String, String) {
        let at = match self.sort_by.as_deref() {
            Some("name") => return (String::new(), name.to_owned()),
            Some("last-accessed-date") => secret.accessed_at.unwrap_or_default(),
            Some("last-changed-date") => secret.changed_at,
            _ => secret.created_at,
        };
        (format!("{:020}", at.0), name.to_owned())
    }
}

impl SecretsManager {
    pub(super) async fn list_secrets(&self, call: &Call) -> Result<Value, ApiError> {
        let input: ListSecrets = call.input()?;
        let after = input
            .next_token
            .as_deref()
            .map(|text| PageToken::decode::<2>(PAGE_KIND, text))
            .transpose()
            .map_err(bad_page_token)?
            .map(|[at, name]| (at, name));
        let all = self.store.vault_all::<SecretRecord>(SECRET_RECORDS).await;
        let all = all.map_err(|e| internal(call, "list the secrets", &e))?;
        let descending = input.sort_order.as_deref() == Some("desc");
        let mut found: Vec<((String, String), SecretRecord)> = all
            .into_iter()
            .filter(|(name, secret)| {
                (input.include_planned_deletion || secret.destroy_at.is_none())
                    && input.filters.iter().all(|f| f.passes(name, secret))
            })
            .map(|(name, secret)| (input.place(&name, &secret), secret))
            .filter(|(place, _)| match (&after, descending) {
                (None, _) => true,
                (Some(after), false) => place > after,
                (Some(after), true) => place < after,
            })
            .collect();
        found.sort_by(|a, b| match descending {
            true => b.0.cmp(&a.0),
            false => a.0.cmp(&b.0),
        });
        let limit = input.max_results.unwrap_or(PAGE_ENTRIES_DEFAULT);
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found
            .last()
            .filter(|_| more)
            .map(|((at, name), _)| PageToken::after([at, name]).encode(PAGE_KIND));
        let entries: Vec<Value> = found
            .iter()
            .map(|((_, name), secret)| {
                let mut entry = self.description(name, secret);
                entry["SecretVersionsToStages"] = stages_of(secret);
                entry
            })
            .collect();
        Ok(json!({ "SecretList": entries, "NextToken": next }))
    }
}
