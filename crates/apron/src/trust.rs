//! `apron trust`: make this machine's clients trust the local authority.

use crate::config::Config;
use crate::identity::Identity;
use crate::paths::Paths;
use crate::serve::require_root;
use anyhow::{Context, Result, bail};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Directories of certificates that Debian's and Red Hat's tools build the system's bundle from, with that tool.
const SYSTEM_STORES: [(&str, &str); 2] = [
    ("/usr/local/share/ca-certificates", "update-ca-certificates"),
    ("/etc/pki/ca-trust/source/anchors", "update-ca-trust"),
];

/// Directories where container tools look for authorities of one registry.
const REGISTRY_STORES: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

/// Installs the authority's certificate, or removes it.
pub fn trust(paths: &Paths, remove: bool) -> Result<()> {
    require_root()?;
    if remove {
        return remove_if_installed(paths);
    }
    let config = Config::read(paths)?;
    let identity = Identity::read(paths)?;
    let ca = std::fs::read(paths.ca())
        .with_context(|| format!("cannot read {}", paths.ca().display()))?;
    for store in REGISTRY_STORES {
        let dir = Path::new(store).join(config.registry_host(&identity.account_id));
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        write(&dir.join("ca.crt"), &ca)?;
    }
    let Some((dir, tool)) = SYSTEM_STORES
        .iter()
        .find(|(dir, _)| Path::new(dir).exists())
    else {
        bail!(
            "this machine has no known certificate store; trust {} by hand",
            paths.ca().display()
        );
    };
    write(&system_file(dir, &config), &ca)?;
    refresh(tool)?;
    println!("This machine trusts the local authority. Undo it with `apron trust --remove`.");
    Ok(())
}

fn system_file(dir: &str, config: &Config) -> PathBuf {
    Path::new(dir).join(format!("apron-{}.crt", config.name))
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    std::fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

fn refresh(tool: &str) -> Result<()> {
    let output = Command::new(tool)
        .output()
        .with_context(|| format!("cannot run {tool}"))?;
    if !output.status.success() {
        bail!(
            "{tool} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Removes the certificate from every place it was written to.
pub fn remove_if_installed(paths: &Paths) -> Result<()> {
    let config = Config::read(paths)?;
    let Ok(identity) = Identity::read(paths) else {
        return Ok(());
    };
    for store in REGISTRY_STORES {
        let dir = Path::new(store).join(config.registry_host(&identity.account_id));
        if remove(&dir.join("ca.crt"))? {
            // Other files in it are somebody else's.
            let _ = std::fs::remove_dir(&dir);
        }
    }
    for (dir, tool) in SYSTEM_STORES {
        if remove(&system_file(dir, &config))? {
            refresh(tool)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => {
            println!("removed {}", path.display());
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}
