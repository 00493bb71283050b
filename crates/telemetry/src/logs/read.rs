//! Pages of one stream, in the order of appending.

use crate::error::TelemetryError;
use crate::logs::block::{BlockMeta, Record, for_each};
use crate::logs::catalog;
use crate::logs::group::{Group, Snapshot};
use crate::logs::model::{Event, EventCursor, Page, Position, ReadLimits, ReadRange};
use crate::logs::segment::FrameFile;
use crate::logs::shared::{Shared, blocking, is_gone};
use std::path::Path;
use std::sync::Arc;

/// How much one call unpacks at most; then it returns what it has.
const READ_RAW_BYTES_MAX: usize = 32 << 20;
/// How often a read begins again because files were merged or removed under it.
pub(crate) const READ_TRIES_MAX: u32 = 5;

/// What is wanted, resolved.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    stream: u64,
    range: ReadRange,
    limits: ReadLimits,
    forward: bool,
    place: EventCursor,
}

pub(crate) async fn read(
    shared: &Arc<Shared>,
    name: &str,
    stream: &str,
    range: ReadRange,
    from: Position,
    limits: ReadLimits,
) -> Result<Page, TelemetryError> {
    let group = shared.group_existing(name).await?;
    let id = catalog::stream_id(shared, &group, stream).await?;
    let mut tries = 1;
    loop {
        let (shared, group) = (shared.clone(), group.clone());
        let page = blocking(move || {
            let snapshot = group.snapshot();
            let range = ReadRange {
                start_ms: range.start_ms.max(Some(snapshot.expired_ms)),
                ..range
            };
            let (forward, place) = match from {
                Position::Head => (true, EventCursor(0)),
                Position::After(place) => (true, place),
                Position::Tail => (false, EventCursor(snapshot.next_seq - 1)),
                Position::Before(place) => (false, place),
            };
            page(
                &shared,
                &group,
                &snapshot,
                Wanted {
                    stream: id,
                    range,
                    limits,
                    forward,
                    place,
                },
            )
        });
        match page.await {
            Err(error) if is_gone(&error) && tries < READ_TRIES_MAX => tries += 1,
            result => return result,
        }
    }
}

fn page(
    shared: &Shared,
    group: &Group,
    snapshot: &Snapshot,
    wanted: Wanted,
) -> Result<Page, TelemetryError> {
    let mut builder = Builder {
        wanted,
        events: Vec::new(),
        bytes: 0,
        raw_bytes: 0,
        full: false,
        edge: wanted.place,
    };
    match wanted.forward {
        true => forward(shared, group, snapshot, &mut builder)?,
        false => backward(shared, group, snapshot, &mut builder)?,
    }
    Ok(builder.finish())
}

fn forward(
    shared: &Shared,
    group: &Group,
    snapshot: &Snapshot,
    page: &mut Builder,
) -> Result<(), TelemetryError> {
    for row in snapshot.segments.iter() {
        if page.wants_span(row.first_seq, row.last_seq, row.min_ms, row.max_ms) {
            file_forward(&*shared.segment(group, row)?, page)?;
        }
        if page.is_done() {
            return Ok(());
        }
    }
    if let Some(tail) = &snapshot.tail {
        file_forward(tail, page)?;
    }
    for block in &snapshot.blocks {
        page.block(&group.dir, &block.meta, || Ok(block.raw.clone()))?;
    }
    Ok(())
}

fn backward(
    shared: &Shared,
    group: &Group,
    snapshot: &Snapshot,
    page: &mut Builder,
) -> Result<(), TelemetryError> {
    for block in snapshot.blocks.iter().rev() {
        page.block(&group.dir, &block.meta, || Ok(block.raw.clone()))?;
    }
    if let Some(tail) = &snapshot.tail {
        file_backward(tail, page)?;
    }
    for row in snapshot.segments.iter().rev() {
        if page.is_done() {
            return Ok(());
        }
        if page.wants_span(row.first_seq, row.last_seq, row.min_ms, row.max_ms) {
            file_backward(&*shared.segment(group, row)?, page)?;
        }
    }
    Ok(())
}

