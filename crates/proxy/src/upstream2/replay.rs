//! The beginning of a request's body, kept until the instance answers: what an instance refused without looking at it
//! (RFC 9113 section 8.7) is sent again.

use super::downstream::{Downstream, NoPart, Part};
use std::task::{Context, Poll, ready};

/// Most bytes of a body that are kept: enough for the usual call of a procedure.
pub const REPLAY_BYTES_MAX: usize = 64 << 10;

/// What was read of a body.
#[derive(Debug, Default)]
pub struct Replay {
    kept: Vec<Part>,
    bytes: usize,
    next: usize,
    spoiled: bool,
}

/// A part of the body, and whether the client is still to be granted as much.
pub type Read = (Part, bool);

impl Replay {
    /// The next part, one that was kept or a new one. What is kept is granted anew at once.
    pub fn poll_part<D: Downstream>(
        &mut self,
        side: &mut D,
        context: &mut Context<'_>,
    ) -> Poll<Result<Read, NoPart>> {
        if let Some(part) = self.kept.get(self.next) {
            self.next += 1;
            return Poll::Ready(Ok((part.clone(), false)));
        }
        let part = ready!(side.poll_part(context))?;
        let length = match &part {
            Part::Data(data) => data.len(),
            Part::End(_) => 0,
        };
        if self.spoiled || self.bytes + length > REPLAY_BYTES_MAX {
            self.give_up();
            return Poll::Ready(Ok((part, true)));
        }
        self.bytes += length;
        self.kept.push(part.clone());
        self.next += 1;
        side.grant(length);
        Poll::Ready(Ok((part, false)))
    }

    /// Whether the whole of what was read can be read again.
    pub fn whole(&self) -> bool {
        !self.spoiled
    }

    /// Begins again.
    pub fn rewind(&mut self) {
        self.next = 0;
    }

    /// Keeps nothing from now on. What is kept and not yet read again is still read.
    pub fn give_up(&mut self) {
        self.spoiled = true;
        self.kept.drain(..self.next);
        self.next = 0;
    }
}
