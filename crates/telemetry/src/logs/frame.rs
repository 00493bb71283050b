//! A frame: one block on disk, with what is known of it in front.
//!
//! ```text
//! magic 4 | head crc 4 | body crc 4 | body length 4 | raw length 4 | table length 4 | codec 4 | events 4 | first sequence 8 | min ms 8 | max ms 8
//! table: per stream id | events | bytes | first ms | last ms | reception ms   (variable-length numbers)
//! body:  the block, as it is or packed with zstd
//! ```
//! Numbers are little-endian. The head checksum (CRC-32, ISO-HDLC) covers everything behind it up to the body.

use crate::error::TelemetryError;
use crate::logs::block::{Block, BlockMeta, StreamPart};
use crate::logs::varint;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub(crate) const MAGIC: [u8; 4] = *b"ApL1";
pub(crate) const HEAD_LEN: usize = 56;
/// Level of zstd. Level 1 packs lines to about a tenth at several times the speed of higher levels, which gain little.
pub(crate) const ZSTD_LEVEL: i32 = 1;
/// Blocks shorter than this are not worth packing, in bytes.
const PACK_BYTES_MIN: usize = 256;
/// Larger bodies or tables were not written by us, in bytes.
const FRAME_BYTES_MAX: u32 = 64 << 20;

const CODEC_PLAIN: u32 = 0;
const CODEC_ZSTD: u32 = 1;

/// A block in a file: what it holds and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrameMeta {
    pub block: BlockMeta,
    pub offset: u64,
    /// Bytes of head and table.
    pub head_len: u32,
    pub body_len: u32,
    pub body_crc: u32,
    pub packed: bool,
}

impl FrameMeta {
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.head_len) + u64::from(self.body_len)
    }
}

/// The frame of a block that will lie at `offset`, and its bytes.
pub(crate) fn encode(block: &Block, offset: u64) -> (FrameMeta, Vec<u8>) {
    let packed = match block.raw.len() >= PACK_BYTES_MIN {
        // Packing fails only for want of memory; the plain bytes are as good.
        true => zstd::bulk::compress(&block.raw, ZSTD_LEVEL)
            .ok()
            .filter(|packed| packed.len() < block.raw.len()),
        false => None,
    };
    let body = packed.as_deref().unwrap_or(&block.raw);
    let mut bytes = vec![0; HEAD_LEN];
    encode_parts(&mut bytes, &block.meta.parts);
    let head_len = bytes.len();
    let body_crc = crc32fast::hash(body);
    let words = [
        body_crc,
        length(body.len()),
        length(block.raw.len()),
        length(head_len - HEAD_LEN),
        if packed.is_some() {
            CODEC_ZSTD
        } else {
            CODEC_PLAIN
        },
        u32::try_from(block.meta.events).unwrap_or(u32::MAX),
    ];
    for (index, word) in words.iter().enumerate() {
        bytes[8 + index * 4..12 + index * 4].copy_from_slice(&word.to_le_bytes());
    }
    for (index, word) in [block.meta.first_seq, block.meta.min_ms, block.meta.max_ms]
        .iter()
        .enumerate()
    {
        bytes[32 + index * 8..40 + index * 8].copy_from_slice(&word.to_le_bytes());
    }
    let head_crc = crc32fast::hash(&bytes[8..]);
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&head_crc.to_le_bytes());
    bytes.extend_from_slice(body);
    let meta = FrameMeta {
        block: block.meta.clone(),
        offset,
        head_len: length(head_len),
        body_len: length(body.len()),
        body_crc,
        packed: packed.is_some(),
    };
    (meta, bytes)
}

/// Blocks are bounded far below four gibibytes.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a block is bounded by its largest size")
}

/// Reads the head at the start of `bytes`. None when it is not a whole, undamaged head.
pub(crate) fn decode_head(bytes: &[u8], offset: u64) -> Option<FrameMeta> {
    let head = bytes.get(..HEAD_LEN)?;
    if head[..4] != MAGIC {
        return None;
    }
    let word = |index: usize| {
        u32::from_le_bytes([
            head[index],
            head[index + 1],
            head[index + 2],
            head[index + 3],
        ])
    };
    let long = |index: usize| u64::from(word(index)) | u64::from(word(index + 4)) << 32;
    let table_len = word(20);
    if table_len > FRAME_BYTES_MAX || word(12) > FRAME_BYTES_MAX || word(16) > FRAME_BYTES_MAX {
        return None;
    }
    let head_len = HEAD_LEN + table_len as usize;
    let whole = bytes.get(..head_len)?;
    if crc32fast::hash(&whole[8..]) != word(4) {
        return None;
    }
    let block = BlockMeta {
        first_seq: long(32),
        events: u64::from(word(28)),
        min_ms: long(40),
        max_ms: long(48),
        raw_len: word(16) as usize,
        parts: decode_parts(&mut &whole[HEAD_LEN..])?,
    };
    Some(FrameMeta {
        block,
        offset,
        head_len: length(head_len),
        body_len: word(12),
        body_crc: word(8),
        packed: word(24) == CODEC_ZSTD,
    })
}

pub(crate) fn encode_parts(out: &mut Vec<u8>, parts: &[StreamPart]) {
    varint::put(out, parts.len() as u64);
    for part in parts {
        varint::put(out, part.stream);
        varint::put(out, part.events);
        varint::put(out, part.bytes);
        varint::put(out, part.first_ms);
        varint::put_difference(out, part.first_ms, part.last_ms);
        varint::put_difference(out, part.last_ms, part.ingestion_ms);
    }
}

pub(crate) fn decode_parts(rest: &mut &[u8]) -> Option<Vec<StreamPart>> {
    let count = usize::try_from(varint::take(rest)?).ok()?;
    if count > rest.len() {
        return None;
    }
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let stream = varint::take(rest)?;
        let (events, bytes, first_ms) = (
            varint::take(rest)?,
            varint::take(rest)?,
            varint::take(rest)?,
        );
        let last_ms = varint::take_difference(rest, first_ms)?;
        let ingestion_ms = varint::take_difference(rest, last_ms)?;
        parts.push(StreamPart {
            stream,
            events,
            bytes,
            first_ms,
            last_ms,
            ingestion_ms,
        });
    }
    Some(parts)
}

/// Reads and unpacks the block of a frame.
pub(crate) fn read_block(
    file: &File,
    path: &Path,
    frame: &FrameMeta,
) -> Result<Vec<u8>, TelemetryError> {
    let mut body = vec![0; frame.body_len as usize];
    file.read_exact_at(&mut body, frame.offset + u64::from(frame.head_len))
        .map_err(|source| TelemetryError::io("read log block from", path, source))?;
    let damaged = |what: &str| {
        TelemetryError::damaged(path, format!("block at byte {}: {what}", frame.offset))
    };
    if crc32fast::hash(&body) != frame.body_crc {
        return Err(damaged("its checksum differs"));
    }
    if !frame.packed {
        return Ok(body);
    }
    match zstd::bulk::decompress(&body, frame.block.raw_len) {
        Ok(raw) if raw.len() == frame.block.raw_len => Ok(raw),
        Ok(_) => Err(damaged("it unpacks to another length")),
        Err(error) => Err(damaged(&error.to_string())),
    }
}