fn file_forward(file: &FrameFile, page: &mut Builder) -> Result<(), TelemetryError> {
    // The blocks lie in order, so the ones before the place are skipped in one step.
    let first = file
        .frames
        .partition_point(|frame| frame.block.last_seq() <= page.wanted.place.0);
    for frame in &file.frames[first..] {
        page.block(&file.path, &frame.block, || file.read(frame))?;
        if page.is_done() {
            break;
        }
    }
    Ok(())
}

fn file_backward(file: &FrameFile, page: &mut Builder) -> Result<(), TelemetryError> {
    let end = file
        .frames
        .partition_point(|frame| frame.block.first_seq <= page.wanted.place.0);
    for frame in file.frames[..end].iter().rev() {
        page.block(&file.path, &frame.block, || file.read(frame))?;
        if page.is_done() {
            break;
        }
    }
    Ok(())
}

struct Builder {
    wanted: Wanted,
    /// In the order they were found: backward, newest first.
    events: Vec<Event>,
    bytes: usize,
    raw_bytes: usize,
    full: bool,
    /// Everything between the place and here was looked at.
    edge: EventCursor,
}

impl Builder {
    fn is_done(&self) -> bool {
        self.full || self.raw_bytes >= READ_RAW_BYTES_MAX
    }

    fn wants_span(&self, first_seq: u64, last_seq: u64, min_ms: u64, max_ms: u64) -> bool {
        let in_order = match self.wanted.forward {
            true => last_seq > self.wanted.place.0,
            false => first_seq <= self.wanted.place.0,
        };
        in_order && self.wanted.range.overlaps(min_ms, max_ms)
    }

    fn block(
        &mut self,
        path: &Path,
        meta: &BlockMeta,
        raw: impl FnOnce() -> Result<Vec<u8>, TelemetryError>,
    ) -> Result<(), TelemetryError> {
        if self.is_done() {
            return Ok(());
        }
        let wanted = self.wants_span(meta.first_seq, meta.last_seq(), meta.min_ms, meta.max_ms);
        if wanted && meta.has_stream(self.wanted.stream) {
            match raw().and_then(|raw| self.records(path, meta, &raw)) {
                Err(error @ TelemetryError::Damaged { .. }) => {
                    tracing::error!(%error, "passing over a log block");
                }
                result => result?,
            }
            self.raw_bytes += meta.raw_len;
        }
        if !self.full {
            self.edge = EventCursor(if self.wanted.forward {
                meta.last_seq()
            } else {
                meta.first_seq - 1
            });
        }
        Ok(())
    }

    fn records(&mut self, path: &Path, meta: &BlockMeta, raw: &[u8]) -> Result<(), TelemetryError> {
        let Wanted {
            stream,
            range,
            forward,
            place,
            ..
        } = self.wanted;
        let mut found: Vec<Record<'_>> = Vec::new();
        for_each(path, meta, raw, |record| {
            let in_order = if forward {
                record.sequence > place.0
            } else {
                record.sequence <= place.0
            };
            if record.stream == stream && in_order && range.contains(record.timestamp_ms) {
                found.push(record);
            }
        })?;
        if !forward {
            found.reverse();
        }
        for record in found {
            let limits = self.wanted.limits;
            let too_much =
                self.bytes + record.counted_bytes() > limits.bytes && !self.events.is_empty();
            if too_much || self.events.len() >= limits.events.max(1) {
                self.full = true;
                break;
            }
            self.bytes += record.counted_bytes();
            self.events.push(Event {
                sequence: record.sequence,
                timestamp_ms: record.timestamp_ms,
                ingestion_ms: record.ingestion_ms,
                message: record.message.to_owned(),
            });
        }
        Ok(())
    }

    fn finish(mut self) -> Page {
        let (place, forward) = (self.wanted.place, self.wanted.forward);
        // Stopped for the work done, not for the end of the events: go on from where it stopped.
        let stopped = !self.full && self.raw_bytes >= READ_RAW_BYTES_MAX;
        if !forward {
            self.events.reverse();
        }
        let first = self
            .events
            .first()
            .map_or(place, |event| EventCursor(event.sequence - 1));
        let last = self
            .events
            .last()
            .map_or(place, |event| EventCursor(event.sequence));
        Page {
            next_forward: if forward && stopped { self.edge } else { last },
            next_backward: if !forward && stopped {
                self.edge
            } else {
                first
            },
            events: self.events,
        }
    }
}
