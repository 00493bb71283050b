//! Pages over many streams of a group, interleaved by time.
//!
//! Blocks are visited by the time of their oldest event. When the next block's oldest event is younger than everything a full page
//! holds, the page is final. So late events are sorted in, and only what overlaps is unpacked.

use crate::error::TelemetryError;
use crate::logs::block::{Block, BlockMeta, EVENT_OVERHEAD_BYTES, Record, for_each};
use crate::logs::group::{Group, Snapshot};
use crate::logs::model::{Event, ReadRange, ScanCursor, ScanPage, ScanRequest, ScannedEvent};
use crate::logs::read::READ_TRIES_MAX;
use crate::logs::segment::{FrameFile, SegmentRow};
use crate::logs::shared::{Shared, blocking, is_gone};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// How much one call unpacks before it returns what it has, in bytes. It goes on past that only while it could not say where the next
/// call has to begin: when so many events carry the same millisecond.
const SCAN_RAW_BYTES_MAX: usize = 32 << 20;
/// What opening a segment counts for, in bytes.
const OPEN_COST_BYTES: usize = 64 << 10;

pub(crate) async fn scan(
    shared: &Arc<Shared>,
    name: &str,
    request: ScanRequest,
) -> Result<ScanPage, TelemetryError> {
    let group = shared.group_existing(name).await?;
    let streams = Arc::new(
        shared
            .index
            .stream_names(group.id, &request.streams)
            .await?,
    );
    let mut tries = 1;
    loop {
        let (shared, group, streams, request) = (
            shared.clone(),
            group.clone(),
            streams.clone(),
            request.clone(),
        );
        let page = blocking(move || {
            let snapshot = group.snapshot();
            let start_ms = request.range.start_ms.max(Some(snapshot.expired_ms));
            let range = ReadRange {
                start_ms,
                ..request.range
            };
            let scan = Scan::new(&group.dir, &request, range, &streams);
            scan.run(&shared, &group, &snapshot)
        });
        match page.await {
            Err(error) if is_gone(&error) && tries < READ_TRIES_MAX => tries += 1,
            result => return result,
        }
    }
}

/// Something that holds events.
enum Unit {
    Segment(SegmentRow),
    Frame(Arc<FrameFile>, usize),
    Memory(Arc<Block>),
}

/// Units by the time of their oldest event; the second number makes keys differ.
type Queue = BinaryHeap<Reverse<Queued>>;

struct Queued {
    min_ms: u64,
    order: usize,
    unit: Unit,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Queued) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Queued) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Queued) -> std::cmp::Ordering {
        (self.min_ms, self.order).cmp(&(other.min_ms, other.order))
    }
}

struct Scan<'a> {
    dir: &'a Path,
    request: &'a ScanRequest,
    range: ReadRange,
    streams: &'a HashMap<u64, Arc<str>>,
    found: BTreeMap<ScanCursor, ScannedEvent>,
    found_bytes: usize,
    /// Something that matches did not fit.
    overflow: bool,
    raw_bytes: usize,
    queue: Queue,
    queued: usize,
}

