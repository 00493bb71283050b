//! Secrets, and the signing keys derived from them.

use aws_lc_rs::{digest, hmac};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Derived keys held at once; at the bound the cache starts over. One entry serves a key, day, region and service.
const KEYS_MAX: usize = 1024;

/// A secret access key. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text of a secret access key.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text, for the one place that hands credentials to their owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// HMAC-SHA256 of data.
pub(super) fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
    tag.as_ref()
        .try_into()
        .expect("an HMAC-SHA256 tag has 32 bytes")
}

/// SHA-256 of data, hexadecimal.
pub(super) fn sha256_hex(data: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, data))
}

/// Derives the signing key of a day, region and service.
pub(super) fn derive(secret: &Secret, day: &str, region: &str, service: &str) -> [u8; 32] {
    let start = format!("AWS4{}", secret.0);
    [day, region, service, super::TERMINATOR]
        .iter()
        .fold(start.into_bytes(), |key, part| {
            hmac_sha256(&key, part.as_bytes()).to_vec()
        })
        .try_into()
        .expect("an HMAC-SHA256 tag has 32 bytes")
}

/// Signing keys already derived. Bounded; safe to share.
#[derive(Default)]
pub struct KeyCache {
    keys: Mutex<HashMap<[u8; 32], [u8; 32]>>,
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyCache(***)")
    }
}

impl KeyCache {
    /// The signing key of that scope, derived at most once while it stays in the cache.
    pub(super) fn key(&self, secret: &Secret, day: &str, region: &str, service: &str) -> [u8; 32] {
        // The name covers the secret, so a changed secret is another entry. Lengths keep the parts apart.
        let mut name = digest::Context::new(&digest::SHA256);
        for part in [secret.0.as_str(), day, region, service] {
            name.update(&(part.len() as u64).to_le_bytes());
            name.update(part.as_bytes());
        }
        let name: [u8; 32] = name
            .finish()
            .as_ref()
            .try_into()
            .expect("a SHA-256 digest has 32 bytes");
        if let Some(key) = self.lock().get(&name) {
            return *key;
        }
        let key = derive(secret, day, region, service);
        let mut keys = self.lock();
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
        keys.insert(name, key);
        key
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], [u8; 32]>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the AWS General Reference, "derive a signing key".
    #[test]
    fn published_key() {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let expect = "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9";
        assert_eq!(
            hex::encode(derive(&secret, "20150830", "us-east-1", "iam")),
            expect
        );
        let cache = KeyCache::default();
        assert_eq!(
            hex::encode(cache.key(&secret, "20150830", "us-east-1", "iam")),
            expect
        );
        assert_eq!(
            hex::encode(cache.key(&secret, "20150830", "us-east-1", "iam")),
            expect
        );
        assert_ne!(
            hex::encode(cache.key(&Secret::new("x"), "20150830", "us-east-1", "iam")),
            expect
        );
    }

    #[test]
    fn the_cache_is_bounded_and_secrets_are_not_printed() {
        let (cache, secret) = (KeyCache::default(), Secret::new("hidden"));
        for i in 0..=KEYS_MAX {
            cache.key(&secret, &i.to_string(), "r", "s");
        }
        assert!(cache.lock().len() <= KEYS_MAX);
        assert!(!format!("{secret:?}{cache:?}").contains("hidden"));
    }
}
