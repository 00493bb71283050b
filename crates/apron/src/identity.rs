//! The account of an installation, chosen at the first start.

use crate::paths::Paths;
use crate::root_key::file::{self, RootKey};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The account of an installation.
#[derive(Clone, Serialize)]
pub struct Identity {
    /// Twelve digits.
    pub account_id: String,
}

/// What the file may have: installations of before the root key had a file of its own keep it in this one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    account_id: String,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
}

impl Identity {
    /// Reads the identity.
    pub fn read(paths: &Paths) -> Result<Identity> {
        let Stored { account_id, .. } = stored(paths)?;
        Ok(Identity { account_id })
    }

    /// Reads the identity. At the first start it is made, and a key of the root user with it, which the control plane takes
    /// over; `account` is the configured account id.
    pub fn read_or_make(paths: &Paths, account: Option<&str>) -> Result<Identity> {
        if !paths.identity().exists() {
            let account_id = match account {
                Some(account) => account.to_owned(),
                None => random_account()?,
            };
            // A start that is cut off after this line finds the key and goes on.
            file::hand_over(paths)?;
            return Identity { account_id }.keep(paths);
        }
        let Stored {
            account_id,
            access_key_id,
            secret_access_key,
        } = stored(paths)?;
        let identity = Identity { account_id };
        let (Some(access_key_id), Some(secret_access_key)) = (access_key_id, secret_access_key)
        else {
            return Ok(identity);
        };
        let key = RootKey {
            access_key_id,
            secret_access_key,
        };
        file::write(&paths.new_root_key(), &key)?;
        identity.keep(paths)
    }

    fn keep(self, paths: &Paths) -> Result<Identity> {
        file::replace(&paths.identity(), &serde_json::to_vec_pretty(&self)?, 0o644)?;
        Ok(self)
    }
}

fn stored(paths: &Paths) -> Result<Stored> {
    let path = paths.identity();
    let text = std::fs::read(&path).with_context(|| {
        format!(
            "cannot read {}: is the platform set up? Run `apron up` as root first",
            path.display()
        )
    })?;
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
}

fn random_account() -> Result<String> {
    let mut random = [0u8; 12];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| anyhow::anyhow!("the machine has no random source"))?;
    // A first digit of zero is lost by everything that takes an account id for a number.
    let digit = |(index, byte): (usize, &u8)| {
        char::from(b'0' + if index == 0 { byte % 9 + 1 } else { byte % 10 })
    };
    Ok(random.iter().enumerate().map(digit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_has_the_form_clients_expect_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_owned(), dir.path().to_owned());
        let made = Identity::read_or_make(&paths, None).unwrap();
        assert!(made.account_id.len() == 12 && !made.account_id.starts_with('0'));
        let key = file::read(&paths.new_root_key()).unwrap();
        assert!(key.is_some(), "a key is handed over");
        let again = Identity::read_or_make(&paths, None).unwrap();
        assert_eq!(again.account_id, made.account_id);
        assert!(file::read(&paths.new_root_key()).unwrap() == key);
    }

    #[test]
    fn a_key_in_the_file_of_the_account_moves_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_owned(), dir.path().to_owned());
        let old = r#"{"account_id": "123456789012", "access_key_id": "AKIAOLD", "secret_access_key": "old"}"#;
        std::fs::write(paths.identity(), old).unwrap();
        assert_eq!(Identity::read(&paths).unwrap().account_id, "123456789012");
        Identity::read_or_make(&paths, None).unwrap();
        let key = file::read(&paths.new_root_key()).unwrap().unwrap();
        assert_eq!(
            (&*key.access_key_id, &*key.secret_access_key),
            ("AKIAOLD", "old")
        );
        let text = std::fs::read_to_string(paths.identity()).unwrap();
        assert!(
            text.contains("123456789012") && !text.contains("old"),
            "{text}"
        );
    }
}
