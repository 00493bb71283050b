//! Content digests: the only names that content has.

use crate::OciError;
use aws_lc_rs::digest::{Context, SHA256};
use std::fmt;

/// Length of a SHA-256 in hexadecimal digits.
const HEX_DIGITS: usize = 64;
const PREFIX: &str = "sha256:";

/// The digest of some content, `sha256:` and 64 lower-case hexadecimal digits (OCI image specification,
/// descriptors). Other algorithms of the specification are not accepted: nobody pushes them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// Reads a digest from its text.
    pub fn parse(text: &str) -> Result<Digest, OciError> {
        let valid = text.strip_prefix(PREFIX).is_some_and(|hex| {
            hex.len() == HEX_DIGITS && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        match valid {
            true => Ok(Digest(text.to_owned())),
            false => Err(OciError::InvalidDigest(text.to_owned())),
        }
    }

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut running = RunningDigest::new();
        running.update(bytes);
        running.finish()
    }

    /// The text of the digest, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hexadecimal digits alone: the file name of the content.
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    /// Reads a digest from its hexadecimal digits alone.
    pub(crate) fn from_hex(hex: &str) -> Result<Digest, OciError> {
        Digest::parse(&format!("{PREFIX}{hex}"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SHA-256 that is computed while content passes by.
#[derive(Clone)]
pub(crate) struct RunningDigest {
    context: Context,
    length: u64,
}

impl RunningDigest {
    pub(crate) fn new() -> RunningDigest {
        RunningDigest {
            context: Context::new(&SHA256),
            length: 0,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// How many bytes have passed.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(format!("{PREFIX}{}", hex::encode(self.context.finish())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_known_content() {
        assert_eq!(
            Digest::of(b"abc").as_str(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn only_lower_case_sha256_is_a_digest() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(Digest::parse(&format!("sha256:{hex}")).is_ok());
        for bad in [
            hex.to_owned(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha512:{hex}"),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:../{}", &hex[3..]),
            String::new(),
        ] {
            assert!(Digest::parse(&bad).is_err(), "{bad}");
        }
    }
}
