//! From the request's configuration members to a service configuration.
//!
//! On update, members left out keep their values. `InstanceConfiguration` and `HealthCheckConfiguration` are merged member
//! by member; `ImageConfiguration`, when given, replaces the one before it as a whole, because a variable or a start
//! command could not be removed otherwise.

pub(super) mod secrets;

use super::code::{self, CodeRepository};
use super::invalid;
use crate::configurations::{self, AUTO_SCALING};
use crate::settings::Settings;
use apron_aws::ApiError;
use apron_domain::code::CodeSource;
use apron_domain::configuration::{AutoScaling, Connection, Revision, find};
use apron_domain::service::{
    HealthCheck, HealthProtocol, ImageSource, InstanceSize, RepositoryType, Scaling,
};
use apron_domain::{Millis, ServiceConfig};
use apron_oci::ImageName;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a configuration is checked against.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The operator's settings.
    pub settings: &'a Settings,
    /// The account's auto scaling configurations.
    pub scalings: &'a [Revision<AutoScaling>],
    /// The account's connections.
    pub connections: &'a [Revision<Connection>],
    /// The time that runtimes must be supported at for a new service; none takes them all.
    pub supported_at: Option<Millis>,
}

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
    pub code_repository: Option<CodeRepository>,
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
    pub fn create(self, known: &Known<'_>) -> Result<ServiceConfig, ApiError> {
        let source = self.source_configuration.as_ref();
        let (image, code) = match source.map(|s| (&s.image_repository, &s.code_repository)) {
            Some((Some(image), None)) => (image.image_identifier.clone(), false),
            Some((None, Some(_))) => (String::new(), true),
            _ => return Err(not_one_source()),
        };
        let image = ImageSource {
            identifier: image,
            repository_type: RepositoryType::Ecr,
            access_role_arn: None,
            port: 8080,
            start_command: None,
            environment: BTreeMap::new(),
            secrets: Default::default(),
        };
        let base = ServiceConfig {
            image,
            code: None,
            auto_deployments: false,
            size: InstanceSize::default(),
            health: HealthCheck::default(),
            scaling: default_scaling(known.settings, known.scalings)?,
            instance_role_arn: None,
            encryption_key: None,
        };
        let automatic = source.and_then(|s| s.auto_deployments_enabled);
        let mut config = self.apply(base, known)?;
        if let (Some(code), Some(now)) = (&config.code, known.supported_at) {
            code::check_runtime(code, now)?;
        }
        let tracked = code || config.image.repository_type == RepositoryType::Ecr;
        config.auto_deployments = automatic.unwrap_or(tracked);
        Ok(config)
    }

    /// The configuration of a service after an update.
    pub fn apply(
        self,
        mut config: ServiceConfig,
        known: &Known<'_>,
    ) -> Result<ServiceConfig, ApiError> {
        self.refuse_what_has_no_engine()?;
        if let Some(source) = self.source_configuration {
            source.apply(&mut config, known)?;
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
            config.scaling = scaling(&arn, known.settings, known.scalings)?;
        }
        secrets::check(&config, known.settings)?;
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

/// The error for no source, or two.
fn not_one_source() -> ApiError {
    invalid(
        "Exactly one of SourceConfiguration.CodeRepository and ImageRepository must be specified.",
    )
}

impl SourceConfiguration {
    fn apply(self, config: &mut ServiceConfig, known: &Known<'_>) -> Result<(), ApiError> {
        if self.code_repository.is_some() && self.image_repository.is_some() {
            return Err(not_one_source());
        }
        match self.code_repository.is_some() || config.code.is_some() {
            true => self.apply_code(config, known),
            false => self.apply_image(config),
        }
    }

    fn apply_image(self, config: &mut ServiceConfig) -> Result<(), ApiError> {
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

    fn apply_code(self, config: &mut ServiceConfig, known: &Known<'_>) -> Result<(), ApiError> {
        let present = config.code.as_ref();
        let kept = present.and_then(|code| code.connection_arn.clone());
        let connection = match self.authentication_configuration {
            Some(authentication) if authentication.access_role_arn.is_some() => {
                return Err(invalid(
                    "AuthenticationConfiguration.AccessRoleArn is only valid with an ImageRepository source.",
                ));
            }
            Some(authentication) => authentication.connection_arn,
            None => kept,
        };
        let mut code: CodeSource = match (self.code_repository, present) {
            (Some(repository), present) => repository.source(present, connection, known)?,
            (None, Some(present)) => CodeSource {
                provider: code::provider(&present.repository, connection.as_deref(), known)?,
                connection_arn: connection,
                ..present.clone()
            },
            (None, None) => return Err(not_one_source()),
        };
        // What the build of another source gave says nothing of this one's.
        if present.is_some_and(|present| !code.builds_like(present)) {
            code.built = None;
        }
        config.image = code.running();
        config.code = Some(code);
        if let Some(enabled) = self.auto_deployments_enabled {
            config.auto_deployments = enabled;
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
            image.port = port("ImageConfiguration", configuration.port.as_deref())?;
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

/// A port of `member`, which is 8080 when it is not given.
pub(super) fn port(member: &str, text: Option<&str>) -> Result<u16, ApiError> {
    let Some(text) = text else { return Ok(8080) };
    match text.parse::<u16>() {
        Ok(port) if port > 0 && !text.starts_with(['+', '0']) => Ok(port),
        _ => Err(invalid(format!(
            "Invalid value for {member}.Port '{text}': it must be a number between 1 and 65535."
        ))),
    }
}

/// Variables, none of which has a name that is taken.
pub(super) fn environment(
    variables: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, ApiError> {
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
