//! Temporary credentials. A session token is a sealed note of everything about the session, so that no session is stored and all
//! of them are good over a restart; what the role or user may do is looked up when it is used.
//!
//! A token is the Base64 text of `version (1 byte) | nonce (12) | cipher text | tag (16)`, AES-256-GCM-SIV (RFC 8452) under a
//! key of the installation. The secret key is in it, so whoever can read a token needs the installation's key to use it.

use super::document::Document;
use super::entity::Tags;
use crate::clock::{Chance, random};
use apron_aws::policy::Kind;
use apron_aws::sigv4::Secret;
use apron_domain::Millis;
use apron_store::{Store, StoreError};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

/// Characters of a session token that are looked at (STS makes none of more than 4,096; ours hold policies and tags in full).
pub const TOKEN_CHARS_MAX: usize = 16 << 10;
const VERSION: u8 = 1;
/// Sets these envelopes apart from everything else that a key of ours may seal.
const PURPOSE: &[u8] = b"apron-session-token-v1";
/// Where the key is sealed in the store.
const SECRET_KIND: &str = "platform";
const SECRET_NAME: &str = "session-token-key";

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holder {
    /// A role's, by the unique id of the role.
    Role {
        /// `AROA…`.
        id: String,
        /// The name of the session.
        session: String,
    },
    /// A user's, by its unique id.
    User {
        /// `AIDA…`.
        id: String,
    },
    /// The root user's.
    Root,
}

/// What was asked for when the session was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Whose it is.
    pub holder: Holder,
    /// When it was made.
    pub issued: Millis,
    /// When it ends.
    pub expires: Millis,
    /// The session policy.
    #[serde(default)]
    pub policy: Option<Document>,
    /// ARNs of managed policies that limit the session.
    #[serde(default)]
    pub policy_arns: Vec<String>,
    /// Session tags.
    #[serde(default)]
    pub tags: Tags,
    /// The keys of those that go on to sessions made with this one.
    #[serde(default)]
    pub transitive: Vec<String>,
    /// `SourceIdentity`.
    #[serde(default)]
    pub source_identity: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    key: String,
    secret: String,
    session: Session,
}

/// Temporary credentials, as they are handed out once.
#[derive(Clone, Debug)]
pub struct Temporary {
    /// `ASIA…`.
    pub access_key_id: String,
    /// The secret access key.
    pub secret: Secret,
    /// The session token.
    pub token: Secret,
    /// When they end.
    pub expires: Millis,
}

/// Makes and reads session tokens.
pub struct SessionTokens {
    cipher: LessSafeKey,
}

/// A text that is no session token of this installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session token is not one of this installation")]
pub struct InvalidToken;

impl SessionTokens {
    /// Tokens under this key.
    pub fn new(key: &[u8; 32]) -> SessionTokens {
        let key = UnboundKey::new(&AES_256_GCM_SIV, key).expect("the key has the cipher's length");
        SessionTokens {
            cipher: LessSafeKey::new(key),
        }
    }

    /// Tokens under the installation's own key, which is made and sealed in the store at the first time.
    ///
    /// # Errors
    /// The key cannot be read or stored.
    pub async fn load(store: &Store, chance: &dyn Chance) -> Result<SessionTokens, StoreError> {
        let sealed = store.secret_get(SECRET_KIND, SECRET_NAME).await?;
        if let Some(key) = sealed.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
            return Ok(SessionTokens::new(&key));
        }
        let key: [u8; 32] = random(chance);
        store.secret_put(SECRET_KIND, SECRET_NAME, &key).await?;
        Ok(SessionTokens::new(&key))
    }

    /// Credentials for a session.
    pub fn issue(&self, session: Session, chance: &dyn Chance) -> Temporary {
        let (access_key_id, secret) = (
            super::ids::temporary_key_id(chance),
            super::ids::secret_access_key(chance),
        );
        let expires = session.expires;
        let claims = Claims {
            key: access_key_id.clone(),
            secret: secret.reveal().to_owned(),
            session,
        };
        let mut sealed = serde_json::to_vec(&claims).expect("the claims are texts and numbers");
        let nonce: [u8; NONCE_LEN] = random(chance);
        self.cipher
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(PURPOSE),
                &mut sealed,
            )
            .expect("claims are far shorter than the cipher allows");
        let token = [&[VERSION][..], &nonce, &sealed].concat();
        Temporary {
            access_key_id,
            secret,
            token: Secret::new(BASE64_STANDARD.encode(token)),
            expires,
        }
    }

    /// The session of a token and the secret of its key. Whether it has ended is the caller's question.
    ///
    /// # Errors
    /// The token is not one of ours, was changed, or belongs to another key.
    pub fn open(
        &self,
        access_key_id: &str,
        token: &str,
    ) -> Result<(Session, Secret), InvalidToken> {
        if token.len() > TOKEN_CHARS_MAX {
            return Err(InvalidToken);
        }
        let bytes = BASE64_STANDARD.decode(token).map_err(|_| InvalidToken)?;
        let (version, rest) = bytes.split_first().ok_or(InvalidToken)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or(InvalidToken)?;
        if *version != VERSION {
            return Err(InvalidToken);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| InvalidToken)?;
        let mut sealed = sealed.to_vec();
        let opened = self
            .cipher
            .open_in_place(nonce, Aad::from(PURPOSE), &mut sealed)
            .map_err(|_| InvalidToken)?;
        let claims: Claims = serde_json::from_slice(opened).map_err(|_| InvalidToken)?;
        if claims.key != access_key_id {
            return Err(InvalidToken);
        }
        Ok((claims.session, Secret::new(claims.secret)))
    }
}

/// Reads a session policy.
///
/// # Errors
/// It is no session policy, or too long.
pub fn session_policy(text: &str) -> Result<Document, apron_aws::policy::PolicyError> {
    Document::parse(text, Kind::Session)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Machine;

    fn session() -> Session {
        Session {
            holder: Holder::Role {
                id: "AROAX".to_owned(),
                session: "s".to_owned(),
            },
            issued: Millis(1),
            expires: Millis(2),
            policy: None,
            policy_arns: vec!["arn:x".to_owned()],
            tags: Tags::from([("team".to_owned(), "a".to_owned())]),
            transitive: Vec::new(),
            source_identity: None,
        }
    }

    #[test]
    fn a_token_comes_back_with_its_own_key_only() {
        let tokens = SessionTokens::new(&[7; 32]);
        let made = tokens.issue(session(), &Machine);
        let token = made.token.reveal();
        let (read, secret) = tokens.open(&made.access_key_id, token).unwrap();
        assert_eq!((read, secret), (session(), made.secret.clone()));
        assert_eq!(tokens.open("ASIAOTHER", token).unwrap_err(), InvalidToken);
        let other = SessionTokens::new(&[8; 32]);
        assert!(other.open(&made.access_key_id, token).is_err());
        assert!(!token.contains(made.secret.reveal()));
    }

    #[test]
    fn changed_tokens_are_refused() {
        let tokens = SessionTokens::new(&[7; 32]);
        let made = tokens.issue(session(), &Machine);
        let bytes = BASE64_STANDARD.decode(made.token.reveal()).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let changed = BASE64_STANDARD.encode(changed);
            assert!(
                tokens.open(&made.access_key_id, &changed).is_err(),
                "byte {at}"
            );
        }
        for garbage in ["", "AQ==", "!", &"A".repeat(TOKEN_CHARS_MAX + 4)] {
            assert!(tokens.open(&made.access_key_id, garbage).is_err());
        }
    }
}
