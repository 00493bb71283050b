//! OpenID Connect, in both directions: this platform vouches for its instances ([`Issuer`]), so that a role of a real AWS account
//! can trust it, and believes the tokens of those issuers that IAM has a provider for ([`WebIdentity::verify`]).
//!
//! Tokens are JSON Web Tokens (RFC 7519) signed as RFC 7515 has it; issuers publish their keys as OpenID Connect Discovery 1.0
//! says.

mod addresses;
mod claims;
mod door;
mod fetch;
mod issuer;
mod jwk;
mod jws;
mod keys;
mod projection;
mod providers;

pub use claims::{Claims, ClaimsError};
pub use door::{answer, is_path};
pub use fetch::FetchSettings;
pub use issuer::{Bearer, Issuer, Rotated, TOKEN_LIFE_MS, subject};
pub use keys::Change as KeyChange;
pub use projection::Projection;

use crate::clock::Chance;
use crate::iam::{Directory, OidcProvider};
use apron_domain::Millis;
use apron_store::{Store, StoreError};
use jws::Jws;
use providers::Providers;
use std::sync::Arc;

/// Vouches for instances, and knows whom to believe.
pub struct WebIdentity {
    /// The platform as an issuer.
    pub issuer: Issuer,
    providers: Providers,
}

/// A token that is what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The provider that vouches for it.
    pub provider: Arc<OidcProvider>,
    /// What it says.
    pub claims: Claims,
}

/// Why a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no token at all.
    #[error(
        "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token): {0}"
    )]
    Malformed(String),
    /// Its issuer is nobody that IAM knows.
    #[error("No OpenIDConnect provider found in your account for {0}")]
    NoProvider(String),
    /// It is for somebody else.
    #[error("Incorrect token audience")]
    Audience,
    /// The issuer has no such key.
    #[error("Couldn't retrieve verification key from your identity provider: {0}")]
    NoKey(String),
    /// Somebody else signed it.
    #[error("The signature of the token is not valid")]
    Signature,
    /// It was good once.
    #[error(
        "Token expired: current date/time {now} must be before the expiration date/time {expires}"
    )]
    Expired {
        /// Seconds since the Unix epoch.
        now: u64,
        /// The same.
        expires: u64,
    },
    /// It is not good yet.
    #[error("The token is not valid before {0} (seconds since 1970-01-01)")]
    Early(u64),
    /// The issuer's keys cannot be read.
    #[error("The keys of {issuer} cannot be read: {reason}")]
    Unreachable {
        /// The issuer.
        issuer: String,
        /// What failed.
        reason: String,
    },
    /// The platform's own keys cannot be read.
    #[error("the platform's own keys cannot be read")]
    Store,
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> TokenError {
        tracing::error!(%error, "the keys that sign instances' tokens cannot be read");
        TokenError::Store
    }
}

impl WebIdentity {
    /// The issuer of that URL, with its keys in this store.
    pub fn new(
        url: &str,
        store: Store,
        chance: Arc<dyn Chance>,
        fetching: FetchSettings,
    ) -> WebIdentity {
        WebIdentity {
            issuer: Issuer::new(url, store, chance),
            providers: Providers::new(fetching),
        }
    }

    /// Whether a token was signed by a provider in the directory, for one of its audiences, and is good now.
    ///
    /// # Errors
    /// See [`TokenError`]. Nothing but the issuer's name is believed before the signature is proved.
    pub async fn verify(
        &self,
        token: &str,
        directory: &Directory,
        now: Millis,
    ) -> Result<Verified, TokenError> {
        let malformed = |error: &dyn std::fmt::Display| TokenError::Malformed(error.to_string());
        let jws = Jws::parse(token).map_err(|error| malformed(&error))?;
        let claims = Claims::parse(&jws.payload).map_err(|error| malformed(&error))?;
        let provider = directory.provider_of(&claims.issuer);
        let provider = provider.ok_or_else(|| TokenError::NoProvider(claims.issuer.clone()))?;
        let keys = match provider.url == self.issuer.name() {
            true => self.issuer.public_keys(now).await?,
            false => {
                self.providers
                    .keys(&provider.url, jws.key_id.as_deref(), now)
                    .await?
            }
        };
        let key = jwk::choose(&keys, jws.key_id.as_deref(), jws.algorithm);
        let key = key.ok_or_else(|| {
            TokenError::NoKey(format!("{} publishes none of that id", claims.issuer))
        })?;
        jws.verify(key).map_err(|_| TokenError::Signature)?;
        claims.check(now)?;
        let known = |audience: &String| provider.client_ids.contains(audience);
        match claims.audiences.iter().any(known) {
            true => Ok(Verified {
                provider: provider.clone(),
                claims,
            }),
            false => Err(TokenError::Audience),
        }
    }
}
