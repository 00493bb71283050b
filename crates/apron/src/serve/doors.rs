//! The platform's doors for its instances: their credentials, and the API at an address of their own.

use crate::paths::Paths;
use anyhow::{Context, Result};
use apron_control::certificates::Authority;
use apron_control::instance_credentials::InstanceCredentials;
use apron_control::listener::{self, Site};
use apron_node::{Doors, NodeConfig};
use rustls::ServerConfig;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Where systems keep the certificates they trust.
const SYSTEM_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Listeners that only instances reach.
pub struct InstanceDoors {
    credentials: TcpListener,
    api: TcpListener,
}

impl InstanceDoors {
    /// Listens, and tells the backend where, so that its firewall leads instances here.
    pub fn open(
        paths: &Paths,
        authority: &Authority,
        node: &mut NodeConfig,
    ) -> Result<InstanceDoors> {
        let gateway = node.instance_network.gateway();
        let doors = InstanceDoors {
            credentials: listener::bind_ahead(gateway)?,
            api: listener::bind_ahead(gateway)?,
        };
        node.doors = Some(Doors {
            credentials: doors.credentials.local_addr()?.port(),
            api: doors.api.local_addr()?.port(),
        });
        node.trust_bundle = Some(write_bundle(paths, authority)?);
        Ok(doors)
    }

    /// Answers instances for ever.
    pub fn serve(
        self,
        credentials: Arc<InstanceCredentials>,
        tls: watch::Receiver<Arc<ServerConfig>>,
        site: Site,
    ) {
        tokio::spawn(credentials.serve(self.credentials));
        // The registry is not for instances.
        let site = Site {
            registry: None,
            git: None,
            hooks: None,
            ..site
        };
        tokio::spawn(listener::serve(self.api, tls, site));
    }
}

/// What instances trust: the platform's authority and what this machine trusts, so that an SDK reaches the real AWS as well.
fn write_bundle(paths: &Paths, authority: &Authority) -> Result<PathBuf> {
    let system = SYSTEM_BUNDLES
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default();
    let text = format!("{}\n{system}", authority.certificate_pem().trim_end());
    let path = paths.instance_trust();
    let temporary = path.with_extension("new");
    let write = |path: &Path| format!("cannot write {}", path.display());
    std::fs::write(&temporary, text).with_context(|| write(&temporary))?;
    std::fs::rename(&temporary, &path).with_context(|| write(&path))?;
    Ok(path)
}
