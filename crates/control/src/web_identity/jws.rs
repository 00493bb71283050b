//! Signed tokens in their compact form (RFC 7515, section 3.1) with the algorithms that IAM takes (RFC 7518): RSASSA-PKCS1-v1_5
//! and ECDSA. What the header says chooses among keys of that family and nothing else: there is no algorithm `none` and no
//! symmetric one here.

use super::jwk::{KeyMaterial, PublicKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

/// Characters of a token (STS: `WebIdentityToken`).
const TOKEN_CHARS_MAX: usize = 20_000;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Algorithm {
    RS256,
    RS384,
    RS512,
    ES256,
    ES384,
    ES512,
}

/// A token that was taken apart and not proved.
#[derive(Debug)]
pub(super) struct Jws<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    /// How it says it is signed.
    pub algorithm: Algorithm,
    /// The key that it says signed it.
    pub key_id: Option<String>,
    /// What it says.
    pub payload: Vec<u8>,
}

/// Why a text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JwsError {
    /// It has not the form.
    #[error("it is not three Base64url texts with dots between them")]
    Form,
    /// The header is not understood.
    #[error("its header is not understood: {0}")]
    Header(String),
}

/// The signature is not that of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadSignature;

#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
    kid: Option<String>,
    /// Extensions that must be understood (RFC 7515, section 4.1.11): none is.
    crit: Option<Value>,
}

impl<'a> Jws<'a> {
    /// Takes a token apart.
    pub fn parse(token: &'a str) -> Result<Jws<'a>, JwsError> {
        if token.len() > TOKEN_CHARS_MAX {
            return Err(JwsError::Form);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwsError::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(JwsError::Form)?;
        let bytes = |text: &str| {
            BASE64_URL_SAFE_NO_PAD
                .decode(text)
                .map_err(|_| JwsError::Form)
        };
        let header: Header = serde_json::from_slice(&bytes(header)?)
            .map_err(|error| JwsError::Header(error.to_string()))?;
        if header.crit.is_some() {
            let text = "it has extensions that must be understood".to_owned();
            return Err(JwsError::Header(text));
        }
        Ok(Jws {
            signed,
            signature: bytes(signature)?,
            algorithm: header.alg,
            key_id: header.kid,
            payload: bytes(payload)?,
        })
    }

    /// Whether that key signed it.
    pub fn verify(&self, key: &PublicKey) -> Result<(), BadSignature> {
        let (message, signature) = (self.signed.as_bytes(), self.signature.as_slice());
        let verified = match (&key.material, self.algorithm) {
            (KeyMaterial::Rsa { n, e }, Algorithm::RS256) => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
            (KeyMaterial::Rsa { n, e }, Algorithm::RS384) => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA384, message, signature),
            (KeyMaterial::Rsa { n, e }, Algorithm::RS512) => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA512, message, signature),
            (KeyMaterial::P256(point), Algorithm::ES256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            (KeyMaterial::P384(point), Algorithm::ES384) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature)
            }
            (KeyMaterial::P521(point), Algorithm::ES512) => {
                UnparsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, point).verify(message, signature)
            }
            _ => return Err(BadSignature),
        };
        verified.map_err(|_| BadSignature)
    }
}

/// Signs claims with an RSA key (RS256).
pub(super) fn sign(key: &RsaKeyPair, key_id: &str, claims: &Value) -> String {
    let encoded = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"alg": "RS256", "kid": key_id, "typ": "JWT"});
    let signed = format!("{}.{}", encoded(&header), encoded(claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .expect("the buffer has the length of the key's modulus");
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

#[cfg(test)]
mod tests {
    use super::super::jwk;
    use super::*;

    /// RFC 7515, appendix A.2: a token with RS256 and its key.
    const RS256_KEY: &str = r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#;
    const RS256_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    /// RFC 7515, appendix A.3: a token with ES256 and its key.
    const ES256_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const ES256_TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

    fn key(jwk: &str) -> PublicKey {
        let set = format!(r#"{{"keys":[{jwk}]}}"#);
        jwk::parse_set(set.as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn the_tokens_of_the_rfc_are_verified_by_their_keys_alone() {
        for (token, own, other) in [
            (RS256_TOKEN, RS256_KEY, ES256_KEY),
            (ES256_TOKEN, ES256_KEY, RS256_KEY),
        ] {
            let jws = Jws::parse(token).unwrap();
            assert_eq!(jws.verify(&key(own)), Ok(()));
            assert_eq!(jws.verify(&key(other)), Err(BadSignature));
            assert!(jws.payload.starts_with(br#"{"iss":"joe""#));
        }
    }

    #[test]
    fn a_changed_token_is_not_verified() {
        let own = key(ES256_KEY);
        for at in 0..ES256_TOKEN.len() {
            let mut changed = ES256_TOKEN.to_owned().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            if let Ok(jws) = Jws::parse(&changed) {
                assert_eq!(jws.verify(&own), Err(BadSignature), "byte {at}");
            }
        }
    }

    #[test]
    fn tokens_without_a_signature_of_a_key_pair_are_none() {
        let token = |header: &str| {
            let header = BASE64_URL_SAFE_NO_PAD.encode(header);
            format!("{header}.{}.AAAA", BASE64_URL_SAFE_NO_PAD.encode("{}"))
        };
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"RS256","crit":["b64"],"b64":false}"#,
            r#"{"kid":"x"}"#,
            "[]",
            "",
        ] {
            assert!(Jws::parse(&token(header)).is_err(), "{header}");
        }
        assert!(Jws::parse(&token(r#"{"alg":"RS256"}"#)).is_ok());
        for text in [
            "",
            ".",
            "..",
            "a.b",
            "x.y.z",
            &"A".repeat(TOKEN_CHARS_MAX + 1),
        ] {
            assert!(Jws::parse(text).is_err());
        }
    }
}
