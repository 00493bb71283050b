//! Forgetting what is older than wanted.

use crate::error::TelemetryError;
use crate::logs::group::Group;
use crate::logs::segment::{SegmentRow, parts_of};
use crate::logs::shared::Shared;
use crate::logs::write::{self, Reach};
use std::sync::Arc;

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// Longest time that one segment of a group with this retention may cover, in milliseconds: segments are removed as a whole.
pub(crate) fn span_ms_max(retention_days: u32) -> u64 {
    (u64::from(retention_days) * DAY_MS / 8).max(DAY_MS)
}

pub(crate) async fn enforce(shared: &Arc<Shared>, now_ms: u64) -> Result<u64, TelemetryError> {
    let mut freed = 0;
    for name in shared.index.groups_with_retention().await? {
        if let Some(group) = shared.group(&name).await? {
            freed += enforce_in(shared, &group, now_ms).await?;
        }
    }
    Ok(freed)
}

async fn enforce_in(
    shared: &Arc<Shared>,
    group: &Arc<Group>,
    now_ms: u64,
) -> Result<u64, TelemetryError> {
    let (days, oldest_unsealed) = {
        let live = group.live();
        (
            live.retention_days,
            live.unsealed().values().map(|part| part.first_ms).min(),
        )
    };
    let Some(days) = days else { return Ok(0) };
    let cutoff_ms = now_ms.saturating_sub(u64::from(days) * DAY_MS);
    if oldest_unsealed.is_some_and(|oldest| oldest < now_ms.saturating_sub(span_ms_max(days))) {
        write::write_out(shared, group, Reach::Segment).await?;
    }
    group.live().expired_ms = cutoff_ms;
    let turn = group.turn.clone().lock_owned().await;
    let (shared, group) = (shared.clone(), group.clone());
    let task = tokio::spawn(async move {
        let _turn = turn;
        remove_expired(&shared, &group, cutoff_ms).await
    });
    task.await.map_err(|_| TelemetryError::Stopped)?
}

/// Removes the segments whose newest event is older than the cut-off. The caller holds the group's turn.
async fn remove_expired(
    shared: &Arc<Shared>,
    group: &Group,
    cutoff_ms: u64,
) -> Result<u64, TelemetryError> {
    let segments = group.live().segments.clone();
    let (expired, kept): (Vec<SegmentRow>, Vec<SegmentRow>) = segments
        .iter()
        .cloned()
        .partition(|row| row.max_ms < cutoff_ms);
    let unsealed = group.live().unsealed();
    let oldest_unsealed = unsealed.values().map(|part| part.first_ms).min();
    let oldest_ms = kept
        .iter()
        .map(|row| row.min_ms)
        .chain(oldest_unsealed)
        .min()
        .unwrap_or(cutoff_ms);
    let mut freed = 0;
    for row in expired {
        let parts = match shared.segment(group, &row) {
            Ok(file) => parts_of(file.frames.iter().map(|frame| &frame.block)),
            Err(error) => {
                tracing::warn!(%error, "removing a log segment whose list of blocks cannot be read");
                Default::default()
            }
        };
        shared
            .index
            .segment_remove(group.id, &row, &parts, oldest_ms)
            .await?;
        {
            let mut live = group.live();
            let remaining = live
                .segments
                .iter()
                .filter(|kept| kept.first_seq != row.first_seq)
                .cloned()
                .collect();
            live.segments = Arc::new(remaining);
            live.refreshed_seq = 0;
        }
        freed += row.file_bytes;
        write::remove_files(shared, vec![group.dir.join(&row.file)]);
    }
    Ok(freed)
}
