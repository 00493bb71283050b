//! The keys that sign: which one now, when another is made, how long an old one is published. Times are arguments.

use super::issuer::TOKEN_LIFE_MS;
use super::jwk::{KeyMaterial, PublicKey};
use crate::clock::Chance;
use apron_domain::Millis;
use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RsaKeyPair};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// How long a key signs, milliseconds.
pub(super) const SIGNS_FOR_MS: u64 = 90 * DAY_MS;
/// How long a key is published before it signs, milliseconds: whoever keeps issuers' keys for a while, and operators who publish the
/// documents elsewhere, know it by then.
pub(super) const AHEAD_MS: u64 = 7 * DAY_MS;
/// The same for a key that the operator asks for, milliseconds. What is published may be kept for an hour; AWS does not say for how
/// long its STS keeps it, and copies are made by people.
pub(super) const ROTATION_AHEAD_MS: u64 = DAY_MS;
/// How long a key is published after it signed last, milliseconds: the life of a token, and an hour for clocks that differ.
pub(super) const AFTER_MS: u64 = TOKEN_LIFE_MS + 60 * 60 * 1000;
/// Keys that are published at one time: an operator who asks again and again waits until old ones have gone.
pub(super) const KEYS_MAX: usize = 8;

/// A key as it is sealed in the store.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredKey {
    /// The private key, PKCS #8, Base64.
    pkcs8: String,
    /// From when it signs.
    pub signs_from: Millis,
}

/// A key in use.
pub(super) struct SigningKey {
    /// Its name in tokens: the thumbprint of RFC 7638.
    pub id: String,
    /// The key.
    pub pair: RsaKeyPair,
    /// From when it signs.
    pub signs_from: Millis,
    /// As it is stored.
    pub stored: StoredKey,
}

/// A stored key that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored key is damaged")]
pub(super) struct Damaged;

/// What is to be done with keys whose first days of signing are these, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The keys before this one are forgotten.
    pub keep_from: usize,
    /// A key is made that signs from then on.
    pub make: Option<Millis>,
}

/// The plan for keys, by when each of them begins to sign.
pub(super) fn plan(signs_from: &[Millis], now: Millis) -> Plan {
    let Some(newest) = signs_from.last() else {
        return Plan {
            keep_from: 0,
            make: Some(now),
        };
    };
    // A key goes when the one after it has signed for so long that no token of the old one is good any more.
    let gone = |successor: &Millis| successor.plus(AFTER_MS) <= now;
    let keep_from = signs_from.iter().skip(1).take_while(|it| gone(it)).count();
    let ends = newest.plus(SIGNS_FOR_MS);
    let due = ends.0.saturating_sub(AHEAD_MS) <= now.0;
    Plan {
        keep_from,
        make: due.then(|| ends.max(now.plus(AHEAD_MS))),
    }
}

/// The place of the key that signs: the newest whose time has come.
pub(super) fn signer(signs_from: &[Millis], now: Millis) -> usize {
    signs_from
        .iter()
        .rposition(|from| *from <= now)
        .unwrap_or(0)
}

/// How another key takes the place of the one that signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is published, and signs when everybody has read it.
    Ahead,
    /// It signs at once.
    AtOnce,
    /// It signs at once, and no other key is published any more: tokens of theirs are worth nothing.
    Withdraw,
}

/// What an operator's wish for another key comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rotation {
    /// The newest key, which is published and does not sign yet, signs from then on.
    Newest(Millis),
    /// A key is made that signs from then on.
    Make(Millis),
    /// A key is made that signs at once and alone.
    Alone,
    /// So many keys are published that none is made.
    Full,
}

/// The rotation of keys, by when each of them begins to sign; there is at least one.
pub(super) fn rotation(signs_from: &[Millis], change: Change, now: Millis) -> Rotation {
    let due = match change {
        Change::Ahead => now.plus(ROTATION_AHEAD_MS),
        Change::AtOnce => now,
        // Whoever has one of the keys may have the next one as well.
        Change::Withdraw => return Rotation::Alone,
    };
    match signs_from.last() {
        Some(newest) if *newest > now => Rotation::Newest(due.min(*newest)),
        _ if signs_from.len() >= KEYS_MAX => Rotation::Full,
        _ => Rotation::Make(due),
    }
}

impl SigningKey {
    /// Makes a key. Takes a good part of a second: never on a thread that serves.
    pub fn generate(signs_from: Millis) -> SigningKey {
        let pair =
            RsaKeyPair::generate(KeySize::Rsa2048).expect("the key's size is one of the library's");
        let der: Pkcs8V1Der<'_> = pair
            .as_der()
            .expect("a key that was just made can be written");
        let stored = StoredKey {
            pkcs8: BASE64_STANDARD.encode(der.as_ref()),
            signs_from,
        };
        SigningKey::of(pair, stored)
    }

    /// Reads a key.
    pub fn read(stored: StoredKey) -> Result<SigningKey, Damaged> {
        let der = BASE64_STANDARD.decode(&stored.pkcs8).map_err(|_| Damaged)?;
        let pair = RsaKeyPair::from_pkcs8(&der).map_err(|_| Damaged)?;
        Ok(SigningKey::of(pair, stored))
    }

    /// Signs from then on.
    pub fn begin_at(&mut self, signs_from: Millis) {
        self.signs_from = signs_from;
        self.stored.signs_from = signs_from;
    }

