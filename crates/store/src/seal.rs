//! Sealing: authenticated encryption of small values at rest, in envelopes of three forms.
//!
//! | form | sealed with | key id | bound to |
//! |---|---|---|---|
//! | 1 | the master key: data keys, and values of before there were data keys | 8 bytes | a purpose |
//! | 2 | a data key of the platform: every value of today | 8 bytes | a purpose |
//! | 3 | the material of a customer's key (KMS), which is itself sealed in form 2 | 16 bytes, the key's UUID | an encryption context |
//!
//! An envelope opens only for the purpose, or with the context, it was sealed for. Because the master key seals nothing but
//! data keys, replacing it re-seals a few rows and no value ([`Store::sealing_rotate`](crate::Store::sealing_rotate)).

mod context;
pub(crate) mod key;
pub(crate) mod master;

pub use context::EncryptionContext;
pub use master::MasterSource;

use key::{Key, hex};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Name of the key file beside the database.
pub(crate) const KEY_FILE: &str = "sealing.key";

/// Bytes of the ids of master and data keys.
pub(crate) const KEY_ID_LEN: usize = 8;
const BY_MASTER: u8 = 1;
const BY_DATA_KEY: u8 = 2;
const BY_CUSTOMER_KEY: u8 = 3;

/// The id of a customer's key: a UUID.
pub type CustomerKeyId = [u8; 16];

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
    /// The command that prints the keys did not.
    #[error("the command `{command}` gives no sealing keys: {reason}")]
    Command {
        /// The program.
        command: String,
        /// What happened.
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
    /// A rotation found no new key where the keys come from.
    #[error(
        "`{source_name}` gives no newer key than {key}: add a key as its last line, keep the present one above it, and rotate again"
    )]
    NothingNew {
        /// Where the keys come from.
        source_name: String,
        /// The id of the key that seals.
        key: String,
    },
    /// The envelope was changed, cut, or sealed for another purpose.
    #[error("the sealed value was changed or belongs elsewhere")]
    Forged,
    /// The envelope has a form this program does not know.
    #[error("the sealed value has form {found}, this program knows forms up to {BY_CUSTOMER_KEY}")]
    UnknownForm {
        /// The form found.
        found: u8,
    },
    /// The system gave no random bytes, or the value is too long to seal.
    #[error("the cipher refused")]
    Cipher,
}

#[derive(Default)]
struct Keys {
    masters: Vec<Key>,
    data: Vec<Key>,
    customers: BTreeMap<CustomerKeyId, Key>,
}

/// Seals and opens small values. The last key seals.
pub struct Sealer {
    source: MasterSource,
    keys: RwLock<Keys>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("key", &self.key_id())
            .finish_non_exhaustive()
    }
}

impl Sealer {
    /// Reads the master keys. Data keys are added by whoever has the database.
    ///
    /// # Errors
    /// [`SealError::KeyFile`] when others may read the file or it is not a key file.
    pub fn open(source: MasterSource) -> Result<Sealer, SealError> {
        let masters = source.load()?;
        Ok(Sealer {
            source,
            keys: RwLock::new(Keys {
                masters,
                ..Keys::default()
            }),
        })
    }

    /// Where the master key comes from.
    pub fn source(&self) -> &MasterSource {
        &self.source
    }

    /// The id of the master key that seals, in hexadecimal.
    pub fn key_id(&self) -> String {
        let keys = self.read();
        keys.masters
            .last()
            .map(|key| hex(&key.id))
            .unwrap_or_default()
    }

    /// Whether a master key of that id can open.
    pub fn has_key(&self, id: &str) -> bool {
        self.read().masters.iter().any(|key| hex(&key.id) == id)
    }

    /// How many master keys the source gives.
    pub(crate) fn masters_count(&self) -> usize {
        self.read().masters.len()
    }

    /// Reads the master keys anew.
    pub(crate) fn reload_masters(&self) -> Result<(), SealError> {
        let masters = self.source.load()?;
        self.write().masters = masters;
        Ok(())
    }

