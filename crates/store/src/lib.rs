//! Durable state of the control plane: services, operations and their journal, instances, repositories, identities,
//! sealed secrets, facts.
//!
//! Everything a call of this crate acknowledges is on disk. Every mutator is one transaction, so a process killed inside one leaves
//! either all of it or nothing. The database engine does not show in any signature.

mod cancellations;
mod configurations;
mod customer_keys;
mod data_keys;
mod engine;
mod error;
mod facts;
mod identities;
mod instances;
mod operations;
mod record;
mod repositories;
mod schema;
mod seal;
mod secrets;
mod services;
mod shelf;
mod vault;

pub use customer_keys::{KEY_RECORDS, customer_key_id, customer_key_of};
pub use data_keys::Rotation;
pub use error::StoreError;
pub use identities::{ACCESS_KEY_SECRETS, IdentityChange, SecretChange};
pub use operations::{JOURNAL_LINES_MAX, JournalLine};
pub use repositories::Repository;
pub use seal::{CustomerKeyId, EncryptionContext, MasterSource, SealError, Sealer};
pub use vault::{Change, Changed, Lock, Part};

use engine::Engine;
use std::path::Path;
use std::sync::Arc;

/// Largest page a listing returns, in records; a larger limit is cut to it.
pub const PAGE_RECORDS_MAX: u32 = 1_000;

/// The state of one platform. Cheap to clone, safe from many tasks.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    sealer: Sealer,
    /// Held while the master key is replaced.
    rotation: tokio::sync::Mutex<()>,
}

impl Store {
    /// Opens the state in `dir` with the master key in the file [`MasterSource::beside`] it; see [`Store::open_with`].
    pub async fn open(dir: &Path) -> Result<Store, StoreError> {
        Store::open_with(dir, MasterSource::beside(dir)).await
    }

    /// Opens the state in `dir`, makes it when it is missing, brings its schema up to date, and seals what an earlier version
    /// stored in clear.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when the database does not pass its own check, [`StoreError::TooNew`] when a later version of the
    /// platform wrote it, [`StoreError::Sealing`] when the key its secrets are sealed with is missing or unreadable.
    pub async fn open_with(dir: &Path, source: MasterSource) -> Result<Store, StoreError> {
        engine::prepare_dir(dir)?;
        let engine = Engine::open(dir).await?;
        data_keys::lost_key_check(&engine, &source).await?;
        let sealer = Sealer::open(source)?;
        let store = Store {
            inner: Arc::new(Inner {
                engine,
                sealer,
                rotation: tokio::sync::Mutex::default(),
            }),
        };
        store.data_keys_open().await?;
        store.customer_keys_open().await?;
        let moved = store.secrets_move_to_data_keys().await?;
        let sealed = services::seal_older(&store).await? + operations::seal_older(&store).await?;
        if moved + sealed > 0 {
            tracing::info!(moved, sealed, "values of an earlier version are sealed");
            store.engine().forget_free_pages().await?;
        }
        store.services_fill().await;
        // What only former master keys opened is sealed anew by now.
        store.former_masters_drop()?;
        Ok(store)
    }

    /// Writes everything into the main database file and closes it. Other clones of this handle fail from then on.
    pub async fn close(&self) {
        self.inner.engine.close().await;
    }

    fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    fn sealer(&self) -> &Sealer {
        &self.inner.sealer
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("file", &self.inner.engine.file())
            .finish_non_exhaustive()
    }
}
