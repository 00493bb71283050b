//! The stream of a layer: read and decompressed in one thread, hashed in another, unpacked in the caller's.

use super::{Stop, UnpackBounds};
use crate::Digest;
use crate::digest::RunningDigest;
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Size of the pieces that go between the threads, in bytes.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces in flight to each reader.
const PIECES_MAX: usize = 8;
/// How much of the stored layer is read at once, in bytes.
const READ_BYTES: usize = 256 * 1024;
/// What an archive may have per file besides its content: headers, long names, attributes; in bytes.
const OVERHEAD_PER_INODE_BYTES: u64 = 4096;
/// What an archive may have besides files: padding at its end, in bytes.
const OVERHEAD_BYTES: u64 = 64 * 1024 * 1024;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

type Piece = Result<Bytes, Stop>;

/// The decompressed bytes of a layer, in order.
pub(super) struct Input {
    pieces: Receiver<Piece>,
    current: Bytes,
}

impl Input {
    /// The next bytes, at most `bound` and at least one; `None` at the end.
    pub(super) fn next(&mut self, bound: u64) -> Result<Option<Bytes>, Stop> {
        while self.current.is_empty() {
            match self.pieces.recv() {
                Ok(piece) => self.current = piece?,
                Err(_) => return Ok(None),
            }
        }
        let count = usize::try_from(bound)
            .unwrap_or(usize::MAX)
            .min(self.current.len());
        Ok(Some(self.current.split_to(count)))
    }
}

/// Runs `consume` on the decompressed bytes of `blob` and checks that they are what `diff_id` says. What `consume` says
/// went wrong comes first: a layer that is damaged and has another digest is damaged.
pub(super) fn pump<T>(
    blob: File,
    diff_id: &Digest,
    bounds: &UnpackBounds,
    consume: impl FnOnce(Input) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let stream_bytes_max = bounds
        .bytes
        .saturating_add(bounds.inodes.saturating_mul(OVERHEAD_PER_INODE_BYTES))
        .saturating_add(OVERHEAD_BYTES);
    let (to_unpack, pieces) = sync_channel(PIECES_MAX);
    let (to_hash, hashed) = sync_channel::<Bytes>(PIECES_MAX);
    thread::scope(|scope| {
        let reader = thread::Builder::new().name("layer-read".to_owned());
        reader
            .spawn_scoped(scope, move || {
                decompress(blob, stream_bytes_max, &to_unpack, &to_hash)
            })
            .map_err(|e| Stop::io("start a thread", e))?;
        let hasher = thread::Builder::new().name("layer-hash".to_owned());
        let digest = hasher
            .spawn_scoped(scope, move || {
                let mut running = RunningDigest::new();
                hashed.iter().for_each(|piece| running.update(&piece));
                running.finish()
            })
            .map_err(|e| Stop::io("start a thread", e))?;
        let result = consume(Input {
            pieces,
            current: Bytes::new(),
        })?;
        let actual = digest
            .join()
            .map_err(|_| Stop::io("hash the layer", std::io::Error::other("the thread failed")))?;
        match actual == *diff_id {
            true => Ok(result),
            false => Err(Stop::DiffId { actual }),
        }
    })
}

/// Reads and decompresses until the end, an error (which is passed on) or nobody listens any more.
fn decompress(
    blob: File,
    stream_bytes_max: u64,
    to_unpack: &SyncSender<Piece>,
    to_hash: &SyncSender<Bytes>,
) {
    let mut decoder = match decoder(blob) {
        Ok(decoder) => decoder,
        Err(error) => {
            let stop = Stop::io("read the stored layer", error);
            // A send fails only when the unpacking has ended, and then nobody wants to know.
            let _ = to_unpack.send(Err(stop));
            return;
        }
    };
    let mut total = 0u64;
    loop {
        let piece = match read_piece(&mut decoder) {
            Ok(piece) if piece.is_empty() => return,
            Ok(piece) => piece,
            Err(error) => {
                let stop = Stop::Invalid(format!("its stored data is damaged: {error}"));
                let _ = to_unpack.send(Err(stop));
                return;
            }
        };
        total += piece.len() as u64;
        if total > stream_bytes_max {
            let bound = format!("{stream_bytes_max} bytes when decompressed");
            let _ = to_unpack.send(Err(Stop::TooLarge(bound)));
            return;
        }
        if to_unpack.send(Ok(piece.clone())).is_err() || to_hash.send(piece).is_err() {
            return;
        }
    }
}

/// Chooses the decoder by the content's first bytes: media types of layers are often wrong about the compression.
pub(crate) fn decoder(blob: File) -> std::io::Result<Box<dyn Read>> {
    let mut reader = BufReader::with_capacity(READ_BYTES, blob);
    let start = reader.fill_buf()?;
    let (is_gzip, is_zstd) = (start.starts_with(&GZIP), start.starts_with(&ZSTD));
    Ok(match (is_gzip, is_zstd) {
        (true, _) => Box::new(MultiGzDecoder::new(reader)),
        (_, true) => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
        _ => Box::new(reader),
    })
}

/// Fills a piece as far as the input goes.
fn read_piece(decoder: &mut Box<dyn Read>) -> std::io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    decoder
        .by_ref()
        .take(PIECE_BYTES as u64)
        .read_to_end(&mut piece)?;
    Ok(Bytes::from(piece))
}
