//! The keys of other issuers, kept for a while.

use super::TokenError;
use super::fetch::{FetchSettings, fetch};
use super::jwk::{PublicKey, parse_set};
use apron_domain::Millis;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use tokio::sync::Mutex;

/// How long keys are believed without another look, milliseconds.
const FRESH_FOR_MS: u64 = 60 * 60 * 1000;
/// Least time between two looks at an issuer, milliseconds: tokens with unknown keys come from anybody.
const LOOK_EVERY_MS: u64 = 30_000;

/// What is known of an issuer.
#[derive(Default)]
struct Known {
    keys: Arc<Vec<PublicKey>>,
    /// When they were read.
    read: Option<Millis>,
    /// When they were last asked for, and what failed.
    asked: Option<(Millis, Result<(), String>)>,
}

/// Other issuers. As many as IAM has had providers since the start.
pub(super) struct Providers {
    settings: FetchSettings,
    known: std::sync::Mutex<BTreeMap<String, Arc<Mutex<Known>>>>,
}

#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    jwks_uri: String,
}

impl Providers {
    pub fn new(settings: FetchSettings) -> Providers {
        Providers {
            settings,
            known: std::sync::Mutex::default(),
        }
    }

    /// The keys of an issuer, by its URL without scheme; looked at again for a key that is not among them.
    pub async fn keys(
        &self,
        name: &str,
        key_id: Option<&str>,
        now: Millis,
    ) -> Result<Arc<Vec<PublicKey>>, TokenError> {
        let known = {
            let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(name.to_owned()).or_default().clone()
        };
        // Whoever comes while somebody asks waits for the answer instead of asking too.
        let mut known = known.lock().await;
        if is_due(&known, key_id, now) {
            let issuer = format!("https://{name}");
            let read = self.read(&issuer).await;
            if let Err(reason) = &read {
                tracing::warn!(issuer, reason, "the keys of an issuer cannot be read");
            }
            let outcome = read.map(|keys| {
                known.keys = Arc::new(keys);
                known.read = Some(now);
            });
            known.asked = Some((now, outcome));
        }
        match (&known.read, &known.asked) {
            (None, Some((_, Err(reason)))) => Err(TokenError::Unreachable {
                issuer: name.to_owned(),
                reason: reason.clone(),
            }),
            _ => Ok(known.keys.clone()),
        }
    }

    async fn read(&self, issuer: &str) -> Result<Vec<PublicKey>, String> {
        let url = format!("{issuer}{}", super::door::CONFIGURATION);
        let text = fetch(&url, &self.settings).await?;
        let configuration: Configuration = serde_json::from_slice(&text)
            .map_err(|error| format!("{url}: it is no discovery document: {error}"))?;
        if configuration.issuer.trim_end_matches('/') != issuer {
            let other = &configuration.issuer;
            return Err(format!(
                "{url}: it is the document of another issuer, {other}"
            ));
        }
        let text = fetch(&configuration.jwks_uri, &self.settings).await?;
        parse_set(&text).map_err(|error| format!("{}: {error}", configuration.jwks_uri))
    }
}

/// Whether an issuer is looked at again.
fn is_due(known: &Known, key_id: Option<&str>, now: Millis) -> bool {
    if let Some((asked, _)) = &known.asked
        && now.since(*asked) < LOOK_EVERY_MS
    {
        return false;
    }
    let stale = known
        .read
        .is_none_or(|read| now.since(read) >= FRESH_FOR_MS);
    let missing =
        key_id.is_some_and(|id| !known.keys.iter().any(|key| key.id.as_deref() == Some(id)));
    stale || missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web_identity::jwk::KeyMaterial;

    #[test]
    fn an_issuer_is_looked_at_when_its_keys_are_old_or_another_is_named() {
        let mut known = Known::default();
        assert!(is_due(&known, Some("a"), Millis(0)));
        let keys = vec![PublicKey {
            id: Some("a".to_owned()),
            material: KeyMaterial::P256(vec![4; 65]),
        }];
        known.keys = Arc::new(keys);
        known.read = Some(Millis(0));
        known.asked = Some((Millis(0), Ok(())));
        assert!(!is_due(&known, Some("b"), Millis(LOOK_EVERY_MS - 1)));
        assert!(is_due(&known, Some("b"), Millis(LOOK_EVERY_MS)));
        assert!(!is_due(&known, Some("a"), Millis(FRESH_FOR_MS - 1)));
        assert!(is_due(&known, Some("a"), Millis(FRESH_FOR_MS)));
    }
}
