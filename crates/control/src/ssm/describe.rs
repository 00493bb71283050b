//! `DescribeParameters`.

use super::filter::{StringFilter, check_all};
use super::record::{PARAMETER_RECORDS, ParameterRecord};
use super::{ParameterStore, bad_page_token, invalid};
use crate::endpoint::{Call, PageToken, internal};
use apron_aws::ApiError;
use serde::Deserialize;
use serde_json::{Value, json};

const PAGE_KIND: &str = "parameters";
/// Parameters of one page, unless fewer are asked for.
const PAGE_ENTRIES_DEFAULT: usize = 50;
const KEYS: [&str; 8] = [
    "Name", "Type", "KeyId", "Path", "Label", "Tier", "DataType", "tag:",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeParameters {
    #[serde(default)]
    filters: Vec<StringFilter>,
    #[serde(default)]
    parameter_filters: Vec<StringFilter>,
    max_results: Option<usize>,
    next_token: Option<String>,
    #[serde(default)]
    shared: bool,
}

impl ParameterStore {
    pub(super) async fn describe_parameters(&self, call: &Call) -> Result<Value, ApiError> {
        let input: DescribeParameters = call.input()?;
        if !input.filters.is_empty() && !input.parameter_filters.is_empty() {
            return Err(invalid(
                "You can use either Filters or ParameterFilters, not both.",
            ));
        }
        // The older filters have no options; a name's is found by its beginning.
        let mut filters = input.parameter_filters;
        filters.extend(input.filters.into_iter().map(|filter| StringFilter {
            option: (filter.key == "Name").then(|| "BeginsWith".to_owned()),
            ..filter
        }));
        check_all(&filters, &KEYS)?;
        if input.shared {
            return Ok(json!({ "Parameters": [] }));
        }
        let after = input
            .next_token
            .as_deref()
            .map(|text| PageToken::decode::<1>(PAGE_KIND, text))
            .transpose()
            .map_err(bad_page_token)?
            .map(|[name]| name);
        let limit = input.max_results.unwrap_or(PAGE_ENTRIES_DEFAULT);
        let all = self
            .store
            .vault_all::<ParameterRecord>(PARAMETER_RECORDS)
            .await;
        let all = all.map_err(|e| internal(call, "list the parameters", &e))?;
        let mut found: Vec<(String, ParameterRecord)> = all
            .into_iter()
            .filter(|(name, record)| {
                after.as_ref().is_none_or(|after| name > after)
                    && filters.iter().all(|filter| filter.passes(name, record))
            })
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found
            .last()
            .filter(|_| more)
            .map(|(name, _)| PageToken::after([name]).encode(PAGE_KIND));
        let entries: Vec<Value> = found
            .iter()
            .filter_map(|(name, record)| {
                let (number, version) = record.newest()?;
                Some(json!({
                    "Name": name,
                    "ARN": self.arn(name),
                    "Type": version.kind,
                    "KeyId": version.key_id,
                    "LastModifiedDate": version.modified_at.as_seconds(),
                    "LastModifiedUser": version.modified_by,
                    "Description": version.description,
                    "AllowedPattern": version.allowed_pattern,
                    "Version": number,
                    "Tier": version.tier,
                    "Policies": [],
                    "DataType": version.data_type,
                }))
            })
            .collect();
        Ok(json!({ "Parameters": entries, "NextToken": next }))
    }
}
