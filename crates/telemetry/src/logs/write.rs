//! The way of an event to the disk: into the open block, into the tail, into a segment.

use crate::error::TelemetryError;
use crate::logs::block::StreamPart;
use crate::logs::group::{Group, write_block};
use crate::logs::model::LogEvent;
use crate::logs::segment::{FrameFile, SegmentRow, merge, parts_of, row_of};
use crate::logs::shared::{Shared, blocking};
use crate::logs::tail::Tail;
use crate::logs::{MESSAGE_BYTES_KEPT_MAX, names, retention};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::task::JoinSet;

/// How often waiting events are brought to disk; with the time a write takes, within the promised second.
const FLUSH_EVERY: Duration = Duration::from_millis(600);
/// Groups that are brought to disk at the same time.
const FLUSHES_MAX: usize = 4;
/// An appender writes by itself when this many full blocks wait in its group.
const FULL_BLOCKS_MAX: usize = 4;
/// Bytes that may wait in one group while it cannot be written.
const GROUP_WAITING_BYTES_MAX: usize = 4 << 20;
/// Bytes that may wait in all groups together.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// A tail becomes a segment at this size, in bytes before packing.
const SEGMENT_RAW_BYTES: u64 = 64 << 20;
/// A tail becomes a segment at this many blocks, because each costs memory.
const TAIL_BLOCKS_MAX: usize = 2048;
/// A tail whose blocks are at least this large on average becomes a segment as it is; smaller blocks are merged.
const GOOD_BLOCK_BYTES: u64 = 64 << 10;
/// How often an append begins again because its group was deleted meanwhile, before it holds deletions off.
const APPEND_TRIES_MAX: u32 = 3;
pub(crate) async fn append(
    shared: &Arc<Shared>,
    group: &str,
    stream: &str,
    events: Vec<LogEvent>,
) -> Result<(), TelemetryError> {
    names::check_group(group)?;
    names::check_stream(stream)?;
    if let Some(event) = events
        .iter()
        .find(|event| event.message.len() > MESSAGE_BYTES_KEPT_MAX)
    {
        return Err(TelemetryError::MessageTooLarge {
            bytes: event.message.len(),
            max: MESSAGE_BYTES_KEPT_MAX,
        });
    }
    let created_ms = events.first().map_or(0, |event| event.ingestion_ms);
    for tried in 1.. {
        // Who lost against deletions keeps the next one waiting.
        let loading = if tried < APPEND_TRIES_MAX {
            None
        } else {
            Some(shared.loading().await)
        };
        let held = match &loading {
            None => shared.group_ensure(group, created_ms).await?,
            Some(_) => shared.group_ensure_in_turn(group, created_ms).await?,
        };
        make_room(shared, &held).await?;
        let stream = match stream_id(shared, &held, stream, created_ms).await {
            Err(_) if held.live().deleted => continue,
            found => found?,
        };
        if held.push(stream, &events) {
            break;
        }
    }
    Ok(())
}

async fn stream_id(
    shared: &Shared,
    group: &Group,
    name: &str,
    created_ms: u64,
) -> Result<u64, TelemetryError> {
    if let Some(id) = group.live().streams.get(name) {
        return Ok(*id);
    }
    let _naming = group.naming.lock().await;
    let (id, _) = shared
        .index
        .stream_ensure(group.id, name, created_ms)
        .await?;
    group.live().streams.insert(Arc::from(name), id);
    Ok(id)
}

