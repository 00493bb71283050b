//! `RuntimeEnvironmentSecrets`: the form of names and references. What they refer to is looked for when the service is deployed.

use super::{check_name, invalid};
use crate::settings::Settings;
use apron_aws::ApiError;
use apron_domain::{SecretReference, ServiceConfig};
use std::collections::BTreeMap;

/// The secrets, if their names may be names of variables.
pub fn checked(
    secrets: BTreeMap<String, String>,
    variables: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, ApiError> {
    for name in secrets.keys() {
        check_name("RuntimeEnvironmentSecrets", name)?;
        if variables.contains_key(name) {
            return Err(invalid(format!(
                "The name {name} is in RuntimeEnvironmentVariables and in RuntimeEnvironmentSecrets: it can be in one of them."
            )));
        }
    }
    Ok(secrets)
}

/// Holds what a service is to be against what its secrets need.
pub fn check(config: &ServiceConfig, settings: &Settings) -> Result<(), ApiError> {
    for (name, text) in &config.image.secrets {
        let reference = SecretReference::parse(text, &settings.region, &settings.account);
        if let Err(reason) = reference {
            return Err(invalid(format!(
                "Invalid value for RuntimeEnvironmentSecrets.{name} '{text}': {reason}."
            )));
        }
    }
    match config.image.secrets.is_empty() || config.instance_role_arn.is_some() {
        true => Ok(()),
        false => Err(invalid(
            "InstanceConfiguration.InstanceRoleArn is required when RuntimeEnvironmentSecrets is used: the secrets are read \
             with the instance role.",
        )),
    }
}
