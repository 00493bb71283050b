//! Records with variables of applications, which may hold anything: their values are stored sealed.
//!
//! Wherever such a record has a member named like one of [`SEALED_MEMBERS`] with something in it, the stored form has
//! `{"sealed": "<hex>"}` in its place. Above it the nearest member [`KEY_MEMBER`], when there is one, names the customer's
//! key that seals it; otherwise a data key does.

use super::{Row, encode};
use crate::error::StoreError;
use crate::seal::key::{hex, unhex};
use crate::seal::{CustomerKeyId, EncryptionContext, SealError, Sealer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// The form of these records; those of form 1 are in clear.
pub(crate) const SEALED_RECORD_VERSION: i64 = 2;

/// Members with variables.
const SEALED_MEMBERS: [&str; 1] = ["environment"];

/// How a sealed value begins in a record, which is written without spaces.
const SEALED_VALUE: &str = "{\"sealed\":\"";

/// The member with the ARN of the customer's key.
const KEY_MEMBER: &str = "encryption_key";

/// The pair of the encryption context that says whose variables they are.
const CONTEXT_NAME: &str = "aws:apprunner:service-id";

/// The record as it is stored; `owner` is what the sealed values are bound to.
pub(crate) fn encode_sealed<T: Serialize>(
    sealer: &Sealer,
    owner: &str,
    doing: &'static str,
    value: &T,
) -> Result<String, StoreError> {
    let mut value = serde_json::to_value(value).map_err(|error| StoreError::Invalid {
        doing,
        reason: error.to_string(),
    })?;
    let lock = |key: Option<CustomerKeyId>, value: &Value| {
        let text = encode(doing, value)?;
        let sealed = match key {
            Some(key) => sealer.seal_with(&key, &context(owner), text.as_bytes())?,
            None => sealer.seal(&purpose(owner), text.as_bytes())?,
        };
        Ok(json!({ "sealed": hex(&sealed) }))
    };
    walk(&mut value, None, &lock)?;
    encode(doing, &value)
}

/// The record from its stored form, of this version or one before.
pub(crate) fn decode_sealed<T: DeserializeOwned>(
    sealer: &Sealer,
    owner: &str,
    doing: &'static str,
    row: &Row,
) -> Result<T, StoreError> {
    let (version, text) = row;
    let damaged = |error: serde_json::Error| StoreError::Damaged {
        doing,
        reason: format!("a record cannot be read: {error}"),
    };
    match *version {
        SEALED_RECORD_VERSION => {}
        found if found > SEALED_RECORD_VERSION => {
            return Err(StoreError::TooNew {
                doing,
                found,
                known: SEALED_RECORD_VERSION,
            });
        }
        _ => return serde_json::from_str(text).map_err(damaged),
    }
    let opened = unsealed(sealer, owner, text)?;
    serde_json::from_str(&opened).map_err(damaged)
}

/// The record's text with its values in clear. They are put in place as text: taking the whole record apart for them costs
/// every read of a service more than the rest of it together.
fn unsealed<'a>(sealer: &Sealer, owner: &str, text: &'a str) -> Result<Cow<'a, str>, StoreError> {
    let mut opened = String::new();
    let mut rest = text;
    for at in memchr::memmem::find_iter(text.as_bytes(), SEALED_VALUE) {
        if !SEALED_MEMBERS.iter().any(|name| follows(text, at, name)) {
            continue;
        }
        let behind = &text[at + SEALED_VALUE.len()..];
        let (sealed, after) = behind.split_once("\"}").ok_or(SealError::Forged)?;
        let begun = text.len() - rest.len();
        opened.push_str(&text[begun..at]);
        opened.push_str(&open(
            sealer,
            owner,
            &unhex(sealed).ok_or(SealError::Forged)?,
        )?);
        rest = after;
    }
    match opened.is_empty() {
        true => Ok(Cow::Borrowed(text)),
        false => Ok(Cow::Owned(opened + rest)),
    }
}

/// Whether the value that begins here is the member of that name. No text of an application looks like it: in there, quotes
/// have a backslash before them.
fn follows(text: &str, at: usize, name: &str) -> bool {
    let before = text[..at].strip_suffix("\":");
    let before = before.and_then(|before| before.strip_suffix(name));
    before.is_some_and(|before| before.ends_with("{\"") || before.ends_with(",\""))
}

fn open(sealer: &Sealer, owner: &str, sealed: &[u8]) -> Result<String, StoreError> {
    let opened = match Sealer::customer_key_of(sealed) {
        Some(_) => match sealer.open_with(&context(owner), sealed) {
            // The key was deleted, and with it these values; the service itself can still be seen and deleted.
            Err(SealError::KeyMissing { .. }) => b"{}".to_vec(),
            opened => opened?,
        },
        None => sealer.unseal(&purpose(owner), sealed)?,
    };
    String::from_utf8(opened).map_err(|_| SealError::Forged.into())
}