/// Brings full blocks to disk when too many wait. Fails only when they cannot be written and the memory for them is used up.
async fn make_room(shared: &Arc<Shared>, group: &Arc<Group>) -> Result<(), TelemetryError> {
    let crowded = shared.waiting.load(Ordering::Relaxed) > WAITING_BYTES_MAX;
    if !crowded && group.live().full_blocks() < FULL_BLOCKS_MAX {
        return Ok(());
    }
    let reach = if crowded {
        Reach::Disk
    } else {
        Reach::FullBlocks
    };
    let written = write_out(shared, group, reach).await;
    let waiting = group.live().waiting_bytes();
    let all_waiting = shared.waiting.load(Ordering::Relaxed);
    match written {
        Err(cause) if waiting >= GROUP_WAITING_BYTES_MAX || all_waiting > WAITING_BYTES_MAX => {
            let waiting = waiting.max(all_waiting);
            let disk_full = cause.is_disk_full();
            Err(TelemetryError::Backlog {
                waiting,
                disk_full,
                cause: chain(&cause),
            })
        }
        _ => Ok(()),
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// How far a write goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Full blocks, into the file.
    FullBlocks,
    /// Everything that waits, on disk for certain.
    Disk,
    /// The same, and the tail becomes a segment.
    Segment,
}

/// Writes what waits in a group. Goes on to its end also when the caller is cancelled.
pub(crate) async fn write_out(
    shared: &Arc<Shared>,
    group: &Arc<Group>,
    reach: Reach,
) -> Result<(), TelemetryError> {
    let turn = group.turn.clone().lock_owned().await;
    let (shared, group) = (shared.clone(), group.clone());
    let task = tokio::spawn(async move {
        let _turn = turn;
        let written = write_in_turn(&shared, &group, reach).await;
        group.live().failure = written.as_ref().err().map(|error| chain(error));
        written
    });
    task.await.map_err(|_| TelemetryError::Stopped)?
}

/// The work of [`write_out`]; the caller holds the group's turn.
pub(crate) async fn write_in_turn(
    shared: &Arc<Shared>,
    group: &Arc<Group>,
    reach: Reach,
) -> Result<(), TelemetryError> {
    loop {
        let writer = group.clone();
        let full = blocking(move || write_blocks(&writer, reach)).await?;
        if full || (reach == Reach::Segment && group.live().tail.is_some()) {
            seal(shared, group).await?;
        }
        if !full {
            return Ok(());
        }
    }
}

/// Writes blocks into the tail until none waits or the tail is full; says whether it is full.
fn write_blocks(group: &Group, reach: Reach) -> Result<bool, TelemetryError> {
    let all = reach != Reach::FullBlocks;
    let mut tail = group.live().tail.clone();
    // What is appended while this runs is for the next time, or a busy group would never let go.
    let until = group.live().next_seq();
    while let Some(block) = group.next_block(all) {
        if block.meta.first_seq >= until {
            break;
        }
        let current = match &tail {
            Some(tail) => tail.clone(),
            None => Tail::create(&group.dir, block.meta.first_seq)?,
        };
        let written = write_block(&current, &block)?;
        group.block_written(written.clone());
        let full = is_full(&written);
        tail = Some(written);
        if full {
            break;
        }
    }
    let Some(tail) = tail else { return Ok(false) };
    let full = is_full(&tail);
    if (all || full) && tail.synced_len < tail.len {
        let synced = tail.sync();
        if let Some(live) = &mut group.live().tail {
            live.suspect = synced.is_err();
            live.synced_len = if synced.is_ok() {
                tail.len
            } else {
                live.synced_len
            };
        }
        synced?;
    }
    Ok(full)
}

fn is_full(tail: &Tail) -> bool {
    tail.raw_bytes >= SEGMENT_RAW_BYTES || tail.frames.len() >= TAIL_BLOCKS_MAX
}

/// Makes the tail a segment, as it is when its blocks are large, else merged with the small segments before it. The index row decides:
/// before it is there, the tail is still the tail; from then on it is a segment, or a file to be removed.
async fn seal(shared: &Arc<Shared>, group: &Arc<Group>) -> Result<(), TelemetryError> {
    let (tail, segments, retention) = {
        let live = group.live();
        (
            live.tail.clone(),
            live.segments.clone(),
            live.retention_days,
        )
    };
    let Some(tail) = tail.filter(|tail| !tail.frames.is_empty()) else {
        return Ok(());
    };
    let parts = parts_of(tail.frames.iter().map(|frame| &frame.block));
    let as_it_is = tail.raw_bytes >= GOOD_BLOCK_BYTES * tail.frames.len() as u64;
    let merged = match as_it_is {
        true => Vec::new(),
        false => mergeable(&segments, &tail, retention),
    };
    let made = match as_it_is {
        true => finish_tail(tail.clone()).await?,
        false => merge_files(shared, group, &merged, &tail).await?,
    };
    let Some(made) = made else {
        return set_aside(group, &tail);
    };
    if let Err(error) = shared
        .index
        .segment_replace(group.id, &made, &merged, &parts)
        .await
    {
        if as_it_is {
            tail.unfinish();
        }
        return Err(error);
    }
    {
        let mut live = group.live();
        let mut list: Vec<SegmentRow> = segments[..segments.len() - merged.len()].to_vec();
        list.push(made);
        live.segments = Arc::new(list);
        live.tail = None;
        live.refreshed_seq = 0;
    }
    let mut surplus: Vec<_> = merged.iter().map(|row| group.dir.join(&row.file)).collect();
    if !as_it_is {
        surplus.push(tail.path.clone());
    }
    remove_files(shared, surplus);
    Ok(())
}

/// Keeps a tail of which nothing can be read any more out of the way, for somebody to look at.
fn set_aside(group: &Group, tail: &Tail) -> Result<(), TelemetryError> {
    let aside = tail.path.with_extension("damaged");
    std::fs::rename(&tail.path, &aside)
        .map_err(|source| TelemetryError::io("set aside", &tail.path, source))?;
    tracing::error!(path = %aside.display(), "set aside a log file that cannot be read");
    group.live().tail = None;
    Ok(())
}

async fn finish_tail(tail: Tail) -> Result<Option<SegmentRow>, TelemetryError> {
    blocking(move || {
        let length = tail.finish()?;
        let name = tail
            .path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        Ok(row_of(&tail.frames, name, length))
    })
    .await
}

async fn merge_files(
    shared: &Arc<Shared>,
    group: &Arc<Group>,
    merged: &[SegmentRow],
    tail: &Tail,
) -> Result<Option<SegmentRow>, TelemetryError> {
    let (shared, group, merged, tail) =
        (shared.clone(), group.clone(), merged.to_vec(), tail.clone());
    blocking(move || {
        let mut sources = merged
            .iter()
            .map(|row| shared.segment(&group, row))
            .collect::<Result<Vec<_>, _>>()?;
        sources.push(Arc::new(tail.as_frames()) as Arc<FrameFile>);
        merge(&sources, &group.dir)
    })
    .await
}

/// The newest segments that are small enough to be merged with a tail: each at most twice as large as all behind it, so every event is
/// rewritten a few times at most. A group with a retention gets no segment over a long time, because a segment is removed as a whole.
fn mergeable(segments: &[SegmentRow], tail: &Tail, retention_days: Option<u32>) -> Vec<SegmentRow> {
    let span_max = retention_days.map_or(u64::MAX, retention::span_ms_max);
    let newest = tail
        .frames
        .iter()
        .map(|frame| frame.block.max_ms)
        .max()
        .unwrap_or(0);
    let mut bytes = tail.raw_bytes;
    let mut first = segments.len();
    while let Some(row) = first.checked_sub(1).and_then(|index| segments.get(index)) {
        let too_large = row.raw_bytes > bytes * 2 || row.raw_bytes + bytes > SEGMENT_RAW_BYTES;
        if too_large || newest.saturating_sub(row.min_ms) > span_max {
            break;
        }
        bytes += row.raw_bytes;
        first -= 1;
    }
    segments[first..].to_vec()
}

/// Removes files that no row names. One that cannot be removed now is found again when the group is loaded next.
pub(crate) fn remove_files(shared: &Shared, paths: Vec<std::path::PathBuf>) {
    shared.segments_close(|open| paths.iter().any(|path| path == open));
    for path in paths {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove a log file");
        }
    }
}

