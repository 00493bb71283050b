//! Small secrets, sealed before they reach the database.

use crate::engine::Engine;
use crate::error::{StoreError, at};
use crate::seal::SealError;
use crate::{Store, facts};
use std::path::Path;

/// The fact that names the key with which secrets were last sealed.
const KEY_FACT: &str = "sealing-key-id";

impl Store {
    /// Seals and stores a secret, over an earlier one of that kind and name.
    pub async fn secret_put(&self, kind: &str, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let doing = "store a secret";
        let sealed = self.sealer().seal(&purpose(kind, name), value)?;
        let mut tx = self.engine().write(doing).await?;
        sqlx::query(
            "INSERT INTO secrets (kind, name, sealed) VALUES (?, ?, ?) ON CONFLICT (kind, name) DO UPDATE SET sealed = excluded.sealed",
        )
        .bind(kind)
        .bind(name)
        .bind(sealed)
        .execute(&mut *tx)
        .await
        .map_err(at(doing))?;
        tx.commit().await.map_err(at(doing))
    }

    /// Opens a secret; none when there is none.
    ///
    /// # Errors
    /// [`StoreError::Sealing`] when it was changed, moved from another name, or sealed with another key.
    pub async fn secret_get(&self, kind: &str, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<(Vec<u8>,)> =
            sqlx::query_as("SELECT sealed FROM secrets WHERE kind = ? AND name = ?")
                .bind(kind)
                .bind(name)
                .fetch_optional(self.engine().reader())
                .await
                .map_err(at("read a secret"))?;
        Ok(row
            .map(|row| self.sealer().unseal(&purpose(kind, name), &row.0))
            .transpose()?)
    }

    /// The names of all secrets of a kind, in order.
    pub async fn secrets(&self, kind: &str) -> Result<Vec<String>, StoreError> {
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT name FROM secrets WHERE kind = ? ORDER BY name")
                .bind(kind)
                .fetch_all(self.engine().reader())
                .await
                .map_err(at("list secrets"))?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    /// Drops a secret. Returns whether there was one.
    pub async fn secret_delete(&self, kind: &str, name: &str) -> Result<bool, StoreError> {
        let doing = "delete a secret";
        let mut tx = self.engine().write(doing).await?;
        let done = sqlx::query("DELETE FROM secrets WHERE kind = ? AND name = ?")
            .bind(kind)
            .bind(name)
            .execute(&mut *tx)
            .await
            .map_err(at(doing))?;
        tx.commit().await.map_err(at(doing))?;
        Ok(done.rows_affected() > 0)
    }

    /// Notices a lost or exchanged key file when the state is opened, not when a secret is needed.
    pub(crate) async fn sealing_key_check(&self) -> Result<(), StoreError> {
        let current = self.sealer().key_id();
        match self.fact_get(KEY_FACT).await? {
            Some(known) if known == current => Ok(()),
            Some(known) if !self.sealer().has_key(&known) => {
                Err(SealError::KeyMissing { key: known }.into())
            }
            _ => self.fact_put(KEY_FACT, &current).await,
        }
    }
}

/// Refuses to go on with a fresh key when the one that secrets are sealed with is lost.
pub(crate) async fn lost_key_check(engine: &Engine, key_file: &Path) -> Result<(), StoreError> {
    match facts::get(engine, KEY_FACT).await? {
        Some(key) if !key_file.exists() => Err(SealError::KeyMissing { key }.into()),
        _ => Ok(()),
    }
}

/// What a sealed value is bound to; the length keeps kind and name apart.
fn purpose(kind: &str, name: &str) -> String {
    format!("secret/{}/{kind}/{name}", kind.len())
}
