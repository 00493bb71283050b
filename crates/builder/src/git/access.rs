//! Credentials for repositories, and how `git` gets them without anybody else seeing them.

use super::error::GitError;
use super::process::add_config;
use super::url::{GitUrl, Transport};
use std::fmt;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use tempfile::TempDir;
use tokio::process::Command;

/// Seconds for a connection by secure shell.
const SSH_CONNECT_SECONDS: u32 = 20;

/// Credentials of a repository. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Access {
    /// A user's name and a token or password, for HTTP.
    Token {
        /// The user name.
        username: String,
        /// The token.
        token: String,
    },
    /// A private key, for secure shell.
    SshKey {
        /// The key, in OpenSSH's or PEM form, without a passphrase.
        private_key: String,
        /// The keys that hosts must have, in the form of OpenSSH's `known_hosts`.
        known_hosts: String,
    },
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Token { .. } => "Token(***)",
            Access::SshKey { .. } => "SshKey(***)",
        })
    }
}

/// What has to be there while a command runs that was lent credentials; gone when this is dropped.
pub(super) struct Lent {
    _dir: Option<TempDir>,
}

impl Access {
    /// Whether these credentials can be used for this URL.
    ///
    /// # Errors
    /// When they are of another kind, or would cross a network in clear.
    pub(super) fn check(&self, url: &GitUrl) -> Result<(), GitError> {
        let reason = match (self, url.transport) {
            (Access::Token { .. }, Transport::Https) => return Ok(()),
            (Access::Token { .. }, Transport::Http) if url.is_loopback() => return Ok(()),
            (Access::SshKey { .. }, Transport::Ssh) => return Ok(()),
            (Access::Token { .. }, Transport::Http) => {
                "its credentials would cross the network in clear: use https"
            }
            (Access::Token { .. }, Transport::Ssh) => {
                "the connection has a token, and ssh needs a key"
            }
            (Access::SshKey { .. }, _) => {
                "the connection has an SSH key: use the form ssh://user@host/path or user@host:path"
            }
        };
        Err(GitError::Access {
            repository: url.to_string(),
            reason,
        })
    }

    /// Gives a command the credentials, bound to the origin of the URL: a redirection elsewhere gets none.
    /// Key files are kept below `keys` meanwhile.
    pub(super) fn lend(
        &self,
        command: &mut Command,
        url: &GitUrl,
        keys: &Path,
    ) -> Result<Lent, GitError> {
        match self {
            Access::Token { username, token } => {
                // The helper is a line of shell that names variables; their values are in its environment only.
                let helper = r#"!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$APRON_GIT_USER" "$APRON_GIT_TOKEN"; }; f"#;
                command
                    .env("APRON_GIT_USER", username)
                    .env("APRON_GIT_TOKEN", token);
                let name = format!("credential.{}.helper", url.origin());
                add_config(command, &[(name.as_str(), helper)]);
                Ok(Lent { _dir: None })
            }
            Access::SshKey {
                private_key,
                known_hosts,
            } => {
                let dir = key_dir(keys);
                let dir = dir.map_err(|cause| GitError::io("keep the SSH key", cause))?;
                let (key, hosts) = (dir.path().join("key"), dir.path().join("known_hosts"));
                let mut text = private_key.trim_end().to_owned();
                text.push('\n');
                write(&key, &text)
                    .and_then(|()| write(&hosts, known_hosts))
                    .map_err(|cause| GitError::io("keep the SSH key", cause))?;
                command.env("GIT_SSH_COMMAND", ssh_command(&key, &hosts));
                command.env("GIT_SSH_VARIANT", "ssh");
                Ok(Lent { _dir: Some(dir) })
            }
        }
    }
}

fn ssh_command(key: &Path, hosts: &Path) -> String {
    format!(
        "ssh -F /dev/null -i '{}' -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes \
         -o StrictHostKeyChecking=yes -o UserKnownHostsFile='{}' -o GlobalKnownHostsFile=/dev/null \
         -o ForwardAgent=no -o ClearAllForwardings=yes -o PermitLocalCommand=no \
         -o ConnectTimeout={SSH_CONNECT_SECONDS} -o ServerAliveInterval=20",
        key.display(),
        hosts.display()
    )
}

/// A new directory of nobody else's, gone when it is dropped.
fn key_dir(keys: &Path) -> std::io::Result<TempDir> {
    DirBuilder::new().recursive(true).mode(0o700).create(keys)?;
    tempfile::Builder::new()
        .prefix("key-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(keys)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_only_where_they_belong() {
        let token = Access::Token {
            username: "u".to_owned(),
            token: "secret".to_owned(),
        };
        let key = Access::SshKey {
            private_key: "k".to_owned(),
            known_hosts: String::new(),
        };
        for (access, url, fits) in [
            (&token, "https://h/a", true),
            (&token, "http://h/a", false),
            (&token, "http://localhost/a", true),
            (&token, "git@h:a", false),
            (&key, "git@h:a", true),
            (&key, "https://h/a", false),
        ] {
            let url = GitUrl::parse(url).unwrap();
            assert_eq!(access.check(&url).is_ok(), fits, "{url}");
        }
        assert!(!format!("{token:?}{key:?}").contains("secret"));
    }

    #[test]
    fn a_key_file_is_for_its_owner_and_goes() {
        let keys = tempfile::tempdir().unwrap();
        let key = Access::SshKey {
            private_key: "k".to_owned(),
            known_hosts: "h ssh-ed25519 x".to_owned(),
        };
        let mut command = Command::new("true");
        let url = GitUrl::parse("git@h:a").unwrap();
        let lent = key.lend(&mut command, &url, keys.path()).unwrap();
        let dir = lent._dir.as_ref().unwrap().path().to_owned();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join("key"))), (0o700, 0o600));
        drop(lent);
        assert!(!dir.exists());
    }
}
