//! What the APIs of secrets, parameters and keys keep: records that may be shown, each with parts that are sealed.
//!
//! A record is the caller's own type. A part is sealed with a data key and bound to its record's kind and name and to its
//! own name, or sealed with a customer's key and bound to an encryption context.

use crate::engine::WriteTx;
use crate::error::{StoreError, at};
use crate::record::{RECORD_VERSION, Row, decode, encode};
use crate::seal::{CustomerKeyId, EncryptionContext, Sealer};
use crate::{PAGE_RECORDS_MAX, Store};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What seals a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lock {
    /// The platform.
    #[default]
    Platform,
    /// A customer's key, together with this context.
    Customer(CustomerKeyId, EncryptionContext),
}

/// What becomes of a part.
#[derive(Clone, PartialEq, Eq)]
pub enum Part {
    /// It is put, over an earlier one of that name.
    Put {
        /// Its name.
        name: String,
        /// What seals it.
        lock: Lock,
        /// What is in it.
        value: Vec<u8>,
    },
    /// It is dropped; one that does not exist is fine.
    Drop {
        /// Its name.
        name: String,
    },
}

/// What becomes of a record.
pub struct Change<T, O> {
    /// The record from now on; none drops it with its parts.
    pub record: Option<T>,
    /// What becomes of its parts.
    pub parts: Vec<Part>,
    /// What the caller wants to know of it.
    pub outcome: O,
}

impl<T, O> Change<T, O> {
    /// The record becomes this, its parts stay.
    pub fn record(record: T, outcome: O) -> Change<T, O> {
        Change {
            record: Some(record),
            parts: Vec::new(),
            outcome,
        }
    }
}

/// What the change of a record came to.
pub type Changed<O, R> = Result<Result<O, R>, StoreError>;

impl Store {
    /// A record; none when there is none.
    pub async fn vault_get<T: DeserializeOwned>(
        &self,
        kind: &str,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        let doing = "read from the vault";
        let row: Option<Row> =
            sqlx::query_as("SELECT version, record FROM vault WHERE kind = ? AND name = ?")
                .bind(kind)
                .bind(name)
                .fetch_optional(self.engine().reader())
                .await
                .map_err(at(doing))?;
        row.map(|row| decode(doing, &row)).transpose()
    }

    /// A page of a kind's records whose names begin with `prefix`, by name, behind the name `after`.
    pub async fn vault_page<T: DeserializeOwned>(
        &self,
        kind: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, T)>, StoreError> {
        let doing = "list the vault";
        let rows: Vec<(String, i64, String)> = sqlx::query_as(
            "SELECT name, version, record FROM vault WHERE kind = ?1 AND name > ?2 AND name >= ?3 \
             AND substr(name, 1, length(?3)) = ?3 ORDER BY name LIMIT ?4",
        )
        .bind(kind)
        .bind(after.unwrap_or(""))
        .bind(prefix)
        .bind(limit.min(PAGE_RECORDS_MAX))
        .fetch_all(self.engine().reader())
        .await
        .map_err(at(doing))?;
        rows.into_iter()
            .map(|(name, version, text)| Ok((name, decode(doing, &(version, text))?)))
            .collect()
    }

