//! `SourceConfiguration.CodeRepository`: from the request's members to a source, and back.
//!
//! On update, `CodeConfiguration` and `SourceDirectory` keep their values when they are left out; `CodeConfigurationValues`,
//! when given, replaces the one before it as a whole.

use super::config::{Known, environment, port, secrets};
use super::invalid;
use crate::source::credentials::{CredentialsError, usable};
use crate::source::{OWN_PROVIDER, Place, place};
use apron_aws::ApiError;
use apron_builder::git::{GitUrl, branch_problem};
use apron_builder::runtime::runtime;
use apron_domain::Millis;
use apron_domain::code::{
    CodeSource, CodeValues, ConfigurationSource, DIRECTORY_DEFAULT, directory,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CodeRepository {
    pub repository_url: String,
    pub source_code_version: SourceCodeVersion,
    pub code_configuration: Option<CodeConfiguration>,
    pub source_directory: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SourceCodeVersion {
    pub value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CodeConfiguration {
    pub configuration_source: String,
    pub code_configuration_values: Option<CodeConfigurationValues>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CodeConfigurationValues {
    pub runtime: String,
    pub build_command: Option<String>,
    pub start_command: Option<String>,
    pub port: Option<String>,
    #[serde(default)]
    pub runtime_environment_variables: BTreeMap<String, String>,
    #[serde(default)]
    pub runtime_environment_secrets: BTreeMap<String, String>,
}

impl CodeRepository {
    /// The source, over the service's present one if it has one. `connection_arn` is that of the request, or the present
    /// one's.
    pub fn source(
        self,
        present: Option<&CodeSource>,
        connection_arn: Option<String>,
        known: &Known<'_>,
    ) -> Result<CodeSource, ApiError> {
        let member = "SourceConfiguration.CodeRepository";
        let branch = self.source_code_version.value;
        if let Some(problem) = branch_problem(&branch) {
            return Err(invalid(format!(
                "Invalid value for {member}.SourceCodeVersion.Value '{branch}': {problem}."
            )));
        }
        let directory = match &self.source_directory {
            Some(text) => directory(text).ok_or_else(|| {
                invalid(format!(
                    "Invalid value for {member}.SourceDirectory '{text}': it must be a directory within the repository."
                ))
            })?,
            None => present.map_or(DIRECTORY_DEFAULT, |p| &p.directory).to_owned(),
        };
        let (configuration, values) = match (self.code_configuration, present) {
            (Some(given), _) => given.checked()?,
            (None, Some(present)) => (present.configuration, present.values.clone()),
            (None, None) => {
                return Err(invalid(format!(
                    "{member}.CodeConfiguration must be specified."
                )));
            }
        };
        let provider = provider(&self.repository_url, connection_arn.as_deref(), known)?;
        Ok(CodeSource {
            repository: self.repository_url,
            branch,
            directory,
            connection_arn,
            provider,
            configuration,
            values,
            built: present.and_then(|present| present.built.clone()),
        })
    }
}

/// Checks that the repository can be read with this connection, as far as that is known without asking its host; answers
/// what events call the host.
pub fn provider(
    repository: &str,
    connection_arn: Option<&str>,
    known: &Known<'_>,
) -> Result<String, ApiError> {
    let url = match place(known.settings, repository) {
        Ok(Place::Own(_)) if connection_arn.is_some() => {
            return Err(invalid(
                "AuthenticationConfiguration.ConnectionArn isn't needed for a repository of this installation of Apron.",
            ));
        }
        Ok(Place::Own(_)) => return Ok(OWN_PROVIDER.to_owned()),
        Ok(Place::Other(url)) => url,
        Err(error) => {
            // What is wrong may be that it has credentials: it is not repeated.
            return Err(invalid(format!(
                "Invalid value for SourceConfiguration.CodeRepository.RepositoryUrl: {error}."
            )));
        }
    };
    match connection_arn {
        Some(arn) => connection_provider(arn, &url, known),
        None => Ok(match url.host.as_str() {
            "github.com" => "GITHUB",
            "bitbucket.org" => "BITBUCKET",
            _ => "GIT",
        }
        .to_owned()),
    }
}

fn connection_provider(arn: &str, url: &GitUrl, known: &Known<'_>) -> Result<String, ApiError> {
    let found = usable(known.connections, known.settings, arn, url);
    let found = found.map_err(|error| match error {
        CredentialsError::Missing(_) => invalid(format!(
            "The connection ARN you specified isn't valid. ARN: '{arn}'"
        )),
        CredentialsError::Pending(_) => invalid(format!(
            "Connection {arn} is not available: its status is PENDING_HANDSHAKE. Complete the handshake with `apron connect`."
        )),
        error => invalid(format!(
            "Invalid value for AuthenticationConfiguration.ConnectionArn: {error}."
        )),
    })?;
    Ok(match found.content.host {
        // Its operator said another host than the provider's own.
        Some(_) => "GIT".to_owned(),
        None => found.content.provider.clone(),
    })
}

impl CodeConfiguration {
    fn checked(self) -> Result<(ConfigurationSource, Option<CodeValues>), ApiError> {
        let values = self
            .code_configuration_values
            .map(CodeConfigurationValues::checked);
        let values = values.transpose()?;
        match (self.configuration_source.as_str(), &values) {
            ("API", None) => Err(invalid(
                "CodeConfiguration.CodeConfigurationValues must be specified when ConfigurationSource is API.",
            )),
            ("API", Some(_)) => Ok((ConfigurationSource::Api, values)),
            _ => Ok((ConfigurationSource::Repository, values)),
        }
    }
}

impl CodeConfigurationValues {
    fn checked(self) -> Result<CodeValues, ApiError> {
        let environment = environment(self.runtime_environment_variables)?;
        let given = self.port.as_deref();
        Ok(CodeValues {
            runtime: self.runtime,
            build_command: self.build_command,
            start_command: self.start_command,
            port: given
                .map(|text| port("CodeConfigurationValues", Some(text)))
                .transpose()?,
            secrets: secrets::checked(self.runtime_environment_secrets, &environment)?,
            environment,
        })
    }
}

/// `CodeRepository` as the API writes it.
pub fn output(code: &CodeSource) -> Value {
    let mut configuration = json!({ "ConfigurationSource": code.configuration.as_str() });
    if let Some(values) = &code.values {
        let mut shown = json!({
            "Runtime": values.runtime,
            "RuntimeEnvironmentVariables": values.environment,
            "Port": values.port.unwrap_or(apron_domain::code::PORT_DEFAULT).to_string(),
        });
        if !values.secrets.is_empty() {
            shown["RuntimeEnvironmentSecrets"] = json!(values.secrets);
        }
        if let Some(command) = &values.build_command {
            shown["BuildCommand"] = json!(command);
        }
        if let Some(command) = &values.start_command {
            shown["StartCommand"] = json!(command);
        }
        configuration["CodeConfigurationValues"] = shown;
    }
    json!({
        "RepositoryUrl": code.repository,
        "SourceCodeVersion": { "Type": "BRANCH", "Value": code.branch },
        "CodeConfiguration": configuration,
        "SourceDirectory": code.directory,
    })
}

/// Refuses a runtime past its end of support, with which no service is created (developer guide, managed runtime versions).
pub fn check_runtime(code: &CodeSource, now: Millis) -> Result<(), ApiError> {
    let api = code.configuration == ConfigurationSource::Api;
    let values = code.values.as_ref().filter(|_| api);
    let name = values.map(|values| values.runtime.as_str());
    let retired = name
        .and_then(runtime)
        .filter(|found| !found.supported_at(now));
    match retired {
        Some(found) => Err(invalid(format!(
            "The runtime {} is past its end of support ({}): choose a newer one. The operator of this installation can allow \
             it with retired_runtimes in the section build of apron.toml.",
            found.name,
            found.retired.as_deref().unwrap_or_default()
        ))),
        None => Ok(()),
    }
}
