//! Rows of streams.

use super::{Index, WriteTx, at, column, from_column, prefix_end};
use crate::error::TelemetryError;
use crate::logs::block::StreamPart;
use crate::logs::model::{StreamCursor, StreamFilter, StreamInfo, StreamOrder};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A listing of streams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamQuery<'a> {
    pub prefix: Option<&'a str>,
    pub order: StreamOrder,
    pub descending: bool,
    pub after: Option<&'a StreamCursor>,
    pub limit: usize,
}

type InfoRow = (String, i64, Option<i64>, Option<i64>, Option<i64>, i64);

const INFO: &str = "SELECT name, created_ms, first_ms, last_ms, ingestion_ms, bytes FROM streams";

impl Index {
    /// The id of a stream, made when it does not exist; and whether it was made.
    pub async fn stream_ensure(
        &self,
        group: i64,
        name: &str,
        created_ms: u64,
    ) -> Result<(u64, bool), TelemetryError> {
        if let Some(id) = self.stream_find(group, name).await? {
            return Ok((id, false));
        }
        let doing = "make the log stream";
        let mut tx = self.write(doing).await?;
        let made: Option<(i64,)> = sqlx::query_as(
            "INSERT INTO streams (group_id, name, created_ms) VALUES (?, ?, ?) ON CONFLICT (group_id, name) DO NOTHING RETURNING id",
        )
        .bind(group)
        .bind(name)
        .bind(column(created_ms))
        .fetch_optional(&mut *tx)
        .await
        .map_err(at(doing))?;
        let id = match made {
            Some((id,)) => id,
            None => {
                let (id,): (i64,) =
                    sqlx::query_as("SELECT id FROM streams WHERE group_id = ? AND name = ?")
                        .bind(group)
                        .bind(name)
                        .fetch_one(&mut *tx)
                        .await
                        .map_err(at(doing))?;
                id
            }
        };
        tx.commit().await.map_err(at(doing))?;
        Ok((from_column(id), made.is_some()))
    }

    pub async fn stream_find(&self, group: i64, name: &str) -> Result<Option<u64>, TelemetryError> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT id FROM streams WHERE group_id = ? AND name = ?")
                .bind(group)
                .bind(name)
                .fetch_optional(&self.readers)
                .await
                .map_err(at("find the log stream"))?;
        Ok(row.map(|(id,)| from_column(id)))
    }

    pub async fn stream_info(
        &self,
        group: i64,
        name: &str,
    ) -> Result<Option<StreamInfo>, TelemetryError> {
        let sql = format!("{INFO} WHERE group_id = ? AND name = ?");
        let row: Option<InfoRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(group)
            .bind(name)
            .fetch_optional(&self.readers)
            .await
            .map_err(at("read the log stream"))?;
        Ok(row.map(info))
    }

    pub async fn streams(
        &self,
        group: i64,
        query: StreamQuery<'_>,
    ) -> Result<Vec<StreamInfo>, TelemetryError> {
        let (direction, sign) = if query.descending {
            ("DESC", "<")
        } else {
            ("ASC", ">")
        };
        let (behind, order) = match query.order {
            StreamOrder::Name => (
                format!("?5 = 0 AND name {sign} ?4"),
                format!("name {direction}"),
            ),
            StreamOrder::LastEvent => (
                format!("(coalesce(last_ms, -1), name) {sign} (?5, ?4)"),
                format!("coalesce(last_ms, -1) {direction}, name {direction}"),
            ),
        };
        let sql = format!(
            "{INFO} WHERE group_id = ?1 AND (?2 IS NULL OR name >= ?2) AND (?3 IS NULL OR name < ?3) \
             AND (?4 IS NULL OR ({behind})) ORDER BY {order} LIMIT ?6"
        );
        let after_ms = match (query.order, query.after) {
            (StreamOrder::LastEvent, Some(after)) => after.last_event_ms.map_or(-1, column),
            _ => 0,
        };
        let rows: Vec<InfoRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(group)
            .bind(query.prefix)
            .bind(query.prefix.and_then(prefix_end))
            .bind(query.after.map(|after| after.name.as_str()))
            .bind(after_ms)
            .bind(i64::try_from(query.limit).unwrap_or(i64::MAX))
            .fetch_all(&self.readers)
            .await
            .map_err(at("list log streams"))?;
        Ok(rows.into_iter().map(info).collect())
    }

    /// Drops a stream. Returns whether there was one.
    pub async fn stream_remove(&self, group: i64, name: &str) -> Result<bool, TelemetryError> {
        let doing = "delete the log stream";
        let mut tx = self.write(doing).await?;
        let done = sqlx::query("DELETE FROM streams WHERE group_id = ? AND name = ?")
            .bind(group)
            .bind(name)
            .execute(&mut *tx)
            .await
            .map_err(at(doing))?;
        tx.commit().await.map_err(at(doing))?;
        Ok(done.rows_affected() > 0)
    }

    /// Names by id of the streams a filter takes.
    pub async fn stream_names(
        &self,
        group: i64,
        filter: &StreamFilter,
    ) -> Result<HashMap<u64, Arc<str>>, TelemetryError> {
        let prefix = match filter {
            StreamFilter::Prefix(prefix) => prefix.as_str(),
            StreamFilter::All | StreamFilter::Names(_) => "",
        };
        let names = match filter {
            StreamFilter::Names(names) => serde_json::to_string(names).unwrap_or_default(),
            StreamFilter::All | StreamFilter::Prefix(_) => String::new(),
        };
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT id, name FROM streams WHERE group_id = ?1 AND name >= ?2 AND (?3 IS NULL OR name < ?3) \
             AND (?4 = '' OR name IN (SELECT value FROM json_each(?4)))",
        )
        .bind(group)
        .bind(prefix)
        .bind(prefix_end(prefix))
        .bind(names)
        .fetch_all(&self.readers)
        .await
        .map_err(at("find log streams"))?;
        Ok(rows
            .into_iter()
            .map(|(id, name)| (from_column(id), Arc::from(name)))
            .collect())
    }

    /// Brings the streams' numbers up to date: what is sealed and, on top, what is not.
    pub async fn streams_refresh(
        &self,
        unsealed: &BTreeMap<u64, StreamPart>,
    ) -> Result<(), TelemetryError> {
        let doing = "refresh log streams";
        let mut tx = self.write(doing).await?;
        for part in unsealed.values() {
            sqlx::query(
                "UPDATE streams SET bytes = sealed_bytes + ?1, first_ms = min(coalesce(sealed_first, ?2), ?2), \
                 last_ms = max(coalesce(sealed_last, ?3), ?3), ingestion_ms = max(coalesce(sealed_ingestion, ?4), ?4) WHERE id = ?5",
            )
            .bind(column(part.bytes))
            .bind(column(part.first_ms))
            .bind(column(part.last_ms))
            .bind(column(part.ingestion_ms))
            .bind(column(part.stream))
            .execute(&mut *tx)
            .await
            .map_err(at(doing))?;
        }
        tx.commit().await.map_err(at(doing))
    }
}

