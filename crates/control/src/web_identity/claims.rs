//! What a token says (RFC 7519, section 4.1; OpenID Connect Core 1.0, section 2).

use super::TokenError;
use apron_domain::Millis;
use serde::Deserialize;
use serde_json::Value;

/// How far an issuer's clock may be ahead of ours, seconds.
const CLOCK_SKEW_SECONDS: u64 = 60;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who vouches, a URL.
    pub issuer: String,
    /// For whom.
    pub subject: String,
    /// Who is to believe it.
    pub audiences: Vec<String>,
    /// How the subject was authenticated.
    pub methods: Vec<String>,
    expires: u64,
    not_before: u64,
}

/// A claim that is missing or has not its form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// The payload is not an object of JSON.
    #[error("its claims cannot be read: {0}")]
    NotJson(String),
    /// A claim is missing.
    #[error("the claim {0} is missing")]
    Missing(&'static str),
}

#[derive(Deserialize)]
struct Payload {
    iss: Option<String>,
    sub: Option<String>,
    #[serde(default)]
    aud: Value,
    #[serde(default)]
    amr: Value,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
}

impl Claims {
    /// Reads claims; those that every token needs have to be there.
    ///
    /// # Errors
    /// See [`ClaimsError`].
    pub fn parse(payload: &[u8]) -> Result<Claims, ClaimsError> {
        let payload: Payload = serde_json::from_slice(payload)
            .map_err(|error| ClaimsError::NotJson(error.to_string()))?;
        let text = |value: Option<String>, name: &'static str| {
            let value = value.filter(|value| !value.is_empty());
            value.ok_or(ClaimsError::Missing(name))
        };
        // Numbers outside of the range become its ends, and those are no times a token can be good at.
        let seconds = |number: f64| number as u64;
        let expires = payload
            .exp
            .map(seconds)
            .ok_or(ClaimsError::Missing("exp"))?;
        let issued = payload
            .iat
            .map(seconds)
            .ok_or(ClaimsError::Missing("iat"))?;
        let audiences = texts(&payload.aud);
        if audiences.is_empty() {
            return Err(ClaimsError::Missing("aud"));
        }
        Ok(Claims {
            issuer: text(payload.iss, "iss")?,
            subject: text(payload.sub, "sub")?,
            audiences,
            methods: texts(&payload.amr),
            expires,
            not_before: payload.nbf.map_or(issued, seconds).max(issued),
        })
    }

    /// Whether it is good now.
    ///
    /// # Errors
    /// [`TokenError::Expired`] and [`TokenError::Early`].
    pub fn check(&self, now: Millis) -> Result<(), TokenError> {
        let now = now.0 / 1000;
        if self.expires <= now {
            return Err(TokenError::Expired {
                now,
                expires: self.expires,
            });
        }
        match self.not_before > now.saturating_add(CLOCK_SKEW_SECONDS) {
            true => Err(TokenError::Early(self.not_before)),
            false => Ok(()),
        }
    }
}

/// A text or a list of texts.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => {
            let items = items.iter().filter_map(Value::as_str);
            items.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str =
        r#"{"iss":"https://a","sub":"s","aud":["x","y"],"exp":2000,"iat":1000,"nbf":1100}"#;

    #[test]
    fn a_token_is_good_from_its_beginning_to_its_end() {
        let claims = Claims::parse(WHOLE.as_bytes()).unwrap();
        assert_eq!(claims.audiences, ["x", "y"]);
        let at = |seconds: u64| claims.check(Millis(seconds * 1000));
        assert_eq!(at(1100 - CLOCK_SKEW_SECONDS), Ok(()));
        assert_eq!(at(1099 - CLOCK_SKEW_SECONDS), Err(TokenError::Early(1100)));
        assert_eq!(at(1999), Ok(()));
        let (now, expires) = (2000, 2000);
        assert_eq!(at(2000), Err(TokenError::Expired { now, expires }));
    }

    #[test]
    fn what_every_token_needs_has_to_be_there() {
        for name in ["iss", "sub", "aud", "exp", "iat"] {
            let mut claims: Value = serde_json::from_str(WHOLE).unwrap();
            claims.as_object_mut().unwrap().remove(name);
            let parsed = Claims::parse(claims.to_string().as_bytes());
            assert_eq!(parsed, Err(ClaimsError::Missing(name)));
        }
        for text in ["", "[]", "1", r#"{"iss":1}"#] {
            let parsed = Claims::parse(text.as_bytes());
            assert!(parsed.is_err(), "{text}");
        }
        let odd = WHOLE.replace("2000", "-1");
        assert!(
            Claims::parse(odd.as_bytes())
                .unwrap()
                .check(Millis(0))
                .is_err()
        );
    }
}
