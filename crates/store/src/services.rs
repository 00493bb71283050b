//! Services.

use crate::engine::WriteTx;
use crate::error::{StoreError, at};
use crate::operations;
use crate::record::{
    Row, SEALED_RECORD_VERSION, column, decode_sealed, encode, encode_sealed, from_version, variant,
};
use crate::seal::Sealer;
use crate::{PAGE_RECORDS_MAX, Store};
use apron_domain::service::ServiceSummary;
use apron_domain::{Millis, Operation, Service, ServiceId, ServiceStatus};
use std::sync::Arc;

/// Services that are read out of their records before others get their turn.
const OPENED_AT_ONCE: usize = 32;

impl Store {
    /// Stores a new service together with the operation that creates it, unless `limit` services exist that are not
    /// deleted. They are counted in the same transaction: no race exceeds the limit.
    ///
    /// # Errors
    /// [`StoreError::Limit`] when the limit is reached, [`StoreError::Conflict`] when a service that is not deleted has the name.
    pub async fn service_create(
        &self,
        service: &Service,
        operation: &Operation,
        limit: u32,
    ) -> Result<(), StoreError> {
        let doing = "create the service";
        let mut tx = self.engine().write(doing).await?;
        let (count,): (u32,) = sqlx::query_as("SELECT count(*) FROM services WHERE deleted = 0")
            .fetch_one(&mut *tx)
            .await
            .map_err(at(doing))?;
        if count >= limit {
            return Err(StoreError::Limit { doing, limit });
        }
        insert(&mut tx, self.sealer(), doing, service).await?;
        operations::insert(&mut tx, self.sealer(), doing, operation).await?;
        tx.commit().await.map_err(at(doing))
    }

    /// One service, also a deleted one.
    pub async fn service_get(&self, id: &ServiceId) -> Result<Option<Service>, StoreError> {
        let shared = self.service_look(id).await?;
        Ok(shared.map(Arc::unwrap_or_clone))
    }

