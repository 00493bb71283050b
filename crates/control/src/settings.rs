//! What the operator decides once for an installation.

use apron_domain::operation::Patience;
use std::time::Duration;

/// The settings the application works by. Read from the configuration file by the composition root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The twelve-digit account id of this installation.
    pub account: String,
    /// The region name in ARNs and addresses, for example `us-east-1`.
    pub region: String,
    /// The domain under which services get their addresses.
    pub domain: String,
    /// The port on which visitors reach services.
    pub https_port: u16,
    /// Host and port under which clients reach the image registry.
    pub registry_host: String,
    /// Where instances reach the API, when they do.
    pub instance_endpoint: Option<String>,
    /// The URL under which others know the platform as an issuer of identities (OpenID Connect), `https://…`.
    pub issuer: String,
    /// How long deployments wait.
    pub patience: Patience,
    /// Time between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
    /// Services that may exist at the same time.
    pub services_max: u32,
    /// What an instance may write to its file system, in bytes (App Runner: 3 GB).
    pub instance_disk_bytes: u64,
    /// Processes and threads an instance may have.
    pub instance_pids_max: u32,
    /// How long a deleted service is still described.
    pub deleted_kept: Duration,
}

impl Settings {
    /// The host name of a service: `<label>.<region>.<domain>`.
    pub fn service_host(&self, label: &str) -> String {
        format!("{label}.{}.{}", self.region, self.domain)
    }

    /// Where visitors reach a service, for people: the API names the host alone.
    pub fn service_url(&self, label: &str) -> String {
        let host = self.service_host(label);
        match self.https_port {
            443 => format!("https://{host}"),
            port => format!("https://{host}:{port}"),
        }
    }

    /// Whether a host in an image's identifier or a repository's URL means this platform: its own name, this machine's loopback address with the
    /// registry's port, or the name the account's registry would have in AWS, so that scripts keep working.
    pub fn is_own_host(&self, host: &str) -> bool {
        let aws = format!("{}.dkr.ecr.{}.amazonaws.com", self.account, self.region);
        let own = format!("{}.dkr.ecr.{}.{}", self.account, self.region, self.domain);
        let split = |host: &str| {
            host.rsplit_once(':')
                .map(|(name, port)| (name.to_owned(), port.to_owned()))
        };
        let is_loopback = match (split(host), split(&self.registry_host)) {
            (Some((name, port)), Some((_, own_port))) => {
                port == own_port && matches!(name.as_str(), "localhost" | "127.0.0.1" | "[::1]")
            }
            _ => false,
        };
        let without_port = host.rsplit_once(':').map_or(host, |(name, _)| name);
        host == self.registry_host || host == aws || without_port == own || is_loopback
    }

    /// The ARN of a service.
    pub fn service_arn(&self, name: &str, id: &str) -> String {
        format!(
            "arn:aws:apprunner:{}:{}:service/{name}/{id}",
            self.region, self.account
        )
    }
}
