//! The platform as an issuer: its keys, its documents, the tokens of instances.

use super::jwk::PublicKey;
use super::jws;
use super::keys::{self, Change, Rotation, SigningKey, StoredKey};
use crate::clock::Chance;
use apron_domain::Millis;
use apron_store::{Store, StoreError};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard, watch};

/// How long a token is good, milliseconds. They are replaced each hour, so an application has one that is good while the
/// platform is away for some hours.
pub const TOKEN_LIFE_MS: u64 = 4 * 60 * 60 * 1000;
/// For whom tokens are: what the AWS SDKs' documentation and AWS's own issuers use.
const AUDIENCE: &str = "sts.amazonaws.com";
/// Where the keys are sealed in the store.
const SECRET: (&str, &str) = ("platform", "web-identity-keys");

/// Vouches for the instances of this platform.
pub struct Issuer {
    url: String,
    store: Store,
    chance: Arc<dyn Chance>,
    /// Read at the first use: a platform that vouches for nobody makes no keys.
    keys: Mutex<Option<Vec<SigningKey>>>,
    /// When keys were withdrawn last since the start.
    withdrawn: watch::Sender<Millis>,
}

/// Whom a token is for.
#[derive(Clone, Copy, Debug)]
pub struct Bearer<'a> {
    /// The account.
    pub account: &'a str,
    /// The name of the service.
    pub service: &'a str,
    /// The ARN of the service.
    pub service_arn: &'a str,
    /// The instance.
    pub instance: &'a str,
    /// The ARN of its instance role.
    pub role: &'a str,
}

/// Another key was asked for, and there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// Its name in tokens.
    pub key: String,
    /// From when it signs.
    pub signs_from: Millis,
    /// The key that signs until then.
    pub former: String,
    /// How long that one is published.
    pub former_until: Millis,
}

/// The subject of tokens of a service with a role, as trust policies compare it.
pub fn subject(account: &str, service: &str, role_arn: &str) -> String {
    let role = role_arn.rsplit('/').next().unwrap_or_default();
    format!("account:{account}:service:{service}:role:{role}")
}

impl Issuer {
    pub(super) fn new(url: &str, store: Store, chance: Arc<dyn Chance>) -> Issuer {
        Issuer {
            url: url.trim_end_matches('/').to_owned(),
            store,
            chance,
            keys: Mutex::default(),
            withdrawn: watch::Sender::new(Millis(0)),
        }
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name as IAM's providers have it: the URL without its scheme.
    pub fn name(&self) -> &str {
        self.url.strip_prefix("https://").unwrap_or(&self.url)
    }

    /// Tokens from before this are worth nothing: their key was withdrawn. What was withdrawn before the platform's start is
    /// not known.
    pub(super) fn withdrawn(&self) -> watch::Receiver<Millis> {
        self.withdrawn.subscribe()
    }

    /// A token for an instance.
    ///
    /// # Errors
    /// The keys cannot be read or stored.
    pub async fn token(&self, bearer: &Bearer<'_>, now: Millis) -> Result<String, StoreError> {
        let seconds = now.0 / 1000;
        let claims = json!({
            "iss": self.url,
            "sub": subject(bearer.account, bearer.service, bearer.role),
            "aud": AUDIENCE,
            "iat": seconds,
            "nbf": seconds,
            "exp": now.plus(TOKEN_LIFE_MS).0 / 1000,
            "jti": keys::token_id(&*self.chance),
            "account": bearer.account,
            "service": bearer.service_arn,
            "instance": bearer.instance,
            "role": bearer.role,
        });
        let held = self.keys(now).await?;
        let keys = held.as_deref().unwrap_or_default();
        let key = &keys[keys::signer(&times(keys), now)];
        Ok(jws::sign(&key.pair, &key.id, &claims))
    }

    /// The keys that tokens of now and of the last days are signed with.
    ///
    /// # Errors
    /// The keys cannot be read or stored.
    pub async fn public_keys(&self, now: Millis) -> Result<Arc<Vec<PublicKey>>, StoreError> {
        let held = self.keys(now).await?;
        let keys = held.as_deref().unwrap_or_default();
        Ok(Arc::new(keys.iter().map(SigningKey::public).collect()))
    }

    /// The set of keys for others.
    ///
    /// # Errors
    /// The keys cannot be read or stored.
    pub async fn key_set(&self, now: Millis) -> Result<Value, StoreError> {
        let held = self.keys(now).await?;
        let keys = held.as_deref().unwrap_or_default();
        Ok(json!({"keys": keys.iter().map(SigningKey::jwk).collect::<Vec<Value>>()}))
    }

    /// Another key, published from now on, in place of the one that signs; none: so many are published that it has to wait.
    ///
    /// # Errors
    /// The keys cannot be read or stored.
    pub async fn rotate(&self, change: Change, now: Millis) -> Result<Option<Rotated>, StoreError> {
        let mut held = self.keys(now).await?;
        let signing = times(held.as_deref().unwrap_or_default());
        let rotation = keys::rotation(&signing, change, now);
        // Taken, so that keys that could not be stored are forgotten and read anew.
        let mut keys = match rotation {
            Rotation::Full => return Ok(None),
            _ => held.take().unwrap_or_default(),
        };
        let former = keys[keys::signer(&signing, now)].id.clone();
        match rotation {
            Rotation::Make(signs_from) => keys.push(generate(signs_from).await?),
            Rotation::Newest(signs_from) => {
                if let Some(newest) = keys.last_mut() {
                    newest.begin_at(signs_from);
                }
            }
            Rotation::Alone => keys = vec![generate(now).await?],
            Rotation::Full => {}
        }
        self.save(&keys).await?;
        let rotated = keys.last().map(|newest| Rotated {
            key: newest.id.clone(),
            signs_from: newest.signs_from,
            former,
            former_until: match rotation {
                Rotation::Alone => now,
                _ => newest.signs_from.plus(keys::AFTER_MS),
            },
        });
        if rotation == Rotation::Alone {
            self.withdrawn.send_replace(now);
        }
        *held = Some(keys);
        Ok(rotated)
    }

    /// The discovery document (OpenID Connect Discovery 1.0, section 3).
    pub fn configuration(&self) -> Value {
        json!({
            "issuer": self.url,
            "jwks_uri": format!("{}{}", self.url, super::door::KEYS),
            "authorization_endpoint": "urn:apron:programmatic-authorization",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claims_supported": ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", "account", "service", "instance", "role"],
        })
    }

