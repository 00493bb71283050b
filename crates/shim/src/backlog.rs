//! Output that nobody has acknowledged yet.
//!
//! While a node is connected and takes lines, nothing is lost: when the backlog is full the shim stops reading, and
//! the application waits in its own writes, as under any container engine. When the node is away, or takes nothing for
//! [`apron_link::instance::STALL_MS_MAX`], the oldest lines give way and are counted: an application never hangs
//! because its logs cannot be delivered.

use apron_link::instance::{FromShim, Stream, UNACKNOWLEDGED_BYTES_MAX};
use std::collections::VecDeque;

/// What a line costs besides its text, in bytes.
const LINE_OVERHEAD_BYTES: usize = 64;

#[derive(Debug)]
struct Line {
    stream: Stream,
    at_ms: u64,
    text: String,
}

impl Line {
    fn cost(&self) -> usize {
        self.text.len() + LINE_OVERHEAD_BYTES
    }
}

/// A bounded queue of numbered lines.
#[derive(Debug, Default)]
pub struct Backlog {
    lines: VecDeque<Line>,
    /// Number of the front line.
    first: u64,
    /// Lines below this number were handed to some connection.
    sent: u64,
    bytes: usize,
    dropped: u64,
}

impl Backlog {
    /// Whether no further line should be read while somebody takes them.
    pub fn is_full(&self) -> bool {
        self.bytes >= UNACKNOWLEDGED_BYTES_MAX
    }

    /// Whether every line was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Number of the oldest line kept.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Adds a line; beyond the bound the oldest go, unless the caller stops reading while [`Backlog::is_full`].
    pub fn push(&mut self, stream: Stream, at_ms: u64, text: String) {
        let line = Line {
            stream,
            at_ms,
            text,
        };
        self.bytes += line.cost();
        self.lines.push_back(line);
        // Up to one read beyond the bound is kept, so that lines of a reader that keeps up are never dropped here.
        while self.bytes > 2 * UNACKNOWLEDGED_BYTES_MAX {
            self.drop_oldest();
        }
    }

    /// Makes room by dropping the oldest lines.
    pub fn make_room(&mut self) {
        while self.is_full() {
            self.drop_oldest();
        }
    }

    /// Forgets lines up to and including `sequence`.
    pub fn acknowledge(&mut self, sequence: u64) {
        while self.first <= sequence && !self.lines.is_empty() {
            self.pop();
        }
    }

    /// The message to send after line number `next - 1`, and the number to ask for after it.
    pub fn message(&mut self, next: u64) -> Option<(FromShim, u64)> {
        if self.dropped > 0 && next <= self.sent.max(self.first) {
            let lines = std::mem::take(&mut self.dropped);
            return Some((FromShim::Dropped { lines }, next));
        }
        let sequence = next.max(self.first);
        let line = self.lines.get((sequence - self.first) as usize)?;
        self.sent = self.sent.max(sequence + 1);
        let message = FromShim::Output {
            sequence,
            stream: line.stream,
            at_ms: line.at_ms,
            line: line.text.clone(),
        };
        Some((message, sequence + 1))
    }

    fn drop_oldest(&mut self) {
        if self.first >= self.sent {
            self.dropped += 1;
        }
        self.pop();
    }

    fn pop(&mut self) {
        if let Some(line) = self.lines.pop_front() {
            self.bytes -= line.cost();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(backlog: &mut Backlog, count: usize) {
        for _ in 0..count {
            backlog.push(Stream::Stdout, 0, "x".repeat(1024 - LINE_OVERHEAD_BYTES));
        }
    }

    fn sequence(message: &FromShim) -> u64 {
        match message {
            FromShim::Output { sequence, .. } => *sequence,
            other => panic!("{other:?} is no line"),
        }
    }

    #[test]
    fn a_new_connection_gets_what_was_not_acknowledged() {
        let mut backlog = Backlog::default();
        fill(&mut backlog, 3);
        let (first, next) = backlog.message(backlog.first()).unwrap();
        assert_eq!((sequence(&first), next), (0, 1));
        backlog.message(1).unwrap();
        backlog.acknowledge(0);
        assert_eq!(sequence(&backlog.message(backlog.first()).unwrap().0), 1);
        backlog.acknowledge(2);
        assert!(backlog.is_empty() && backlog.message(backlog.first()).is_none());
    }

    #[test]
    fn dropped_lines_are_counted_once_and_told_before_the_next() {
        let mut backlog = Backlog::default();
        fill(&mut backlog, 1024);
        assert!(backlog.is_full());
        fill(&mut backlog, 1);
        backlog.make_room();
        let (told, next) = backlog.message(backlog.first()).unwrap();
        assert_eq!(told, FromShim::Dropped { lines: 2 });
        let (line, _) = backlog.message(next).unwrap();
        assert_eq!(sequence(&line), 2);
    }

    #[test]
    fn lines_that_were_handed_over_are_not_counted_as_dropped() {
        let mut backlog = Backlog::default();
        fill(&mut backlog, 1024);
        let mut next = backlog.first();
        while let Some((_, after)) = backlog.message(next) {
            next = after;
        }
        backlog.make_room();
        fill(&mut backlog, 1);
        let (line, _) = backlog.message(next).unwrap();
        assert_eq!(sequence(&line), 1024);
    }
}
