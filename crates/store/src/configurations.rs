//! The account's configurations beside services. Quotas keep each kind to a few dozen entries, so a kind is one record.

use crate::Store;
use crate::error::{StoreError, at};
use crate::record::{RECORD_VERSION, Row, decode, encode};
use apron_domain::configuration::Revision;
use serde::Serialize;
use serde::de::DeserializeOwned;

impl Store {
    /// All revisions of a kind, deleted ones included, in the order they were made.
    pub async fn configurations<T: DeserializeOwned>(
        &self,
        kind: &str,
    ) -> Result<Vec<Revision<T>>, StoreError> {
        let doing = "read the configurations";
        let row: Option<Row> =
            sqlx::query_as("SELECT version, record FROM configurations WHERE kind = ?")
                .bind(kind)
                .fetch_optional(self.engine().reader())
                .await
                .map_err(at(doing))?;
        row.map_or_else(|| Ok(Vec::new()), |row| decode(doing, &row))
    }

    /// Reads all revisions of a kind, changes them and stores them, with nothing in between. A refusal of `change`
    /// changes nothing.
    pub async fn configurations_change<T, O, R>(
        &self,
        kind: &str,
        change: impl FnOnce(&mut Vec<Revision<T>>) -> Result<O, R> + Send,
    ) -> Result<Result<O, R>, StoreError>
    where
        T: Serialize + DeserializeOwned + Send + Sync,
        O: Send,
        R: Send,
    {
        let doing = "change the configurations";
        let mut tx = self.engine().write(doing).await?;
        let row: Option<Row> =
            sqlx::query_as("SELECT version, record FROM configurations WHERE kind = ?")
                .bind(kind)
                .fetch_optional(&mut *tx)
                .await
                .map_err(at(doing))?;
        let mut all = row.map_or_else(|| Ok(Vec::new()), |row| decode(doing, &row))?;
        let outcome = match change(&mut all) {
            Ok(outcome) => outcome,
            Err(refusal) => return Ok(Err(refusal)),
        };
        sqlx::query(
            "INSERT INTO configurations (kind, version, record) VALUES (?, ?, ?) \
             ON CONFLICT (kind) DO UPDATE SET version = excluded.version, record = excluded.record",
        )
        .bind(kind)
        .bind(RECORD_VERSION)
        .bind(encode(doing, &all)?)
        .execute(&mut *tx)
        .await
        .map_err(at(doing))?;
        tx.commit().await.map_err(at(doing))?;
        Ok(Ok(outcome))
    }
}
