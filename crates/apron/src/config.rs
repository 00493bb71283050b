//! The configuration file `apron.toml`: everything has a default, unknown keys are refused.

mod build;

use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use apron_control::Settings;
use apron_domain::operation::Patience;
use apron_store::MasterSource;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

pub use build::Build;

/// The file written at the first start.
const DEFAULT_FILE: &str = r#"# Apron's settings. Restart with `apron down && apron up` after a change.

# Tells several platforms on one machine apart: it is part of control group, interface and firewall table names.
name = "main"

# The region in ARNs and addresses, and the domain under which services get theirs. Names below `localhost` resolve to this
# machine by themselves.
region = "us-east-1"
domain = "apron.localhost"

# Addresses of instances; used by nothing else on this machine.
instance_network = "10.213.0.0/16"

# Whether the users of instances and builds are nobody on this machine, where the kernel allows it. Images whose files belong to
# users above 65535 need it off.
user_namespaces = true

# The registry's host and port as clients write it; by default `localhost` and the port of the API.
# registry_host = "registry.example.com:7400"

# The URL under which others, AWS for example, know this platform as an issuer of identities (OpenID Connect); by default that of
# the API. Its documents are at /.well-known/ of the API.
# issuer = "https://apron.example.com"
# Whether other issuers that IAM has providers for may have addresses that are not public.
private_issuers = false

[listen]
# The AWS API and the image registry, with TLS.
api = ["127.0.0.1:7400", "[::1]:7400"]
# The services' addresses, and the redirect from plain HTTP.
https = ["127.0.0.1:443", "[::1]:443"]
http = ["127.0.0.1:80", "[::1]:80"]

# Where the key comes from that seals secrets in the database. Without this: the file store/sealing.key, made at the first start.
# With `command` what that program prints, with `credential` the credential of that name which systemd hands over; see
# "Sealing" in the operations guide.
# [sealing]
# command = ["/usr/local/bin/fetch-sealing-key"]

[deployment]
# How long new instances may take to become healthy, requests of old ones to end, applications to react to SIGTERM.
healthy_within_seconds = 300
drain_seconds = 120
# How long connections of a replaced proxy may take to end.
proxy_drain_seconds = 120
stop_grace_seconds = 30

[source]
# Time between two questions for the head of a tracked branch, where no webhook tells of pushes.
ask_every_seconds = 60

[build]
# Services may be created with runtimes past their end of support.
retired_runtimes = false
# Builds at the same time.
# parallel = 2
# Whether builds use every processor. Otherwise one core is left to services, whose requests then do not wait longer during builds.
every_processor = false
# Base images in place of those made here of Debian packages, by the runtime's name in the API.
# images = { PYTHON_311 = "registry.example.com/python:3.11" }
# Variables for the commands of builds, and never of what is built.
# environment = { PIP_INDEX_URL = "https://packages.example.com/simple" }
# Where Debian's packages come from.
# mirror = "https://mirror.example.com"
# Certificates that builds trust, in place of this machine's.
# trust = "/etc/ssl/certs/ca-certificates.crt"
"#;

/// The settings as the file has them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Tells several platforms on one machine apart.
    pub name: String,
    /// The region.
    pub region: String,
    /// The services' domain.
    pub domain: String,
    /// The account id in place of the generated one.
    pub account_id: Option<String>,
    /// Addresses of instances.
    pub instance_network: String,
    /// Whether users of instances are nobody on the machine, where the kernel allows it.
    pub user_namespaces: bool,
    /// The registry's host as clients write it.
    pub registry_host: Option<String>,
    /// The URL as an issuer of identities.
    pub issuer: Option<String>,
    /// Whether other issuers may have addresses that are not public.
    pub private_issuers: bool,
    /// Services that may exist.
    pub services_max: u32,
    /// The user id the proxy runs as; needs no entry in the user database, used by nothing else.
    pub proxy_uid: u32,
    /// Files with certificates (PEM) to trust when pulling from other registries, besides the system's.
    pub registry_authorities: Vec<std::path::PathBuf>,
    /// Where to listen.
    pub listen: Listen,
    /// Where the sealing key comes from.
    pub sealing: Sealing,
    /// How deployments go.
    pub deployment: Deployment,
    /// How source code is followed.
    pub source: Source,
    /// How source code is built.
    pub build: Build,
}

/// Where to listen.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// The API and the registry.
    pub api: Vec<SocketAddr>,
    /// The services.
    pub https: Vec<SocketAddr>,
    /// The redirect to HTTPS.
    pub http: Vec<SocketAddr>,
}