    /// Seals a value for a purpose, with the newest data key.
    pub fn seal(&self, purpose: &str, value: &[u8]) -> Result<Vec<u8>, SealError> {
        let keys = self.read();
        match keys.data.last() {
            Some(key) => key.seal(BY_DATA_KEY, purpose.as_bytes(), value),
            None => Err(SealError::Cipher),
        }
    }

    /// Seals a value for a purpose with the master key, as data keys are.
    pub(crate) fn seal_by_master(&self, purpose: &str, value: &[u8]) -> Result<Vec<u8>, SealError> {
        let keys = self.read();
        let key = keys.masters.last().ok_or(SealError::Cipher)?;
        key.seal(BY_MASTER, purpose.as_bytes(), value)
    }

    /// Opens what was sealed for that purpose.
    pub fn unseal(&self, purpose: &str, envelope: &[u8]) -> Result<Vec<u8>, SealError> {
        let form = *envelope.first().ok_or(SealError::Forged)?;
        let keys = self.read();
        let ring = match form {
            BY_MASTER => &keys.masters,
            BY_DATA_KEY => &keys.data,
            found => return Err(SealError::UnknownForm { found }),
        };
        let id = envelope.get(1..=KEY_ID_LEN).ok_or(SealError::Forged)?;
        let key = ring.iter().find(|key| key.id == id);
        let key = key.ok_or_else(|| SealError::KeyMissing { key: hex(id) })?;
        key.open(purpose.as_bytes(), envelope)
    }

    /// Whether an envelope was made with the master key itself.
    pub(crate) fn is_by_master(envelope: &[u8]) -> bool {
        envelope.first() == Some(&BY_MASTER)
    }

    /// Adds a data key, which seals from now on.
    pub(crate) fn add_data_key(&self, id: &[u8], bytes: &[u8]) -> Result<(), SealError> {
        let key = Key::new(id, bytes).ok_or(SealError::Forged)?;
        let mut keys = self.write();
        keys.data.retain(|known| known.id != key.id);
        keys.data.push(key);
        Ok(())
    }

    /// Makes the material of a customer's key known.
    pub(crate) fn add_customer_key(
        &self,
        id: CustomerKeyId,
        bytes: &[u8],
    ) -> Result<(), SealError> {
        let key = Key::new(&id, bytes).ok_or(SealError::Forged)?;
        self.write().customers.insert(id, key);
        Ok(())
    }

    /// Forgets the material of a customer's key. What it sealed opens no more.
    pub(crate) fn forget_customer_key(&self, id: &CustomerKeyId) {
        self.write().customers.remove(id);
    }

    /// Seals a value with a customer's key; it opens with the same context only.
    ///
    /// # Errors
    /// [`SealError::KeyMissing`] when there is no such key.
    pub fn seal_with(
        &self,
        id: &CustomerKeyId,
        context: &EncryptionContext,
        value: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let keys = self.read();
        let key = keys.customers.get(id);
        let key = key.ok_or_else(|| SealError::KeyMissing { key: hex(id) })?;
        key.seal(BY_CUSTOMER_KEY, &context.bytes(), value)
    }

    /// Opens what [`Sealer::seal_with`] sealed.
    pub fn open_with(
        &self,
        context: &EncryptionContext,
        envelope: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let id = Self::customer_key_of(envelope).ok_or(SealError::Forged)?;
        let keys = self.read();
        let key = keys.customers.get(&id);
        let key = key.ok_or_else(|| SealError::KeyMissing { key: hex(&id) })?;
        key.open(&context.bytes(), envelope)
    }

    /// The customer's key that an envelope names; none when it is of another form.
    pub fn customer_key_of(envelope: &[u8]) -> Option<CustomerKeyId> {
        match envelope.split_first() {
            Some((&BY_CUSTOMER_KEY, rest)) => rest.get(..16)?.try_into().ok(),
            _ => None,
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Keys> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
