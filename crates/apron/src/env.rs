//! `apron env`: the environment that AWS clients need.

use crate::config::Config;
use crate::identity::Identity;
use crate::paths::Paths;
use anyhow::Result;

/// Prints the variables as shell exports.
pub fn print(paths: &Paths) -> Result<()> {
    let config = Config::read(paths)?;
    let identity = Identity::read(paths)?;
    let ca = paths.ca().display().to_string();
    let variables = [
        ("AWS_ENDPOINT_URL", config.endpoint()),
        ("AWS_ACCESS_KEY_ID", identity.access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", identity.secret_access_key.clone()),
        ("AWS_DEFAULT_REGION", config.region.clone()),
        ("AWS_REGION", config.region.clone()),
        ("AWS_CA_BUNDLE", ca.clone()),
        ("APRON_CA_BUNDLE", ca),
        ("APRON_REGISTRY", config.registry_host(&identity.account_id)),
        ("APRON_DOMAIN", config.domain.clone()),
        ("APRON_ACCOUNT_ID", identity.account_id.clone()),
    ];
    for (name, value) in variables {
        println!("export {name}={}", quoted(&value));
    }
    // A session token or profile of another account would win over these.
    println!("unset AWS_SESSION_TOKEN AWS_PROFILE");
    Ok(())
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "'\\''"))
}
