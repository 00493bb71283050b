//! `PutParameter`.

use super::name::check_name;
use super::record::{PARAMETER_RECORDS, ParameterRecord, SECURE, VERSIONS_MAX, VersionRecord};
use super::tags::{Tag, checked_tags};
use super::{PARAMETERS_MAX, ParameterStore, error, invalid, key_refused, stored};
use crate::endpoint::Call;
use crate::kms::Use;
use apron_aws::ApiError;
use apron_store::{Change, EncryptionContext, Lock, Part};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Bytes of a value of a standard and of an advanced parameter.
const VALUE_BYTES_MAX: (usize, usize) = (4096, 8192);
/// The alias of the key that AWS manages: for us, the platform's own data key.
pub(super) const MANAGED_ALIAS: &str = "alias/aws/ssm";
const DATA_TYPES: [&str; 3] = ["text", "aws:ec2:image", "aws:ssm:integration"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutParameter {
    name: String,
    description: Option<String>,
    value: String,
    #[serde(rename = "Type")]
    kind: Option<String>,
    key_id: Option<String>,
    #[serde(default)]
    overwrite: bool,
    allowed_pattern: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    tier: Option<String>,
    policies: Option<String>,
    data_type: Option<String>,
}

impl PutParameter {
    fn check(&self) -> Result<(), ApiError> {
        if self.value.is_empty() {
            return Err(invalid(
                "1 validation error detected: Value at 'value' failed to satisfy constraint: Member must have length \
                 greater than or equal to 1",
            ));
        }
        if self.policies.as_deref().is_some_and(|p| p.trim() != "[]") {
            return Err(error(
                "InvalidPolicyTypeException",
                "Parameter policies are not available in this installation of Apron",
            ));
        }
        if let Some(other) = self
            .data_type
            .as_deref()
            .filter(|t| !DATA_TYPES.contains(t))
        {
            return Err(invalid(format!(
                "The following data type is not supported: {other} (Data type names are all lowercase.)"
            )));
        }
        if self.overwrite && !self.tags.is_empty() {
            return Err(invalid(
                "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove \
                 overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or \
                 RemoveTagsFromResource.",
            ));
        }
        self.check_pattern()
    }

    fn check_pattern(&self) -> Result<(), ApiError> {
        let Some(pattern) = self.allowed_pattern.as_deref().filter(|p| !p.is_empty()) else {
            return Ok(());
        };
        // Anchored by us, so that the pattern is about the whole value.
        let whole = regex::RegexBuilder::new(&format!("^(?:{pattern})$"))
            .size_limit(PATTERN_BYTES_MAX)
            .build();
        match whole {
            Err(_) => Err(error(
                "InvalidAllowedPatternException",
                format!("The request does not meet the regular expression requirement: {pattern}"),
            )),
            Ok(whole) if !whole.is_match(&self.value) => Err(error(
                "ParameterPatternMismatchException",
                format!("Parameter value, cannot be validated against allowedPattern: {pattern}"),
            )),
            Ok(_) => Ok(()),
        }
    }

    /// The tier of the new version: `Intelligent-Tiering` chooses by what is asked for.
    fn tier(&self, before: Option<&VersionRecord>) -> Result<String, ApiError> {
        let (standard, advanced) = VALUE_BYTES_MAX;
        let long = self.value.len() > standard;
        let was_advanced = before.is_some_and(|v| v.tier == "Advanced");
        let tier = match self.tier.as_deref() {
            Some("Advanced") => "Advanced",
            Some("Intelligent-Tiering") if long || was_advanced => "Advanced",
            Some("Standard") if was_advanced => {
                return Err(invalid(
                    "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the \
                     advanced-parameter tier to the standard-parameter tier.",
                ));
            }
            None if was_advanced => "Advanced",
            _ => "Standard",
        };
        let most = if tier == "Advanced" {
            advanced
        } else {
            standard
        };
        match self.value.len() > most {
            true => Err(invalid(format!(
                "{tier} tier parameters support a maximum parameter value of {most} characters."
            ))),
            false => Ok(tier.to_owned()),
        }
    }

    /// The new version after the newest one.
    fn version(
        &self,
        before: Option<&VersionRecord>,
        call: &Call,
    ) -> Result<VersionRecord, ApiError> {
        let kind = match (&self.kind, before) {
            (Some(kind), _) => kind.clone(),
            (None, Some(before)) => before.kind.clone(),
            (None, None) => {
                return Err(invalid(
                    "A parameter type is required when you create a parameter.",
                ));
            }
        };
        if let Some(before) = before.filter(|before| before.kind != kind) {
            return Err(error(
                "HierarchyTypeMismatchException",
                format!(
                    "The parameter has the type {}, which can't be changed to {kind}.",
                    before.kind
                ),
            ));
        }
        if self.key_id.is_some() && kind != SECURE {
            return Err(invalid(
                "KeyId is only valid for parameters of the type SecureString.",
            ));
        }
        let secure = kind == SECURE;
        Ok(VersionRecord {
            key_id: self
                .key_id
                .clone()
                .or_else(|| before.and_then(|b| b.key_id.clone()))
                .or_else(|| secure.then(|| MANAGED_ALIAS.to_owned())),
            description: self
                .description
                .clone()
                .or_else(|| before.and_then(|b| b.description.clone())),
            allowed_pattern: self.allowed_pattern.clone().filter(|p| !p.is_empty()),
            tier: self.tier(before)?,
            data_type: self
                .data_type
                .clone()
                .unwrap_or_else(|| DATA_TYPES[0].to_owned()),
            labels: Vec::new(),
            modified_at: call.now,
            modified_by: call.caller.arn.clone(),
            kind,
        })
    }
}

/// Bytes that a compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

impl ParameterStore {
    pub(super) async fn put_parameter(&self, call: &Call) -> Result<Value, ApiError> {
        let input: PutParameter = call.input()?;
        let name = match self.selected(&input.name) {
            Some(selected) if selected.selector.is_none() => selected.name,
            _ => return Err(invalid(format!("Invalid parameter name: {}.", input.name))),
        };
        check_name(&name)?;
        input.check()?;
        let before = self.look_up(call, &name).await?;
        let newest = before.as_ref().and_then(|p| p.newest()).map(|(_, v)| v);
        let lock = self
            .lock(call, &name, &input.version(newest, call)?)
            .await?;
        let put = |before: Option<ParameterRecord>| {
            if before.is_some() && !input.overwrite {
                return Err(error(
                    "ParameterAlreadyExists",
                    "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
                ));
            }
            let mut record = before.unwrap_or_default();
            let version = input.version(record.newest().map(|(_, v)| v), call)?;
            let number = record.newest().map_or(1, |(n, _)| n + 1);
            let answer = json!({ "Version": number, "Tier": version.tier });
            if record.versions.is_empty() {
                record.tags = checked_tags(BTreeMap::new(), &input.tags)?;
            }
            let mut parts = make_room(&name, &mut record)?;
            record.versions.insert(number, version);
            parts.push(Part::Put {
                name: number.to_string(),
                lock,
                value: input.value.clone().into_bytes(),
            });
            Ok(Change {
                record: Some(record),
                parts,
                outcome: answer,
            })
        };
        let answer = self
            .store
            .vault_change(PARAMETER_RECORDS, &name, PARAMETERS_MAX, put)
            .await
            .map_err(|e| stored(call, "put the parameter", &e))??;
        // Nobody needs to listen.
        let _ = self.changes.send(self.arn(&name));
        Ok(answer)
    }

    async fn lock(
        &self,
        call: &Call,
        name: &str,
        version: &VersionRecord,
    ) -> Result<Lock, ApiError> {
        match version.key_id.as_deref() {
            None | Some(MANAGED_ALIAS) => Ok(Lock::Platform),
            Some(key) => {
                let context = self.context(name);
                let sealing = Use {
                    service: "ssm",
                    action: "kms:Encrypt",
                    context: &context,
                };
                match self.keyring.usable_by(call, &sealing, key).await {
                    Ok(key) => Ok(Lock::Customer(key.id, context)),
                    Err(refusal) => Err(key_refused(call, &refusal)),
                }
            }
        }
    }

    /// The context that the values of a customer's key are bound to, as AWS has it.
    pub(super) fn context(&self, name: &str) -> EncryptionContext {
        EncryptionContext::of("PARAMETER_ARN", &self.arn(name))
    }
}

/// Forgets the oldest version when there is no room for another; what becomes of its value.
fn make_room(name: &str, record: &mut ParameterRecord) -> Result<Vec<Part>, ApiError> {
    if record.versions.len() < VERSIONS_MAX {
        return Ok(Vec::new());
    }
    match record.versions.first_key_value() {
        Some((_, oldest)) if !oldest.labels.is_empty() => Err(error(
            "ParameterMaxVersionLimitExceeded",
            format!(
                "You attempted to create a new version of {name} by calling the PutParameter API with the overwrite flag. \
                 Version {}, the oldest version, can't be deleted because it has a label associated with it. Move the label \
                 to another version of the parameter, and try again.",
                record.versions.keys().next().copied().unwrap_or_default()
            ),
        )),
        _ => {
            let gone = record.versions.pop_first();
            Ok(gone
                .into_iter()
                .map(|(number, _)| Part::Drop {
                    name: number.to_string(),
                })
                .collect())
        }
    }
}
