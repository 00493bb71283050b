//! A segment: frames, then a footer that lists them, then a trailer that says where the footer is.
//!
//! A file without trailer is the tail a group still writes. Segments are never changed, only merged into new files and removed.

use crate::error::TelemetryError;
use crate::logs::block::{Block, BlockMeta, StreamPart, for_each};
use crate::logs::frame::{self, FrameMeta};
use crate::logs::varint;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TRAILER_MAGIC: [u8; 8] = *b"ApLogEnd";
/// Footer offset 8, footer length 4, footer crc 4, magic 8.
const TRAILER_LEN: u64 = 24;
/// Larger footers were not written by us, in bytes.
const FOOTER_BYTES_MAX: u32 = 256 << 20;
/// Size that blocks have when segments are merged, in bytes before packing.
pub(crate) const BLOCK_BYTES: usize = 256 * 1024;

/// What the index knows of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentRow {
    pub first_seq: u64,
    pub last_seq: u64,
    pub min_ms: u64,
    pub max_ms: u64,
    /// Bytes before packing.
    pub raw_bytes: u64,
    /// Bytes on disk.
    pub file_bytes: u64,
    /// Name in the group's directory.
    pub file: String,
}

/// An open file of frames.
#[derive(Debug)]
pub(crate) struct FrameFile {
    pub path: PathBuf,
    pub file: Arc<File>,
    pub frames: Arc<Vec<Arc<FrameMeta>>>,
}

impl FrameFile {
    /// Opens a finished segment and reads its footer.
    pub fn open(path: &Path) -> Result<FrameFile, TelemetryError> {
        let file = File::open(path)
            .map_err(|source| TelemetryError::io("open log segment", path, source))?;
        let footer = read_footer(&file, path)?;
        let frames = decode_footer(&footer)
            .ok_or_else(|| TelemetryError::damaged(path, "its list of blocks cannot be read"))?;
        Ok(FrameFile {
            path: path.to_owned(),
            file: Arc::new(file),
            frames: Arc::new(frames),
        })
    }

    pub fn read(&self, frame: &FrameMeta) -> Result<Vec<u8>, TelemetryError> {
        frame::read_block(&self.file, &self.path, frame)
    }
}

fn read_footer(file: &File, path: &Path) -> Result<Vec<u8>, TelemetryError> {
    let read = |bytes: &mut [u8], at: u64| {
        file.read_exact_at(bytes, at)
            .map_err(|source| TelemetryError::io("read log segment", path, source))
    };
    let length = file
        .metadata()
        .map_err(|source| TelemetryError::io("read log segment", path, source))?
        .len();
    let trailer_at = length
        .checked_sub(TRAILER_LEN)
        .ok_or_else(|| TelemetryError::damaged(path, "it is shorter than its trailer"))?;
    let mut trailer = [0u8; TRAILER_LEN as usize];
    read(&mut trailer, trailer_at)?;
    let (numbers, magic) = trailer.split_at(16);
    let mut words = numbers
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let mut word = || words.next().unwrap_or(0);
    let offset = u64::from(word()) | u64::from(word()) << 32;
    let (footer_len, crc) = (word(), word());
    if magic != TRAILER_MAGIC
        || footer_len > FOOTER_BYTES_MAX
        || offset + u64::from(footer_len) != trailer_at
    {
        return Err(TelemetryError::damaged(path, "its trailer is not one"));
    }
    let mut footer = vec![0; footer_len as usize];
    read(&mut footer, offset)?;
    match crc32fast::hash(&footer) == crc {
        true => Ok(footer),
        false => Err(TelemetryError::damaged(
            path,
            "the checksum of its list of blocks differs",
        )),
    }
}

/// The footer and trailer behind frames that end at `offset`.
pub(crate) fn encode_footer(frames: &[Arc<FrameMeta>], offset: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint::put(&mut bytes, frames.len() as u64);
    for frame in frames {
        let block = &frame.block;
        let numbers = [
            frame.offset,
            u64::from(frame.head_len),
            u64::from(frame.body_len),
            u64::from(frame.body_crc),
            u64::from(frame.packed),
            block.first_seq,
            block.events,
            block.min_ms,
            block.max_ms,
            block.raw_len as u64,
        ];
        for number in numbers {
            varint::put(&mut bytes, number);
        }
        frame::encode_parts(&mut bytes, &block.parts);
    }
    let crc = crc32fast::hash(&bytes);
    let length =
        u32::try_from(bytes.len()).expect("a segment's list of blocks is bounded by its size");
    bytes.extend_from_slice(&offset.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&TRAILER_MAGIC);
    bytes
}