/// Where the sealing key comes from; nothing said: a file beside the database.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sealing {
    /// A program and its arguments that print it.
    pub command: Vec<String>,
    /// The name of a credential of systemd.
    pub credential: Option<String>,
}

/// How deployments go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deployment {
    /// Seconds until new instances must be healthy.
    pub healthy_within_seconds: u64,
    /// Seconds that requests of instances out of the routes may take.
    pub drain_seconds: u64,
    /// Seconds that connections of a replaced proxy may take to end.
    pub proxy_drain_seconds: u64,
    /// Seconds between SIGTERM and SIGKILL.
    pub stop_grace_seconds: u64,
}

/// How source code is followed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// Seconds between two questions for the head of a tracked branch.
    pub ask_every_seconds: u64,
}

impl Default for Source {
    fn default() -> Self {
        Source {
            ask_every_seconds: 60,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            name: "main".to_owned(),
            region: "us-east-1".to_owned(),
            domain: "apron.localhost".to_owned(),
            account_id: None,
            instance_network: "10.213.0.0/16".to_owned(),
            user_namespaces: true,
            registry_host: None,
            issuer: None,
            private_issuers: false,
            services_max: 500,
            proxy_uid: 61_080,
            registry_authorities: Vec::new(),
            listen: Listen::default(),
            sealing: Sealing::default(),
            deployment: Deployment::default(),
            source: Source::default(),
            build: Build::default(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        let both = |port| {
            vec![
                SocketAddr::from(([127, 0, 0, 1], port)),
                SocketAddr::from(([0u16, 0, 0, 0, 0, 0, 0, 1], port)),
            ]
        };
        Listen {
            api: both(7400),
            https: both(443),
            http: both(80),
        }
    }
}

impl Default for Deployment {
    fn default() -> Self {
        Deployment {
            healthy_within_seconds: 300,
            drain_seconds: 120,
            proxy_drain_seconds: 120,
            stop_grace_seconds: 30,
        }
    }
}

impl Config {
    /// Reads the configuration; without a file it is the default.
    pub fn read(paths: &Paths) -> Result<Config> {
        let path = paths.config();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Config::default());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let config: Config = toml::from_str(&text)
            .with_context(|| format!("{} is not a valid configuration", path.display()))?;
        config
            .check()
            .with_context(|| format!("{} is not a valid configuration", path.display()))?;
        Ok(config)
    }

    /// Writes the default file where there is none.
    pub fn write_default(paths: &Paths) -> Result<()> {
        let path = paths.config();
        if path.exists() {
            return Ok(());
        }
        std::fs::write(&path, DEFAULT_FILE)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn check(&self) -> Result<()> {
        for (what, list) in [
            ("api", &self.listen.api),
            ("https", &self.listen.https),
            ("http", &self.listen.http),
        ] {
            if list.is_empty() {
                bail!("listen.{what} has no address");
            }
        }
        if let Some(account) = &self.account_id
            && (account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()))
        {
            bail!("account_id `{account}` is not twelve digits");
        }
        let host = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
        };
        if !host(&self.domain) {
            bail!("domain `{}` is not a lower-case host name", self.domain);
        }
        if !host(&self.region) {
            bail!("region `{}` is not a region name", self.region);
        }
        if let Some(issuer) = &self.issuer
            && (!issuer.starts_with("https://") || issuer.contains(['?', '#', '@', ' ']))
        {
            bail!("issuer `{issuer}` is not an https URL without query");
        }
        if !self.sealing.command.is_empty() && self.sealing.credential.is_some() {
            bail!("sealing.command and sealing.credential exclude each other");
        }
        if self.source.ask_every_seconds == 0 {
            bail!("source.ask_every_seconds must be at least 1");
        }
        if self.proxy_uid == 0 {
            bail!("proxy_uid must not be root");
        }
        Ok(())
    }

    /// Where the sealing key comes from; `credentials` is the directory that systemd names in `CREDENTIALS_DIRECTORY`.
    pub fn sealing_source(&self, store: &Path, credentials: Option<&Path>) -> Result<MasterSource> {
        if !self.sealing.command.is_empty() {
            return Ok(MasterSource::Command(self.sealing.command.clone()));
        }
        let Some(name) = &self.sealing.credential else {
            return Ok(MasterSource::beside(store));
        };
        let directory = credentials.with_context(|| {
            format!("sealing.credential is `{name}`, and systemd hands no credentials over (LoadCredential= in the unit)")
        })?;
        Ok(MasterSource::Provided(directory.join(name)))
    }

    /// The port of the API.
    pub fn api_port(&self) -> u16 {
        self.listen.api.first().map_or(7400, SocketAddr::port)
    }