    /// Every record of a kind, by name.
    pub async fn vault_all<T: DeserializeOwned>(
        &self,
        kind: &str,
    ) -> Result<Vec<(String, T)>, StoreError> {
        let mut all: Vec<(String, T)> = Vec::new();
        loop {
            let after = all.last().map(|(name, _)| name.clone());
            let page = self
                .vault_page(kind, "", after.as_deref(), PAGE_RECORDS_MAX)
                .await?;
            let last = page.len() < PAGE_RECORDS_MAX as usize;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// Opens a part. `context` counts for one that a customer's key sealed.
    ///
    /// # Errors
    /// [`StoreError::Sealing`] when it was changed, moved, or its key is no more.
    pub async fn vault_open(
        &self,
        kind: &str,
        name: &str,
        part: &str,
        context: &EncryptionContext,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<(Vec<u8>,)> = sqlx::query_as(
            "SELECT sealed FROM vault_parts WHERE kind = ? AND name = ? AND part = ?",
        )
        .bind(kind)
        .bind(name)
        .bind(part)
        .fetch_optional(self.engine().reader())
        .await
        .map_err(at("read a sealed value"))?;
        let Some((sealed,)) = row else {
            return Ok(None);
        };
        let opened = match Sealer::customer_key_of(&sealed) {
            Some(_) => self.sealer().open_with(context, &sealed),
            None => self.sealer().unseal(&purpose(kind, name, part), &sealed),
        };
        Ok(Some(opened?))
    }

    /// The customer's key that seals a part; none when the platform does, or there is no such part.
    pub async fn vault_key_of(
        &self,
        kind: &str,
        name: &str,
        part: &str,
    ) -> Result<Option<CustomerKeyId>, StoreError> {
        let row: Option<(Vec<u8>,)> = sqlx::query_as(
            "SELECT substr(sealed, 1, 17) FROM vault_parts WHERE kind = ? AND name = ? AND part = ?",
        )
        .bind(kind)
        .bind(name)
        .bind(part)
        .fetch_optional(self.engine().reader())
        .await
        .map_err(at("read a sealed value"))?;
        Ok(row.and_then(|row| Sealer::customer_key_of(&row.0)))
    }

    /// Drops a record with its parts. One that does not exist is fine.
    pub async fn vault_drop(&self, kind: &str, name: &str) -> Result<(), StoreError> {
        let doing = "drop from the vault";
        let mut tx = self.engine().write(doing).await?;
        drop_in(&mut tx, kind, name).await?;
        tx.commit().await.map_err(at(doing))
    }

    /// Reads a record, lets `change` decide what becomes of it, and stores that, with nothing in between. A refusal of
    /// `change` changes nothing and comes back inside.
    ///
    /// # Errors
    /// [`StoreError::Limit`] when the record is new and `limit` of its kind exist.
    pub async fn vault_change<T, O, R>(
        &self,
        kind: &str,
        name: &str,
        limit: u32,
        change: impl FnOnce(Option<T>) -> Result<Change<T, O>, R> + Send,
    ) -> Changed<O, R>
    where
        T: Serialize + DeserializeOwned + Send + Sync,
        O: Send,
        R: Send,
    {
        let doing = "change the vault";
        let mut tx = self.engine().write(doing).await?;
        let row: Option<Row> =
            sqlx::query_as("SELECT version, record FROM vault WHERE kind = ? AND name = ?")
                .bind(kind)
                .bind(name)
                .fetch_optional(&mut *tx)
                .await
                .map_err(at(doing))?;
        let before: Option<T> = row.map(|row| decode(doing, &row)).transpose()?;
        if before.is_none() {
            limit_in(&mut tx, kind, limit).await?;
        }
        let change = match change(before) {
            Ok(change) => change,
            Err(refusal) => return Ok(Err(refusal)),
        };
        match &change.record {
            Some(record) => {
                put_in(&mut tx, kind, name, record).await?;
                for part in &change.parts {
                    part_in(&mut tx, self.sealer(), kind, name, part).await?;
                }
            }
            None => drop_in(&mut tx, kind, name).await?,
        }
        tx.commit().await.map_err(at(doing))?;
        Ok(Ok(change.outcome))
    }
}

async fn limit_in(tx: &mut WriteTx, kind: &str, limit: u32) -> Result<(), StoreError> {
    let doing = "add to the vault";
    let (count,): (u32,) = sqlx::query_as("SELECT count(*) FROM vault WHERE kind = ?")
        .bind(kind)
        .fetch_one(&mut **tx)
        .await
        .map_err(at(doing))?;
    match count >= limit {
        true => Err(StoreError::Limit { doing, limit }),
        false => Ok(()),
    }
}

async fn put_in<T: Serialize>(
    tx: &mut WriteTx,
    kind: &str,
    name: &str,
    record: &T,
) -> Result<(), StoreError> {
    let doing = "change the vault";
    sqlx::query(
        "INSERT INTO vault (kind, name, version, record) VALUES (?, ?, ?, ?) \
         ON CONFLICT (kind, name) DO UPDATE SET version = excluded.version, record = excluded.record",
    )
    .bind(kind)
    .bind(name)
    .bind(RECORD_VERSION)
    .bind(encode(doing, record)?)
    .execute(&mut **tx)
    .await
    .map_err(at(doing))?;
    Ok(())
}

async fn drop_in(tx: &mut WriteTx, kind: &str, name: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM vault WHERE kind = ? AND name = ?")
        .bind(kind)
        .bind(name)
        .execute(&mut **tx)
        .await
        .map_err(at("drop from the vault"))?;
    Ok(())
}

async fn part_in(
    tx: &mut WriteTx,
    sealer: &Sealer,
    kind: &str,
    name: &str,
    part: &Part,
) -> Result<(), StoreError> {
    let doing = "seal a value";
    match part {
        Part::Put {
            name: part,
            lock,
            value,
        } => {
            let sealed = match lock {
                Lock::Platform => sealer.seal(&purpose(kind, name, part), value)?,
                Lock::Customer(key, context) => sealer.seal_with(key, context, value)?,
            };
            sqlx::query(
                "INSERT INTO vault_parts (kind, name, part, sealed) VALUES (?, ?, ?, ?) \
                 ON CONFLICT (kind, name, part) DO UPDATE SET sealed = excluded.sealed",
            )
            .bind(kind)
            .bind(name)
            .bind(part)
            .bind(sealed)
            .execute(&mut **tx)
            .await
            .map_err(at(doing))?;
        }
        Part::Drop { name: part } => {
            sqlx::query("DELETE FROM vault_parts WHERE kind = ? AND name = ? AND part = ?")
                .bind(kind)
                .bind(name)
                .bind(part)
                .execute(&mut **tx)
                .await
                .map_err(at(doing))?;
        }
    }
    Ok(())
}

/// What a part sealed by the platform is bound to; the lengths keep the texts apart.
fn purpose(kind: &str, name: &str, part: &str) -> String {
    format!("vault/{}/{kind}/{}/{name}/{part}", kind.len(), name.len())
}