/// Puts what `change` makes of every sealed member in its place.
fn walk(
    value: &mut Value,
    key: Option<CustomerKeyId>,
    change: &impl Fn(Option<CustomerKeyId>, &Value) -> Result<Value, StoreError>,
) -> Result<(), StoreError> {
    match value {
        Value::Object(members) => {
            let key = customer_key(members).or(key);
            for (name, member) in members {
                let filled = matches!(member, Value::Object(inner) if !inner.is_empty());
                match SEALED_MEMBERS.contains(&name.as_str()) && filled {
                    true => *member = change(key, member)?,
                    false => walk(member, key, change)?,
                }
            }
            Ok(())
        }
        Value::Array(items) => items
            .iter_mut()
            .try_for_each(|item| walk(item, key, change)),
        _ => Ok(()),
    }
}

/// The UUID at the end of a key's ARN.
fn customer_key(members: &Map<String, Value>) -> Option<CustomerKeyId> {
    let arn = members.get(KEY_MEMBER)?.as_str()?;
    let id = arn.rsplit('/').next()?.replace('-', "");
    unhex(&id)?.try_into().ok()
}

fn context(owner: &str) -> EncryptionContext {
    EncryptionContext::of(CONTEXT_NAME, owner)
}

fn purpose(owner: &str) -> String {
    format!("environment/{owner}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{KEY_FILE, MasterSource};

    fn sealer() -> (tempfile::TempDir, Sealer) {
        let dir = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(MasterSource::File(dir.path().join(KEY_FILE))).unwrap();
        sealer.add_data_key(&[1; 8], &[2; 32]).unwrap();
        (dir, sealer)
    }

    const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/01010101-0101-0101-0101-010101010101";

    fn record() -> Value {
        json!({
            "id": "s",
            "config": {"image": {"environment": {"A": "hush-1"}, "port": 1}, "size": 1},
            "deployed": {"config": {"encryption_key": KEY, "image": {"environment": {"sealed": "hush-2"}}}},
            "previous": null,
            "list": [{"environment": {}}, {"environment": {"B": "hush-3"}}],
        })
    }

    #[test]
    fn variables_come_back_and_are_not_to_be_read() {
        let (_dir, sealer) = sealer();
        sealer.add_customer_key([1; 16], &[3; 32]).unwrap();
        let text = encode_sealed(&sealer, "s", "test", &record()).unwrap();
        assert!(!text.contains("hush"), "{text}");
        let row = (SEALED_RECORD_VERSION, text.clone());
        let read: Value = decode_sealed(&sealer, "s", "test", &row).unwrap();
        assert_eq!(read, record());
        assert!(decode_sealed::<Value>(&sealer, "t", "test", &row).is_err());
        let clear = (1, record().to_string());
        assert_eq!(
            decode_sealed::<Value>(&sealer, "s", "test", &clear).unwrap(),
            record()
        );
        let newer = (3, text);
        assert!(matches!(
            decode_sealed::<Value>(&sealer, "s", "test", &newer),
            Err(StoreError::TooNew { found: 3, .. })
        ));
    }

    #[test]
    fn texts_that_look_like_sealed_values_stay_as_they_are() {
        let (_dir, sealer) = sealer();
        let odd = r#"x","environment":{"sealed":"00"},"y":""#;
        let record = json!({
            "environment": {"A": odd, "environment": "{\"sealed\":\"00\"}", "sealed": "00"},
            "other": {"sealed": "00", "environment": {}},
            "start_command": odd,
            "ends_with_a_backslash": "\\",
            "name": "environment",
        });
        let text = encode_sealed(&sealer, "s", "test", &record).unwrap();
        let row = (SEALED_RECORD_VERSION, text);
        let read: Value = decode_sealed(&sealer, "s", "test", &row).unwrap();
        assert_eq!(read, record);
    }

    #[test]
    fn with_a_customers_key_its_variables_are_gone_and_nothing_else() {
        let (_dir, sealer) = sealer();
        assert!(encode_sealed(&sealer, "s", "test", &record()).is_err());
        sealer.add_customer_key([1; 16], &[3; 32]).unwrap();
        let text = encode_sealed(&sealer, "s", "test", &record()).unwrap();
        sealer.forget_customer_key(&[1; 16]);
        let row = (SEALED_RECORD_VERSION, text);
        let read: Value = decode_sealed(&sealer, "s", "test", &row).unwrap();
        assert_eq!(read["config"], record()["config"]);
        assert_eq!(
            read["deployed"]["config"]["image"]["environment"],
            json!({})
        );
    }
}
