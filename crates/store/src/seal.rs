//! Sealing: authenticated encryption of small values at rest.
//!
//! AES-256-GCM-SIV (RFC 8452) keeps its promises even when a nonce repeats. An envelope is
//! `version (1 byte) | key id (8) | nonce (12) | cipher text | tag (16)`; version, key id and the purpose are authenticated with it, so an
//! envelope opens only for the purpose it was sealed for. The key file holds one key a line, the last one seals, all open.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Name of the key file beside the database.
pub(crate) const KEY_FILE: &str = "sealing.key";

const FILE_HEADER: &str = "apron sealing keys 1";
/// Largest key file that is read, in bytes.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;
const ENVELOPE_VERSION: u8 = 1;
const KEY_ID_LEN: usize = 8;
const KEY_LEN: usize = 32;
const HEAD_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;

/// Why a value cannot be sealed or opened. Never contains the value or a key.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read or made.
    #[error("cannot {doing} the key file `{}`: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key file is not one.
    #[error("key file `{}` is not valid: {reason}", path.display())]
    KeyFile {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The value was sealed with a key that is not in the key file.
    #[error(
        "the key {key} is not in the key file; restore the key file that belongs to this state"
    )]
    KeyMissing {
        /// The id of the key, in hexadecimal.
        key: String,
    },
    /// The envelope was changed, cut, or sealed for another purpose.
    #[error("the sealed value was changed or belongs elsewhere")]
    Forged,
    /// The envelope has a form this program does not know.
    #[error("the sealed value has form {found}, this program knows form {ENVELOPE_VERSION}")]
    UnknownForm {
        /// The form found.
        found: u8,
    },
    /// The system gave no random bytes, or the value is too long to seal.
    #[error("the cipher refused")]
    Cipher,
}

struct Key {
    id: [u8; KEY_ID_LEN],
    cipher: LessSafeKey,
}

/// Seals and opens small values. The last key seals.
pub struct Sealer {
    keys: Vec<Key>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("key", &self.key_id())
            .finish_non_exhaustive()
    }
}

impl Sealer {
    /// Reads the key file; makes it with a fresh key, readable by its owner alone, when there is none.
    ///
    /// # Errors
    /// [`SealError::KeyFile`] when others may read the file or it is not a key file.
    pub fn open(path: &Path) -> Result<Sealer, SealError> {
        match File::open(path) {
            Ok(file) => read_keys(path, file),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make_key_file(path)?;
                let file = File::open(path).map_err(|source| file_error("open", path, source))?;
                read_keys(path, file)
            }
            Err(source) => Err(file_error("open", path, source)),
        }
    }

    /// The id of the key that seals, in hexadecimal.
    pub fn key_id(&self) -> String {
        self.current().map(|key| hex(&key.id)).unwrap_or_default()
    }

    /// Whether a key of that id can open.
    pub fn has_key(&self, id: &str) -> bool {
        self.keys.iter().any(|key| hex(&key.id) == id)
    }

    /// Seals a value for a purpose.
    pub fn seal(&self, purpose: &str, value: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = self.current()?;
        let mut nonce = [0u8; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealError::Cipher)?;
        let mut envelope = Vec::with_capacity(HEAD_LEN + value.len() + AES_256_GCM_SIV.tag_len());
        envelope.push(ENVELOPE_VERSION);
        envelope.extend_from_slice(&key.id);
        envelope.extend_from_slice(&nonce);
        let mut body = value.to_vec();
        let aad = Aad::from(associated(&key.id, purpose));
        key.cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut body)
            .map_err(|_| SealError::Cipher)?;
        envelope.append(&mut body);
        Ok(envelope)
    }

    /// Opens what was sealed for that purpose.
    pub fn unseal(&self, purpose: &str, envelope: &[u8]) -> Result<Vec<u8>, SealError> {
        let (head, body) = envelope
            .split_at_checked(HEAD_LEN)
            .ok_or(SealError::Forged)?;
        if head[0] != ENVELOPE_VERSION {
            return Err(SealError::UnknownForm { found: head[0] });
        }
        let (id, nonce) = head[1..].split_at(KEY_ID_LEN);
        let key = self
            .keys
            .iter()
            .find(|key| key.id == id)
            .ok_or_else(|| SealError::KeyMissing { key: hex(id) })?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Forged)?;
        let mut body = body.to_vec();
        let aad = Aad::from(associated(&key.id, purpose));
        let length = key
            .cipher
            .open_in_place(nonce, aad, &mut body)
            .map_err(|_| SealError::Forged)?
            .len();
        body.truncate(length);
        Ok(body)
    }

    fn current(&self) -> Result<&Key, SealError> {
        self.keys.last().ok_or(SealError::Cipher)
    }
}

fn associated(id: &[u8; KEY_ID_LEN], purpose: &str) -> Vec<u8> {
    let mut data = vec![ENVELOPE_VERSION];
    data.extend_from_slice(id);
    data.extend_from_slice(purpose.as_bytes());
    data
}

fn read_keys(path: &Path, file: File) -> Result<Sealer, SealError> {
    let wrong = |reason: String| SealError::KeyFile {
        path: path.to_owned(),
        reason,
    };
    let meta = file
        .metadata()
        .map_err(|source| file_error("read", path, source))?;
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(wrong(format!(
            "its mode is {:o}; others must not have access (chmod 600)",
            meta.permissions().mode() & 0o777
        )));
    }
    let mut text = String::new();
    file.take(KEY_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|source| file_error("read", path, source))?;
    let mut lines = text.lines();
    if lines.next() != Some(FILE_HEADER) {
        return Err(wrong(format!("the first line is not `{FILE_HEADER}`")));
    }
    let keys = lines
        .filter(|line| !line.is_empty())
        .enumerate()
        .map(|(index, line)| {
            parse_key(line).ok_or_else(|| wrong(format!("line {} is not a key", index + 2)))
        })
        .collect::<Result<Vec<_>, _>>()?;
    match keys.is_empty() {
        true => Err(wrong("it holds no key".to_owned())),
        false => Ok(Sealer { keys }),
    }
}

fn parse_key(line: &str) -> Option<Key> {
    let (id, key) = line.split_once(' ')?;
    let id = unhex(id)?.try_into().ok()?;
    let key: [u8; KEY_LEN] = unhex(key)?.try_into().ok()?;
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &key).ok()?);
    Some(Key { id, cipher })
}

/// Writes a fresh key beside the wanted place and links it there, so a crash leaves a whole file or none, and of two processes that
/// try at once both end with the same key.
fn make_key_file(path: &Path) -> Result<(), SealError> {
    let mut random = [0u8; KEY_ID_LEN + KEY_LEN];
    rand::fill(&mut random).map_err(|_| SealError::Cipher)?;
    let (id, key) = random.split_at(KEY_ID_LEN);
    let draft = path.with_extension(format!("draft-{}", hex(id)));
    let made = write_draft(
        &draft,
        &format!("{FILE_HEADER}\n{} {}\n", hex(id), hex(key)),
    )
    .and_then(|()| match std::fs::hard_link(&draft, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    })
    .and_then(|()| sync_parent(path));
    let removed = std::fs::remove_file(&draft);
    made.and(removed)
        .map_err(|source| file_error("make", path, source))
}

fn write_draft(draft: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}

fn file_error(doing: &'static str, path: &Path, source: std::io::Error) -> SealError {
    SealError::File {
        doing,
        path: path.to_owned(),
        source,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            text
        })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| {
            std::str::from_utf8(pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        })
        .collect()
}

#[cfg(test)]
mod tests;
