//! Rows of groups.

use super::{Index, at, column, from_column, prefix_end};
use crate::error::TelemetryError;
use crate::logs::model::{GroupInfo, NameFilter};

/// A group as the index knows it.
#[derive(Debug, Clone)]
pub(crate) struct GroupRow {
    pub id: i64,
    pub retention_days: Option<u32>,
}

type InfoRow = (String, i64, Option<u32>, i64);

impl Index {
    /// Makes a group. None when the name is taken.
    pub async fn group_insert(
        &self,
        name: &str,
        created_ms: u64,
    ) -> Result<Option<GroupRow>, TelemetryError> {
        let doing = "make the log group";
        let mut tx = self.write(doing).await?;
        let row: Option<(i64,)> = sqlx::query_as(
            "INSERT INTO groups (name, created_ms) VALUES (?, ?) ON CONFLICT (name) DO NOTHING RETURNING id",
        )
        .bind(name)
        .bind(column(created_ms))
        .fetch_optional(&mut *tx)
        .await
        .map_err(at(doing))?;
        tx.commit().await.map_err(at(doing))?;
        Ok(row.map(|(id,)| GroupRow {
            id,
            retention_days: None,
        }))
    }

    pub async fn group_find(&self, name: &str) -> Result<Option<GroupRow>, TelemetryError> {
        let row: Option<(i64, Option<u32>)> =
            sqlx::query_as("SELECT id, retention_days FROM groups WHERE name = ?")
                .bind(name)
                .fetch_optional(&self.readers)
                .await
                .map_err(at("find the log group"))?;
        Ok(row.map(|(id, retention_days)| GroupRow { id, retention_days }))
    }

    pub async fn group_info(&self, name: &str) -> Result<Option<GroupInfo>, TelemetryError> {
        let row: Option<InfoRow> = sqlx::query_as(
            "SELECT name, created_ms, retention_days, \
             (SELECT coalesce(sum(bytes), 0) FROM streams WHERE group_id = groups.id) FROM groups WHERE name = ?",
        )
        .bind(name)
        .fetch_optional(&self.readers)
        .await
        .map_err(at("read the log group"))?;
        Ok(row.map(info))
    }

    /// Groups by name behind `after`.
    pub async fn groups(
        &self,
        filter: &NameFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<GroupInfo>, TelemetryError> {
        let (begin, end, part) = match filter {
            NameFilter::All => ("", None, ""),
            NameFilter::Prefix(prefix) => (prefix.as_str(), prefix_end(prefix), ""),
            NameFilter::Contains(part) => ("", None, part.as_str()),
        };
        let rows: Vec<InfoRow> = sqlx::query_as(
            "SELECT name, created_ms, retention_days, \
             (SELECT coalesce(sum(bytes), 0) FROM streams WHERE group_id = groups.id) FROM groups \
             WHERE name >= ?1 AND (?2 IS NULL OR name < ?2) AND (?3 IS NULL OR name > ?3) \
             AND (?4 = '' OR instr(lower(name), lower(?4)) > 0) ORDER BY name LIMIT ?5",
        )
        .bind(begin)
        .bind(end)
        .bind(after)
        .bind(part)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.readers)
        .await
        .map_err(at("list log groups"))?;
        Ok(rows.into_iter().map(info).collect())
    }

    /// Names of the groups that do not keep their events for ever.
    pub async fn groups_with_retention(&self) -> Result<Vec<String>, TelemetryError> {
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT name FROM groups WHERE retention_days IS NOT NULL ORDER BY id")
                .fetch_all(&self.readers)
                .await
                .map_err(at("list log groups"))?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    /// Ids of all groups.
    pub async fn group_ids(&self) -> Result<Vec<i64>, TelemetryError> {
        let rows: Vec<(i64,)> = sqlx::query_as("SELECT id FROM groups")
            .fetch_all(&self.readers)
            .await
            .map_err(at("list log groups"))?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    pub async fn group_retention(&self, id: i64, days: Option<u32>) -> Result<(), TelemetryError> {
        let doing = "set the retention";
        let mut tx = self.write(doing).await?;
        sqlx::query("UPDATE groups SET retention_days = ? WHERE id = ?")
            .bind(days)
            .bind(id)
            .execute(&mut *tx)
            .await
            .map_err(at(doing))?;
        tx.commit().await.map_err(at(doing))
    }

    /// Drops a group with its streams and segments.
    pub async fn group_remove(&self, id: i64) -> Result<(), TelemetryError> {
        let doing = "delete the log group";
        let mut tx = self.write(doing).await?;
        sqlx::query("DELETE FROM groups WHERE id = ?")
            .bind(id)
            .execute(&mut *tx)
            .await
            .map_err(at(doing))?;
        tx.commit().await.map_err(at(doing))
    }
}

fn info((name, created_ms, retention_days, bytes): InfoRow) -> GroupInfo {
    GroupInfo {
        name,
        created_ms: from_column(created_ms),
        retention_days,
        stored_bytes: from_column(bytes),
    }
}
