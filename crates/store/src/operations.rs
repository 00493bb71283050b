//! Operations and their journal.

use crate::engine::WriteTx;
use crate::error::{StoreError, at};
use crate::record::{
    SEALED_RECORD_VERSION, column, decode_sealed, encode_sealed, from_column, from_variant, variant,
};
use crate::seal::Sealer;
use crate::{PAGE_RECORDS_MAX, Store, cancellations, services};
use apron_domain::{Millis, Operation, OperationId, Service, ServiceId, Stage};

/// Lines of journal kept for one operation; the oldest go first.
pub const JOURNAL_LINES_MAX: u32 = 1_000;

/// One line of an operation's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalLine {
    /// Number of the line, from one.
    pub sequence: u64,
    /// The stage the operation was in from then on.
    pub stage: Stage,
    /// What happened, for people.
    pub note: String,
    /// When.
    pub at: Millis,
}

impl Store {
    /// Begins an operation: reads the service, lets `make` decide on it, and stores both rows it gives, with nothing in between.
    /// When `make` refuses, nothing is changed and its refusal comes back inside.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the service does not exist, [`StoreError::Conflict`] when it has an unfinished operation that
    /// `make` did not see or heed.
    pub async fn operation_begin<R: Send>(
        &self,
        service: &ServiceId,
        make: impl FnOnce(&Service) -> Result<(Operation, Service), R> + Send,
    ) -> Result<Result<(Operation, Service), R>, StoreError> {
        let doing = "begin the operation";
        let mut tx = self.engine().write(doing).await?;
        let current = services::get_in(&mut tx, self.sealer(), doing, service).await?;
        let (operation, changed) = match make(&current) {
            Ok(made) => made,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if changed.id != *service || operation.service != *service {
            return Err(StoreError::Invalid {
                doing,
                reason: "the rows made belong to another service".to_owned(),
            });
        }
        insert(&mut tx, self.sealer(), doing, &operation).await?;
        services::put_in(&mut tx, self.sealer(), doing, &changed).await?;
        tx.commit().await.map_err(at(doing))?;
        Ok(Ok((operation, changed)))
    }

    /// One operation.
    pub async fn operation_get(&self, id: &OperationId) -> Result<Option<Operation>, StoreError> {
        let doing = "read the operation";
        let row: Option<OwnedRow> =
            sqlx::query_as("SELECT service, version, record FROM operations WHERE id = ?")
                .bind(id.as_str())
                .fetch_optional(self.engine().reader())
                .await
                .map_err(at(doing))?;
        row.map(|row| open(self.sealer(), doing, row)).transpose()
    }

    /// Stores the operation as it is now, and a line of its journal.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it does not exist, [`StoreError::Cancelled`] when it comes to the point of no return and
    /// was cancelled before: an acknowledged cancellation is never lost.
    pub async fn operation_save(
        &self,
        operation: &Operation,
        note: &str,
    ) -> Result<(), StoreError> {
        let doing = "save the operation";
        let mut tx = self.engine().write(doing).await?;
        if operation.stage == Stage::Route
            && cancellations::is_cancelled_in(&mut tx, doing, &operation.id).await?
        {
            return Err(StoreError::Cancelled { doing });
        }
        put_in(&mut tx, self.sealer(), doing, operation).await?;
        journal_in(&mut tx, doing, operation, note).await?;
        tx.commit().await.map_err(at(doing))
    }

    /// Every operation that is not done, in the order they began.
    pub async fn operations_unfinished(&self) -> Result<Vec<Operation>, StoreError> {
        let doing = "list unfinished operations";
        let rows: Vec<OwnedRow> = sqlx::query_as(
            "SELECT service, version, record FROM operations WHERE done = 0 ORDER BY sequence",
        )
        .fetch_all(self.engine().reader())
        .await
        .map_err(at(doing))?;
        let open = |row| open(self.sealer(), doing, row);
        rows.into_iter().map(open).collect()
    }

    /// The operation of a service that is not done; there is at most one.
    pub async fn operation_unfinished(
        &self,
        service: &ServiceId,
    ) -> Result<Option<Operation>, StoreError> {
        let doing = "read the unfinished operation";
        let row: Option<OwnedRow> = sqlx::query_as(
            "SELECT service, version, record FROM operations WHERE service = ? AND done = 0",
        )
        .bind(service.as_str())
        .fetch_optional(self.engine().reader())
        .await
        .map_err(at(doing))?;
        row.map(|row| open(self.sealer(), doing, row)).transpose()
    }

    /// A page of a service's operations, newest first, behind `after` (start time and id of the last one seen).
    pub async fn operations(
        &self,
        service: &ServiceId,
        after: Option<&(Millis, OperationId)>,
        limit: u32,
    ) -> Result<Vec<Operation>, StoreError> {
        let doing = "list operations";
        // An id that is gone counts as the oldest of its millisecond.
        let (time, id) = after.map_or((i64::MAX, ""), |(time, id)| (column(*time), id.as_str()));
        let first_page = after.is_none();
        let rows: Vec<OwnedRow> = sqlx::query_as(
            "SELECT service, version, record FROM operations WHERE service = ?1 \
             AND (?2 OR (started_at, sequence) < (?3, coalesce((SELECT sequence FROM operations WHERE id = ?4), 0))) \
             ORDER BY started_at DESC, sequence DESC LIMIT ?5",
        )
        .bind(service.as_str())
        .bind(first_page)
        .bind(time)
        .bind(id)
        .bind(limit.min(PAGE_RECORDS_MAX))
        .fetch_all(self.engine().reader())
        .await
        .map_err(at(doing))?;
        let open = |row| open(self.sealer(), doing, row);
        rows.into_iter().map(open).collect()
    }

    /// The journal of an operation, oldest line first; empty when there is none.
    pub async fn operation_journal(
        &self,
        id: &OperationId,
    ) -> Result<Vec<JournalLine>, StoreError> {
        let doing = "read the journal";
        let rows: Vec<(i64, String, String, i64)> = sqlx::query_as(
            "SELECT sequence, stage, note, at FROM journal WHERE operation = ? ORDER BY sequence",
        )
        .bind(id.as_str())
        .fetch_all(self.engine().reader())
        .await
        .map_err(at(doing))?;
        rows.into_iter()
            .map(|(sequence, stage, note, time)| {
                Ok(JournalLine {
                    sequence: u64::try_from(sequence).unwrap_or(0),
                    stage: from_variant(doing, &stage)?,
                    note,
                    at: from_column(time),
                })
            })
            .collect()
    }

    /// Stores an ended operation and changes its service, in one transaction. `change` gets the service as it is now, so what others
    /// wrote meanwhile survives. Returns the service as stored.
    pub async fn operation_conclude(
        &self,
        operation: &Operation,
        change: impl FnOnce(&mut Service) + Send,
    ) -> Result<Service, StoreError> {
        let doing = "conclude the operation";
        let mut tx = self.engine().write(doing).await?;
        put_in(&mut tx, self.sealer(), doing, operation).await?;
        journal_in(&mut tx, doing, operation, operation.status.as_str()).await?;
        let service =
            services::change_in(&mut tx, self.sealer(), doing, &operation.service, change).await?;
        tx.commit().await.map_err(at(doing))?;
        Ok(service)
    }
}

/// The service, version and text of a stored operation.
pub(crate) type OwnedRow = (String, i64, String);

pub(crate) fn open(
    sealer: &Sealer,
    doing: &'static str,
    row: OwnedRow,
) -> Result<Operation, StoreError> {
    let (service, version, text) = row;
    decode_sealed(sealer, &service, doing, &(version, text))
}

/// Seals the variables in operations that an earlier version stored in clear; returns how many those are.
pub(crate) async fn seal_older(store: &Store) -> Result<usize, StoreError> {
    let doing = "seal the variables in operations";
    let mut tx = store.engine().write(doing).await?;
    let rows: Vec<OwnedRow> =
        sqlx::query_as("SELECT service, version, record FROM operations WHERE version < ?")
            .bind(SEALED_RECORD_VERSION)
            .fetch_all(&mut *tx)
            .await
            .map_err(at(doing))?;
    let mut sealed = 0;
    for row in rows {
        let service = row.0.clone();
        match open(store.sealer(), doing, row) {
            Ok(operation) => put_in(&mut tx, store.sealer(), doing, &operation).await?,
            // It is left for whoever asks for it, who is told.
            Err(error) => {
                tracing::error!(service, %error, "an operation cannot be read");
                continue;
            }
        }
        sealed += 1;
    }
    tx.commit().await.map_err(at(doing))?;
    Ok(sealed)
}

pub(crate) async fn insert(
    tx: &mut WriteTx,
    sealer: &Sealer,
    doing: &'static str,
    operation: &Operation,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO operations (id, service, stage, done, started_at, version, record) VALUES (?, ?, ?, ?, ?, ?, ?)")
        .bind(operation.id.as_str())
        .bind(operation.service.as_str())
        .bind(variant(doing, &operation.stage)?)
        .bind(operation.is_done())
        .bind(column(operation.started_at))
        .bind(SEALED_RECORD_VERSION)
        .bind(encode_sealed(sealer, operation.service.as_str(), doing, operation)?)
        .execute(&mut **tx)
        .await
        .map_err(at(doing))?;
    Ok(())
}

async fn put_in(
    tx: &mut WriteTx,
    sealer: &Sealer,
    doing: &'static str,
    operation: &Operation,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "UPDATE operations SET stage = ?, done = ?, started_at = ?, version = ?, record = ? WHERE id = ? AND service = ?",
    )
    .bind(variant(doing, &operation.stage)?)
    .bind(operation.is_done())
    .bind(column(operation.started_at))
    .bind(SEALED_RECORD_VERSION)
    .bind(encode_sealed(sealer, operation.service.as_str(), doing, operation)?)
    .bind(operation.id.as_str())
    .bind(operation.service.as_str())
    .execute(&mut **tx)
    .await
    .map_err(at(doing))?;
    match done.rows_affected() {
        0 => Err(StoreError::missing(
            doing,
            format!(
                "operation {} of service {}",
                operation.id, operation.service
            ),
        )),
        _ => Ok(()),
    }
}

async fn journal_in(
    tx: &mut WriteTx,
    doing: &'static str,
    operation: &Operation,
    note: &str,
) -> Result<(), StoreError> {
    let id = operation.id.as_str();
    sqlx::query(
        "INSERT INTO journal (operation, sequence, stage, note, at) \
         VALUES (?1, 1 + coalesce((SELECT max(sequence) FROM journal WHERE operation = ?1), 0), ?2, ?3, ?4)",
    )
    .bind(id)
    .bind(variant(doing, &operation.stage)?)
    .bind(note)
    .bind(column(operation.updated_at))
    .execute(&mut **tx)
    .await
    .map_err(at(doing))?;
    sqlx::query(
        "DELETE FROM journal WHERE operation = ?1 AND sequence <= (SELECT max(sequence) FROM journal WHERE operation = ?1) - ?2",
    )
    .bind(id)
    .bind(JOURNAL_LINES_MAX)
    .execute(&mut **tx)
    .await
    .map_err(at(doing))?;
    Ok(())
}
