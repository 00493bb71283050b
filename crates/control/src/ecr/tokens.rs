//! The registry's passwords: signed, short-lived, checked without any stored state.

use super::Ecr;
use crate::clock::{Chance, random};
use crate::endpoint::Call;
use apron_domain::Millis;
use apron_store::{Store, StoreError};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// How long a password is good, milliseconds (ECR: 12 hours).
pub const TOKEN_LIFE_MS: u64 = 12 * 60 * 60 * 1000;
/// Characters of a password we look at. Passwords of sessions hold the session's token.
const TOKEN_CHARS_MAX: usize = 32 << 10;
/// Sets these signatures apart from everything else that a key of ours may sign.
const PURPOSE: &str = "apron-registry-password-v2";
/// Where the key is sealed in the store.
const SECRET_KIND: &str = "platform";
const SECRET_NAME: &str = "registry-password-key";

/// Why a password is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// It is not one of ours, or was changed.
    #[error("the registry password is not valid")]
    Invalid,
    /// It was good once.
    #[error("the registry password has expired, get a new one with `aws ecr get-login-password`")]
    Expired,
}

/// Whom a password is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The access key.
    pub access_key_id: String,
    /// The session token, for temporary credentials.
    pub session_token: Option<String>,
    /// When the session ends, and the password with it.
    pub ends: Option<Millis>,
}

/// Issues and checks passwords under one key.
pub struct Tokens {
    key: hmac::Key,
}

impl Tokens {
    /// Passwords under this key.
    pub fn new(key: &[u8; 32]) -> Tokens {
        Tokens {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// Passwords under the installation's own key, which is made and sealed in the store at the first time, so that
    /// passwords stay good over a restart.
    ///
    /// # Errors
    /// The key cannot be read or stored.
    pub async fn load(store: &Store, chance: &dyn Chance) -> Result<Tokens, StoreError> {
        let sealed = store.secret_get(SECRET_KIND, SECRET_NAME).await?;
        if let Some(key) = sealed.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
            return Ok(Tokens::new(&key));
        }
        let key: [u8; 32] = random(chance);
        store.secret_put(SECRET_KIND, SECRET_NAME, &key).await?;
        Ok(Tokens::new(&key))
    }

    /// A password for the holder of an access key, and when it ends. One for a session ends with the session, whose token
    /// is in it.
    pub fn issue(&self, holder: &Holder, now: Millis) -> (String, Millis) {
        let life = now.plus(TOKEN_LIFE_MS);
        let expires = holder.ends.map_or(life, |ends| ends.min(life));
        let token = holder.session_token.as_deref().unwrap_or_default();
        let claim = format!("{}.{token}.{}", expires.0, holder.access_key_id);
        let tag = hmac::sign(&self.key, signed_text(&claim).as_bytes());
        let text = format!("{}.{claim}", hex::encode(tag));
        (BASE64_URL_SAFE_NO_PAD.encode(text), expires)
    }

    /// Whom a password was issued to: the access key and the session token. Whether they are in force is the caller's question.
    ///
    /// # Errors
    /// It is not ours or no longer good.
    pub fn verify(&self, password: &str, now: Millis) -> Result<Holder, TokenRefusal> {
        if password.len() > TOKEN_CHARS_MAX {
            return Err(TokenRefusal::Invalid);
        }
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(password)
            .map_err(|_| TokenRefusal::Invalid)?;
        let text = String::from_utf8(bytes).map_err(|_| TokenRefusal::Invalid)?;
        let (tag, claim) = text.split_once('.').ok_or(TokenRefusal::Invalid)?;
        let tag = hex::decode(tag).map_err(|_| TokenRefusal::Invalid)?;
        hmac::verify(&self.key, signed_text(claim).as_bytes(), &tag)
            .map_err(|_| TokenRefusal::Invalid)?;
        let (expires, rest) = claim.split_once('.').ok_or(TokenRefusal::Invalid)?;
        let (token, access_key_id) = rest.split_once('.').ok_or(TokenRefusal::Invalid)?;
        let expires: u64 = expires.parse().map_err(|_| TokenRefusal::Invalid)?;
        if expires <= now.0 {
            return Err(TokenRefusal::Expired);
        }
        Ok(Holder {
            access_key_id: access_key_id.to_owned(),
            session_token: Some(token.to_owned()).filter(|token| !token.is_empty()),
            ends: Some(Millis(expires)),
        })
    }
}

fn signed_text(claim: &str) -> String {
    format!("{PURPOSE}\n{claim}")
}

impl Ecr {
    pub(super) fn get_authorization_token(&self, call: &Call) -> Value {
        let session = call.caller.session.as_ref();
        let holder = Holder {
            access_key_id: call.caller.access_key_id.clone(),
            session_token: call.session_token.clone(),
            ends: session.map(|session| session.expires),
        };
        let (password, expires) = self.tokens.issue(&holder, call.now);
        json!({"authorizationData": [{
            "authorizationToken": BASE64_STANDARD.encode(format!("AWS:{password}")),
            "expiresAt": expires.as_seconds(),
            "proxyEndpoint": format!("https://{}", self.settings.registry_host),
        }]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(session_token: Option<&str>, ends: Option<Millis>) -> Holder {
        Holder {
            access_key_id: "AKIA.X".to_owned(),
            session_token: session_token.map(str::to_owned),
            ends,
        }
    }

    #[test]
    fn a_password_is_good_until_it_ends() {
        let (tokens, now) = (Tokens::new(&[7; 32]), Millis(1_000));
        let (password, expires) = tokens.issue(&holder(None, None), now);
        assert_eq!(expires, Millis(1_000 + TOKEN_LIFE_MS));
        let same = Ok(holder(None, Some(expires)));
        assert_eq!(tokens.verify(&password, now), same);
        assert_eq!(tokens.verify(&password, Millis(expires.0 - 1)), same);
        assert_eq!(
            tokens.verify(&password, expires),
            Err(TokenRefusal::Expired)
        );
    }

    #[test]
    fn the_password_of_a_session_ends_with_it() {
        let (tokens, ends) = (Tokens::new(&[7; 32]), Millis(5_000));
        let session = holder(Some("AbC+/="), Some(ends));
        let (password, expires) = tokens.issue(&session, Millis(1_000));
        assert_eq!(expires, ends);
        assert_eq!(tokens.verify(&password, Millis(4_999)), Ok(session));
        assert_eq!(tokens.verify(&password, ends), Err(TokenRefusal::Expired));
    }

    #[test]
    fn other_passwords_are_refused() {
        let tokens = Tokens::new(&[7; 32]);
        let (password, _) = tokens.issue(&holder(None, None), Millis(0));
        assert_eq!(
            Tokens::new(&[8; 32]).verify(&password, Millis(0)),
            Err(TokenRefusal::Invalid)
        );
        for at in 0..password.len() {
            let mut changed = password.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(
                tokens.verify(&changed, Millis(0)),
                Err(TokenRefusal::Invalid),
                "byte {at}"
            );
        }
        for garbage in ["", "x", "AWS", &"A".repeat(TOKEN_CHARS_MAX + 1)] {
            assert_eq!(
                tokens.verify(garbage, Millis(0)),
                Err(TokenRefusal::Invalid)
            );
        }
    }
}