    /// The keys as the plan for now wants them; never none.
    async fn keys(
        &self,
        now: Millis,
    ) -> Result<MutexGuard<'_, Option<Vec<SigningKey>>>, StoreError> {
        let mut held = self.keys.lock().await;
        let keys = match held.take() {
            Some(keys) => keys,
            None => self.read().await?,
        };
        let plan = keys::plan(&times(&keys), now);
        let changes = plan.keep_from > 0 || plan.make.is_some();
        let mut kept: Vec<SigningKey> = keys.into_iter().skip(plan.keep_from).collect();
        if let Some(signs_from) = plan.make {
            kept.push(generate(signs_from).await?);
        }
        if changes {
            self.save(&kept).await?;
        }
        *held = Some(kept);
        Ok(held)
    }

    async fn save(&self, keys: &[SigningKey]) -> Result<(), StoreError> {
        let stored: Vec<&StoredKey> = keys.iter().map(|key| &key.stored).collect();
        let bytes = serde_json::to_vec(&stored).map_err(|error| failed(&error))?;
        let (kind, name) = SECRET;
        self.store.secret_put(kind, name, &bytes).await?;
        let keys = keys.len();
        tracing::info!(keys, "the keys that sign instances' tokens have changed");
        Ok(())
    }

    async fn read(&self) -> Result<Vec<SigningKey>, StoreError> {
        let (kind, name) = SECRET;
        let Some(bytes) = self.store.secret_get(kind, name).await? else {
            return Ok(Vec::new());
        };
        let stored: Vec<StoredKey> =
            serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
        let read = stored.into_iter().map(SigningKey::read);
        read.collect::<Result<_, _>>()
            .map_err(|error| failed(&error))
    }
}

async fn generate(signs_from: Millis) -> Result<SigningKey, StoreError> {
    let made = tokio::task::spawn_blocking(move || SigningKey::generate(signs_from)).await;
    made.map_err(|error| failed(&error))
}

fn times(keys: &[SigningKey]) -> Vec<Millis> {
    keys.iter().map(|key| key.signs_from).collect()
}

fn failed(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged {
        doing: "use the keys that sign instances' tokens",
        reason: error.to_string(),
    }
}
