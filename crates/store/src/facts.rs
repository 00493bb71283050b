//! Facts about this installation: small texts by name.

use crate::Store;
use crate::engine::{Engine, WriteTx};
use crate::error::{StoreError, at};

impl Store {
    /// A fact; none when it was never put.
    pub async fn fact_get(&self, key: &str) -> Result<Option<String>, StoreError> {
        get(self.engine(), key).await
    }

    /// Puts a fact, over an earlier one of that key.
    pub async fn fact_put(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let doing = "store a fact";
        let mut tx = self.engine().write(doing).await?;
        put_in(&mut tx, doing, key, value).await?;
        tx.commit().await.map_err(at(doing))
    }
}

/// Puts a fact inside a transaction.
pub(crate) async fn put_in(
    tx: &mut WriteTx,
    doing: &'static str,
    key: &str,
    value: &str,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO facts (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value")
        .bind(key)
        .bind(value)
        .execute(&mut **tx)
        .await
        .map_err(at(doing))?;
    Ok(())
}

pub(crate) async fn get(engine: &Engine, key: &str) -> Result<Option<String>, StoreError> {
    let row: Option<(String,)> = sqlx::query_as("SELECT value FROM facts WHERE key = ?")
        .bind(key)
        .fetch_optional(engine.reader())
        .await
        .map_err(at("read a fact"))?;
    Ok(row.map(|row| row.0))
}
