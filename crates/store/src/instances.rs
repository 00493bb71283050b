//! Instances.

use crate::engine::WriteTx;
use crate::error::{StoreError, at};
use crate::record::{RECORD_VERSION, Row, decode_all, encode, variant};
use crate::{Store, services};
use apron_domain::{Instance, InstanceId, InstanceRole, Millis, Operation, Service, ServiceId};

impl Store {
    /// Stores new instances, all or none. Those whose id is known are left as they are.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when a service does not exist.
    pub async fn instance_insert(&self, instances: &[Instance]) -> Result<(), StoreError> {
        self.instances_change(instances, &[]).await
    }

    /// Stores new instances, where those whose id is known are left as they are, and others over their rows, where those
    /// that have none are passed over; all or none.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when a service does not exist.
    pub async fn instances_change(
        &self,
        new: &[Instance],
        changed: &[Instance],
    ) -> Result<(), StoreError> {
        if new.is_empty() && changed.is_empty() {
            return Ok(());
        }
        let doing = "store instances";
        let mut tx = self.engine().write(doing).await?;
        for instance in new {
            insert_in(&mut tx, doing, instance).await?;
        }
        for instance in changed {
            put_in(&mut tx, doing, instance).await?;
        }
        tx.commit().await.map_err(at(doing))
    }

    /// Stores an instance over its row; no effect when there is none.
    pub async fn instance_save(&self, instance: &Instance) -> Result<(), StoreError> {
        let doing = "save the instance";
        let mut tx = self.engine().write(doing).await?;
        put_in(&mut tx, doing, instance).await?;
        tx.commit().await.map_err(at(doing))
    }

    /// Drops an instance; fine when it does not exist.
    pub async fn instance_delete(&self, id: &InstanceId) -> Result<(), StoreError> {
        let doing = "delete the instance";
        let mut tx = self.engine().write(doing).await?;
        sqlx::query("DELETE FROM instances WHERE id = ?")
            .bind(id.as_str())
            .execute(&mut *tx)
            .await
            .map_err(at(doing))?;
        tx.commit().await.map_err(at(doing))
    }

    /// Every instance, by service and id.
    pub async fn instances(&self) -> Result<Vec<Instance>, StoreError> {
        let doing = "list instances";
        let rows: Vec<Row> =
            sqlx::query_as("SELECT version, record FROM instances ORDER BY service, id")
                .fetch_all(self.engine().reader())
                .await
                .map_err(at(doing))?;
        decode_all(doing, &rows)
    }

    /// Every instance of a service, by id.
    pub async fn instances_of(&self, service: &ServiceId) -> Result<Vec<Instance>, StoreError> {
        let doing = "list instances";
        let rows: Vec<Row> =
            sqlx::query_as("SELECT version, record FROM instances WHERE service = ? ORDER BY id")
                .bind(service.as_str())
                .fetch_all(self.engine().reader())
                .await
                .map_err(at(doing))?;
        decode_all(doing, &rows)
    }

    /// Gives the traffic of a service to `active`, in one transaction: the service is changed; those instances become active and ready;
    /// every other active or candidate one begins to retire at `now`, or goes on retiring. Ids in `active` that do not exist are passed
    /// over: what became of them is not this call's matter.
    pub async fn traffic_switch(
        &self,
        operation: &Operation,
        service_change: impl FnOnce(&mut Service) + Send,
        active: &[InstanceId],
        now: Millis,
    ) -> Result<(), StoreError> {
        let doing = "switch the traffic";
        let mut tx = self.engine().write(doing).await?;
        services::change_in(
            &mut tx,
            self.sealer(),
            doing,
            &operation.service,
            service_change,
        )
        .await?;
        let rows: Vec<Row> =
            sqlx::query_as("SELECT version, record FROM instances WHERE service = ? ORDER BY id")
                .bind(operation.service.as_str())
                .fetch_all(&mut *tx)
                .await
                .map_err(at(doing))?;
        for instance in decode_all::<Instance>(doing, &rows)? {
            let switched = switch(instance.clone(), active, now);
            if switched != instance {
                put_in(&mut tx, doing, &switched).await?;
            }
        }
        tx.commit().await.map_err(at(doing))
    }
}

/// An instance as it is after the traffic went to `active`.
fn switch(mut instance: Instance, active: &[InstanceId], now: Millis) -> Instance {
    if active.contains(&instance.id) {
        instance.role = InstanceRole::Active;
        instance.ready = true;
    } else if instance.role != InstanceRole::Retiring {
        instance.role = InstanceRole::Retiring;
        instance.retiring_since = instance.retiring_since.or(Some(now));
    }
    instance
}

async fn insert_in(
    tx: &mut WriteTx,
    doing: &'static str,
    instance: &Instance,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO instances (id, service, role, version, record) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
    )
    .bind(instance.id.as_str())
    .bind(instance.service.as_str())
    .bind(variant(doing, &instance.role)?)
    .bind(RECORD_VERSION)
    .bind(encode(doing, instance)?)
    .execute(&mut **tx)
    .await
    .map_err(at(doing))?;
    Ok(())
}

async fn put_in(
    tx: &mut WriteTx,
    doing: &'static str,
    instance: &Instance,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE instances SET service = ?, role = ?, version = ?, record = ? WHERE id = ?")
        .bind(instance.service.as_str())
        .bind(variant(doing, &instance.role)?)
        .bind(RECORD_VERSION)
        .bind(encode(doing, instance)?)
        .bind(instance.id.as_str())
        .execute(&mut **tx)
        .await
        .map_err(at(doing))?;
    Ok(())
}
