//! `DeleteSecret` and `RestoreSecret`.

use super::record::{SECRET_RECORDS, SecretRecord};
use super::{SECRETS_MAX, SecretsManager, invalid_parameter, not_found, stored};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_store::Change;
use serde::Deserialize;
use serde_json::{Value, json};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Days in which a deleted secret can be restored: fewest, most, unless something else is asked for.
const WINDOW_DAYS: (i64, i64, i64) = (7, 30, 30);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteSecret {
    secret_id: String,
    recovery_window_in_days: Option<i64>,
    #[serde(default)]
    force_delete_without_recovery: bool,
}

impl SecretsManager {
    pub(super) async fn delete_secret(&self, call: &Call) -> Result<Value, ApiError> {
        let input: DeleteSecret = call.input()?;
        let (least, most, usual) = WINDOW_DAYS;
        let force = input.force_delete_without_recovery;
        if force && input.recovery_window_in_days.is_some() {
            return Err(invalid_parameter(
                "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
            ));
        }
        let days = input.recovery_window_in_days.unwrap_or(usual);
        if !(least..=most).contains(&days) {
            return Err(invalid_parameter(format!(
                "The RecoveryWindowInDays value must be between {least} and {most} days (inclusive)."
            )));
        }
        let (name, secret) = match force {
            // Deleting by force again what is to be deleted anyway is allowed.
            true => self.find(call, &input.secret_id).await?,
            false => self.find_live(call, &input.secret_id).await?,
        };
        let arn = self.arn(&name, &secret);
        if force {
            let dropped = self.store.vault_drop(SECRET_RECORDS, &name).await;
            dropped.map_err(|e| stored(call, "delete the secret", &e))?;
            return Ok(json!({"ARN": arn, "Name": name, "DeletionDate": call.now.as_seconds()}));
        }
        let at = call.now.plus(days.unsigned_abs() * DAY_MS);
        let now = call.now;
        self.change(call, &name, |mut secret| {
            secret.deleted_at = Some(now);
            secret.destroy_at = Some(at);
            Ok(Change::record(secret, ()))
        })
        .await?;
        Ok(json!({"ARN": arn, "Name": name, "DeletionDate": at.as_seconds()}))
    }

    pub(super) async fn restore_secret(&self, call: &Call) -> Result<Value, ApiError> {
        let input: DeleteSecret = call.input()?;
        let (name, secret) = self.find(call, &input.secret_id).await?;
        let restore = |secret: Option<SecretRecord>| {
            let mut secret = secret.ok_or_else(not_found)?;
            secret.deleted_at = None;
            secret.destroy_at = None;
            Ok(Change::record(secret, ()))
        };
        let restored: Result<(), ApiError> = self
            .store
            .vault_change(SECRET_RECORDS, &name, SECRETS_MAX, restore)
            .await
            .map_err(|e| stored(call, "restore the secret", &e))?;
        restored?;
        Ok(json!({"ARN": self.arn(&name, &secret), "Name": name}))
    }
}
