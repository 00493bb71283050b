//! Durable state of the control plane: services, operations and their journal, instances, repositories, sealed secrets, facts.
//!
//! Everything a call of this crate acknowledges is on disk. Every mutator is one transaction, so a process killed inside one leaves
//! either all of it or nothing. The database engine does not show in any signature.

mod cancellations;
mod configurations;
mod engine;
mod error;
mod facts;
mod instances;
mod operations;
mod record;
mod repositories;
mod schema;
mod seal;
mod secrets;
mod services;

pub use error::StoreError;
pub use operations::{JOURNAL_LINES_MAX, JournalLine};
pub use repositories::Repository;
pub use seal::{SealError, Sealer};

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
}

impl Store {
    /// Opens the state in `dir`, makes it when it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when the database does not pass its own check, [`StoreError::TooNew`] when a later version of the
    /// platform wrote it, [`StoreError::Sealing`] when the key its secrets are sealed with is missing or unreadable.
    pub async fn open(dir: &Path) -> Result<Store, StoreError> {
        engine::prepare_dir(dir)?;
        let engine = Engine::open(dir).await?;
        let key_file = dir.join(seal::KEY_FILE);
        secrets::lost_key_check(&engine, &key_file).await?;
        let sealer = Sealer::open(&key_file)?;
        let store = Store {
            inner: Arc::new(Inner { engine, sealer }),
        };
        store.sealing_key_check().await?;
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
