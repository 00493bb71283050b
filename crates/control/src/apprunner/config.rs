//! From the request's configuration members to a service configuration.
//!
//! On update, members left out keep their values. `InstanceConfiguration` and `HealthCheckConfiguration` are merged member
//! by member; `ImageConfiguration`, when given, replaces the one before it as a whole, because a variable or a start
//! command could not be removed otherwise.

mod secrets;

use super::invalid;
use crate::configurations::{self, AUTO_SCALING};
use crate::settings::Settings;
use apron_aws::ApiError;
use apron_domain::ServiceConfig;
use apron_domain::configuration::{AutoScaling, Revision, find};
use apron_domain::service::{
    HealthCheck, HealthProtocol, ImageSource, InstanceSize, RepositoryType, Scaling,
};
use apron_oci::ImageName;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The configuration members that `CreateService` and `UpdateService` share.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Configuration {
    pub source_configuration: Option<SourceConfiguration>,
    pub instance_configuration: Option<InstanceConfiguration>,
    pub health_check_configuration: Option<HealthCheckConfiguration>,
    pub auto_scaling_configuration_arn: Option<String>,
    pub network_configuration: Option<NetworkConfiguration>,
    pub observability_configuration: Option<ObservabilityConfiguration>,
    pub encryption_configuration: Option<EncryptionConfiguration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SourceConfiguration {
    pub code_repository: Option<serde_json::Value>,
    pub image_repository: Option<ImageRepository>,
    pub auto_deployments_enabled: Option<bool>,
    pub authentication_configuration: Option<AuthenticationConfiguration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthenticationConfiguration {
    pub connection_arn: Option<String>,
    pub access_role_arn: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageRepository {
    pub image_identifier: String,
    pub image_repository_type: String,
    pub image_configuration: Option<ImageConfiguration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfiguration {
    pub runtime_environment_variables: BTreeMap<String, String>,
    pub runtime_environment_secrets: BTreeMap<String, String>,
    pub start_command: Option<String>,
    pub port: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceConfiguration {
    pub cpu: Option<String>,
    pub memory: Option<String>,
    pub instance_role_arn: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthCheckConfiguration {
    pub protocol: Option<String>,
    pub path: Option<String>,
    pub interval: Option<u32>,
    pub timeout: Option<u32>,
    pub healthy_threshold: Option<u32>,
    pub unhealthy_threshold: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkConfiguration {
    pub egress_configuration: Option<EgressConfiguration>,
    pub ingress_configuration: Option<IngressConfiguration>,
    pub ip_address_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EgressConfiguration {
    pub egress_type: Option<String>,
    pub vpc_connector_arn: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IngressConfiguration {
    pub is_publicly_accessible: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EncryptionConfiguration {
    pub kms_key: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ObservabilityConfiguration {
    pub observability_enabled: bool,
    pub observability_configuration_arn: Option<String>,
}

impl Configuration {
    /// The configuration of a new service, with App Runner's defaults.
    pub fn create(
        self,
        settings: &Settings,
        scalings: &[Revision<AutoScaling>],
    ) -> Result<ServiceConfig, ApiError> {
        let source = self.source_configuration.as_ref();
        let Some(image) = source.and_then(|s| s.image_repository.as_ref()) else {
            return Err(no_image(source));
        };
        let image = ImageSource {
            identifier: image.image_identifier.clone(),
            repository_type: RepositoryType::Ecr,
            access_role_arn: None,
            port: 8080,
            start_command: None,
            environment: BTreeMap::new(),
            secrets: Default::default(),
        };
        let base = ServiceConfig {
            image,
            auto_deployments: false,
            size: InstanceSize::default(),
            health: HealthCheck::default(),
            scaling: default_scaling(settings, scalings)?,
            instance_role_arn: None,
            encryption_key: None,
        };
        let automatic = source.and_then(|s| s.auto_deployments_enabled);
        let mut config = self.apply(base, settings, scalings)?;
        config.auto_deployments =
            automatic.unwrap_or(config.image.repository_type == RepositoryType::Ecr);
        Ok(config)
    }

    /// The configuration of a service after an update.
    pub fn apply(
        self,
        mut config: ServiceConfig,
        settings: &Settings,
        scalings: &[Revision<AutoScaling>],
    ) -> Result<ServiceConfig, ApiError> {
        self.refuse_what_has_no_engine()?;
        if let Some(source) = self.source_configuration {
            source.apply(&mut config)?;
        }
        if let Some(instance) = self.instance_configuration {
            config.size = instance.size(config.size)?;
            // No role can be taken away by an update, as App Runner has no word for it.
            config.instance_role_arn = instance.instance_role_arn.or(config.instance_role_arn);
        }
        if let Some(health) = self.health_check_configuration {
            config.health = health.apply(config.health)?;
        }
        if let Some(arn) = self.auto_scaling_configuration_arn {
            config.scaling = scaling(&arn, settings, scalings)?;
        }
        secrets::check(&config, settings)?;
        Ok(config)
    }

    /// Members whose engine does not exist yet are refused with a clear text, never silently accepted.
    fn refuse_what_has_no_engine(&self) -> Result<(), ApiError> {
        let network = self.network_configuration.as_ref();
        let egress = network.and_then(|n| n.egress_configuration.as_ref());
        let uses = |condition: bool, what: &str| match condition {
            true => Err(invalid(format!(
                "{what} is not available in this installation of Apron."
            ))),
            false => Ok(()),
        };
        uses(
            egress.is_some_and(|e| {
                e.egress_type.as_deref() == Some("VPC") || e.vpc_connector_arn.is_some()
            }),
            "NetworkConfiguration.EgressConfiguration with a VPC connector",
        )?;
        let ingress = network.and_then(|n| n.ingress_configuration.as_ref());
        uses(
            ingress.is_some_and(|i| i.is_publicly_accessible == Some(false)),
            "NetworkConfiguration.IngressConfiguration.IsPubliclyAccessible=false",
        )?;
        uses(
            network.is_some_and(|n| n.ip_address_type.as_deref() == Some("DUAL_STACK")),
            "NetworkConfiguration.IpAddressType=DUAL_STACK",
        )?;
        uses(
            self.observability_configuration
                .as_ref()
                .is_some_and(|o| o.observability_enabled),
            "ObservabilityConfiguration with tracing",
        )
    }
}

/// The error for a source without an image.
fn no_image(source: Option<&SourceConfiguration>) -> ApiError {
    match source.is_some_and(|s| s.code_repository.is_some()) {
        true => invalid(
            "SourceConfiguration.CodeRepository is not available in this installation of Apron.",
        ),
        false => invalid(
            "Exactly one of SourceConfiguration.CodeRepository and ImageRepository must be specified.",
        ),
    }
}

impl SourceConfiguration {
    fn apply(self, config: &mut ServiceConfig) -> Result<(), ApiError> {
        if self.code_repository.is_some() {
            return Err(match self.image_repository {
                Some(_) => no_image(None),
                None => no_image(Some(&self)),
            });
        }
        if let Some(image) = self.image_repository {
            image.apply(&mut config.image)?;
        }
        if let Some(authentication) = self.authentication_configuration {
            if authentication.connection_arn.is_some() {
                return Err(invalid(
                    "AuthenticationConfiguration.ConnectionArn is only valid with a CodeRepository source.",
                ));
            }
            config.image.access_role_arn = authentication.access_role_arn;
        }
        let public = config.image.repository_type == RepositoryType::EcrPublic;
        match (self.auto_deployments_enabled, public) {
            (Some(true), true) => {
                return Err(invalid(
                    "App Runner doesn't support automatic deployments for an image in an ECR Public repository.",
                ));
            }
            (Some(enabled), _) => config.auto_deployments = enabled,
            (None, true) => config.auto_deployments = false,
            (None, false) => {}
        }
        Ok(())
    }
}

impl ImageRepository {
    fn apply(self, image: &mut ImageSource) -> Result<(), ApiError> {
        ImageName::parse(&self.image_identifier).map_err(|error| {
            invalid(format!(
                "Invalid value for SourceConfiguration.ImageRepository.ImageIdentifier '{}': {error}.",
                self.image_identifier
            ))
        })?;
        image.identifier = self.image_identifier;
        image.repository_type = match self.image_repository_type.as_str() {
            "ECR_PUBLIC" => RepositoryType::EcrPublic,
            _ => RepositoryType::Ecr,
        };
        if let Some(configuration) = self.image_configuration {
            image.port = port(configuration.port.as_deref())?;
            image.environment = environment(configuration.runtime_environment_variables)?;
            image.secrets = secrets::checked(
                configuration.runtime_environment_secrets,
                &image.environment,
            )?;
            image.start_command = configuration.start_command;
        }
        Ok(())
    }
}

fn port(text: Option<&str>) -> Result<u16, ApiError> {
    let Some(text) = text else { return Ok(8080) };
    match text.parse::<u16>() {
        Ok(port) if port > 0 && !text.starts_with(['+', '0']) => Ok(port),
        _ => Err(invalid(format!(
            "Invalid value for ImageConfiguration.Port '{text}': it must be a number between 1 and 65535."
        ))),
    }
}

fn environment(variables: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ApiError> {
    for (name, value) in &variables {
        check_name("RuntimeEnvironmentVariables", name)?;
        if value.contains('\0') {
            return Err(invalid(format!(
                "RuntimeEnvironmentVariables contains an invalid name or value: {name}."
            )));
        }
    }
    Ok(variables)
}

/// Whether a variable may have this name.
fn check_name(member: &str, name: &str) -> Result<(), ApiError> {
    if name == "PORT" || name.starts_with("AWSAPPRUNNER") {
        return Err(invalid(format!(
            "{member} can't contain the name {name}: it is reserved by App Runner."
        )));
    }
    match name.is_empty() || name.contains(['=', '\0']) {
        true => Err(invalid(format!(
            "{member} contains an invalid name or value: {name}."
        ))),
        false => Ok(()),
    }
}

impl InstanceConfiguration {
    fn size(&self, size: InstanceSize) -> Result<InstanceSize, ApiError> {
        let cpu_units = match &self.cpu {
            Some(text) => units(text, " vCPU", 1024.0),
            None => Some(size.cpu_units),
        };
        let memory_mb = match &self.memory {
            Some(text) => units(text, " GB", 1024.0),
            None => Some(size.memory_mb),
        };
        if let (Some(cpu_units), Some(memory_mb)) = (cpu_units, memory_mb) {
            let size = InstanceSize {
                cpu_units,
                memory_mb,
            };
            if size.is_offered() {
                return Ok(size);
            }
        }
        let text = |given: &Option<String>, present: u32| {
            given.clone().unwrap_or_else(|| present.to_string())
        };
        Err(invalid(format!(
            "Invalid combination of Cpu '{}' and Memory '{}' in InstanceConfiguration. Supported values (vCPU: GB): \
             0.25: 0.5, 1; 0.5: 1; 1: 2, 3, 4; 2: 4, 6; 4: 8, 10, 12.",
            text(&self.cpu, size.cpu_units),
            text(&self.memory, size.memory_mb)
        )))
    }
}

/// `"1 vCPU"` and `"1024"` are the same number of units.
fn units(text: &str, suffix: &str, per_one: f64) -> Option<u32> {
    match text.strip_suffix(suffix) {
        Some(number) => number.parse::<f64>().ok().map(|n| (n * per_one) as u32),
        None => text.parse().ok(),
    }
}

impl HealthCheckConfiguration {
    fn apply(self, check: HealthCheck) -> Result<HealthCheck, ApiError> {
        let path = self.path.unwrap_or(check.path);
        let printable = path.bytes().all(|b| b.is_ascii_graphic());
        if !path.starts_with('/') || !printable {
            return Err(invalid(format!(
                "Invalid value for HealthCheckConfiguration.Path '{path}': it must be a URL path that starts with /."
            )));
        }
        Ok(HealthCheck {
            protocol: match self.protocol.as_deref() {
                Some("HTTP") => HealthProtocol::Http,
                Some(_) => HealthProtocol::Tcp,
                None => check.protocol,
            },
            path,
            interval: self.interval.unwrap_or(check.interval),
            timeout: self.timeout.unwrap_or(check.timeout),
            healthy_threshold: self.healthy_threshold.unwrap_or(check.healthy_threshold),
            unhealthy_threshold: self
                .unhealthy_threshold
                .unwrap_or(check.unhealthy_threshold),
        })
    }
}

/// The account's default auto scaling configuration.
fn default_scaling(
    settings: &Settings,
    scalings: &[Revision<AutoScaling>],
) -> Result<Scaling, ApiError> {
    let default = scalings
        .iter()
        .find(|r| r.content.is_default && r.is_active());
    let default = default.map(|revision| configurations::scaling(settings, revision));
    default.ok_or_else(|| invalid("The account has no default auto scaling configuration."))
}

/// The active revision that an ARN names, in full, by number, or by name alone.
fn scaling(
    arn: &str,
    settings: &Settings,
    scalings: &[Revision<AutoScaling>],
) -> Result<Scaling, ApiError> {
    let selector = configurations::select(settings, AUTO_SCALING, arn);
    let found = selector
        .and_then(|selector| find(scalings, &selector))
        .filter(|r| r.is_active());
    found
        .map(|revision| configurations::scaling(settings, revision))
        .ok_or_else(|| {
            invalid(format!(
                "The auto scaling configuration ARN you specified isn't valid. ARN: '{arn}'"
            ))
        })
}

#[cfg(test)]
mod tests;
