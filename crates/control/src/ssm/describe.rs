//! `DescribeParameters`.

use super::filter::{StringFilter, check_all};
use super::{ParameterStore, invalid};
use crate::endpoint::{Call, Listing};
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
        let listing = Listing {
            kind: PAGE_KIND,
            token: input.next_token.as_deref(),
            entries_max: input.max_results.unwrap_or(PAGE_ENTRIES_DEFAULT),
        };
        let (found, next) = self.page(call, &listing, &filters, |_| true).await?;
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
