//! A block: events in the order they were appended, packed for the disk.
//!
//! A record is `stream id | time - time before | reception - time | length | text`, numbers in the variable-length form of protocol
//! buffers, differences in its zigzag form. Sequence numbers are not written: a block holds consecutive ones.

use crate::error::TelemetryError;
use crate::logs::model::LogEvent;
use crate::logs::varint;
use std::path::Path;

/// CloudWatch Logs counts this many bytes for an event besides its message.
pub(crate) const EVENT_OVERHEAD_BYTES: usize = 26;

/// What a block holds of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamPart {
    pub stream: u64,
    pub events: u64,
    /// As CloudWatch Logs counts.
    pub bytes: u64,
    pub first_ms: u64,
    pub last_ms: u64,
    pub ingestion_ms: u64,
}

impl StreamPart {
    /// Takes another part of the same stream in.
    pub fn merge(&mut self, other: &StreamPart) {
        self.events += other.events;
        self.bytes += other.bytes;
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
        self.ingestion_ms = self.ingestion_ms.max(other.ingestion_ms);
    }
}

/// What is known of a block without unpacking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockMeta {
    pub first_seq: u64,
    pub events: u64,
    pub min_ms: u64,
    pub max_ms: u64,
    pub raw_len: usize,
    /// By stream id, ascending.
    pub parts: Vec<StreamPart>,
}

impl BlockMeta {
    /// Sequence number of the last event.
    pub fn last_seq(&self) -> u64 {
        self.first_seq + self.events.saturating_sub(1)
    }

    pub fn has_stream(&self, stream: u64) -> bool {
        self.parts
            .binary_search_by_key(&stream, |part| part.stream)
            .is_ok()
    }
}

/// A block being filled, or waiting in memory to be written.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub meta: BlockMeta,
    pub raw: Vec<u8>,
    previous_ms: u64,
}

impl Block {
    pub fn new(first_seq: u64) -> Block {
        let meta = BlockMeta {
            first_seq,
            events: 0,
            min_ms: u64::MAX,
            max_ms: 0,
            raw_len: 0,
            parts: Vec::new(),
        };
        Block {
            meta,
            raw: Vec::new(),
            previous_ms: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.meta.events == 0
    }

    /// The number the next event gets.
    pub fn next_seq(&self) -> u64 {
        self.meta.first_seq + self.meta.events
    }

    pub fn push_event(&mut self, stream: u64, event: &LogEvent) {
        self.push(
            stream,
            event.timestamp_ms,
            event.ingestion_ms,
            &event.message,
        );
    }

    pub fn push(&mut self, stream: u64, timestamp_ms: u64, ingestion_ms: u64, message: &str) {
        varint::put(&mut self.raw, stream);
        varint::put_difference(&mut self.raw, self.previous_ms, timestamp_ms);
        varint::put_difference(&mut self.raw, timestamp_ms, ingestion_ms);
        varint::put(&mut self.raw, message.len() as u64);
        self.raw.extend_from_slice(message.as_bytes());
        self.previous_ms = timestamp_ms;
        let meta = &mut self.meta;
        meta.events += 1;
        meta.min_ms = meta.min_ms.min(timestamp_ms);
        meta.max_ms = meta.max_ms.max(timestamp_ms);
        meta.raw_len = self.raw.len();
        let part = StreamPart {
            stream,
            events: 1,
            bytes: (message.len() + EVENT_OVERHEAD_BYTES) as u64,
            first_ms: timestamp_ms,
            last_ms: timestamp_ms,
            ingestion_ms,
        };
        match meta.parts.binary_search_by_key(&stream, |part| part.stream) {
            Ok(index) => meta.parts[index].merge(&part),
            Err(index) => meta.parts.insert(index, part),
        }
    }
}

/// One event inside an unpacked block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub sequence: u64,
    pub stream: u64,
    pub timestamp_ms: u64,
    pub ingestion_ms: u64,
    pub message: &'a str,
}

impl Record<'_> {
    /// Size as CloudWatch Logs counts.
    pub fn counted_bytes(&self) -> usize {
        self.message.len() + EVENT_OVERHEAD_BYTES
    }
}

/// Calls `each` for every event of an unpacked block, in order.
pub(crate) fn for_each<'a>(
    path: &Path,
    meta: &BlockMeta,
    raw: &'a [u8],
    mut each: impl FnMut(Record<'a>),
) -> Result<(), TelemetryError> {
    let mut rest = raw;
    let mut previous_ms = 0;
    for sequence in meta.first_seq..meta.first_seq.saturating_add(meta.events) {
        let record = record(&mut rest, sequence, previous_ms).ok_or_else(|| {
            TelemetryError::damaged(path, format!("event {sequence} cannot be unpacked"))
        })?;
        previous_ms = record.timestamp_ms;
        each(record);
    }
    match rest.is_empty() {
        true => Ok(()),
        false => Err(TelemetryError::damaged(
            path,
            format!("{} bytes behind event {}", rest.len(), meta.last_seq()),
        )),
    }
}

fn record<'a>(rest: &mut &'a [u8], sequence: u64, previous_ms: u64) -> Option<Record<'a>> {
    let stream = varint::take(rest)?;
    let timestamp_ms = varint::take_difference(rest, previous_ms)?;
    let ingestion_ms = varint::take_difference(rest, timestamp_ms)?;
    let length = usize::try_from(varint::take(rest)?).ok()?;
    let (message, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(Record {
        sequence,
        stream,
        timestamp_ms,
        ingestion_ms,
        message: std::str::from_utf8(message).ok()?,
    })
}
