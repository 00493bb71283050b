//! Small secrets, sealed before they reach the database.

use crate::Store;
use crate::engine::WriteTx;
use crate::error::{StoreError, at};
use crate::seal::Sealer;

impl Store {
    /// Seals and stores a secret, over an earlier one of that kind and name.
    pub async fn secret_put(&self, kind: &str, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let doing = "store a secret";
        let sealed = self.seal_secret(kind, name, value)?;
        let mut tx = self.engine().write(doing).await?;
        put(&mut tx, kind, name, sealed).await?;
        tx.commit().await.map_err(at(doing))
    }

    /// The sealed form of a secret of that kind and name.
    pub(crate) fn seal_secret(
        &self,
        kind: &str,
        name: &str,
        value: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        Ok(self.sealer().seal(&purpose(kind, name), value)?)
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
        let existed = delete(&mut tx, kind, name).await?;
        tx.commit().await.map_err(at(doing))?;
        Ok(existed)
    }

    /// Seals with a data key what the master key itself sealed, which versions before data keys did. Returns how many.
    pub(crate) async fn secrets_move_to_data_keys(&self) -> Result<usize, StoreError> {
        let doing = "seal the secrets with a data key";
        let mut tx = self.engine().write(doing).await?;
        let rows: Vec<(String, String, Vec<u8>)> =
            sqlx::query_as("SELECT kind, name, sealed FROM secrets")
                .fetch_all(&mut *tx)
                .await
                .map_err(at(doing))?;
        let mut moved = 0;
        for (kind, name, sealed) in rows {
            // One that does not open is left for whoever asks for it, who is told.
            let by_master = Sealer::is_by_master(&sealed);
            let Some(value) = self
                .sealer()
                .unseal(&purpose(&kind, &name), &sealed)
                .ok()
                .filter(|_| by_master)
            else {
                continue;
            };
            sqlx::query("UPDATE secrets SET sealed = ? WHERE kind = ? AND name = ?")
                .bind(self.sealer().seal(&purpose(&kind, &name), &value)?)
                .bind(&kind)
                .bind(&name)
                .execute(&mut *tx)
                .await
                .map_err(at(doing))?;
            moved += 1;
        }
        tx.commit().await.map_err(at(doing))?;
        Ok(moved)
    }
}

/// Stores a sealed secret within a transaction.
pub(crate) async fn put(
    tx: &mut WriteTx,
    kind: &str,
    name: &str,
    sealed: Vec<u8>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO secrets (kind, name, sealed) VALUES (?, ?, ?) ON CONFLICT (kind, name) DO UPDATE SET sealed = excluded.sealed",
    )
    .bind(kind)
    .bind(name)
    .bind(sealed)
    .execute(&mut **tx)
    .await
    .map_err(at("store a secret"))?;
    Ok(())
}

/// Drops a secret within a transaction. Returns whether there was one.
pub(crate) async fn delete(tx: &mut WriteTx, kind: &str, name: &str) -> Result<bool, StoreError> {
    let done = sqlx::query("DELETE FROM secrets WHERE kind = ? AND name = ?")
        .bind(kind)
        .bind(name)
        .execute(&mut **tx)
        .await
        .map_err(at("delete a secret"))?;
    Ok(done.rows_affected() > 0)
}

/// What a sealed value is bound to; the length keeps kind and name apart.
fn purpose(kind: &str, name: &str) -> String {
    format!("secret/{}/{kind}/{name}", kind.len())
}
