//! What a build says, into the log of its deployment, without making the build wait for the disk.

use crate::chronicle::Chronicle;
use crate::clock::Clock;
use apron_builder::BuildLog;
use apron_domain::{Millis, Operation, Service};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Lines that wait to be written; a build that says more than the disk takes loses the ones beyond.
const LINES_WAITING_MAX: usize = 4096;

/// Longest line that is kept, bytes; the rest is cut.
const LINE_BYTES_MAX: usize = 8 << 10;

/// Lines written at once.
const LINES_AT_ONCE: usize = 256;

/// Takes a build's lines.
pub struct Scribe {
    lines: mpsc::Sender<(Millis, String)>,
    lost: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
}

/// Writes them; ends when the scribe is gone and everything is written.
pub struct Writing(tokio::task::JoinHandle<()>);

impl Scribe {
    /// A scribe for one deployment, and its hand.
    pub fn new(
        chronicle: Arc<Chronicle>,
        clock: Arc<dyn Clock>,
        service: &Service,
        operation: &Operation,
    ) -> (Scribe, Writing) {
        let (lines, mut waiting) = mpsc::channel::<(Millis, String)>(LINES_WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let (service, operation) = (service.clone(), operation.id.clone());
        let (missing, now) = (lost.clone(), clock.clone());
        let writing = tokio::spawn(async move {
            let mut batch = Vec::with_capacity(LINES_AT_ONCE);
            while waiting.recv_many(&mut batch, LINES_AT_ONCE).await > 0 {
                let lines = std::mem::take(&mut batch);
                chronicle.built(&service, &operation, lines).await;
            }
            let lost = missing.load(Ordering::Relaxed);
            if lost > 0 {
                let text =
                    format!("[AppRunner] {lost} lines of the build came too fast to be kept.");
                let lines = vec![(now.now(), text)];
                chronicle.built(&service, &operation, lines).await;
            }
        });
        let scribe = Scribe { lines, lost, clock };
        (scribe, Writing(writing))
    }
}

impl Writing {
    /// Waits until everything is written; the scribe must be gone.
    pub async fn done(self) {
        // It ends by itself, or with the runtime.
        let _ = self.0.await;
    }
}

impl BuildLog for Scribe {
    fn line(&self, text: &str) {
        let mut end = text.len().min(LINE_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let line = (self.clock.now(), text[..end].to_owned());
        if self.lines.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
