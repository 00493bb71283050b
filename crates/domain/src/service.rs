//! A service: what the user asked for and where it stands.

use crate::code::CodeSource;
use crate::ids::{Digest, ServiceId};
use crate::time::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The status an API caller sees (App Runner API, `Service.Status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceStatus {
    /// The first deployment failed; an update repairs the service.
    CreateFailed,
    /// Serving.
    Running,
    /// Gone; still described for a while.
    Deleted,
    /// Deleting failed; deleting again continues.
    DeleteFailed,
    /// No instances, by the user's wish.
    Paused,
    /// An operation is under way.
    OperationInProgress,
}

impl ServiceStatus {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceStatus::CreateFailed => "CREATE_FAILED",
            ServiceStatus::Running => "RUNNING",
            ServiceStatus::Deleted => "DELETED",
            ServiceStatus::DeleteFailed => "DELETE_FAILED",
            ServiceStatus::Paused => "PAUSED",
            ServiceStatus::OperationInProgress => "OPERATION_IN_PROGRESS",
        }
    }
}

/// Where a service's image comes from, as the API names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RepositoryType {
    /// A private repository: ours, or another registry by its host name.
    Ecr,
    /// A public repository: never deployed automatically.
    EcrPublic,
}

impl RepositoryType {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            RepositoryType::Ecr => "ECR",
            RepositoryType::EcrPublic => "ECR_PUBLIC",
        }
    }
}

/// The image a service runs and how its container is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSource {
    /// The identifier exactly as the user gave it; empty for a service from source code, whose image is built.
    pub identifier: String,
    /// Its kind of repository.
    pub repository_type: RepositoryType,
    /// The role that pulls from the platform's own registry; none: the platform itself does.
    pub access_role_arn: Option<String>,
    /// The TCP port the application listens on.
    pub port: u16,
    /// Replaces the image's entry point and command.
    pub start_command: Option<String>,
    /// Variables of the application.
    pub environment: BTreeMap<String, String>,
    /// Where the values of further variables come from, as the user gave it
    /// ([`SecretReference`](crate::secret_reference::SecretReference)).
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
}

/// An instance size that App Runner offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSize {
    /// Processor units, 1024 to a vCPU.
    pub cpu_units: u32,
    /// Memory in mebibytes.
    pub memory_mb: u32,
}

/// The sizes App Runner offers (developer guide, architecture: supported configurations).
pub const SIZES: [InstanceSize; 11] = [
    InstanceSize {
        cpu_units: 256,
        memory_mb: 512,
    },
    InstanceSize {
        cpu_units: 256,
        memory_mb: 1024,
    },
    InstanceSize {
        cpu_units: 512,
        memory_mb: 1024,
    },
    InstanceSize {
        cpu_units: 1024,
        memory_mb: 2048,
    },
    InstanceSize {
        cpu_units: 1024,
        memory_mb: 3072,
    },
    InstanceSize {
        cpu_units: 1024,
        memory_mb: 4096,
    },
    InstanceSize {
        cpu_units: 2048,
        memory_mb: 4096,
    },
    InstanceSize {
        cpu_units: 2048,
        memory_mb: 6144,
    },
    InstanceSize {
        cpu_units: 4096,
        memory_mb: 8192,
    },
    InstanceSize {
        cpu_units: 4096,
        memory_mb: 10240,
    },
    InstanceSize {
        cpu_units: 4096,
        memory_mb: 12288,
    },
];

impl Default for InstanceSize {
    fn default() -> Self {
        InstanceSize {
            cpu_units: 1024,
            memory_mb: 2048,
        }
    }
}

impl InstanceSize {
    /// Whether App Runner offers this pair.
    pub fn is_offered(self) -> bool {
        SIZES.contains(&self)
    }
}

/// How health is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthProtocol {
    /// Open a connection.
    Tcp,
    /// `GET` a path.
    Http,
}

impl HealthProtocol {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthProtocol::Tcp => "TCP",
            HealthProtocol::Http => "HTTP",
        }
    }
}

/// The health check of a service; times in seconds, thresholds in consecutive probes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// How health is asked for.
    pub protocol: HealthProtocol,
    /// The path for HTTP.
    pub path: String,
    /// Seconds between probes.
    pub interval: u32,
    /// Seconds a probe may take.
    pub timeout: u32,
    /// Good probes in a row that make an instance healthy.
    pub healthy_threshold: u32,
    /// Bad probes in a row that make it unhealthy.
    pub unhealthy_threshold: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        HealthCheck {
            protocol: HealthProtocol::Tcp,
            path: "/".to_owned(),
            interval: 5,
            timeout: 2,
            healthy_threshold: 1,
            unhealthy_threshold: 5,
        }
    }
}

/// The auto scaling revision a service is bound to, with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaling {
    /// The concrete revision's ARN.
    pub arn: String,
    /// The configuration's name.
    pub name: String,
    /// Its revision.
    pub revision: u32,
    /// Requests one instance is given at the same time.
    pub max_concurrency: u32,
    /// Instances kept at least.
    pub min_size: u32,
    /// Instances at most.
    pub max_size: u32,
}

/// Everything of a service that an update can change; a change of it is a new revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceConfig {
    /// The image and how it is started.
    pub image: ImageSource,
    /// The source code the image is built from; none for a service from an image.
    #[serde(default)]
    pub code: Option<CodeSource>,
    /// A push to the tracked tag deploys by itself.
    pub auto_deployments: bool,
    /// The size of each instance.
    pub size: InstanceSize,
    /// The health check.
    pub health: HealthCheck,
    /// The scaling numbers.
    pub scaling: Scaling,
    /// The role that instances act as.
    #[serde(default)]
    pub instance_role_arn: Option<String>,
    /// The ARN of the customer's key that seals the service's variables; set when the service is made.
    #[serde(default)]
    pub encryption_key: Option<String>,
}

/// A configuration together with the image content it was last deployed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// The revision number its instances carry. A deployment of unchanged configuration is a new revision too.
    pub revision: u32,
    /// The configuration.
    pub config: ServiceConfig,
    /// The manifest that runs.
    pub image: Digest,
}

/// A service as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// Its name, unique among services that are not deleted.
    pub name: String,
    /// The ten characters in front of its address.
    pub label: String,
    /// What a caller sees.
    pub status: ServiceStatus,
    /// What a caller sees of the configuration: the newest wish, or after a rollback the one that runs.
    pub config: ServiceConfig,
    /// What serves, or served before a pause. `None` until a deployment succeeded.
    pub deployed: Option<Deployed>,
    /// What served before the deployment that serves now; a roll back goes there.
    #[serde(default)]
    pub previous: Option<Deployed>,
    /// The highest revision number given out.
    pub last_revision: u32,
    /// The newest commit that a deployment was tried with, whatever came of it; services from source code only.
    #[serde(default)]
    pub tried_commit: Option<String>,
    /// The image or source was pushed again while an operation was under way: deploy once more when it ends.
    pub push_pending: bool,
    /// The service's tags.
    pub tags: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: Millis,
    /// When it last changed.
    pub updated_at: Millis,
    /// When it was deleted.
    pub deleted_at: Option<Millis>,
}

/// What lists show of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSummary {
    /// As [`Service::id`].
    pub id: ServiceId,
    /// As [`Service::name`].
    pub name: String,
    /// As [`Service::label`].
    pub label: String,
    /// As [`Service::status`].
    pub status: ServiceStatus,
    /// As [`Service::created_at`].
    pub created_at: Millis,
    /// As [`Service::updated_at`].
    pub updated_at: Millis,
}

impl Service {
    /// What lists show of it.
    pub fn summary(&self) -> ServiceSummary {
        ServiceSummary {
            id: self.id.clone(),
            name: self.name.clone(),
            label: self.label.clone(),
            status: self.status,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// Tags a resource may have (the limit AWS has everywhere).
pub const TAGS_MAX: usize = 50;

/// The alphabet of a service's address label.
const LABEL_ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Makes the ten-character label of a service's address from random bytes.
pub fn label_from_random(bytes: [u8; 10]) -> String {
    bytes
        .iter()
        .map(|b| LABEL_ALPHABET[usize::from(b % 32)] as char)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_published_sizes_are_offered() {
        assert!(InstanceSize::default().is_offered());
        assert!(
            InstanceSize {
                cpu_units: 256,
                memory_mb: 512
            }
            .is_offered()
        );
        assert!(
            !InstanceSize {
                cpu_units: 256,
                memory_mb: 2048
            }
            .is_offered()
        );
        assert!(
            !InstanceSize {
                cpu_units: 4096,
                memory_mb: 512
            }
            .is_offered()
        );
    }

    #[test]
    fn labels_are_ten_lower_case_characters() {
        for byte in 0..=255 {
            let label = label_from_random([byte; 10]);
            assert_eq!(label.len(), 10);
            assert!(
                label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            );
        }
    }
}