impl<'a> Scan<'a> {
    fn new(
        dir: &'a Path,
        request: &'a ScanRequest,
        range: ReadRange,
        streams: &'a HashMap<u64, Arc<str>>,
    ) -> Scan<'a> {
        Scan {
            dir,
            request,
            range,
            streams,
            found: BTreeMap::new(),
            found_bytes: 0,
            overflow: false,
            raw_bytes: 0,
            queue: Queue::new(),
            queued: 0,
        }
    }

    fn run(
        mut self,
        shared: &Shared,
        group: &Group,
        snapshot: &Snapshot,
    ) -> Result<ScanPage, TelemetryError> {
        if self.streams.is_empty() {
            return Ok(ScanPage {
                events: Vec::new(),
                next: None,
            });
        }
        self.enqueue_all(snapshot);
        while let Some(Reverse(next)) = self.queue.pop() {
            if self.is_final(next.min_ms) {
                self.overflow = true;
                break;
            }
            if self.raw_bytes >= SCAN_RAW_BYTES_MAX
                && let Some(page) = self.give_up_before(next.min_ms)
            {
                return Ok(page);
            }
            self.visit(shared, group, next.unit)?;
        }
        let next = self
            .found
            .keys()
            .next_back()
            .copied()
            .filter(|_| self.overflow);
        Ok(ScanPage {
            events: self.found.into_values().collect(),
            next,
        })
    }

    fn enqueue(&mut self, min_ms: u64, unit: Unit) {
        self.queue.push(Reverse(Queued {
            min_ms,
            order: self.queued,
            unit,
        }));
        self.queued += 1;
    }

    fn enqueue_all(&mut self, snapshot: &Snapshot) {
        for row in snapshot.segments.iter() {
            if self.wants_time(row.min_ms, row.max_ms) {
                self.enqueue(row.min_ms, Unit::Segment(row.clone()));
            }
        }
        if let Some(tail) = &snapshot.tail {
            self.enqueue_frames(tail);
        }
        for block in &snapshot.blocks {
            if self.wants(&block.meta) {
                self.enqueue(block.meta.min_ms, Unit::Memory(block.clone()));
            }
        }
    }

    fn enqueue_frames(&mut self, file: &Arc<FrameFile>) {
        for (index, frame) in file.frames.iter().enumerate() {
            if self.wants(&frame.block) {
                self.enqueue(frame.block.min_ms, Unit::Frame(file.clone(), index));
            }
        }
    }

    fn wants_time(&self, min_ms: u64, max_ms: u64) -> bool {
        self.range.overlaps(min_ms, max_ms)
            && self
                .request
                .after
                .is_none_or(|after| max_ms >= after.timestamp_ms)
    }

    fn wants(&self, block: &BlockMeta) -> bool {
        self.wants_time(block.min_ms, block.max_ms)
            && block
                .parts
                .iter()
                .any(|part| self.streams.contains_key(&part.stream))
    }

    /// Whether the page is full and nothing from `min_ms` on belongs into it.
    fn is_final(&self, min_ms: u64) -> bool {
        let full = self.overflow || self.found.len() >= self.request.limits.events.max(1);
        full && self
            .found
            .keys()
            .next_back()
            .is_some_and(|last| last.timestamp_ms < min_ms)
    }

    /// The page of what is certain when nothing from `min_ms` on was looked at; none when that would not be further than the last page.
    fn give_up_before(&mut self, min_ms: u64) -> Option<ScanPage> {
        let next = ScanCursor {
            timestamp_ms: min_ms.checked_sub(1)?,
            sequence: u64::MAX,
        };
        if self.request.after.is_some_and(|after| next <= after) {
            return None;
        }
        self.found.split_off(&next);
        Some(ScanPage {
            events: std::mem::take(&mut self.found).into_values().collect(),
            next: Some(next),
        })
    }

    fn visit(&mut self, shared: &Shared, group: &Group, unit: Unit) -> Result<(), TelemetryError> {
        match unit {
            Unit::Segment(row) => {
                self.raw_bytes += OPEN_COST_BYTES;
                let file = shared.segment(group, &row)?;
                self.enqueue_frames(&file);
                Ok(())
            }
            Unit::Memory(block) => self.block(&block.meta, &block.raw),
            Unit::Frame(file, index) => {
                let frame = &file.frames[index];
                match file
                    .read(frame)
                    .and_then(|raw| self.block(&frame.block, &raw))
                {
                    Err(error @ TelemetryError::Damaged { .. }) => {
                        tracing::error!(%error, "passing over a log block");
                        Ok(())
                    }
                    result => result,
                }
            }
        }
    }

    fn block(&mut self, meta: &BlockMeta, raw: &[u8]) -> Result<(), TelemetryError> {
        self.raw_bytes += raw.len();
        for_each(self.dir, meta, raw, |record| self.record(&record))
    }

    fn record(&mut self, record: &Record<'_>) {
        let key = ScanCursor {
            timestamp_ms: record.timestamp_ms,
            sequence: record.sequence,
        };
        if !self.range.contains(record.timestamp_ms)
            || self.request.after.is_some_and(|after| key <= after)
        {
            return;
        }
        let Some(stream) = self.streams.get(&record.stream) else {
            return;
        };
        if self.overflow
            && self
                .found
                .keys()
                .next_back()
                .is_some_and(|last| key > *last)
        {
            return;
        }
        if self
            .request
            .predicate
            .as_ref()
            .is_some_and(|matches| !matches(record.message))
        {
            return;
        }
        let event = Event {
            sequence: record.sequence,
            timestamp_ms: record.timestamp_ms,
            ingestion_ms: record.ingestion_ms,
            message: record.message.to_owned(),
        };
        self.found_bytes += record.counted_bytes();
        self.found.insert(
            key,
            ScannedEvent {
                stream: stream.clone(),
                event,
            },
        );
        let limits = self.request.limits;
        while self.found.len() > limits.events.max(1)
            || (self.found_bytes > limits.bytes && self.found.len() > 1)
        {
            if let Some((_, dropped)) = self.found.pop_last() {
                self.found_bytes -= dropped.event.message.len() + EVENT_OVERHEAD_BYTES;
                self.overflow = true;
            }
        }
    }
}
