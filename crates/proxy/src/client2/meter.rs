//! What a client's frames are worth. Frames that move nothing (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA,
//! unknown ones) cost the client a few bytes and the proxy a dispatch, an answer perhaps; RFC 9113 section 10.5 leaves it
//! to the server to notice. The h2 crate bounds the memory of some of them; here their number is bounded, by what the
//! client asks for and is sent besides.

use crate::deadline::Sweep;
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most that a connection can save up, which is also what it begins with.
pub const CREDIT_MAX: u32 = 2_000;

/// What a connection is given in a second, whatever it does.
const CREDIT_PER_SECOND: u64 = 50;

/// Bytes sent to the client for which it is given one: fewer than the answer to a PING has for what a PING costs.
const BYTES_PER_CREDIT: usize = 16;

/// What a request is worth: it may be followed by an empty DATA frame and a WINDOW_UPDATE.
const CREDIT_PER_REQUEST: u32 = 2;

/// The connection preface (RFC 9113 section 3.4), in bytes, and the head of a frame (section 4.1).
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;

/// Whether a connection has used up its credit.
#[derive(Clone, Debug, Default)]
pub struct Spent(Rc<Cell<bool>>);

impl Spent {
    /// Whether it has.
    pub fn get(&self) -> bool {
        self.0.get()
    }
}

/// A client's connection that is read no further when its credit is used up.
#[derive(Debug)]
pub struct Meter<C> {
    stream: C,
    account: Account,
    spent: Spent,
    sweep: Rc<Sweep>,
    since_ms: u64,
}

/// The credit of a connection, and how far its frames were followed.
#[derive(Debug)]
struct Account {
    credit: u32,
    head: [u8; HEAD_BYTES],
    seen: usize,
    skip: usize,
}

impl Account {
    fn new() -> Account {
        Account {
            credit: CREDIT_MAX,
            head: [0; HEAD_BYTES],
            seen: 0,
            skip: PREFACE_BYTES,
        }
    }

    fn earn(&mut self, credit: u32) {
        self.credit = self.credit.saturating_add(credit).min(CREDIT_MAX);
    }

    /// Follows what was read; answers whether there is credit left.
    fn read(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let wanted = (HEAD_BYTES - self.seen).min(bytes.len());
            if wanted == 0 {
                return true;
            }
            self.head[self.seen..self.seen + wanted].copy_from_slice(&bytes[..wanted]);
            self.seen += wanted;
            bytes = &bytes[wanted..];
            if self.seen == HEAD_BYTES {
                self.seen = 0;
                let [high, middle, low, kind, ..] = self.head;
                self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                if !self.count(kind) {
                    return false;
                }
            }
        }
    }

    /// Counts a frame whose payload is to be skipped.
    fn count(&mut self, kind: u8) -> bool {
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        const SETTINGS: u8 = 4;
        const PING: u8 = 6;
        let cost = match kind {
            DATA if self.skip > 0 => 0,
            HEADERS => {
                self.earn(CREDIT_PER_REQUEST);
                0
            }
            SETTINGS | PING => 2,
            _ => 1,
        };
        let left = self.credit.checked_sub(cost);
        self.credit = left.unwrap_or(0);
        left.is_some()
    }
}

impl<C> Meter<C> {
    /// A connection that was just made.
    pub fn new(stream: C, sweep: &Rc<Sweep>) -> (Meter<C>, Spent) {
        let spent = Spent::default();
        let meter = Meter {
            stream,
            account: Account::new(),
            spent: spent.clone(),
            sweep: Rc::clone(sweep),
            since_ms: sweep.now_ms(),
        };
        (meter, spent)
    }

    fn earn_by_time(&mut self) {
        let passed_ms = self.sweep.now_ms().saturating_sub(self.since_ms);
        let credit = passed_ms * CREDIT_PER_SECOND / 1_000;
        if credit > 0 {
            self.since_ms += passed_ms;
            self.account.earn(u32::try_from(credit).unwrap_or(u32::MAX));
        }
    }

    fn earn_by_bytes(&mut self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(written)) = written {
            let credit = written / BYTES_PER_CREDIT;
            self.account.earn(u32::try_from(credit).unwrap_or(u32::MAX));
        }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Meter<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.spent.get() {
            // Whoever polls the connection looks at this afterwards and ends it.
            return Poll::Pending;
        }
        let before = room.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, room))?;
        this.earn_by_time();
        if !this.account.read(&room.filled()[before..]) {
            this.spent.0.set(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Meter<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.earn_by_bytes(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.earn_by_bytes(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let mut out = vec![0, (length >> 8) as u8, length as u8, kind, 0, 0, 0, 0, 1];
        out.resize(HEAD_BYTES + length, 0);
        out
    }

    /// How many of these in a row a connection gets away with, cut into reads of `cut` bytes.
    fn endured(frames: &[Vec<u8>], cut: usize) -> Option<usize> {
        let mut account = Account::new();
        assert!(account.read(&[0; PREFACE_BYTES]));
        (0..10_000).find(|_| {
            let bytes = frames.concat();
            !bytes.chunks(cut).all(|piece| account.read(piece))
        })
    }

    #[test]
    fn frames_that_move_nothing_use_credit_up() {
        for cut in [1, 5, 1_000] {
            assert_eq!(endured(&[frame(6, 8)], cut), Some(1_000));
            assert_eq!(endured(&[frame(4, 6)], cut), Some(1_000));
            assert_eq!(endured(&[frame(8, 4)], cut), Some(2_000));
            assert_eq!(endured(&[frame(0, 0)], cut), Some(2_000));
            assert_eq!(endured(&[frame(0xfa, 300)], cut), Some(2_000));
        }
    }

    #[test]
    fn requests_and_bodies_do_not() {
        let usual = [frame(1, 40), frame(0, 700), frame(0, 0), frame(8, 4)];
        for cut in [1, 5, 1_000] {
            assert_eq!(endured(&usual, cut), None);
        }
    }

    #[test]
    fn what_is_sent_pays_for_the_windows_it_takes() {
        let mut account = Account::new();
        account.skip = 0;
        for _ in 0..10_000 {
            account.earn((16_384 / BYTES_PER_CREDIT) as u32);
            assert!(account.read(&[frame(8, 4), frame(8, 4)].concat()));
        }
    }
}
