//! How a value of the platform becomes a column, and back.
//!
//! Records are JSON with a version number beside them: a later program reads an older record by its version, an older program
//! refuses a later one instead of losing what it does not know.

mod sealed;

pub(crate) use sealed::{SEALED_RECORD_VERSION, decode_sealed, encode_sealed};

use crate::error::StoreError;
use apron_domain::Millis;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The form of records this program writes.
pub(crate) const RECORD_VERSION: i64 = 1;

/// The version and text of a stored record.
pub(crate) type Row = (i64, String);

pub(crate) fn encode<T: Serialize>(doing: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Invalid {
        doing,
        reason: error.to_string(),
    })
}

pub(crate) fn decode<T: DeserializeOwned>(doing: &'static str, row: &Row) -> Result<T, StoreError> {
    from_version(doing, row, RECORD_VERSION)
}

/// The record, when its form is not later than `known`.
pub(crate) fn from_version<T: DeserializeOwned>(
    doing: &'static str,
    row: &Row,
    known: i64,
) -> Result<T, StoreError> {
    let (version, text) = row;
    if *version > known {
        return Err(StoreError::TooNew {
            doing,
            found: *version,
            known,
        });
    }
    serde_json::from_str(text).map_err(|error| StoreError::Damaged {
        doing,
        reason: format!("a record cannot be read: {error}"),
    })
}

pub(crate) fn decode_all<T: DeserializeOwned>(
    doing: &'static str,
    rows: &[Row],
) -> Result<Vec<T>, StoreError> {
    rows.iter().map(|row| decode(doing, row)).collect()
}

/// The text of an enum's variant, for columns that queries look at.
pub(crate) fn variant<T: Serialize>(doing: &'static str, value: &T) -> Result<String, StoreError> {
    Ok(encode(doing, value)?.trim_matches('"').to_owned())
}

/// The variant a text stands for.
pub(crate) fn from_variant<T: DeserializeOwned>(
    doing: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|error| {
        StoreError::Damaged {
            doing,
            reason: error.to_string(),
        }
    })
}

/// A point in time as a column; times beyond the column's range are the end of time.
pub(crate) fn column(time: Millis) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// A column as a point in time.
pub(crate) fn from_column(time: i64) -> Millis {
    Millis(u64::try_from(time).unwrap_or(0))
}
