//! One group as the process holds it: what waits in memory, the tail, the list of segments.
//!
//! Two locks with different jobs: `live` guards the values and is never held over I/O; `turn` is held by the one task that writes the
//! group's files or its rows, so readers and appenders go on while a segment is being made.

use crate::error::TelemetryError;
use crate::logs::block::{Block, StreamPart};
use crate::logs::frame;
use crate::logs::model::LogEvent;
use crate::logs::segment::{BLOCK_BYTES, FrameFile, SegmentRow, parts_of};
use crate::logs::tail::Tail;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Sequence numbers left free at every start, more than can wait in memory: a number that a crash took with its event, and that a reader
/// may remember, is never given to another event.
const SEQUENCE_GAP: u64 = 1 << 24;

#[derive(Debug)]
pub(crate) struct Group {
    pub id: i64,
    pub name: String,
    pub dir: PathBuf,
    pub turn: Arc<tokio::sync::Mutex<()>>,
    /// Held while a stream is made or deleted, so the streams remembered are those that exist.
    pub naming: tokio::sync::Mutex<()>,
    live: Mutex<Live>,
    /// Bytes of events that wait in memory, of all groups together.
    waiting: Arc<AtomicUsize>,
}

#[derive(Debug)]
pub(crate) struct Live {
    /// Being filled.
    open: Arc<Block>,
    /// Full or due; written front first. They stay readable here until they are readable in the tail.
    frozen: VecDeque<Arc<Block>>,
    pub tail: Option<Tail>,
    pub segments: Arc<Vec<SegmentRow>>,
    /// Streams seen since the group was loaded.
    pub streams: HashMap<Arc<str>, u64>,
    /// Events numbered below this are in the index's numbers.
    pub refreshed_seq: u64,
    /// Events older than this are no longer shown.
    pub expired_ms: u64,
    pub retention_days: Option<u32>,
    /// The group was deleted while somebody held it.
    pub deleted: bool,
    /// What the last write failed with.
    pub failure: Option<String>,
}

/// What a reader sees: a moment of the group.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub segments: Arc<Vec<SegmentRow>>,
    pub tail: Option<Arc<FrameFile>>,
    pub blocks: Vec<Arc<Block>>,
    pub next_seq: u64,
    pub expired_ms: u64,
}

impl Group {
    pub fn new(
        id: i64,
        name: &str,
        dir: &Path,
        waiting: Arc<AtomicUsize>,
        segments: Vec<SegmentRow>,
        tail: Option<Tail>,
        retention_days: Option<u32>,
    ) -> Group {
        let last = segments
            .last()
            .map_or(0, |row| row.last_seq)
            .max(tail.as_ref().and_then(Tail::last_seq).unwrap_or(0));
        let next_seq = match last {
            0 => 1,
            last => last + SEQUENCE_GAP,
        };
        let live = Live {
            open: Arc::new(Block::new(next_seq)),
            frozen: VecDeque::new(),
            tail,
            segments: Arc::new(segments),
            streams: HashMap::new(),
            refreshed_seq: 0,
            expired_ms: 0,
            retention_days,
            deleted: false,
            failure: None,
        };
        Group {
            id,
            name: name.to_owned(),
            dir: dir.to_owned(),
            turn: Arc::new(tokio::sync::Mutex::new(())),
            naming: tokio::sync::Mutex::new(()),
            live: Mutex::new(live),
            waiting,
        }
    }

    /// The values; a panic elsewhere never leaves them half changed.
    pub fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes events in. False when the group was deleted meanwhile.
    pub fn push(&self, stream: u64, events: &[LogEvent]) -> bool {
        let mut live = self.live();
        if live.deleted {
            return false;
        }
        let before = live.waiting_bytes();
        for event in events {
            let room = BLOCK_BYTES.saturating_sub(live.open.raw.len());
            if !live.open.is_empty() && event.message.len() > room {
                live.freeze();
            }
            Arc::make_mut(&mut live.open).push_event(stream, event);
            if live.open.raw.len() >= BLOCK_BYTES {
                live.freeze();
            }
        }
        self.waiting
            .fetch_add(live.waiting_bytes() - before, Ordering::Relaxed);
        true
    }

    /// The block to be written next; none when nothing waits. With `all`, what is being filled is taken too.
    pub fn next_block(&self, all: bool) -> Option<Arc<Block>> {
        let mut live = self.live();
        if live.frozen.is_empty() && all && !live.open.is_empty() {
            live.freeze();
        }
        live.frozen.front().cloned()
    }

    /// The front block is now in the tail, which has become this.
    pub fn block_written(&self, tail: Tail) {
        let mut live = self.live();
        live.tail = Some(tail);
        if let Some(block) = live.frozen.pop_front() {
            self.waiting.fetch_sub(block.raw.len(), Ordering::Relaxed);
        }
    }

    /// Gives up everything that waits, because the group is gone.
    pub fn discard(&self) {
        let mut live = self.live();
        self.waiting
            .fetch_sub(live.waiting_bytes(), Ordering::Relaxed);
        live.deleted = true;
        live.frozen.clear();
        live.tail = None;
        live.segments = Arc::default();
        let next_seq = live.next_seq();
        live.open = Arc::new(Block::new(next_seq));
    }

    pub fn snapshot(&self) -> Snapshot {
        let live = self.live();
        let open = (!live.open.is_empty()).then(|| live.open.clone());
        Snapshot {
            segments: live.segments.clone(),
            tail: live.tail.as_ref().map(|tail| Arc::new(tail.as_frames())),
            blocks: live.frozen.iter().cloned().chain(open).collect(),
            next_seq: live.next_seq(),
            expired_ms: live.expired_ms,
        }
    }
}

impl Live {
    fn freeze(&mut self) {
        let next = Arc::new(Block::new(self.open.next_seq()));
        self.frozen
            .push_back(std::mem::replace(&mut self.open, next));
    }

    pub fn next_seq(&self) -> u64 {
        self.open.next_seq()
    }

    /// Bytes that wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.open.raw.len()
            + self
                .frozen
                .iter()
                .map(|block| block.raw.len())
                .sum::<usize>()
    }

    /// Blocks that are full and wait to be written.
    pub fn full_blocks(&self) -> usize {
        self.frozen.len()
    }

    /// Whether something is not on disk for certain.
    pub fn is_dirty(&self) -> bool {
        let unsynced = self
            .tail
            .as_ref()
            .is_some_and(|tail| tail.synced_len < tail.len);
        unsynced || !self.open.is_empty() || !self.frozen.is_empty()
    }

    /// What is not in a segment yet, stream by stream.
    pub fn unsealed(&self) -> BTreeMap<u64, StreamPart> {
        let tail = self
            .tail
            .iter()
            .flat_map(|tail| tail.frames.iter().map(|frame| &frame.block));
        let waiting = self
            .frozen
            .iter()
            .chain(std::iter::once(&self.open))
            .map(|block| &block.meta);
        parts_of(tail.chain(waiting))
    }
}

/// Packs a block for the place behind the tail and writes it there. Returns the tail as it is then.
pub(crate) fn write_block(tail: &Tail, block: &Block) -> Result<Tail, TelemetryError> {
    let (frame, bytes) = frame::encode(block, tail.len);
    tail.write(&bytes)?;
    let mut next = tail.clone();
    next.len = frame.end();
    next.raw_bytes += block.raw.len() as u64;
    Arc::make_mut(&mut next.frames).push(Arc::new(frame));
    Ok(next)
}
