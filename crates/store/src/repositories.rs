//! Image repositories, as the ECR API knows them. What they contain is the content store's.

use crate::error::{StoreError, at};
use crate::record::{RECORD_VERSION, Row, decode, decode_all, encode};
use crate::{PAGE_RECORDS_MAX, Store};
use apron_domain::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An image repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created_at: Millis,
    /// Whether a tag, once pushed, stays with its image.
    pub immutable_tags: bool,
    /// Whether images are to be scanned when pushed; stored and echoed.
    pub scan_on_push: bool,
    /// Its tags (labels of the repository, not of images).
    pub tags: BTreeMap<String, String>,
    /// The text of its policy.
    #[serde(default)]
    pub policy: Option<String>,
}

impl Store {
    /// Stores a new repository.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken.
    pub async fn repository_create(&self, repository: &Repository) -> Result<(), StoreError> {
        let doing = "create the repository";
        let mut tx = self.engine().write(doing).await?;
        sqlx::query("INSERT INTO repositories (name, version, record) VALUES (?, ?, ?)")
            .bind(&repository.name)
            .bind(RECORD_VERSION)
            .bind(encode(doing, repository)?)
            .execute(&mut *tx)
            .await
            .map_err(at(doing))?;
        tx.commit().await.map_err(at(doing))
    }

    /// One repository.
    pub async fn repository_get(&self, name: &str) -> Result<Option<Repository>, StoreError> {
        let doing = "read the repository";
        let row: Option<Row> =
            sqlx::query_as("SELECT version, record FROM repositories WHERE name = ?")
                .bind(name)
                .fetch_optional(self.engine().reader())
                .await
                .map_err(at(doing))?;
        row.map(|row| decode(doing, &row)).transpose()
    }

    /// A page of the repositories by name, behind the name `after`.
    pub async fn repositories(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Repository>, StoreError> {
        let doing = "list repositories";
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT version, record FROM repositories WHERE name > ? ORDER BY name LIMIT ?",
        )
        .bind(after.unwrap_or(""))
        .bind(limit.min(PAGE_RECORDS_MAX))
        .fetch_all(self.engine().reader())
        .await
        .map_err(at(doing))?;
        decode_all(doing, &rows)
    }

    /// Reads a repository, changes it and stores it, with nothing in between. Returns it as stored.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it does not exist.
    pub async fn repository_update(
        &self,
        name: &str,
        change: impl FnOnce(&mut Repository) + Send,
    ) -> Result<Repository, StoreError> {
        let doing = "change the repository";
        let mut tx = self.engine().write(doing).await?;
        let row: Option<Row> =
            sqlx::query_as("SELECT version, record FROM repositories WHERE name = ?")
                .bind(name)
                .fetch_optional(&mut *tx)
                .await
                .map_err(at(doing))?;
        let row = row.ok_or_else(|| StoreError::missing(doing, format!("repository `{name}`")))?;
        let mut repository: Repository = decode(doing, &row)?;
        change(&mut repository);
        if repository.name != name {
            return Err(StoreError::Invalid {
                doing,
                reason: "a repository keeps its name".to_owned(),
            });
        }
        sqlx::query("UPDATE repositories SET version = ?, record = ? WHERE name = ?")
            .bind(RECORD_VERSION)
            .bind(encode(doing, &repository)?)
            .bind(name)
            .execute(&mut *tx)
            .await
            .map_err(at(doing))?;
        tx.commit().await.map_err(at(doing))?;
        Ok(repository)
    }

    /// Drops a repository. Returns whether there was one.
    pub async fn repository_delete(&self, name: &str) -> Result<bool, StoreError> {
        let doing = "delete the repository";
        let mut tx = self.engine().write(doing).await?;
        let done = sqlx::query("DELETE FROM repositories WHERE name = ?")
            .bind(name)
            .execute(&mut *tx)
            .await
            .map_err(at(doing))?;
        tx.commit().await.map_err(at(doing))?;
        Ok(done.rows_affected() > 0)
    }
}
