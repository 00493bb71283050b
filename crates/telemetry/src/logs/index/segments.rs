//! Rows of segments. A file without a row is not a segment yet, or no longer.

use super::{Index, at, column, from_column, streams};
use crate::error::TelemetryError;
use crate::logs::block::StreamPart;
use crate::logs::segment::SegmentRow;
use std::collections::BTreeMap;

type Row = (i64, i64, i64, i64, i64, i64, String);

impl Index {
    /// A group's segments in the order of their events.
    pub async fn segments(&self, group: i64) -> Result<Vec<SegmentRow>, TelemetryError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT first_seq, last_seq, min_ms, max_ms, raw_bytes, file_bytes, file FROM segments WHERE group_id = ? ORDER BY first_seq",
        )
        .bind(group)
        .fetch_all(&self.readers)
        .await
        .map_err(at("list log segments"))?;
        Ok(rows
            .into_iter()
            .map(|row| SegmentRow {
                first_seq: from_column(row.0),
                last_seq: from_column(row.1),
                min_ms: from_column(row.2),
                max_ms: from_column(row.3),
                raw_bytes: from_column(row.4),
                file_bytes: from_column(row.5),
                file: row.6,
            })
            .collect())
    }

    /// Puts a new segment in the place of those it was merged from, and counts the events that were not in a segment before.
    pub async fn segment_replace(
        &self,
        group: i64,
        new: &SegmentRow,
        merged: &[SegmentRow],
        sealed: &BTreeMap<u64, StreamPart>,
    ) -> Result<(), TelemetryError> {
        let doing = "store a log segment";
        let mut tx = self.write(doing).await?;
        for old in merged {
            sqlx::query("DELETE FROM segments WHERE group_id = ? AND first_seq = ?")
                .bind(group)
                .bind(column(old.first_seq))
                .execute(&mut *tx)
                .await
                .map_err(at(doing))?;
        }
        sqlx::query(
            "INSERT INTO segments (group_id, first_seq, last_seq, min_ms, max_ms, raw_bytes, file_bytes, file) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(group)
        .bind(column(new.first_seq))
        .bind(column(new.last_seq))
        .bind(column(new.min_ms))
        .bind(column(new.max_ms))
        .bind(column(new.raw_bytes))
        .bind(column(new.file_bytes))
        .bind(&new.file)
        .execute(&mut *tx)
        .await
        .map_err(at(doing))?;
        for part in sealed.values() {
            streams::seal_in(&mut tx, doing, part).await?;
        }
        tx.commit().await.map_err(at(doing))
    }

    /// Drops a segment and counts its events out. What remains of the group began no earlier than `oldest_ms`.
    pub async fn segment_remove(
        &self,
        group: i64,
        old: &SegmentRow,
        parts: &BTreeMap<u64, StreamPart>,
        oldest_ms: u64,
    ) -> Result<(), TelemetryError> {
        let doing = "remove a log segment";
        let mut tx = self.write(doing).await?;
        sqlx::query("DELETE FROM segments WHERE group_id = ? AND first_seq = ?")
            .bind(group)
            .bind(column(old.first_seq))
            .execute(&mut *tx)
            .await
            .map_err(at(doing))?;
        for part in parts.values() {
            streams::unseal_in(&mut tx, doing, part, oldest_ms).await?;
        }
        tx.commit().await.map_err(at(doing))
    }
}