/// Counts a newly sealed part; the plain columns become what is sealed, until the next refresh adds the tail.
pub(super) async fn seal_in(
    tx: &mut WriteTx,
    doing: &'static str,
    part: &StreamPart,
) -> Result<(), TelemetryError> {
    sqlx::query(
        "UPDATE streams SET sealed_bytes = sealed_bytes + ?1, sealed_first = min(coalesce(sealed_first, ?2), ?2), \
         sealed_last = max(coalesce(sealed_last, ?3), ?3), sealed_ingestion = max(coalesce(sealed_ingestion, ?4), ?4), \
         bytes = sealed_bytes + ?1, first_ms = min(coalesce(first_ms, ?2), ?2), last_ms = max(coalesce(last_ms, ?3), ?3), \
         ingestion_ms = max(coalesce(ingestion_ms, ?4), ?4) WHERE id = ?5",
    )
    .bind(column(part.bytes))
    .bind(column(part.first_ms))
    .bind(column(part.last_ms))
    .bind(column(part.ingestion_ms))
    .bind(column(part.stream))
    .execute(&mut **tx)
    .await
    .map_err(at(doing))?;
    Ok(())
}

/// Counts a removed part out. What remains of the stream began no earlier than `oldest_ms`; a stream with nothing left has no first event.
pub(super) async fn unseal_in(
    tx: &mut WriteTx,
    doing: &'static str,
    part: &StreamPart,
    oldest_ms: u64,
) -> Result<(), TelemetryError> {
    sqlx::query(
        "UPDATE streams SET sealed_bytes = max(sealed_bytes - ?1, 0), bytes = max(bytes - ?1, 0), \
         sealed_first = CASE WHEN sealed_bytes <= ?1 THEN NULL ELSE max(sealed_first, ?2) END, \
         sealed_last = CASE WHEN sealed_bytes <= ?1 THEN NULL ELSE sealed_last END, \
         first_ms = CASE WHEN bytes <= ?1 THEN NULL ELSE max(first_ms, ?2) END, \
         last_ms = CASE WHEN bytes <= ?1 THEN NULL ELSE last_ms END WHERE id = ?3",
    )
    .bind(column(part.bytes))
    .bind(column(oldest_ms))
    .bind(column(part.stream))
    .execute(&mut **tx)
    .await
    .map_err(at(doing))?;
    Ok(())
}

fn info((name, created_ms, first, last, ingestion, bytes): InfoRow) -> StreamInfo {
    StreamInfo {
        name,
        created_ms: from_column(created_ms),
        first_event_ms: first.map(from_column),
        last_event_ms: last.map(from_column),
        last_ingestion_ms: ingestion.map(from_column),
        stored_bytes: from_column(bytes),
    }
}