/// Brings every group to disk; fails with the first failure after trying all.
pub(crate) async fn flush(shared: &Arc<Shared>) -> Result<(), TelemetryError> {
    let mut result = Ok(());
    let mut tasks = JoinSet::new();
    for group in shared.loaded() {
        if !group.live().is_dirty() {
            continue;
        }
        if tasks.len() >= FLUSHES_MAX {
            result = result.and(joined(tasks.join_next().await));
        }
        let shared = shared.clone();
        tasks.spawn(async move { write_out(&shared, &group, Reach::Disk).await });
    }
    while !tasks.is_empty() {
        result = result.and(joined(tasks.join_next().await));
    }
    result
}

pub(crate) async fn flush_group(shared: &Arc<Shared>, name: &str) -> Result<(), TelemetryError> {
    match shared.group_if_loaded(name) {
        Some(group) if group.live().is_dirty() => write_out(shared, &group, Reach::Disk).await,
        // What is not loaded has nothing in memory.
        _ => Ok(()),
    }
}

type Joined = Option<Result<Result<(), TelemetryError>, tokio::task::JoinError>>;

fn joined(result: Joined) -> Result<(), TelemetryError> {
    result.map_or(Ok(()), |result| {
        result.map_err(|_| TelemetryError::Stopped)?
    })
}

/// Flushes until the logs are closed. Reports a lasting failure once, and its end.
pub(crate) async fn flush_for_ever(shared: Weak<Shared>) {
    let mut ticks = tokio::time::interval(FLUSH_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        match flush(&shared).await {
            Ok(()) if failing => tracing::info!("log events are written again"),
            Err(error) if !failing => {
                tracing::error!(error = chain(&error), "log events cannot be written")
            }
            _ => {}
        }
        failing = shared
            .loaded()
            .iter()
            .any(|group| group.live().failure.is_some());
    }
}

/// Brings the index's numbers of a group's streams up to date, when events came since the last time.
pub(crate) async fn refresh(
    shared: &Arc<Shared>,
    group: &Arc<Group>,
) -> Result<(), TelemetryError> {
    let turn = group.turn.clone().lock_owned().await;
    let (seq, unsealed): (u64, BTreeMap<u64, StreamPart>) = {
        let live = group.live();
        if live.refreshed_seq == live.next_seq() || live.deleted {
            return Ok(());
        }
        (live.next_seq(), live.unsealed())
    };
    let (shared, group) = (shared.clone(), group.clone());
    let task = tokio::spawn(async move {
        let _turn = turn;
        shared.index.streams_refresh(&unsealed).await?;
        group.live().refreshed_seq = seq;
        Ok(())
    });
    task.await.map_err(|_| TelemetryError::Stopped)?
}