    fn of(pair: RsaKeyPair, stored: StoredKey) -> SigningKey {
        let (n, e) = components(&pair);
        // The members in the order of their names, without white space (RFC 7638, section 3).
        let canonical = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        let id = digest::digest(&digest::SHA256, canonical.as_bytes());
        SigningKey {
            id: BASE64_URL_SAFE_NO_PAD.encode(id),
            signs_from: stored.signs_from,
            pair,
            stored,
        }
    }

    /// The public half, for verification here.
    pub fn public(&self) -> PublicKey {
        let key = self.pair.public_key();
        PublicKey {
            id: Some(self.id.clone()),
            material: KeyMaterial::Rsa {
                n: key.modulus().big_endian_without_leading_zero().to_vec(),
                e: key.exponent().big_endian_without_leading_zero().to_vec(),
            },
        }
    }

    /// The public half, for others (RFC 7517).
    pub fn jwk(&self) -> serde_json::Value {
        let (n, e) = components(&self.pair);
        serde_json::json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.id, "n": n, "e": e})
    }
}

fn components(pair: &RsaKeyPair) -> (String, String) {
    let key = pair.public_key();
    let n = key.modulus().big_endian_without_leading_zero();
    let e = key.exponent().big_endian_without_leading_zero();
    (
        BASE64_URL_SAFE_NO_PAD.encode(n),
        BASE64_URL_SAFE_NO_PAD.encode(e),
    )
}

/// A fresh identifier of a token.
pub(super) fn token_id(chance: &dyn Chance) -> String {
    hex::encode(crate::clock::random::<16>(chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_overlap() {
        let now = Millis(1_000 * DAY_MS);
        assert_eq!(plan(&[], now).make, Some(now));
        let first = now;
        let nothing = Plan {
            keep_from: 0,
            make: None,
        };
        let soon = first.plus(SIGNS_FOR_MS - AHEAD_MS);
        assert_eq!(plan(&[first], Millis(soon.0 - 1)), nothing);
        let second = first.plus(SIGNS_FOR_MS);
        assert_eq!(plan(&[first], soon).make, Some(second));
        // Published, and not signing yet.
        let both = [first, second];
        assert_eq!(plan(&both, soon), nothing);
        assert_eq!(signer(&both, Millis(second.0 - 1)), 0);
        assert_eq!(signer(&both, second), 1);
        // Signing no more, and published still.
        assert_eq!(plan(&both, second.plus(AFTER_MS - 1)).keep_from, 0);
        assert_eq!(plan(&both, second.plus(AFTER_MS)).keep_from, 1);
    }

    #[test]
    fn a_platform_that_was_off_for_long_publishes_before_it_signs() {
        let first = Millis(0);
        let now = Millis(1_000 * DAY_MS);
        assert_eq!(plan(&[first], now).make, Some(now.plus(AHEAD_MS)));
        assert_eq!(signer(&[first, now.plus(AHEAD_MS)], now), 0);
    }

    #[test]
    fn an_operator_gets_another_key_without_tokens_of_the_old_one_failing() {
        let first = Millis(0);
        let now = Millis(10 * DAY_MS);
        let later = now.plus(ROTATION_AHEAD_MS);
        assert_eq!(
            rotation(&[first], Change::Ahead, now),
            Rotation::Make(later)
        );
        assert_eq!(rotation(&[first], Change::AtOnce, now), Rotation::Make(now));
        // Asked again, the key that is published already is taken, and it never waits for longer.
        let both = [first, later];
        assert_eq!(rotation(&both, Change::Ahead, now), Rotation::Newest(later));
        let next = now.plus(1);
        assert_eq!(
            rotation(&both, Change::Ahead, next),
            Rotation::Newest(later)
        );
        assert_eq!(
            rotation(&both, Change::AtOnce, next),
            Rotation::Newest(next)
        );
        // The last token of the old key is signed just before the new one signs.
        let both = [first, now];
        let last_ends = now.plus(TOKEN_LIFE_MS - 1);
        assert_eq!(signer(&both, Millis(now.0 - 1)), 0);
        assert_eq!(plan(&both, last_ends).keep_from, 0);
        assert_eq!(plan(&both, now.plus(AFTER_MS)).keep_from, 1);
        assert_eq!(plan(&both, now.plus(AFTER_MS)).make, None);
    }

    #[test]
    fn keys_that_are_published_are_so_many() {
        let now = Millis(DAY_MS);
        let mut keys = vec![Millis(0)];
        while let Rotation::Make(from) = rotation(&keys, Change::AtOnce, now) {
            keys.push(from);
        }
        assert_eq!(keys.len(), KEYS_MAX);
        assert_eq!(rotation(&keys, Change::AtOnce, now), Rotation::Full);
        assert_eq!(rotation(&keys, Change::Withdraw, now), Rotation::Alone);
        let later = now.plus(AFTER_MS);
        let kept = &keys[plan(&keys, later).keep_from..];
        assert_eq!(kept.len(), 1);
        assert_eq!(rotation(kept, Change::AtOnce, later), Rotation::Make(later));
    }

    #[test]
    fn a_key_comes_back_from_the_store() {
        let made = SigningKey::generate(Millis(7));
        let read = SigningKey::read(made.stored.clone()).unwrap();
        assert_eq!((&read.id, read.signs_from), (&made.id, Millis(7)));
        assert_eq!(read.public(), made.public());
        let token = super::super::jws::sign(&made.pair, &made.id, &serde_json::json!({"a": 1}));
        let jws = super::super::jws::Jws::parse(&token).unwrap();
        assert_eq!(jws.verify(&read.public()), Ok(()));
        assert_eq!(jws.key_id.as_deref(), Some(read.id.as_str()));
    }
}