fn decode_footer(mut rest: &[u8]) -> Option<Vec<Arc<FrameMeta>>> {
    let rest = &mut rest;
    let count = usize::try_from(varint::take(rest)?).ok()?;
    if count > rest.len() {
        return None;
    }
    let mut frames = Vec::with_capacity(count);
    for _ in 0..count {
        let offset = varint::take(rest)?;
        let head_len = u32::try_from(varint::take(rest)?).ok()?;
        let body_len = u32::try_from(varint::take(rest)?).ok()?;
        let body_crc = u32::try_from(varint::take(rest)?).ok()?;
        let packed = varint::take(rest)? == 1;
        let (first_seq, events) = (varint::take(rest)?, varint::take(rest)?);
        let (min_ms, max_ms) = (varint::take(rest)?, varint::take(rest)?);
        let raw_len = usize::try_from(varint::take(rest)?).ok()?;
        let parts = frame::decode_parts(rest)?;
        let block = BlockMeta {
            first_seq,
            events,
            min_ms,
            max_ms,
            raw_len,
            parts,
        };
        frames.push(Arc::new(FrameMeta {
            block,
            offset,
            head_len,
            body_len,
            body_crc,
            packed,
        }));
    }
    Some(frames)
}

/// What the frames of a file hold, stream by stream.
pub(crate) fn parts_of<'a>(
    blocks: impl Iterator<Item = &'a BlockMeta>,
) -> BTreeMap<u64, StreamPart> {
    let mut all = BTreeMap::new();
    for part in blocks.flat_map(|block| &block.parts) {
        all.entry(part.stream)
            .and_modify(|known: &mut StreamPart| known.merge(part))
            .or_insert(*part);
    }
    all
}

/// What the index is to know of a segment with these frames; none when it has no events.
pub(crate) fn row_of(
    frames: &[Arc<FrameMeta>],
    file: String,
    file_bytes: u64,
) -> Option<SegmentRow> {
    let (first, last) = (frames.first()?, frames.last()?);
    Some(SegmentRow {
        first_seq: first.block.first_seq,
        last_seq: last.block.last_seq(),
        min_ms: frames.iter().map(|frame| frame.block.min_ms).min()?,
        max_ms: frames.iter().map(|frame| frame.block.max_ms).max()?,
        raw_bytes: frames.iter().map(|frame| frame.block.raw_len as u64).sum(),
        file_bytes,
        file,
    })
}

/// Merges files, oldest first, into one new segment with blocks of good size, complete on disk when this returns. Blocks that cannot be
/// read are left out and reported, because nobody can read them later either.
pub(crate) fn merge(
    sources: &[Arc<FrameFile>],
    dir: &Path,
) -> Result<Option<SegmentRow>, TelemetryError> {
    let draft = dir.join("merge.draft");
    let io = |doing| move |source| TelemetryError::io(doing, &dir.join("merge.draft"), source);
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(&draft)
        .map_err(io("make log segment"))?;
    let mut writer = MergeWriter {
        file: &file,
        path: &draft,
        frames: Vec::new(),
        offset: 0,
        block: Block::new(0),
    };
    for source in sources {
        for frame in source.frames.iter() {
            match source.read(frame) {
                Ok(raw) => writer.add(&source.path, &frame.block, &raw)?,
                Err(error) => tracing::error!(%error, "leaving a damaged log block out of a merge"),
            }
        }
    }
    writer.cut()?;
    let (frames, offset) = (writer.frames, writer.offset);
    let footer = encode_footer(&frames, offset);
    file.write_all_at(&footer, offset)
        .map_err(io("write log segment"))?;
    file.sync_all().map_err(io("write log segment"))?;
    let Some((first, last)) = frames.first().zip(frames.last()) else {
        std::fs::remove_file(&draft).map_err(io("remove log segment"))?;
        return Ok(None);
    };
    let name = format!(
        "{:016x}-{:016x}.seg",
        first.block.first_seq,
        last.block.last_seq()
    );
    std::fs::rename(&draft, dir.join(&name)).map_err(io("rename log segment"))?;
    sync_dir(dir)?;
    Ok(row_of(&frames, name, offset + footer.len() as u64))
}

struct MergeWriter<'a> {
    file: &'a File,
    path: &'a Path,
    frames: Vec<Arc<FrameMeta>>,
    offset: u64,
    block: Block,
}

impl MergeWriter<'_> {
    fn add(&mut self, source: &Path, meta: &BlockMeta, raw: &[u8]) -> Result<(), TelemetryError> {
        if self.block.next_seq() != meta.first_seq
            || self.block.meta.raw_len + raw.len() > BLOCK_BYTES
        {
            self.cut()?;
            self.block = Block::new(meta.first_seq);
        }
        let block = &mut self.block;
        let read = for_each(source, meta, raw, |record| {
            block.push(
                record.stream,
                record.timestamp_ms,
                record.ingestion_ms,
                record.message,
            );
        });
        if let Err(error) = read {
            tracing::error!(%error, "leaving part of a log block out of a merge");
        }
        Ok(())
    }

    fn cut(&mut self) -> Result<(), TelemetryError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = std::mem::replace(&mut self.block, Block::new(0));
        let (frame, bytes) = frame::encode(&block, self.offset);
        self.file
            .write_all_at(&bytes, self.offset)
            .map_err(|source| TelemetryError::io("write log segment", self.path, source))?;
        self.offset = frame.end();
        self.frames.push(Arc::new(frame));
        Ok(())
    }
}

/// Makes names that were made or removed in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), TelemetryError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| TelemetryError::io("sync log directory", dir, source))
}
