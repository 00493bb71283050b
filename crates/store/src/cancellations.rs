//! Operations that are to end without their effect.

use crate::Store;
use crate::engine::WriteTx;
use crate::error::{StoreError, at};
use crate::operations::{self, OwnedRow};
use apron_domain::OperationId;

impl Store {
    /// Remembers that an operation is to be cancelled, if it still can be; once is enough. Answers whether it could.
    /// From then on [`Store::operation_save`] refuses to take it past the point of no return.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the operation does not exist.
    pub async fn operation_cancel(&self, id: &OperationId) -> Result<bool, StoreError> {
        let doing = "cancel the operation";
        let mut tx = self.engine().write(doing).await?;
        let row: Option<OwnedRow> =
            sqlx::query_as("SELECT service, version, record FROM operations WHERE id = ?")
                .bind(id.as_str())
                .fetch_optional(&mut *tx)
                .await
                .map_err(at(doing))?;
        let row = row.ok_or_else(|| StoreError::missing(doing, format!("operation {id}")))?;
        let operation = operations::open(self.sealer(), doing, row)?;
        if !operation.can_be_cancelled() {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO cancellations (operation) VALUES (?) ON CONFLICT (operation) DO NOTHING",
        )
        .bind(id.as_str())
        .execute(&mut *tx)
        .await
        .map_err(at(doing))?;
        tx.commit().await.map_err(at(doing))?;
        Ok(true)
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

/// Whether an operation is to be cancelled, as the transaction sees it.
pub(crate) async fn is_cancelled_in(
    tx: &mut WriteTx,
    doing: &'static str,
    id: &OperationId,
) -> Result<bool, StoreError> {
    let row: Option<(String,)> =
        sqlx::query_as("SELECT operation FROM cancellations WHERE operation = ?")
            .bind(id.as_str())
            .fetch_optional(&mut **tx)
            .await
            .map_err(at(doing))?;
    Ok(row.is_some())
}
