//! Services and operations as the API writes them.

use super::{AppRunner, code};
use apron_domain::service::ServiceSummary;
use apron_domain::{Operation, Service, ServiceConfig};
use serde_json::{Map, Value, json};

/// `{Service, OperationId}`; the operation is absent where a call had nothing to do.
#[derive(Debug)]
pub struct ServiceAnswer {
    pub service: Value,
    pub operation_id: Option<String>,
}

// By hand: serde would copy what is a value already.
impl From<ServiceAnswer> for Value {
    fn from(answer: ServiceAnswer) -> Value {
        with_text(
            "Service",
            answer.service,
            "OperationId",
            answer.operation_id,
        )
    }
}

/// `{<name>: <value>}` and, if there is one, a text.
pub(super) fn with_text(name: &str, value: Value, text_name: &str, text: Option<String>) -> Value {
    let mut members = Map::new();
    members.insert(name.to_owned(), value);
    if let Some(text) = text {
        members.insert(text_name.to_owned(), Value::String(text));
    }
    Value::Object(members)
}

impl AppRunner {
    /// A service in full, with every default, sizes in plain units.
    pub(super) fn service_output(&self, service: &Service) -> Value {
        let mut output = self.service_summary(&service.summary());
        let config = &service.config;
        output["SourceConfiguration"] = source(config);
        output["InstanceConfiguration"] = json!({
            "Cpu": config.size.cpu_units.to_string(),
            "Memory": config.size.memory_mb.to_string(),
        });
        if let Some(role) = &config.instance_role_arn {
            output["InstanceConfiguration"]["InstanceRoleArn"] = json!(role);
        }
        output["HealthCheckConfiguration"] = json!({
            "Protocol": config.health.protocol.as_str(),
            "Path": config.health.path,
            "Interval": config.health.interval,
            "Timeout": config.health.timeout,
            "HealthyThreshold": config.health.healthy_threshold,
            "UnhealthyThreshold": config.health.unhealthy_threshold,
        });
        output["AutoScalingConfigurationSummary"] = json!({
            "AutoScalingConfigurationArn": config.scaling.arn,
            "AutoScalingConfigurationName": config.scaling.name,
            "AutoScalingConfigurationRevision": config.scaling.revision,
        });
        output["NetworkConfiguration"] = json!({
            "EgressConfiguration": { "EgressType": "DEFAULT" },
            "IngressConfiguration": { "IsPubliclyAccessible": true },
            "IpAddressType": "IPV4",
        });
        output["ObservabilityConfiguration"] = json!({ "ObservabilityEnabled": false });
        if let Some(key) = &config.encryption_key {
            output["EncryptionConfiguration"] = json!({ "KmsKey": key });
        }
        if let Some(at) = service.deleted_at {
            output["DeletedAt"] = json!(at.as_seconds());
        }
        output
    }

    /// A service as lists show it.
    pub(super) fn service_summary(&self, service: &ServiceSummary) -> Value {
        json!({
            "ServiceName": service.name,
            "ServiceId": service.id.as_str(),
            "ServiceArn": self.engine.settings.service_arn(&service.name, service.id.as_str()),
            "ServiceUrl": self.engine.settings.service_host(&service.label),
            "CreatedAt": service.created_at.as_seconds(),
            "UpdatedAt": service.updated_at.as_seconds(),
            "Status": service.status.as_str(),
        })
    }

    /// An operation as lists show it.
    pub(super) fn operation_output(&self, operation: &Operation, service: &Service) -> Value {
        let mut output = json!({
            "Id": operation.id.as_str(),
            "Type": operation.kind.as_str(),
            "Status": operation.status.as_str(),
            "TargetArn": self.arn_of(service),
            "StartedAt": operation.started_at.as_seconds(),
            "UpdatedAt": operation.updated_at.as_seconds(),
        });
        if let Some(at) = operation.ended_at {
            output["EndedAt"] = json!(at.as_seconds());
        }
        output
    }

    /// The answer of a call that began an operation, or had none to begin.
    pub(super) fn answer(&self, service: &Service, operation: Option<&Operation>) -> ServiceAnswer {
        ServiceAnswer {
            service: self.service_output(service),
            operation_id: operation.map(|o| o.id.to_string()),
        }
    }
}

fn source(config: &ServiceConfig) -> Value {
    if let Some(code) = &config.code {
        let mut source = json!({
            "CodeRepository": code::output(code),
            "AutoDeploymentsEnabled": config.auto_deployments,
        });
        if let Some(arn) = &code.connection_arn {
            source["AuthenticationConfiguration"] = json!({ "ConnectionArn": arn });
        }
        return source;
    }
    let image = &config.image;
    let mut configuration = json!({
        "Port": image.port.to_string(),
        "RuntimeEnvironmentVariables": image.environment,
    });
    if !image.secrets.is_empty() {
        configuration["RuntimeEnvironmentSecrets"] = json!(image.secrets);
    }
    if let Some(command) = &image.start_command {
        configuration["StartCommand"] = json!(command);
    }
    let mut source = json!({
        "ImageRepository": {
            "ImageIdentifier": image.identifier,
            "ImageRepositoryType": image.repository_type.as_str(),
            "ImageConfiguration": configuration,
        },
        "AutoDeploymentsEnabled": config.auto_deployments,
    });
    if let Some(role) = &image.access_role_arn {
        source["AuthenticationConfiguration"] = json!({ "AccessRoleArn": role });
    }
    source
}
