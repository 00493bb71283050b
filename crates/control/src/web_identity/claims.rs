//! What a token says (RFC 7519, section 4.1; OpenID Connect Core 1.0, section 2).

use super::TokenError;
use apron_domain::Millis;
use serde::Deserialize;
use serde_json::{Map, Value};

/// How far an issuer's clock may be ahead of ours, seconds.
const CLOCK_SKEW_SECONDS: u64 = 60;

/// The claim with the tags of the session, and what it begins with where an issuer cannot write objects into objects
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_adding-assume-role-idp>).
const TAGS: &str = "https://aws.amazon.com/tags";
/// The claim with the source identity
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_monitor.html>).
const SOURCE_IDENTITY: &str = "https://aws.amazon.com/source_identity";
const PRINCIPAL_TAGS: &str = "principal_tags";
const TRANSITIVE_TAG_KEYS: &str = "transitive_tag_keys";

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
    /// Tags for the session.
    pub tags: Vec<(String, String)>,
    /// The keys of those that go on to sessions made from it.
    pub transitive: Vec<String>,
    /// The source identity for the session.
    pub source_identity: Option<String>,
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
    /// A claim is there and says nothing that can be understood.
    #[error("the claim {0} has not its form")]
    Form(String),
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
    #[serde(flatten)]
    others: Map<String, Value>,
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
        let Tags { tags, transitive } = Tags::of(&payload.others)?;
        Ok(Claims {
            tags,
            transitive,
            source_identity: source_identity(&payload.others)?,
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

/// The tags for the session and the keys that go on.
#[derive(Default)]
struct Tags {
    tags: Vec<(String, String)>,
    transitive: Vec<String>,
}

impl Tags {
    /// In both forms: an object of objects, and a claim for each. What cannot be understood is refused: a session without a tag
    /// may be allowed more than one with it.
    fn of(claims: &Map<String, Value>) -> Result<Tags, ClaimsError> {
        let mut tags = Tags::default();
        for (name, value) in claims {
            let odd = || ClaimsError::Form(name.clone());
            match name.strip_prefix(TAGS) {
                Some("") => {
                    for (part, value) in value.as_object().ok_or_else(odd)? {
                        tags.read(part, value).ok_or_else(odd)?;
                    }
                }
                Some(part) if part.starts_with('/') => {
                    tags.read(&part[1..], value).ok_or_else(odd)?;
                }
                _ => {}
            }
        }
        Ok(tags)
    }

    /// Reads a part; none: it has not its form.
    fn read(&mut self, part: &str, value: &Value) -> Option<()> {
        if part == TRANSITIVE_TAG_KEYS {
            self.transitive.extend(keys(value)?);
        } else if part == PRINCIPAL_TAGS {
            for (key, value) in value.as_object()? {
                self.tags.push((key.clone(), only(value)?));
            }
        } else if let Some(key) = part.strip_prefix(PRINCIPAL_TAGS)
            && let Some(key) = key.strip_prefix('/')
        {
            self.tags.push((key.to_owned(), only(value)?));
        }
        Some(())
    }
}

fn source_identity(claims: &Map<String, Value>) -> Result<Option<String>, ClaimsError> {
    match claims.get(SOURCE_IDENTITY) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(ClaimsError::Form(SOURCE_IDENTITY.to_owned())),
    }
}

/// A text, or the one text of a list.
fn only(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) if items.len() == 1 => items[0].as_str().map(str::to_owned),
        _ => None,
    }
}

/// A list of texts and of nothing else.
fn keys(value: &Value) -> Option<Vec<String>> {
    let items = value.as_array()?.iter();
    items.map(|item| item.as_str().map(str::to_owned)).collect()
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
    use serde_json::json;

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

    fn with(name: &str, value: Value) -> Result<Claims, ClaimsError> {
        let mut claims: Value = serde_json::from_str(WHOLE).unwrap();
        claims[name] = value;
        Claims::parse(claims.to_string().as_bytes())
    }

    #[test]
    fn tags_are_read_in_both_forms() {
        let nested = json!({"principal_tags": {"team": ["red"], "cost": "7"}, "transitive_tag_keys": ["team"]});
        let mut claims: Value = serde_json::from_str(WHOLE).unwrap();
        claims["https://aws.amazon.com/tags/principal_tags/cost"] = json!("7");
        claims["https://aws.amazon.com/tags/principal_tags/team"] = json!(["red"]);
        claims["https://aws.amazon.com/tags/transitive_tag_keys"] = json!(["team"]);
        claims["https://aws.amazon.com/tagsmore"] = json!(1);
        let flat = Claims::parse(claims.to_string().as_bytes()).unwrap();
        let nested = with(TAGS, nested).unwrap();
        let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        for claims in [nested, flat] {
            let mut tags = claims.tags.clone();
            tags.sort();
            assert_eq!(tags, [tag("cost", "7"), tag("team", "red")]);
            assert_eq!(claims.transitive, ["team"]);
        }
        let named = with(SOURCE_IDENTITY, json!("ann")).unwrap();
        assert_eq!(named.source_identity.as_deref(), Some("ann"));
        let whole = Claims::parse(WHOLE.as_bytes()).unwrap();
        assert!(whole.tags.is_empty() && whole.source_identity.is_none());
    }

    #[test]
    fn tags_that_cannot_be_understood_are_not_left_out() {
        for odd in [
            json!("team"),
            json!([{"principal_tags": {"team": ["red"]}}]),
            json!({"principal_tags": ["team"]}),
            json!({"principal_tags": {"team": ["red", "blue"]}}),
            json!({"principal_tags": {"team": 1}}),
            json!({"principal_tags": {"team": []}}),
            json!({"transitive_tag_keys": "team"}),
            json!({"transitive_tag_keys": [1]}),
        ] {
            let refused = with(TAGS, odd.clone());
            assert_eq!(refused, Err(ClaimsError::Form(TAGS.to_owned())), "{odd}");
        }
        assert!(with(&format!("{TAGS}/principal_tags/team"), json!({})).is_err());
        assert!(with(SOURCE_IDENTITY, json!(["ann"])).is_err());
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