    /// The same for who only looks at it.
    pub async fn service_look(&self, id: &ServiceId) -> Result<Option<Arc<Service>>, StoreError> {
        let doing = "read the service";
        let shelf = self.engine().shelf();
        if let Some(service) = shelf.get(id) {
            return Ok(Some(service));
        }
        let generation = shelf.generation();
        let row: Option<Row> = sqlx::query_as("SELECT version, record FROM services WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(self.engine().reader())
            .await
            .map_err(at(doing))?;
        let Some(row) = row else {
            return Ok(None);
        };
        let service = Arc::new(decode_sealed(self.sealer(), id.as_str(), doing, &row)?);
        shelf.keep(generation, &service);
        Ok(Some(service))
    }

    /// The service of that name that is not deleted.
    pub async fn service_find(&self, name: &str) -> Result<Option<Service>, StoreError> {
        let doing = "find the service";
        let row: Option<OwnedRow> = sqlx::query_as(
            "SELECT id, version, record FROM services WHERE name = ? AND deleted = 0",
        )
        .bind(name)
        .fetch_optional(self.engine().reader())
        .await
        .map_err(at(doing))?;
        row.map(|row| open(self.sealer(), doing, row)).transpose()
    }

    /// A page of the services that are not deleted, oldest first, behind `after` (creation time and id), as lists show
    /// them.
    pub async fn service_summaries(
        &self,
        after: Option<&(Millis, ServiceId)>,
        limit: u32,
    ) -> Result<Vec<ServiceSummary>, StoreError> {
        let limit = limit.min(PAGE_RECORDS_MAX);
        let shelf = self.engine().shelf();
        if shelf.is_empty() {
            self.services_fill().await;
        }
        if let Some(page) = shelf.page(after, limit as usize) {
            return Ok(page);
        }
        let doing = "list services";
        let (time, id) = after.map_or((-1, ""), |(time, id)| (column(*time), id.as_str()));
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT version, summary FROM services WHERE deleted = 0 AND (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?",
        )
        .bind(time)
        .bind(id)
        .bind(limit)
        .fetch_all(self.engine().reader())
        .await
        .map_err(at(doing))?;
        summaries(doing, &rows)
    }

    /// Reads what lists show into memory, if it can: who lists services reads them from the database otherwise, and is told.
    pub(crate) async fn services_fill(&self) {
        if let Err(error) = self.services_read().await {
            tracing::error!(%error, "the list of services is not kept in memory");
        }
    }

    /// In a write transaction, so that nothing is committed meanwhile.
    async fn services_read(&self) -> Result<(), StoreError> {
        let doing = "read the list of services";
        let mut tx = self.engine().write(doing).await?;
        let rows: Vec<Row> =
            sqlx::query_as("SELECT version, summary FROM services WHERE deleted = 0")
                .fetch_all(&mut *tx)
                .await
                .map_err(at(doing))?;
        let shelf = self.engine().shelf();
        shelf.fill(tx.number(), summaries(doing, &rows)?);
        Ok(())
    }

    /// Every service that is not deleted, oldest first.
    pub async fn services_live(&self) -> Result<Vec<Service>, StoreError> {
        let doing = "list services";
        let rows: Vec<OwnedRow> = sqlx::query_as(
            "SELECT id, version, record FROM services WHERE deleted = 0 ORDER BY created_at, id",
        )
        .fetch_all(self.engine().reader())
        .await
        .map_err(at(doing))?;
        let mut services = Vec::with_capacity(rows.len());
        for (number, row) in rows.into_iter().enumerate() {
            // Thousands take a while, for which nobody else must wait.
            if number % OPENED_AT_ONCE == OPENED_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            services.push(open(self.sealer(), doing, row)?);
        }
        Ok(services)
    }

    /// How many services are not deleted.
    pub async fn services_count(&self) -> Result<u32, StoreError> {
        let row: (u32,) = sqlx::query_as("SELECT count(*) FROM services WHERE deleted = 0")
            .fetch_one(self.engine().reader())
            .await
            .map_err(at("count services"))?;
        Ok(row.0)
    }

    /// Reads a service, changes it and stores it, with nothing in between. Returns it as stored.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it does not exist, [`StoreError::Conflict`] when the change gives it a name that is taken.
    pub async fn service_update(
        &self,
        id: &ServiceId,
        change: impl FnOnce(&mut Service) + Send,
    ) -> Result<Service, StoreError> {
        let doing = "change the service";
        let mut tx = self.engine().write(doing).await?;
        let service = change_in(&mut tx, self.sealer(), doing, id, change).await?;
        tx.commit().await.map_err(at(doing))?;
        Ok(service)
    }

    /// Drops services deleted before that time, with their operations. One that still has instances is kept until they are gone.
    pub async fn services_forget_deleted(&self, before: Millis) -> Result<u32, StoreError> {
        let doing = "forget deleted services";
        let mut tx = self.engine().write(doing).await?;
        let done = sqlx::query(
            "DELETE FROM services WHERE deleted = 1 AND deleted_at < ? \
             AND NOT EXISTS (SELECT 1 FROM instances WHERE instances.service = services.id)",
        )
        .bind(column(before))
        .execute(&mut *tx)
        .await
        .map_err(at(doing))?;
        tx.touched.dropped = done.rows_affected() > 0;
        tx.commit().await.map_err(at(doing))?;
        Ok(u32::try_from(done.rows_affected()).unwrap_or(u32::MAX))
    }
}

fn summaries(doing: &'static str, rows: &[Row]) -> Result<Vec<ServiceSummary>, StoreError> {
    rows.iter()
        .map(|row| from_version(doing, row, SEALED_RECORD_VERSION))
        .collect()
}

fn is_deleted(service: &Service) -> bool {
    service.status == ServiceStatus::Deleted
}

/// The id, version and text of a stored service.
type OwnedRow = (String, i64, String);

fn open(sealer: &Sealer, doing: &'static str, row: OwnedRow) -> Result<Service, StoreError> {
    let (id, version, text) = row;
    decode_sealed(sealer, &id, doing, &(version, text))
}

/// Seals the variables of services that an earlier version stored in clear; returns how many those are.
pub(crate) async fn seal_older(store: &Store) -> Result<usize, StoreError> {
    let doing = "seal the variables of services";
    let mut tx = store.engine().write(doing).await?;
    let rows: Vec<OwnedRow> =
        sqlx::query_as("SELECT id, version, record FROM services WHERE version < ?")
            .bind(SEALED_RECORD_VERSION)
            .fetch_all(&mut *tx)
            .await
            .map_err(at(doing))?;
    let mut sealed = 0;
    for row in rows {
        let id = row.0.clone();
        match open(store.sealer(), doing, row) {
            Ok(service) => put_in(&mut tx, store.sealer(), doing, &service).await?,
            // It is left for whoever asks for it, who is told.
            Err(error) => {
                tracing::error!(service = id, %error, "a service cannot be read");
                continue;
            }
        }
        sealed += 1;
    }
    tx.commit().await.map_err(at(doing))?;
    Ok(sealed)
}

async fn insert(
    tx: &mut WriteTx,
    sealer: &Sealer,
    doing: &'static str,
    service: &Service,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO services (id, name, status, deleted, created_at, deleted_at, version, record, summary) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(service.id.as_str())
    .bind(&service.name)
    .bind(variant(doing, &service.status)?)
    .bind(is_deleted(service))
    .bind(column(service.created_at))
    .bind(service.deleted_at.map(column))
    .bind(SEALED_RECORD_VERSION)
    .bind(encode_sealed(sealer, service.id.as_str(), doing, service)?)
    .bind(encode(doing, &service.summary())?)
    .execute(&mut **tx)
    .await
    .map_err(at(doing))?;
    tx.touched.stored.push(service.clone());
    Ok(())
}

/// The service as the transaction sees it.
pub(crate) async fn get_in(
    tx: &mut WriteTx,
    sealer: &Sealer,
    doing: &'static str,
    id: &ServiceId,
) -> Result<Service, StoreError> {
    let row: Option<Row> = sqlx::query_as("SELECT version, record FROM services WHERE id = ?")
        .bind(id.as_str())
        .fetch_optional(&mut **tx)
        .await
        .map_err(at(doing))?;
    let row = row.ok_or_else(|| StoreError::missing(doing, format!("service {id}")))?;
    decode_sealed(sealer, id.as_str(), doing, &row)
}

/// Stores the service over its row.
pub(crate) async fn put_in(
    tx: &mut WriteTx,
    sealer: &Sealer,
    doing: &'static str,
    service: &Service,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "UPDATE services SET name = ?, status = ?, deleted = ?, created_at = ?, deleted_at = ?, version = ?, record = ?, summary = ? WHERE id = ?",
    )
    .bind(&service.name)
    .bind(variant(doing, &service.status)?)
    .bind(is_deleted(service))
    .bind(column(service.created_at))
    .bind(service.deleted_at.map(column))
    .bind(SEALED_RECORD_VERSION)
    .bind(encode_sealed(sealer, service.id.as_str(), doing, service)?)
    .bind(encode(doing, &service.summary())?)
    .bind(service.id.as_str())
    .execute(&mut **tx)
    .await
    .map_err(at(doing))?;
    match done.rows_affected() {
        0 => Err(StoreError::missing(
            doing,
            format!("service {}", service.id),
        )),
        _ => {
            tx.touched.stored.push(service.clone());
            Ok(())
        }
    }
}

/// Reads, changes and stores a service inside a transaction.
pub(crate) async fn change_in(
    tx: &mut WriteTx,
    sealer: &Sealer,
    doing: &'static str,
    id: &ServiceId,
    change: impl FnOnce(&mut Service) + Send,
) -> Result<Service, StoreError> {
    let mut service = get_in(tx, sealer, doing, id).await?;
    change(&mut service);
    if service.id != *id {
        return Err(StoreError::Invalid {
            doing,
            reason: "a service keeps its id".to_owned(),
        });
    }
    put_in(tx, sealer, doing, &service).await?;
    Ok(service)
}
