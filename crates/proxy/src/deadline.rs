//! Coarse deadlines: connections note when their time is up and one sweep per worker wakes those that are late. A timer
//! per request would cost more than the request's own bookkeeping, and tenths of a second do not matter here.

use crate::clock::millis;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// How often the sweep runs, which is how late a deadline may be seen.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// Which deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// That of the whole request.
    Total,
    /// That of the present phase.
    Phase,
    /// That of the next byte.
    Idle,
}

const NEVER: u64 = u64::MAX;

/// The worker's clock, as of its last sweep, and the deadlines it watches.
#[derive(Debug)]
pub struct Sweep {
    epoch: Instant,
    now_ms: Cell<u64>,
    entries: RefCell<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    slots: Vec<Option<Rc<Entry>>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    total_ms: Cell<u64>,
    phase_ms: Cell<u64>,
    idle_ms: Cell<u64>,
    awaited: Cell<Awaited>,
    waker: RefCell<Option<Waker>>,
}

/// Whether somebody wants to know that a sweep has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    No,
    Yes,
    Came,
}

impl Sweep {
    /// A sweep whose milliseconds count from `epoch`.
    pub fn new(epoch: Instant) -> Rc<Sweep> {
        let sweep = Sweep {
            epoch,
            now_ms: Cell::new(0),
            entries: RefCell::default(),
        };
        sweep.now_ms.set(sweep.precise_ms());
        Rc::new(sweep)
    }

    /// Milliseconds since the epoch, as of the last sweep.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// Milliseconds since the epoch, read from the clock.
    pub fn precise_ms(&self) -> u64 {
        millis(self.epoch.elapsed())
    }

    /// Looks at the clock and wakes every connection whose deadline has passed, or every one if `all` is set.
    pub fn run(&self, all: bool) {
        let now = self.precise_ms();
        self.now_ms.set(now);
        for entry in self.entries.borrow().slots.iter().flatten() {
            let first = entry.total_ms.get().min(entry.phase_ms.get());
            let awaited = entry.awaited.get() == Awaited::Yes;
            if awaited {
                entry.awaited.set(Awaited::Came);
            }
            let late = all || awaited || now >= first.min(entry.idle_ms.get());
            if let Some(waker) = late.then(|| entry.waker.borrow_mut().take()).flatten() {
                waker.wake();
            }
        }
    }

    /// Deadlines of a new connection; none is set.
    pub fn register(self: &Rc<Sweep>) -> Deadline {
        let entry = Rc::new(Entry {
            total_ms: Cell::new(NEVER),
            phase_ms: Cell::new(NEVER),
            idle_ms: Cell::new(NEVER),
            awaited: Cell::new(Awaited::No),
            waker: RefCell::new(None),
        });
        let mut entries = self.entries.borrow_mut();
        let slot = entries.free.pop().unwrap_or_else(|| {
            entries.slots.push(None);
            entries.slots.len() - 1
        });
        entries.slots[slot] = Some(Rc::clone(&entry));
        drop(entries);
        Deadline {
            sweep: Rc::clone(self),
            entry,
            slot,
        }
    }
}

/// The deadlines of one connection.
#[derive(Debug)]
pub struct Deadline {
    sweep: Rc<Sweep>,
    entry: Rc<Entry>,
    slot: usize,
}

impl Deadline {
    /// Sets or clears the deadline of the whole request.
    pub fn set_total(&self, within: Option<Duration>) {
        self.entry.total_ms.set(self.at(within));
    }

    /// Sets or clears the deadline of the present phase.
    pub fn set_phase(&self, within: Option<Duration>) {
        self.entry.phase_ms.set(self.at(within));
    }

    /// Sets or clears the deadline of the next byte.
    pub fn set_idle(&self, within: Option<Duration>) {
        self.entry.idle_ms.set(self.at(within));
    }

    /// Whether a deadline of the phase is set.
    pub fn has_phase(&self) -> bool {
        self.entry.phase_ms.get() != NEVER
    }

    fn at(&self, within: Option<Duration>) -> u64 {
        let Some(within) = within else { return NEVER };
        self.sweep
            .now_ms()
            .saturating_add(u64::try_from(within.as_millis()).unwrap_or(NEVER))
    }

    /// Whether a sweep has run since this was asked first; if not, the task is woken when one has.
    pub fn swept(&self) -> bool {
        let awaited = self.entry.awaited.get();
        if awaited == Awaited::No {
            self.entry.awaited.set(Awaited::Yes);
        }
        awaited == Awaited::Came
    }

    /// Begins anew with what [`Deadline::swept`] answers.
    pub fn forget_sweep(&self) {
        self.entry.awaited.set(Awaited::No);
    }

    /// Which deadline has passed, if any; otherwise the task is woken when one does.
    pub fn expired(&self, context: &Context<'_>) -> Option<Expired> {
        let now = self.sweep.now_ms();
        if now >= self.entry.total_ms.get() {
            return Some(Expired::Total);
        }
        if now >= self.entry.phase_ms.get() {
            return Some(Expired::Phase);
        }
        if now >= self.entry.idle_ms.get() {
            return Some(Expired::Idle);
        }
        let mut waker = self.entry.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
        None
    }

    /// Runs `future` until it is done or a deadline has passed.
    pub async fn bound<F: Future>(&self, future: F) -> Result<F::Output, Expired> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|context| {
            if let std::task::Poll::Ready(output) = future.as_mut().poll(context) {
                return std::task::Poll::Ready(Ok(output));
            }
            self.expired(context)
                .map_or(std::task::Poll::Pending, |expired| {
                    std::task::Poll::Ready(Err(expired))
                })
        })
        .await
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let mut entries = self.sweep.entries.borrow_mut();
        entries.slots[self.slot] = None;
        entries.free.push(self.slot);
    }
}
