//! `UpdateSecretVersionStage`.

use super::record::{CURRENT, STAGES_MAX, SecretRecord};
use super::{SecretsManager, error, invalid_parameter};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_store::Change;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateStage {
    secret_id: String,
    version_stage: String,
    remove_from_version_id: Option<String>,
    move_to_version_id: Option<String>,
}

impl SecretsManager {
    pub(super) async fn update_secret_version_stage(&self, call: &Call) -> Result<Value, ApiError> {
        let input: UpdateStage = call.input()?;
        let (name, secret) = self.find_live(call, &input.secret_id).await?;
        let arn = self.arn(&name, &secret);
        let current = secret.staged(CURRENT).map(str::to_owned);
        let current_now = self
            .change(call, &name, |mut secret| {
                moved(&mut secret, &input)?;
                let current = secret.staged(CURRENT).map(str::to_owned);
                Ok(Change::record(secret, current))
            })
            .await?;
        if current_now != current {
            self.tell_of_change(&arn);
        }
        Ok(json!({"ARN": arn, "Name": name}))
    }
}

fn moved(secret: &mut SecretRecord, input: &UpdateStage) -> Result<(), ApiError> {
    let stage = input.version_stage.as_str();
    let holder = secret.staged(stage).map(str::to_owned);
    let named = [&input.remove_from_version_id, &input.move_to_version_id];
    if let Some(id) = named
        .into_iter()
        .flatten()
        .find(|id| !secret.versions.contains_key(*id))
    {
        return Err(error(
            "ResourceNotFoundException",
            format!("Secrets Manager can't find the specified secret value for VersionId: {id}"),
        ));
    }
    match (&holder, &input.remove_from_version_id) {
        (Some(holder), None) if input.move_to_version_id.as_ref() != Some(holder) => {
            return Err(invalid_parameter(format!(
                "The parameter RemoveFromVersionId can't be empty. Staging label {stage} is currently attached to version \
                 {holder}, so you must explicitly reference that version in RemoveFromVersionId."
            )));
        }
        (holder, Some(from)) if holder.as_ref() != Some(from) => {
            return Err(invalid_parameter(format!(
                "The staging label {stage} isn't attached to version {from}."
            )));
        }
        _ => {}
    }
    match &input.move_to_version_id {
        Some(to) => secret.stage(stage, to),
        None if stage == CURRENT => {
            return Err(invalid_parameter(format!(
                "You can't remove the staging label {CURRENT} from a version without moving it to another version."
            )));
        }
        None => secret.unstage(stage),
    }
    match secret
        .versions
        .values()
        .any(|v| v.stages.len() > STAGES_MAX)
    {
        true => Err(error(
            "LimitExceededException",
            format!("A version has at most {STAGES_MAX} labels."),
        )),
        false => Ok(()),
    }
}
