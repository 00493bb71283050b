//! Lines on their way from the workers to the control plane.

use super::line::LINE_BYTES;
use super::{BUFFER_BYTES, Entry, Lines};
use crate::decimal::{Moments, number};
use apron_link::frame::MESSAGE_BYTES_MAX;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most bytes of lines that wait for the control plane; beyond it the oldest are dropped and counted.
pub const QUEUE_BYTES_MAX: usize = 8 << 20;

/// Bytes of lines in one message, about.
const MESSAGE_BYTES: usize = 1 << 20;

/// Most empty buffers that are kept: as many as are under way at the same time unless there is very much to log.
const SPARE_MAX: usize = 4;

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    parts: VecDeque<Lines>,
    bytes: usize,
    lost: u64,
    /// Empty buffers for workers to write into.
    spare: Vec<Lines>,
}

/// Lines of one message.
#[derive(Debug, Default)]
pub struct Batch {
    parts: Vec<Lines>,
    lost: u64,
}

impl Queue {
    /// Takes over the lines of a worker, to be sent now or when there are enough for a message.
    pub fn push(&self, lines: Lines, now: bool) {
        let mut waiting = self.waiting();
        waiting.bytes += lines.bytes.len();
        waiting.parts.push_back(lines);
        while waiting.bytes > QUEUE_BYTES_MAX
            && let Some(oldest) = waiting.parts.pop_front()
        {
            waiting.bytes -= oldest.bytes.len();
            waiting.lost += oldest.entries.len() as u64;
        }
        let enough = waiting.bytes >= MESSAGE_BYTES;
        drop(waiting);
        if now || enough {
            self.ready.notify_one();
        }
    }

    /// Waits until there are lines to be sent.
    pub async fn ready(&self) {
        self.ready.notified().await;
    }

    /// A buffer to write into. One that was used before is in the processor's cache, and its memory is there: a new one
    /// has the kernel bring every page of it while a request is served.
    pub fn buffer(&self) -> Lines {
        let spare = self.waiting().spare.pop();
        spare.unwrap_or_else(|| Lines {
            bytes: Vec::with_capacity(BUFFER_BYTES + BUFFER_BYTES / 8),
            entries: Vec::with_capacity(BUFFER_BYTES / LINE_BYTES),
        })
    }

    /// Takes back the buffers of a batch that is sent.
    pub fn recycle(&self, batch: Batch) {
        for mut lines in batch.parts {
            lines.bytes.clear();
            lines.entries.clear();
            let mut waiting = self.waiting();
            if waiting.spare.len() < SPARE_MAX && lines.bytes.capacity() <= 2 * BUFFER_BYTES {
                waiting.spare.push(lines);
            }
        }
    }

    /// Gives the memory of empty buffers back: there was nothing to log for a while.
    pub fn trim(&self) {
        let spare = std::mem::take(&mut self.waiting().spare);
        drop(spare);
    }

    /// The oldest lines; `None` if there are none and none were lost.
    pub fn take(&self) -> Option<Batch> {
        let mut waiting = self.waiting();
        let (mut parts, mut bytes) = (Vec::new(), 0);
        while bytes < MESSAGE_BYTES
            && let Some(lines) = waiting.parts.pop_front()
        {
            bytes += lines.bytes.len();
            parts.push(lines);
        }
        waiting.bytes -= bytes;
        let lost = std::mem::take(&mut waiting.lost);
        (lost > 0 || !parts.is_empty()).then_some(Batch { parts, lost })
    }

    /// Counts the lines of a batch that could not be sent.
    pub fn lose(&self, batch: &Batch) {
        let lines: usize = batch.parts.iter().map(|part| part.entries.len()).sum();
        self.waiting().lost += batch.lost + lines as u64;
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    /// The message [`apron_link::proxy::FromProxy::AccessLog`] with its length in front. It is written here and not by the
    /// link's encoder because the lines are JSON already: this copies them, the encoder would look at every byte again.
    pub fn frame(&self) -> Vec<u8> {
        let mut lines: Vec<(&Entry, &[u8])> = self.parts.iter().flat_map(Lines::iter).collect();
        // Most batches are of few services, and each worker's lines are in order.
        lines.sort_by(|(a, _), (b, _)| match Arc::ptr_eq(&a.service, &b.service) {
            true => a.ended_ms.cmp(&b.ended_ms),
            false => (&a.service.id, a.ended_ms).cmp(&(&b.service.id, b.ended_ms)),
        });
        let bytes: usize = self.parts.iter().map(|part| part.bytes.len()).sum();
        let mut out = Vec::with_capacity(bytes + lines.len() * 24 + 256);
        out.extend_from_slice(br#"    {"AccessLog":{"services":["#);
        let (mut service, mut moments): (Option<&str>, _) = (None, Moments::default());
        for (entry, line) in lines {
            let id = entry.service.id.as_str();
            if service == Some(id) {
                out.push(b',');
            } else {
                out.extend_from_slice(if service.is_some() { b"]}," } else { b"" });
                out.extend_from_slice(br#"{"service":"#);
                quoted(id, &mut out);
                out.extend_from_slice(br#","lines":["#);
                service = Some(id);
            }
            out.push(b'[');
            moments.write(entry.ended_ms, &mut out);
            out.extend_from_slice(b",\"");
            out.extend_from_slice(line);
            out.extend_from_slice(b"\"]");
        }
        out.extend_from_slice(if service.is_some() { b"]}" } else { b"" });
        out.extend_from_slice(b"],\"lost\":");
        number(self.lost, &mut out);
        out.extend_from_slice(b"}}");
        let length = out.len() - 4;
        debug_assert!(length <= MESSAGE_BYTES_MAX);
        out[..4].copy_from_slice(&(length as u32).to_be_bytes());
        out
    }
}

impl Lines {
    fn iter(&self) -> impl Iterator<Item = (&Entry, &[u8])> {
        let mut begin = 0;
        self.entries.iter().map(move |entry| {
            let line = &self.bytes[begin..entry.end];
            begin = entry.end;
            (entry, line)
        })
    }
}

/// Ids have nothing that JSON escapes; should one have, it is left out rather than spoil the message.
fn quoted(id: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let plain = |byte: &u8| (0x20..0x7f).contains(byte) && !matches!(byte, b'"' | b'\\');
    out.extend(id.bytes().filter(plain));
    out.push(b'"');
}

#[cfg(test)]
mod tests;
