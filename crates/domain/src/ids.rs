//! Typed identifiers. Random bytes come from the caller, so tests choose them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Text that is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}")]
pub struct InvalidId {
    /// What was expected, for example `service id`.
    pub kind: &'static str,
    /// What was given.
    pub text: String,
}

fn lower_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn is_hex_32(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The id of a service: 32 lower-case hexadecimal digits, as the real service uses in ARNs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceId(String);

/// The id of an operation: 32 lower-case hexadecimal digits, equal to its deployment log stream's suffix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(String);

/// The id of an instance: 32 lower-case hexadecimal digits, equal to its log stream's suffix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(String);

/// The digest of image content, `sha256:` and 64 hexadecimal digits (OCI image specification, descriptors).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl ServiceId {
    /// Makes an id from 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> ServiceId {
        ServiceId(lower_hex(&bytes))
    }

    /// Reads an id from its text.
    pub fn parse(text: &str) -> Result<ServiceId, InvalidId> {
        match is_hex_32(text) {
            true => Ok(ServiceId(text.to_owned())),
            false => Err(InvalidId {
                kind: "service id",
                text: text.to_owned(),
            }),
        }
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl OperationId {
    /// Makes an id from 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> OperationId {
        OperationId(lower_hex(&bytes))
    }

    /// Reads an id from its text.
    pub fn parse(text: &str) -> Result<OperationId, InvalidId> {
        match is_hex_32(text) {
            true => Ok(OperationId(text.to_owned())),
            false => Err(InvalidId {
                kind: "operation id",
                text: text.to_owned(),
            }),
        }
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl InstanceId {
    /// Makes an id from 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> InstanceId {
        InstanceId(lower_hex(&bytes))
    }

    /// Reads an id from its text.
    pub fn parse(text: &str) -> Result<InstanceId, InvalidId> {
        match is_hex_32(text) {
            true => Ok(InstanceId(text.to_owned())),
            false => Err(InvalidId {
                kind: "instance id",
                text: text.to_owned(),
            }),
        }
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Digest {
    /// Reads a digest; only SHA-256 is accepted.
    pub fn parse(text: &str) -> Result<Digest, InvalidId> {
        let valid = text.strip_prefix("sha256:").is_some_and(|hex| {
            hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        match valid {
            true => Ok(Digest(text.to_owned())),
            false => Err(InvalidId {
                kind: "sha256 digest",
                text: text.to_owned(),
            }),
        }
    }

    /// The text of the digest, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
