//! Aliases: names for keys that can be given to another key.

use super::keys::Paging;
use super::record::{ALIAS_RECORDS, AliasRecord, KeyState};
use super::{ALIASES_MAX, KeyRefusal, Kms, error, listed, page, refused, stored};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_store::Change;
use serde::Deserialize;
use serde_json::{Value, json};

const PAGE_KIND: &str = "kms-aliases";
const PREFIX: &str = "alias/";
/// The names of the keys that AWS manages itself.
const RESERVED: &str = "alias/aws/";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Alias {
    alias_name: String,
    target_key_id: Option<String>,
}

impl Alias {
    fn check(&self) -> Result<(), ApiError> {
        let name = self.alias_name.strip_prefix(PREFIX);
        if name.is_none_or(str::is_empty) {
            let text = "Alias must start with the prefix \"alias/\". Please see \
                        https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html";
            return Err(error("ValidationException", text));
        }
        if self.alias_name.starts_with(RESERVED) {
            let text = format!(
                "{} starts with the reserved prefix {RESERVED}",
                self.alias_name
            );
            return Err(error("InvalidAliasNameException", text));
        }
        match name.is_some_and(|name| name.contains(':')) {
            true => Err(error(
                "InvalidAliasNameException",
                format!(
                    "{} contains invalid characters for an alias",
                    self.alias_name
                ),
            )),
            false => Ok(()),
        }
    }
}

enum Refusal {
    Exists,
    Missing,
}

impl Kms {
    pub(super) async fn create_alias(&self, call: &Call) -> Result<Value, ApiError> {
        let input: Alias = call.input()?;
        input.check()?;
        let target = self.alias_target(call, &input).await?;
        let now = call.now;
        self.change_alias(call, &input.alias_name, move |alias| match alias {
            Some(_) => Err(Refusal::Exists),
            None => Ok(Some(AliasRecord {
                target,
                created_at: now,
                updated_at: now,
            })),
        })
        .await
    }

    pub(super) async fn update_alias(&self, call: &Call) -> Result<Value, ApiError> {
        let input: Alias = call.input()?;
        input.check()?;
        let target = self.alias_target(call, &input).await?;
        let now = call.now;
        self.change_alias(call, &input.alias_name, move |alias| {
            let alias = alias.ok_or(Refusal::Missing)?;
            Ok(Some(AliasRecord {
                target,
                updated_at: now,
                ..alias
            }))
        })
        .await
    }

    pub(super) async fn delete_alias(&self, call: &Call) -> Result<Value, ApiError> {
        let input: Alias = call.input()?;
        input.check()?;
        self.change_alias(call, &input.alias_name, |alias| {
            alias.map(|_| None).ok_or(Refusal::Missing)
        })
        .await
    }

    pub(super) async fn list_aliases(&self, call: &Call) -> Result<Value, ApiError> {
        let input: Paging = call.input()?;
        let only = match &input.key_id {
            Some(key) => Some(self.key(call, key).await?.0),
            None => None,
        };
        let all = self.store.vault_all::<AliasRecord>(ALIAS_RECORDS).await;
        let mut all = all.map_err(|e| stored(call, "list the aliases", &e))?;
        all.retain(|(_, alias)| only.as_ref().is_none_or(|id| alias.target == *id));
        let (aliases, next) = page(
            PAGE_KIND,
            all,
            |entry| entry.0.as_str(),
            input.marker.as_deref(),
            input.limit,
        )?;
        let entries = aliases
            .iter()
            .map(|(name, alias)| {
                json!({
                    "AliasName": name,
                    "AliasArn": self.keyring.arn(name),
                    "TargetKeyId": alias.target,
                    "CreationDate": alias.created_at.as_seconds(),
                    "LastUpdatedDate": alias.updated_at.as_seconds(),
                })
            })
            .collect();
        Ok(listed("Aliases", entries, next))
    }

    /// The id of the key an alias is to stand for.
    async fn alias_target(&self, call: &Call, input: &Alias) -> Result<String, ApiError> {
        let target = input.target_key_id.as_deref().unwrap_or_default();
        if target.contains(PREFIX) {
            let text = "Aliases must refer to keys. Not aliases";
            return Err(error("ValidationException", text));
        }
        let (id, record) = self.key(call, target).await?;
        match record.state {
            KeyState::PendingDeletion { .. } => {
                let arn = self.keyring.arn(&format!("key/{id}"));
                Err(refused(call, KeyRefusal::PendingDeletion(arn)))
            }
            _ => Ok(id),
        }
    }

    async fn change_alias(
        &self,
        call: &Call,
        name: &str,
        change: impl FnOnce(Option<AliasRecord>) -> Result<Option<AliasRecord>, Refusal> + Send,
    ) -> Result<Value, ApiError> {
        let change = |alias| {
            Ok(Change {
                record: change(alias)?,
                parts: Vec::new(),
                outcome: Value::Null,
            })
        };
        let changed = self
            .store
            .vault_change(ALIAS_RECORDS, name, ALIASES_MAX, change);
        let changed = changed
            .await
            .map_err(|e| stored(call, "change the alias", &e))?;
        let arn = self.keyring.arn(name);
        changed.map_err(|refusal| match refusal {
            Refusal::Exists => error(
                "AlreadyExistsException",
                format!("An alias with the name {arn} already exists"),
            ),
            Refusal::Missing => error("NotFoundException", format!("Alias {arn} is not found.")),
        })
    }
}
