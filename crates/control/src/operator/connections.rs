//! Completing the handshake of a connection: App Runner's console does this, no API.

use super::operations::{not_found, stored};
use super::{Operator, read};
use crate::clock::random;
use crate::configurations::{CONNECTION, select};
use crate::endpoint::{Call, internal};
use crate::source::credentials::{CONNECTION_SECRETS, Sealed, WEBHOOK_SECRETS};
use apron_aws::ApiError;
use apron_domain::configuration::{Connection, Revision, find};
use serde::Deserialize;
use serde_json::{Value, json};

/// The user name that goes with a token where none is said. GitHub wants it so, others take any; Bitbucket has its own.
const TOKEN_USER: &str = "x-access-token";

/// The same for Bitbucket.
const TOKEN_USER_BITBUCKET: &str = "x-token-auth";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CompleteConnection {
    connection_arn: String,
    host: Option<String>,
    username: Option<String>,
    token: Option<String>,
    ssh_private_key: Option<String>,
    known_hosts: Option<String>,
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::client("InvalidRequestException", message)
}

impl CompleteConnection {
    /// The credentials to seal; none leaves those that are sealed.
    fn credentials(&self, provider: &str) -> Result<Option<Sealed>, ApiError> {
        match (&self.token, &self.ssh_private_key, &self.known_hosts) {
            (Some(_), Some(_), _) => Err(invalid(
                "Only one of Token and SshPrivateKey can be specified.",
            )),
            (Some(token), None, _) => {
                let usual = match provider {
                    "BITBUCKET" => TOKEN_USER_BITBUCKET,
                    _ => TOKEN_USER,
                };
                let username = self.username.as_deref().unwrap_or(usual);
                if token.contains(['\n', '\r', '\0']) || username.contains(['\n', '\r', '\0']) {
                    return Err(invalid("Token and Username must be single lines."));
                }
                Ok(Some(Sealed::Token {
                    username: username.to_owned(),
                    token: token.clone(),
                }))
            }
            (None, Some(key), Some(hosts)) => {
                if !key.contains("PRIVATE KEY-----") {
                    return Err(invalid("SshPrivateKey is not a private key."));
                }
                Ok(Some(Sealed::SshKey {
                    private_key: key.clone(),
                    known_hosts: hosts.clone(),
                }))
            }
            (None, Some(_), None) => Err(invalid(
                "KnownHosts must be specified with SshPrivateKey: without the host's key anybody could answer in its place.",
            )),
            (None, None, _) => Ok(None),
        }
    }
}

impl Operator {
    /// Keeps the credentials of a connection, and has it available from then on. Without credentials it reads public
    /// repositories, or goes on with those it had. Answers where the provider's webhooks go, and what they are signed with.
    pub(super) async fn complete_connection(&self, call: &Call) -> Result<Value, ApiError> {
        let input: CompleteConnection = read(call)?;
        let arn = input.connection_arn.clone();
        let settings = &self.engine.settings;
        let store = &self.engine.store;
        let missing = || {
            not_found(format!(
                "Connection with the provided ARN was not found: {arn}."
            ))
        };
        let all = store.configurations::<Connection>(CONNECTION).await;
        let all = all.map_err(|e| stored(call, &e))?;
        let selector = select(settings, CONNECTION, &arn);
        let found = selector.and_then(|selector| find(&all, &selector));
        let found = found.filter(|r| r.is_active()).ok_or_else(missing)?;
        let sealed = input.credentials(&found.content.provider)?;
        let webhook = self.webhook_secret(call, &found.id).await?;
        if let Some(sealed) = sealed {
            let text = serde_json::to_vec(&sealed);
            let text = text.map_err(|e| internal(call, "seal the credentials", &e))?;
            let put = store.secret_put(CONNECTION_SECRETS, &found.id, &text).await;
            put.map_err(|e| stored(call, &e))?;
        }
        let id = found.id.clone();
        let change = |all: &mut Vec<Revision<Connection>>| {
            let found = all.iter_mut().find(|r| r.id == id).ok_or_else(missing)?;
            found.content.available = true;
            if let Some(host) = input.host {
                found.content.host = Some(host);
            }
            Ok::<_, ApiError>(())
        };
        let changed = store.configurations_change(CONNECTION, change).await;
        changed.map_err(|e| stored(call, &e))??;
        Ok(json!({
            "WebhookUrl": format!("https://{}/hooks/{id}", settings.registry_host),
            "WebhookSecret": webhook,
        }))
    }

    /// The secret of a connection's webhooks, made when there is none.
    async fn webhook_secret(&self, call: &Call, id: &str) -> Result<String, ApiError> {
        let store = &self.engine.store;
        let kept = store.secret_get(WEBHOOK_SECRETS, id).await;
        let kept = kept.map_err(|e| stored(call, &e))?;
        if let Some(text) = kept.and_then(|bytes| String::from_utf8(bytes).ok()) {
            return Ok(text);
        }
        let fresh: [u8; 24] = random(self.engine.chance.as_ref());
        let text = hex::encode(fresh);
        let put = store.secret_put(WEBHOOK_SECRETS, id, text.as_bytes()).await;
        put.map_err(|e| stored(call, &e))?;
        Ok(text)
    }
}