    /// The port of services over HTTPS.
    pub fn https_port(&self) -> u16 {
        self.listen.https.first().map_or(443, SocketAddr::port)
    }

    /// Where clients reach the API.
    pub fn endpoint(&self) -> String {
        match self.domain.ends_with("localhost") {
            true => format!("https://localhost:{}", self.api_port()),
            false => format!("https://api.{}:{}", self.domain, self.api_port()),
        }
    }

    /// The URL as an issuer of identities.
    fn issuer(&self) -> String {
        self.issuer.clone().unwrap_or_else(|| self.endpoint())
    }

    /// The registry's host as clients write it.
    pub fn registry_host(&self, account: &str) -> String {
        match (&self.registry_host, self.domain.ends_with("localhost")) {
            (Some(host), _) => host.clone(),
            (None, true) => format!("localhost:{}", self.api_port()),
            (None, false) => format!(
                "{account}.dkr.ecr.{}.{}:{}",
                self.region,
                self.domain,
                self.api_port()
            ),
        }
    }

    /// Names and addresses that the API's certificate is for.
    pub fn api_names(&self, account: &str) -> Vec<String> {
        let registry = self.registry_host(account);
        let registry = registry
            .rsplit_once(':')
            .map_or(registry.as_str(), |(name, _)| name);
        let mut names = vec![
            "localhost".to_owned(),
            format!("api.{}", self.domain),
            format!("{account}.dkr.ecr.{}.{}", self.region, self.domain),
            registry.to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
            // Under which instances reach it.
            apron_node::DOORS_ADDRESS.to_string(),
        ];
        names.extend(
            self.listen
                .api
                .iter()
                .filter(|a| !a.ip().is_unspecified())
                .map(|a| a.ip().to_string()),
        );
        names.sort();
        names.dedup();
        names
    }

    /// The application's settings.
    pub fn settings(&self, account: &str) -> Settings {
        Settings {
            account: account.to_owned(),
            region: self.region.clone(),
            domain: self.domain.clone(),
            https_port: self.https_port(),
            registry_host: self.registry_host(account),
            instance_endpoint: Some(format!("https://{}", apron_node::DOORS_ADDRESS)),
            issuer: self.issuer(),
            patience: Patience {
                settle_ms: self.deployment.healthy_within_seconds * 1000,
                drain_ms: self.deployment.drain_seconds * 1000,
            },
            stop_grace: Duration::from_secs(self.deployment.stop_grace_seconds),
            services_max: self.services_max,
            instance_disk_bytes: 3 << 30,
            instance_pids_max: 4096,
            deleted_kept: Duration::from_secs(3600),
        }
    }

    /// The certificates of `registry_authorities`.
    pub fn authorities(&self) -> Result<Vec<String>> {
        let read = |path: &std::path::PathBuf| read_pem(path);
        self.registry_authorities.iter().map(read).collect()
    }
}

fn read_pem(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the authority {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_says_the_defaults() {
        let written: Config = toml::from_str(DEFAULT_FILE).unwrap();
        assert_eq!(format!("{written:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn mistakes_are_refused_by_name() {
        assert!(
            toml::from_str::<Config>("nmae = \"x\"")
                .unwrap_err()
                .to_string()
                .contains("nmae")
        );
        for (text, part) in [
            ("account_id = \"12\"", "account_id"),
            ("domain = \"Example.COM\"", "domain"),
            ("[listen]\nhttps = []", "listen.https"),
            ("proxy_uid = 0", "proxy_uid"),
            ("issuer = \"http://apron.example.com\"", "issuer"),
            (
                "[sealing]\ncommand = [\"a\"]\ncredential = \"b\"",
                "exclude each other",
            ),
        ] {
            let config: Config = toml::from_str(text).unwrap();
            assert!(config.check().unwrap_err().to_string().contains(part));
        }
    }

    #[test]
    fn the_sealing_key_has_one_place() {
        let source = |text: &str, credentials: Option<&str>| {
            let config: Config = toml::from_str(text).unwrap();
            config.sealing_source(Path::new("/store"), credentials.map(Path::new))
        };
        let own = MasterSource::File("/store/sealing.key".into());
        assert_eq!(source("", None).unwrap(), own);
        let text = "[sealing]\ncommand = [\"a\", \"b\"]";
        let command = MasterSource::Command(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(source(text, None).unwrap(), command);
        let text = "[sealing]\ncredential = \"key\"";
        let provided = MasterSource::Provided("/run/credentials/key".into());
        assert_eq!(source(text, Some("/run/credentials")).unwrap(), provided);
        let error = source(text, None).unwrap_err().to_string();
        assert!(error.contains("LoadCredential"), "{error}");
    }
}
