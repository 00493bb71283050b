//! The root user's access key in a file: the command line's copy, and the one that is handed over to the control plane.

use crate::paths::Paths;
use anyhow::{Context, Result};
use apron_aws::sigv4::Secret;
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Characters of an access key id after its prefix (IAM user guide, unique identifiers: base 32).
const KEY_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// An access key in clear.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootKey {
    /// `AKIA…`.
    pub access_key_id: String,
    /// Forty characters.
    pub secret_access_key: String,
}

impl RootKey {
    /// A key that nobody has.
    pub fn generate() -> Result<RootKey> {
        let mut random = [0u8; 36];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| anyhow::anyhow!("the machine has no random source"))?;
        let (id, secret) = random.split_at(16);
        let letter = |byte: &u8| char::from(KEY_ALPHABET[usize::from(byte % 32)]);
        Ok(RootKey {
            access_key_id: format!("AKIA{}", id.iter().map(letter).collect::<String>()),
            secret_access_key: secret.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    /// The key as the control plane takes it.
    pub fn into_key(self) -> apron_control::iam::RootKey {
        apron_control::iam::RootKey {
            access_key_id: self.access_key_id,
            secret: Secret::new(self.secret_access_key),
        }
    }

    /// Shows the key, as the lines a shell takes.
    pub fn show(&self) {
        println!("  export AWS_ACCESS_KEY_ID={}", self.access_key_id);
        println!("  export AWS_SECRET_ACCESS_KEY={}", self.secret_access_key);
    }
}

/// The key in a file; none where there is no file.
pub fn read(path: &Path) -> Result<Option<RootKey>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let key = serde_json::from_slice(&text);
    key.map(Some)
        .with_context(|| format!("{} is damaged", path.display()))
}

/// Keeps the key in a file that its owner alone can read.
pub fn write(path: &Path, key: &RootKey) -> Result<()> {
    replace(path, &serde_json::to_vec_pretty(key)?, 0o600)
}

/// Puts a key where the control plane takes it over, at once or at its next start. One that waits there stays.
pub fn hand_over(paths: &Paths) -> Result<RootKey> {
    let path = paths.new_root_key();
    if let Some(waiting) = read(&path)? {
        return Ok(waiting);
    }
    let key = RootKey::generate()?;
    write(&path, &key)?;
    Ok(key)
}

/// The key that was handed over is in force: it becomes the command line's copy.
pub fn taken_over(paths: &Paths) -> Result<()> {
    let (from, to) = (paths.new_root_key(), paths.root_key());
    std::fs::rename(&from, &to)
        .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

/// Writes a file as a whole or not at all.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let whole = || {
        let temporary = path.with_extension("tmp");
        // One that a crash left behind may be readable by others.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    whole().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_handed_over_once_and_readable_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_owned(), dir.path().to_owned());
        assert!(read(&paths.new_root_key()).unwrap().is_none());
        let key = hand_over(&paths).unwrap();
        assert!(key.access_key_id.len() == 20 && key.access_key_id.starts_with("AKIA"));
        assert_eq!(key.secret_access_key.len(), 40);
        assert!(hand_over(&paths).unwrap() == key, "one that waits stays");
        taken_over(&paths).unwrap();
        assert!(read(&paths.root_key()).unwrap().as_ref() == Some(&key));
        let mode = std::fs::metadata(paths.root_key())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(hand_over(&paths).unwrap() != key);
    }
}
