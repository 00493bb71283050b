//! `GetParameterHistory`.

use super::record::VersionRecord;
use super::{ParameterStore, bad_page_token, not_found};
use crate::endpoint::{Call, PageToken};
use apron_aws::ApiError;
use serde::Deserialize;
use serde_json::{Value, json};

const PAGE_KIND: &str = "parameter-history";
/// Versions of one page, unless fewer are asked for.
const PAGE_ENTRIES_DEFAULT: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct History {
    name: String,
    #[serde(default)]
    with_decryption: bool,
    max_results: Option<usize>,
    next_token: Option<String>,
}

impl ParameterStore {
    pub(super) async fn get_parameter_history(&self, call: &Call) -> Result<Value, ApiError> {
        let input: History = call.input()?;
        let selected = self.selected(&input.name).ok_or_else(not_found)?;
        let name = selected.name;
        let record = self.look_up(call, &name).await?.ok_or_else(not_found)?;
        let after: u64 = match input.next_token.as_deref() {
            None => 0,
            Some(text) => {
                let [number] = PageToken::decode::<1>(PAGE_KIND, text).map_err(bad_page_token)?;
                let number = number.parse();
                number.map_err(|_| bad_page_token(crate::endpoint::InvalidPageToken))?
            }
        };
        let limit = input.max_results.unwrap_or(PAGE_ENTRIES_DEFAULT);
        let mut found: Vec<(u64, &VersionRecord)> = record
            .versions
            .range(after + 1..)
            .map(|(number, version)| (*number, version))
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found
            .last()
            .filter(|_| more)
            .map(|(number, _)| PageToken::after([&number.to_string()]).encode(PAGE_KIND));
        let mut entries = Vec::with_capacity(found.len());
        for (number, version) in found {
            let value = self
                .value(call, &name, number, version, input.with_decryption)
                .await?;
            entries.push(json!({
                "Name": name,
                "Type": version.kind,
                "KeyId": version.key_id,
                "LastModifiedDate": version.modified_at.as_seconds(),
                "LastModifiedUser": version.modified_by,
                "Description": version.description,
                "Value": value,
                "AllowedPattern": version.allowed_pattern,
                "Version": number,
                "Labels": version.labels,
                "Tier": version.tier,
                "Policies": [],
                "DataType": version.data_type,
            }));
        }
        Ok(json!({ "Parameters": entries, "NextToken": next }))
    }
}
