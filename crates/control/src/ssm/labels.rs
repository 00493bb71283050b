//! `LabelParameterVersion` and `UnlabelParameterVersion`.

use super::record::{PARAMETER_RECORDS, ParameterRecord};
use super::{PARAMETERS_MAX, ParameterStore, error, not_found, stored};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_store::Change;
use serde::Deserialize;
use serde_json::{Value, json};

/// Labels of one version (Parameter Store's quota).
const LABELS_MAX: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Labels {
    name: String,
    parameter_version: Option<u64>,
    labels: Vec<String>,
}

impl ParameterStore {
    pub(super) async fn label_parameter_version(&self, call: &Call) -> Result<Value, ApiError> {
        let input: Labels = call.input()?;
        let (good, bad): (Vec<String>, Vec<String>) = input
            .labels
            .iter()
            .cloned()
            .partition(|label| is_label(label));
        let name = self.selected(&input.name).ok_or_else(not_found)?.name;
        self.change_labels(call, &name, |record| {
            let number = version_of(record, &name, input.parameter_version)?;
            for version in record.versions.values_mut() {
                version.labels.retain(|label| !good.contains(label));
            }
            if let Some(version) = record.versions.get_mut(&number) {
                version.labels.extend(good);
                if version.labels.len() > LABELS_MAX {
                    return Err(error(
                        "ParameterVersionLabelLimitExceeded",
                        format!("A parameter version can have a maximum of {LABELS_MAX} labels."),
                    ));
                }
            }
            Ok(json!({ "InvalidLabels": bad, "ParameterVersion": number }))
        })
        .await
    }

    pub(super) async fn unlabel_parameter_version(&self, call: &Call) -> Result<Value, ApiError> {
        let input: Labels = call.input()?;
        let name = self.selected(&input.name).ok_or_else(not_found)?.name;
        self.change_labels(call, &name, |record| {
            let number = version_of(record, &name, input.parameter_version)?;
            let Some(version) = record.versions.get_mut(&number) else {
                return Err(not_found());
            };
            let (removed, invalid): (Vec<String>, Vec<String>) = input
                .labels
                .into_iter()
                .partition(|label| version.labels.contains(label));
            version.labels.retain(|label| !removed.contains(label));
            Ok(json!({ "RemovedLabels": removed, "InvalidLabels": invalid }))
        })
        .await
    }

    async fn change_labels(
        &self,
        call: &Call,
        name: &str,
        change: impl FnOnce(&mut ParameterRecord) -> Result<Value, ApiError> + Send,
    ) -> Result<Value, ApiError> {
        let change = |record: Option<ParameterRecord>| {
            let mut record = record.ok_or_else(not_found)?;
            let answer = change(&mut record)?;
            Ok(Change::record(record, answer))
        };
        let answer = self
            .store
            .vault_change(PARAMETER_RECORDS, name, PARAMETERS_MAX, change)
            .await
            .map_err(|e| stored(call, "label the parameter", &e))??;
        // A service may use a version by its label; nobody needs to listen.
        let _ = self.changes.send(self.arn(name));
        Ok(answer)
    }
}

fn version_of(record: &ParameterRecord, name: &str, wanted: Option<u64>) -> Result<u64, ApiError> {
    let number = wanted
        .or(record.newest().map(|(number, _)| number))
        .unwrap_or_default();
    match record.versions.contains_key(&number) {
        true => Ok(number),
        false => Err(error(
            "ParameterVersionNotFound",
            format!(
                "Systems Manager could not find version {number} of {name}. Verify the version and try again."
            ),
        )),
    }
}

/// Whether Parameter Store takes a text for a label (its user guide, labels).
fn is_label(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    text.bytes().all(plain)
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && !lower.starts_with("aws")
        && !lower.starts_with("ssm")
}
