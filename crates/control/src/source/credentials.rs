//! The credentials of connections: sealed in the store, bound to the host they are for, never echoed.

use crate::configurations::{CONNECTION, select};
use crate::settings::Settings;
use apron_builder::git::{Access, GitUrl};
use apron_domain::configuration::{Connection, Revision, find};
use apron_store::{Store, StoreError};
use serde::{Deserialize, Serialize};

/// The kind under which credentials of connections are sealed; their name is the connection's id.
pub const CONNECTION_SECRETS: &str = "connection";

/// The kind under which the secrets are sealed that a connection's webhooks are signed with.
pub const WEBHOOK_SECRETS: &str = "webhook";

/// Credentials as they are sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sealed {
    /// As [`Access::Token`].
    Token {
        /// The user name.
        username: String,
        /// The token.
        token: String,
    },
    /// As [`Access::SshKey`].
    SshKey {
        /// The private key.
        private_key: String,
        /// The host's keys.
        known_hosts: String,
    },
}

impl From<Sealed> for Access {
    fn from(sealed: Sealed) -> Access {
        match sealed {
            Sealed::Token { username, token } => Access::Token { username, token },
            Sealed::SshKey {
                private_key,
                known_hosts,
            } => Access::SshKey {
                private_key,
                known_hosts,
            },
        }
    }
}

/// Why a connection cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// It was deleted.
    #[error("the connection {0} does not exist any more")]
    Missing(String),
    /// It waits for its handshake.
    #[error("the connection {0} is not available yet: complete its handshake with `apron connect`")]
    Pending(String),
    /// It is for another host.
    #[error("the connection {name} is for {host}, not for {wanted}")]
    Host {
        /// Its name.
        name: String,
        /// Its host.
        host: String,
        /// The repository's host.
        wanted: String,
    },
    /// What is sealed cannot be read.
    #[error("the connection's credentials cannot be read: {0}")]
    Store(#[from] StoreError),
    /// What is sealed is not understood.
    #[error("the connection's credentials are damaged")]
    Damaged,
}

/// The host a connection of this provider is for, unless its operator said another.
pub fn host_of(connection: &Connection) -> &str {
    match (&connection.host, connection.provider.as_str()) {
        (Some(host), _) => host,
        (None, "BITBUCKET") => "bitbucket.org",
        (None, _) => "github.com",
    }
}

/// The active connection of an ARN, and that it can be used for a repository.
///
/// # Errors
/// What it lacks.
pub fn usable<'a>(
    all: &'a [Revision<Connection>],
    settings: &Settings,
    arn: &str,
    url: &GitUrl,
) -> Result<&'a Revision<Connection>, CredentialsError> {
    let selector = select(settings, CONNECTION, arn);
    let found = selector.and_then(|selector| find(all, &selector));
    let found = found.filter(|revision| revision.is_active());
    let found = found.ok_or_else(|| CredentialsError::Missing(arn.to_owned()))?;
    if !found.content.available {
        return Err(CredentialsError::Pending(arn.to_owned()));
    }
    let host = host_of(&found.content);
    // A port in the connection's host is part of it; without one, any port of the host is.
    if host != url.host && host != url.host_name() {
        return Err(CredentialsError::Host {
            name: found.name.clone(),
            host: host.to_owned(),
            wanted: url.host.clone(),
        });
    }
    Ok(found)
}

/// The credentials of a connection for a repository; none when it has none, as one for public repositories.
///
/// # Errors
/// The connection cannot be used, or what is sealed cannot be read.
pub async fn of_connection(
    store: &Store,
    settings: &Settings,
    arn: &str,
    url: &GitUrl,
) -> Result<Option<Access>, CredentialsError> {
    let all = store.configurations::<Connection>(CONNECTION).await?;
    let found = usable(&all, settings, arn, url)?;
    let Some(sealed) = store.secret_get(CONNECTION_SECRETS, &found.id).await? else {
        return Ok(None);
    };
    let sealed: Sealed = serde_json::from_slice(&sealed).map_err(|_| CredentialsError::Damaged)?;
    Ok(Some(sealed.into()))
}
