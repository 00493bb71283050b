//! The keys that seal values: made at the first start, sealed by the master key, re-sealed when that is replaced.

use crate::engine::{Engine, WriteTx};
use crate::error::{StoreError, at};
use crate::seal::key::{KEY_LEN, hex, random, unhex};
use crate::seal::{KEY_ID_LEN, MasterSource, SealError, Sealer, master};
use crate::{Store, facts};

/// The fact that names the master key that seals the data keys.
const KEY_FACT: &str = "sealing-key-id";

/// What a rotation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The master key that seals now, by its id in hexadecimal.
    pub key: String,
    /// Data keys that it seals.
    pub data_keys: usize,
    /// Whether earlier master keys are no longer in the key file. Otherwise the operator removes them from where they come from.
    pub former_keys_removed: bool,
}

impl Store {
    /// Replaces the master key while the platform goes on: a fresh one joins the key file, every data key is sealed by it in
    /// one transaction, then the others leave the file. A process killed anywhere in between finishes at its next start. Where the
    /// keys are provided from outside, the last of them, which has to be new, takes over and nothing is written there.
    ///
    /// # Errors
    /// [`SealError::NothingNew`] when the keys are provided from outside and the last of them seals already.
    pub async fn sealing_rotate(&self) -> Result<Rotation, StoreError> {
        let _one_at_a_time = self.inner.rotation.lock().await;
        let sealer = self.sealer();
        let before = sealer.key_id();
        if let MasterSource::File(path) = sealer.source() {
            master::add_key(path)?;
        }
        sealer.reload_masters()?;
        if sealer.key_id() == before {
            return Err(SealError::NothingNew {
                source_name: sealer.source().name(),
                key: before,
            }
            .into());
        }
        let doing = "rotate the sealing key";
        let mut tx = self.engine().write(doing).await?;
        reseal_in(&mut tx, doing, sealer).await?;
        let fresh = add_in(&mut tx, doing, sealer).await?;
        facts::put_in(&mut tx, doing, KEY_FACT, &sealer.key_id()).await?;
        let data_keys = count_in(&mut tx, doing).await?;
        tx.commit().await.map_err(at(doing))?;
        fresh.join(sealer)?;
        self.former_masters_drop()?;
        Ok(Rotation {
            key: sealer.key_id(),
            data_keys,
            former_keys_removed: sealer.source().is_ours(),
        })
    }

    /// Has the data keys known and sealed by the newest master key, and finishes a rotation that was cut short.
    pub(crate) async fn data_keys_open(&self) -> Result<(), StoreError> {
        let doing = "open the data keys";
        let sealer = self.sealer();
        if let Some(known) = self.fact_get(KEY_FACT).await?
            && !sealer.has_key(&known)
        {
            return Err(SealError::KeyMissing { key: known }.into());
        }
        let mut tx = self.engine().write(doing).await?;
        reseal_in(&mut tx, doing, sealer).await?;
        let rows: Vec<(String, Vec<u8>)> =
            sqlx::query_as("SELECT id, sealed FROM data_keys ORDER BY sequence")
                .fetch_all(&mut *tx)
                .await
                .map_err(at(doing))?;
        for (id, sealed) in &rows {
            let bytes = sealer.unseal(&purpose(id), sealed)?;
            sealer.add_data_key(&unhex(id).unwrap_or_default(), &bytes)?;
        }
        if rows.is_empty() {
            add_in(&mut tx, doing, sealer).await?.join(sealer)?;
        }
        facts::put_in(&mut tx, doing, KEY_FACT, &sealer.key_id()).await?;
        tx.commit().await.map_err(at(doing))
    }

    /// Leaves the newest master key alone in the platform's own key file, once nothing needs the others.
    pub(crate) fn former_masters_drop(&self) -> Result<(), StoreError> {
        let sealer = self.sealer();
        if let MasterSource::File(path) = sealer.source()
            && sealer.masters_count() > 1
        {
            master::keep_last_key(path)?;
            sealer.reload_masters()?;
        }
        Ok(())
    }
}

/// Refuses to go on with a fresh key when the one that data keys are sealed with is lost.
pub(crate) async fn lost_key_check(
    engine: &Engine,
    source: &MasterSource,
) -> Result<(), StoreError> {
    match (facts::get(engine, KEY_FACT).await?, source) {
        (Some(key), MasterSource::File(path)) if !path.exists() => {
            Err(SealError::KeyMissing { key }.into())
        }
        _ => Ok(()),
    }
}

/// Seals by the newest master key what another seals.
async fn reseal_in(
    tx: &mut WriteTx,
    doing: &'static str,
    sealer: &Sealer,
) -> Result<(), StoreError> {
    let newest = sealer.key_id();
    let rows: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT id, sealed FROM data_keys WHERE master <> ?")
            .bind(&newest)
            .fetch_all(&mut **tx)
            .await
            .map_err(at(doing))?;
    for (id, sealed) in rows {
        let bytes = sealer.unseal(&purpose(&id), &sealed)?;
        sqlx::query("UPDATE data_keys SET master = ?, sealed = ? WHERE id = ?")
            .bind(&newest)
            .bind(sealer.seal_by_master(&purpose(&id), &bytes)?)
            .bind(&id)
            .execute(&mut **tx)
            .await
            .map_err(at(doing))?;
    }
    Ok(())
}

/// A data key that is to be known once its row is.
struct Fresh {
    id: [u8; KEY_ID_LEN],
    bytes: [u8; KEY_LEN],
}

impl Fresh {
    fn join(self, sealer: &Sealer) -> Result<(), SealError> {
        sealer.add_data_key(&self.id, &self.bytes)
    }
}

async fn add_in(
    tx: &mut WriteTx,
    doing: &'static str,
    sealer: &Sealer,
) -> Result<Fresh, StoreError> {
    let fresh = Fresh {
        id: random()?,
        bytes: random()?,
    };
    let id = hex(&fresh.id);
    sqlx::query("INSERT INTO data_keys (id, master, sealed) VALUES (?, ?, ?)")
        .bind(&id)
        .bind(sealer.key_id())
        .bind(sealer.seal_by_master(&purpose(&id), &fresh.bytes)?)
        .execute(&mut **tx)
        .await
        .map_err(at(doing))?;
    Ok(fresh)
}

async fn count_in(tx: &mut WriteTx, doing: &'static str) -> Result<usize, StoreError> {
    let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM data_keys")
        .fetch_one(&mut **tx)
        .await
        .map_err(at(doing))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

fn purpose(id: &str) -> String {
    format!("data-key/{id}")
}
