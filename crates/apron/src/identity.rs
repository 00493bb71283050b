//! The account of an installation and its root access key, generated at the first start.

use crate::paths::Paths;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

/// Characters of an access key id after its prefix (IAM user guide, unique identifiers: base 32).
const KEY_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The account and its root access key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Twelve digits.
    pub account_id: String,
    /// `AKIA…`.
    pub access_key_id: String,
    /// Forty characters.
    pub secret_access_key: String,
}

impl Identity {
    /// Reads the identity.
    pub fn read(paths: &Paths) -> Result<Identity> {
        let path = paths.identity();
        let text = std::fs::read(&path).with_context(|| {
            format!(
                "cannot read {}: is the platform set up? Run `apron up` as root first",
                path.display()
            )
        })?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Reads the identity, or generates it; `account` is the configured account id.
    pub fn read_or_make(paths: &Paths, account: Option<&str>) -> Result<Identity> {
        if paths.identity().exists() {
            return Identity::read(paths);
        }
        let identity = Identity::generate(account)?;
        let path = paths.identity();
        let temporary = path.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary);
        let mut file = file.with_context(|| format!("cannot write {}", temporary.display()))?;
        file.write_all(&serde_json::to_vec_pretty(&identity)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(identity)
    }

    fn generate(account: Option<&str>) -> Result<Identity> {
        let mut random = [0u8; 64];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| anyhow::anyhow!("the machine has no random source"))?;
        let (digits, rest) = random.split_at(12);
        let (key, secret) = rest.split_at(16);
        // A first digit of zero is lost by everything that takes an account id for a number.
        let digit = |(index, byte): (usize, &u8)| {
            char::from(b'0' + if index == 0 { byte % 9 + 1 } else { byte % 10 })
        };
        let letter = |byte: &u8| char::from(KEY_ALPHABET[usize::from(byte % 32)]);
        Ok(Identity {
            account_id: match account {
                Some(account) => account.to_owned(),
                None => digits.iter().enumerate().map(digit).collect(),
            },
            access_key_id: format!("AKIA{}", key.iter().map(letter).collect::<String>()),
            secret_access_key: secret
                .iter()
                .take(30)
                .map(|b| format!("{b:02x}"))
                .collect::<String>()[..40]
                .to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_have_the_forms_clients_expect_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_owned(), dir.path().to_owned());
        let made = Identity::read_or_make(&paths, None).unwrap();
        assert!(made.account_id.len() == 12 && !made.account_id.starts_with('0'));
        assert!(made.access_key_id.len() == 20 && made.access_key_id.starts_with("AKIA"));
        assert_eq!(made.secret_access_key.len(), 40);
        let read = Identity::read_or_make(&paths, None).unwrap();
        assert_eq!(read.secret_access_key, made.secret_access_key);
    }
}
