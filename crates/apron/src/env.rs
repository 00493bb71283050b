//! `apron env`: the environment that AWS clients need.

use crate::config::Config;
use crate::identity::Identity;
use crate::paths::Paths;
use crate::root_key::file;
use anyhow::Result;
use std::io::IsTerminal;

/// Prints the variables as shell exports. Root's key is among them where this machine has a copy of it, and its secret is not
/// shown to whoever looks at the screen.
pub fn print(paths: &Paths) -> Result<()> {
    let config = Config::read(paths)?;
    let identity = Identity::read(paths)?;
    let ca = paths.ca().display().to_string();
    let variables = [
        ("AWS_ENDPOINT_URL", config.endpoint()),
        ("AWS_DEFAULT_REGION", config.region.clone()),
        ("AWS_REGION", config.region.clone()),
        ("AWS_CA_BUNDLE", ca.clone()),
        ("APRON_CA_BUNDLE", ca),
        ("APRON_REGISTRY", config.registry_host(&identity.account_id)),
        ("APRON_DOMAIN", config.domain.clone()),
        ("APRON_ACCOUNT_ID", identity.account_id.clone()),
    ];
    for (name, value) in variables {
        export(name, &value);
    }
    let path = paths.root_key();
    let key = match file::read(&path) {
        Ok(Some(key)) => key,
        Ok(None) => {
            eprintln!(
                "apron: {} is not there: set credentials yourself",
                path.display()
            );
            return Ok(());
        }
        Err(error) => {
            eprintln!("apron: {error:#}: set credentials yourself");
            return Ok(());
        }
    };
    export("AWS_ACCESS_KEY_ID", &key.access_key_id);
    if std::io::stdout().is_terminal() {
        eprintln!("apron: the secret is not shown on a terminal: eval \"$(apron env)\" sets it");
    } else {
        export("AWS_SECRET_ACCESS_KEY", &key.secret_access_key);
    }
    // A session token or profile of another account would win over these.
    println!("unset AWS_SESSION_TOKEN AWS_PROFILE");
    Ok(())
}

fn export(name: &str, value: &str) {
    println!("export {name}='{}'", value.replace('\'', "'\\''"));
}
