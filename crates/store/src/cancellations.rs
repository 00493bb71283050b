//! Operations that are to end without their effect.

use crate::Store;
use crate::error::{StoreError, at};
use apron_domain::OperationId;

impl Store {
    /// Remembers that an operation is to be cancelled; once is enough.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the operation does not exist.
    pub async fn operation_cancel(&self, id: &OperationId) -> Result<(), StoreError> {
        let doing = "cancel the operation";
        let mut tx = self.engine().write(doing).await?;
        let done = sqlx::query(
            "INSERT INTO cancellations (operation) SELECT id FROM operations WHERE id = ? \
             ON CONFLICT (operation) DO UPDATE SET operation = excluded.operation",
        )
        .bind(id.as_str())
        .execute(&mut *tx)
        .await
        .map_err(at(doing))?;
        if done.rows_affected() == 0 {
            return Err(StoreError::missing(doing, format!("operation {id}")));
        }
        tx.commit().await.map_err(at(doing))
    }

    /// Whether an operation is to be cancelled.
    pub async fn operation_is_cancelled(&self, id: &OperationId) -> Result<bool, StoreError> {
        let doing = "read the cancellation";
        let row: Option<(String,)> =
            sqlx::query_as("SELECT operation FROM cancellations WHERE operation = ?")
                .bind(id.as_str())
                .fetch_optional(self.engine().reader())
                .await
                .map_err(at(doing))?;
        Ok(row.is_some())
    }
}
