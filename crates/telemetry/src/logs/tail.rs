//! The tail: the file a group appends to, and how it is read again after a crash.

use crate::error::TelemetryError;
use crate::logs::frame::{self, FrameMeta, MAGIC};
use crate::logs::segment::{FrameFile, encode_footer};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of a tail whose first event has that number.
pub(crate) fn file_name(first_seq: u64) -> String {
    format!("{first_seq:016x}.log")
}

/// The first sequence number in a tail's name.
pub(crate) fn first_seq_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 16)
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

/// The file a group appends to.
#[derive(Debug, Clone)]
pub(crate) struct Tail {
    pub path: PathBuf,
    pub file: Arc<File>,
    pub frames: Arc<Vec<Arc<FrameMeta>>>,
    /// Where the next frame goes.
    pub len: u64,
    /// Up to where it is on disk for certain.
    pub synced_len: u64,
    /// A sync failed: what is behind `synced_len` may be marked clean in memory although it never reached the disk.
    pub suspect: bool,
    pub raw_bytes: u64,
}

impl Tail {
    pub fn create(dir: &Path, first_seq: u64) -> Result<Tail, TelemetryError> {
        let path = dir.join(file_name(first_seq));
        // A file of that name can only be one that never got a whole frame.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(|source| TelemetryError::io("make log file", &path, source))?;
        crate::logs::segment::sync_dir(dir)?;
        Ok(Tail::new(path, file, Vec::new(), 0))
    }

    fn new(path: PathBuf, file: File, frames: Vec<FrameMeta>, len: u64) -> Tail {
        let frames: Vec<_> = frames.into_iter().map(Arc::new).collect();
        let raw_bytes = frames.iter().map(|frame| frame.block.raw_len as u64).sum();
        Tail {
            path,
            file: Arc::new(file),
            frames: Arc::new(frames),
            len,
            synced_len: len,
            suspect: false,
            raw_bytes,
        }
    }

    /// Opens the tail a former process left: takes every whole frame, cuts what is torn behind the last one.
    pub fn recover(path: &Path) -> Result<Tail, TelemetryError> {
        let io = |doing| move |source| TelemetryError::io(doing, path, source);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(io("open log file"))?;
        let bytes = std::fs::read(path).map_err(io("read log file"))?;
        let frames = scan(path, &bytes);
        let end = frames.last().map_or(0, FrameMeta::end);
        if end < bytes.len() as u64 {
            tracing::warn!(path = %path.display(), bytes = bytes.len() as u64 - end, "cutting a torn write from a log file");
            file.set_len(end).map_err(io("cut log file"))?;
        }
        // What a killed process wrote may not have reached the disk.
        file.sync_all().map_err(io("sync log file"))?;
        Ok(Tail::new(path.to_owned(), file, frames, end))
    }

    pub fn last_seq(&self) -> Option<u64> {
        self.frames.last().map(|frame| frame.block.last_seq())
    }

    pub fn as_frames(&self) -> FrameFile {
        FrameFile {
            path: self.path.clone(),
            file: self.file.clone(),
            frames: self.frames.clone(),
        }
    }

    /// Writes a frame's bytes at the end. After an error the file is as before.
    pub fn write(&self, bytes: &[u8]) -> Result<(), TelemetryError> {
        self.file.write_all_at(bytes, self.len).map_err(|source| {
            let _ = self.file.set_len(self.len);
            TelemetryError::io("write log file", &self.path, source)
        })
    }

    /// Returns when everything up to `len` is on disk.
    pub fn sync(&self) -> Result<(), TelemetryError> {
        if self.suspect {
            self.write_again()?;
        }
        self.file
            .sync_data()
            .map_err(|source| TelemetryError::io("sync log file", &self.path, source))
    }

    /// After a failed sync the system forgets which pages did not reach the disk, so the next sync would lie: write them again.
    fn write_again(&self) -> Result<(), TelemetryError> {
        let mut bytes = vec![0; usize::try_from(self.len - self.synced_len).unwrap_or(0)];
        self.file
            .read_exact_at(&mut bytes, self.synced_len)
            .and_then(|()| self.file.write_all_at(&bytes, self.synced_len))
            .map_err(|source| TelemetryError::io("write log file again", &self.path, source))
    }

    /// Turns the tail into a segment by a footer behind its frames. Returns the file's length. After an error the file is as before.
    pub fn finish(&self) -> Result<u64, TelemetryError> {
        let footer = encode_footer(&self.frames, self.len);
        self.write(&footer)?;
        self.file.sync_all().map_err(|source| {
            self.unfinish();
            TelemetryError::io("sync log file", &self.path, source)
        })?;
        Ok(self.len + footer.len() as u64)
    }

    /// Takes the footer away again.
    pub fn unfinish(&self) {
        if let Err(error) = self.file.set_len(self.len) {
            tracing::error!(path = %self.path.display(), %error, "cannot cut the footer of a log file");
        }
    }
}

/// Every whole frame in the bytes of a file. A damaged frame in the middle is passed over: what follows was acknowledged too.
fn scan(path: &Path, bytes: &[u8]) -> Vec<FrameMeta> {
    let mut frames: Vec<FrameMeta> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match whole_frame(bytes, at) {
            Some(frame)
                if frames
                    .last()
                    .is_none_or(|last| frame.block.first_seq > last.block.last_seq()) =>
            {
                at = usize::try_from(frame.end()).unwrap_or(bytes.len());
                frames.push(frame);
            }
            _ => match bytes[at + 1..]
                .windows(MAGIC.len())
                .position(|window| window == MAGIC)
            {
                Some(distance) => {
                    tracing::warn!(path = %path.display(), at, "passing over a damaged part of a log file");
                    at += 1 + distance;
                }
                None => break,
            },
        }
    }
    frames
}

fn whole_frame(bytes: &[u8], at: usize) -> Option<FrameMeta> {
    let frame = frame::decode_head(&bytes[at..], at as u64)?;
    let body_at = at + frame.head_len as usize;
    let body = bytes.get(body_at..body_at + frame.body_len as usize)?;
    (crc32fast::hash(body) == frame.body_crc && frame.block.events > 0).then_some(frame)
}
