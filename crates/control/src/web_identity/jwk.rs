//! Public keys of issuers (RFC 7517, RFC 7518 section 6).

use super::jws::Algorithm;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

/// Keys of one issuer that are looked at.
const KEYS_MAX: usize = 100;

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// What the issuer calls it.
    pub id: Option<String>,
    /// The key.
    pub(super) material: KeyMaterial,
}

/// The key itself; points are uncompressed (SEC 1, section 2.3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyMaterial {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    P521(Vec<u8>),
}

/// A text that is no set of keys.
#[derive(Debug, thiserror::Error)]
#[error("it is not a JSON Web Key Set: {0}")]
pub(super) struct NotKeys(String);

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a set that can verify signatures here. Others are passed over, as section 5 of the RFC has it.
pub(super) fn parse_set(bytes: &[u8]) -> Result<Vec<PublicKey>, NotKeys> {
    let set: Set = serde_json::from_slice(bytes).map_err(|error| NotKeys(error.to_string()))?;
    let signing = |jwk: &Jwk| jwk.usage.as_deref().is_none_or(|usage| usage == "sig");
    let usable = set.keys.into_iter().filter(signing).filter_map(public_key);
    Ok(usable.take(KEYS_MAX).collect())
}

fn public_key(jwk: Jwk) -> Option<PublicKey> {
    let bytes = |text: &Option<String>| BASE64_URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
    let point = |length: usize| {
        let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
        let whole = x.len() == length && y.len() == length;
        whole.then(|| [&[4][..], &x, &y].concat())
    };
    let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => KeyMaterial::Rsa {
            n: bytes(&jwk.n)?,
            e: bytes(&jwk.e)?,
        },
        ("EC", Some("P-256")) => KeyMaterial::P256(point(32)?),
        ("EC", Some("P-384")) => KeyMaterial::P384(point(48)?),
        ("EC", Some("P-521")) => KeyMaterial::P521(point(66)?),
        _ => return None,
    };
    Some(PublicKey {
        id: jwk.kid,
        material,
    })
}

impl PublicKey {
    fn fits(&self, algorithm: Algorithm) -> bool {
        match self.material {
            KeyMaterial::Rsa { .. } => {
                matches!(
                    algorithm,
                    Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512
                )
            }
            KeyMaterial::P256(_) => algorithm == Algorithm::ES256,
            KeyMaterial::P384(_) => algorithm == Algorithm::ES384,
            KeyMaterial::P521(_) => algorithm == Algorithm::ES512,
        }
    }
}

/// The key that a token's header means. One that names none means the only key of its kind.
pub(super) fn choose<'a>(
    keys: &'a [PublicKey],
    id: Option<&str>,
    algorithm: Algorithm,
) -> Option<&'a PublicKey> {
    let mut fitting = keys.iter().filter(|key| key.fits(algorithm));
    match id {
        Some(id) => fitting.find(|key| key.id.as_deref() == Some(id)),
        None => {
            let only = fitting.next()?;
            fitting.next().is_none().then_some(only)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_of_no_use_here_are_passed_over() {
        let set = br#"{"keys":[
            {"kty":"oct","k":"AAAA","kid":"secret"},
            {"kty":"RSA","n":"AQAB","e":"AQAB","kid":"a","use":"enc"},
            {"kty":"RSA","n":"AQAB","e":"AQAB","kid":"b","use":"sig","alg":"RS256"},
            {"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"short"},
            {"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}]}"#;
        let keys = parse_set(set).unwrap();
        let ids: Vec<_> = keys.iter().filter_map(|key| key.id.as_deref()).collect();
        assert_eq!(ids, ["b"]);
        assert!(parse_set(b"{}").is_err() && parse_set(b"<html>").is_err());
    }

    #[test]
    fn a_token_without_a_key_id_means_the_only_key() {
        let key = |id: &str| PublicKey {
            id: Some(id.to_owned()),
            material: KeyMaterial::P256(vec![4; 65]),
        };
        let one = [key("a")];
        let two = [key("a"), key("b")];
        assert!(choose(&one, None, Algorithm::ES256).is_some());
        assert!(choose(&one, None, Algorithm::RS256).is_none());
        assert!(choose(&two, None, Algorithm::ES256).is_none());
        assert_eq!(choose(&two, Some("b"), Algorithm::ES256), Some(&two[1]));
        assert!(choose(&two, Some("c"), Algorithm::ES256).is_none());
    }
}
