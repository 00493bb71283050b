//! `GetParameter`, `GetParameters` and `GetParametersByPath`.

use super::filter::{StringFilter, check_all};
use super::name::Selected;
use super::put::MANAGED_ALIAS;
use super::record::{PARAMETER_RECORDS, ParameterRecord, SECURE, VersionRecord};
use super::{ParameterStore, error, invalid, key_refused, not_found};
use crate::endpoint::{Call, Listing, internal};
use crate::kms::{Keyring, Use};
use apron_aws::ApiError;
use apron_store::{SealError, StoreError};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

const PAGE_KIND: &str = "parameters-by-path";
/// Parameters of one page by path, unless fewer are asked for.
const PAGE_ENTRIES_DEFAULT: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetParameter {
    name: String,
    #[serde(default)]
    with_decryption: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetParameters {
    names: Vec<String>,
    #[serde(default)]
    with_decryption: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ByPath {
    path: String,
    #[serde(default)]
    recursive: bool,
    #[serde(default)]
    parameter_filters: Vec<StringFilter>,
    #[serde(default)]
    with_decryption: bool,
    max_results: Option<usize>,
    next_token: Option<String>,
}

impl ParameterStore {
    pub(super) async fn get_parameter(&self, call: &Call) -> Result<Value, ApiError> {
        let input: GetParameter = call.input()?;
        let selected = self.selected(&input.name).ok_or_else(not_found)?;
        let parameter = self.read(call, &selected, input.with_decryption).await?;
        Ok(json!({ "Parameter": parameter }))
    }

    pub(super) async fn get_parameters(&self, call: &Call) -> Result<Value, ApiError> {
        let input: GetParameters = call.input()?;
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for name in &input.names {
            let read = match self.selected(name) {
                Some(selected) => self.read(call, &selected, input.with_decryption).await,
                None => Err(not_found()),
            };
            match read {
                Ok(parameter) => found.push(parameter),
                Err(e) if e.code == "ParameterNotFound" || e.code == "ParameterVersionNotFound" => {
                    missing.push(name);
                }
                Err(other) => return Err(other),
            }
        }
        Ok(json!({ "Parameters": found, "InvalidParameters": missing }))
    }

    pub(super) async fn get_parameters_by_path(&self, call: &Call) -> Result<Value, ApiError> {
        let input: ByPath = call.input()?;
        if !input.path.starts_with('/') {
            return Err(invalid(
                "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward \
                 slash \"/\". It can't be prefixed with \"aws\" or \"ssm\" (case-insensitive). It must use only letters, \
                 numbers, or the following symbols: . (period), - (hyphen), _ (underscore). Special characters are not \
                 allowed. All sub-paths, if specified, must use the forward slash symbol \"/\". Valid example: \
                 /get/parameters2-/by1./path0_.",
            ));
        }
        check_all(&input.parameter_filters, &["Type", "KeyId", "Label"])?;
        let base = format!("{}/", input.path.trim_end_matches('/'));
        let listing = Listing {
            kind: PAGE_KIND,
            token: input.next_token.as_deref(),
            entries_max: input.max_results.unwrap_or(PAGE_ENTRIES_DEFAULT),
        };
        let below = |name: &str| {
            let rest = name.strip_prefix(&base).or((base == "/").then_some(name));
            rest.is_some_and(|rest| input.recursive || !rest.contains('/'))
        };
        let filters = &input.parameter_filters;
        let (found, next) = self.page(call, &listing, filters, below).await?;
        let mut parameters = Vec::with_capacity(found.len());
        for (name, record) in &found {
            let labelled = input
                .parameter_filters
                .iter()
                .find_map(|f| f.version(record));
            if let Some((number, version)) = labelled.or(record.newest()) {
                let entry = self
                    .answer(call, name, None, number, version, input.with_decryption)
                    .await?;
                parameters.push(entry);
            }
        }
        Ok(json!({ "Parameters": parameters, "NextToken": next }))
    }

    /// A parameter in the version that is meant, as the API answers it.
    async fn read(
        &self,
        call: &Call,
        selected: &Selected,
        decrypt: bool,
    ) -> Result<Value, ApiError> {
        let Selected { name, selector } = selected;
        let record = self.look_up(call, name).await?.ok_or_else(not_found)?;
        let found = chosen(&record, selector.as_deref());
        let Some((number, version)) = found else {
            let wanted = selector
                .as_deref()
                .unwrap_or_default()
                .trim_start_matches(':');
            return Err(error(
                "ParameterVersionNotFound",
                format!(
                    "Systems Manager could not find version {wanted} of {name}. Verify the version and try again."
                ),
            ));
        };
        self.answer(call, name, selector.as_deref(), number, version, decrypt)
            .await
    }

    async fn answer(
        &self,
        call: &Call,
        name: &str,
        selector: Option<&str>,
        number: u64,
        version: &VersionRecord,
        decrypt: bool,
    ) -> Result<Value, ApiError> {
        Ok(json!({
            "Name": name,
            "Type": version.kind,
            "Value": self.value(call, name, number, version, decrypt).await?,
            "Version": number,
            "Selector": selector,
            "LastModifiedDate": version.modified_at.as_seconds(),
            "ARN": self.arn(name),
            "DataType": version.data_type,
        }))
    }

    /// The value of a version. That of a `SecureString` that is not to be decrypted is a text that only looks like one.
    pub(super) async fn value(
        &self,
        call: &Call,
        name: &str,
        number: u64,
        version: &VersionRecord,
        decrypt: bool,
    ) -> Result<String, ApiError> {
        if version.kind == SECURE && !decrypt {
            return Ok(self.undecrypted(name, number));
        }
        let part = number.to_string();
        let failed = |e: &StoreError| internal(call, "open the parameter", e);
        let key = self
            .store
            .vault_key_of(PARAMETER_RECORDS, name, &part)
            .await;
        if let Some(key) = key.map_err(|e| failed(&e))? {
            let opening = Use {
                service: "ssm",
                action: "kms:Decrypt",
                context: &self.context(name),
            };
            let key = Keyring::text_of(&key);
            let usable = self.keyring.usable_by(call, &opening, &key).await;
            usable.map_err(|refusal| key_refused(call, &refusal))?;
        }
        let opened = self
            .store
            .vault_open(PARAMETER_RECORDS, name, &part, &self.context(name))
            .await;
        match opened {
            Ok(Some(bytes)) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Ok(None) => Err(not_found()),
            Err(StoreError::Sealing(SealError::KeyMissing { .. })) => Err(error(
                "InvalidKeyId",
                format!(
                    "The key {} of the parameter does not exist any more.",
                    version.key_id.as_deref().unwrap_or(MANAGED_ALIAS)
                ),
            )),
            Err(other) => Err(failed(&other)),
        }
    }

    /// AWS answers the cipher text, which is of no use to its reader; ours says which version it stands for.
    fn undecrypted(&self, name: &str, number: u64) -> String {
        let text = format!("{}:{number}", self.arn(name));
        BASE64_STANDARD.encode(aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            text.as_bytes(),
        ))
    }
}

/// The version that a selector, `:` with a number or label, means; the newest without one.
pub(super) fn chosen<'a>(
    record: &'a ParameterRecord,
    selector: Option<&str>,
) -> Option<(u64, &'a VersionRecord)> {
    match selector.map(|selector| selector.trim_start_matches(':')) {
        None => record.newest(),
        Some(number) if number.bytes().all(|b| b.is_ascii_digit()) => {
            let number: u64 = number.parse().ok()?;
            record
                .versions
                .get(&number)
                .map(|version| (number, version))
        }
        Some(label) => record.labelled(label),
    }
}
