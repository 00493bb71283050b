//! What the command line signs its requests with.

use crate::config::Config;
use crate::paths::Paths;
use crate::root_key::file::{self, RootKey};
use anyhow::{Result, bail};

/// What to do without credentials.
pub const ADVICE: &str = "The command line signs with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where AWS_ENDPOINT_URL is this \
                          platform's, as `apron env` prints it; `apron root-key reset` makes root's key anew.";

/// An access key, or temporary credentials.
#[derive(Clone)]
pub struct Credentials {
    /// `AKIA…` or `ASIA…`.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// What temporary credentials have in addition.
    pub session_token: Option<String>,
}

impl From<RootKey> for Credentials {
    fn from(key: RootKey) -> Credentials {
        Credentials {
            access_key_id: key.access_key_id,
            secret_access_key: key.secret_access_key,
            session_token: None,
        }
    }
}

/// The credentials in the environment if they are meant for this platform, or else this machine's copy of root's key.
pub fn find(paths: &Paths, config: &Config) -> Result<Credentials> {
    let variable = |name: &str| std::env::var(name).ok();
    if let Some(found) = of_environment(&config.endpoint(), variable) {
        return Ok(found);
    }
    let path = paths.root_key();
    match file::read(&path) {
        Ok(Some(key)) => Ok(key.into()),
        Ok(None) => bail!("no access key: {} is not there. {ADVICE}", path.display()),
        Err(error) => Err(error.context(ADVICE)),
    }
}

/// Credentials for another endpoint, which may be AWS itself, are of no use here and none of this platform's business.
fn of_environment(
    endpoint: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<Credentials> {
    let given = variable("AWS_ENDPOINT_URL")?;
    if given.trim_end_matches('/') != endpoint.trim_end_matches('/') {
        return None;
    }
    Some(Credentials {
        access_key_id: variable("AWS_ACCESS_KEY_ID").filter(|it| !it.is_empty())?,
        secret_access_key: variable("AWS_SECRET_ACCESS_KEY").filter(|it| !it.is_empty())?,
        session_token: variable("AWS_SESSION_TOKEN").filter(|it| !it.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_counts_where_it_means_this_platform() {
        let found = |endpoint: Option<&str>, token: &str| {
            let variable = |name: &str| match name {
                "AWS_ENDPOINT_URL" => endpoint.map(str::to_owned),
                "AWS_ACCESS_KEY_ID" => Some("AKIA1".to_owned()),
                "AWS_SECRET_ACCESS_KEY" => Some("secret".to_owned()),
                _ => Some(token.to_owned()),
            };
            of_environment("https://localhost:7400", variable)
        };
        assert!(found(None, "").is_none());
        assert!(found(Some("https://example.com"), "").is_none());
        let found = found(Some("https://localhost:7400/"), "token").unwrap();
        assert_eq!(found.access_key_id, "AKIA1");
        assert_eq!(found.session_token.as_deref(), Some("token"));
    }
}
