//! One worker: a thread with its own runtime, listeners, client connections and upstream connections.

pub mod accept;
pub mod run;

use crate::access::{BUFFER_BYTES, Lines};
use crate::clock::{Calendar, millis};
use crate::deadline::Sweep;
use crate::instance::Instance;
use crate::pool::Pool;
use crate::route::{Route, Table};
use crate::service::Service;
use crate::shared::{Event, Shared};
use crate::splice::Pipes;
use crate::upstream2::connections::Connections;
use std::cell::{Cell, RefCell, RefMut};
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// Most bytes of one read, which is also the memory a slow reader can hold in one direction.
pub const READ_BYTES_MAX: usize = 256 << 10;

/// What the tasks of a worker share.
#[derive(Debug)]
pub struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// The clock and the deadlines.
    pub sweep: Rc<Sweep>,
    /// Pipes for large bodies.
    pub pipes: RefCell<Pipes>,
    /// Idle upstream connections.
    pub pool: RefCell<Pool>,
    /// HTTP/2 connections to instances.
    pub upstreams2: RefCell<Connections>,
    /// Dates.
    pub calendar: Calendar,
    lines: RefCell<Lines>,
    table: RefCell<Arc<Table>>,
    scratch: RefCell<Box<[u8]>>,
    retiring: Cell<bool>,
    parting: Cell<bool>,
    connections: Cell<usize>,
    left: Notify,
    turn: Cell<usize>,
    random: Cell<u64>,
}

impl Worker {
    /// A worker without connections.
    pub fn new(shared: Arc<Shared>) -> Rc<Worker> {
        let seed = std::hash::RandomState::new().build_hasher().finish();
        Rc::new(Worker {
            sweep: Sweep::new(shared.epoch),
            shared,
            pipes: RefCell::default(),
            pool: RefCell::default(),
            upstreams2: RefCell::default(),
            calendar: Calendar::default(),
            lines: RefCell::default(),
            table: RefCell::default(),
            scratch: RefCell::new(vec![0; READ_BYTES_MAX].into_boxed_slice()),
            retiring: Cell::new(false),
            parting: Cell::new(false),
            connections: Cell::new(0),
            left: Notify::new(),
            turn: Cell::new(seed as usize),
            random: Cell::new(seed),
        })
    }

    /// Looks something up in the table in force.
    pub fn route<T>(&self, look_up: impl FnOnce(&Table) -> T) -> T {
        look_up(&self.table.borrow())
    }

    /// The buffer reads go to. Not to be kept across an await.
    pub fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }

    /// Whether this process finishes what is under way and takes nothing new.
    pub fn retiring(&self) -> bool {
        self.retiring.get()
    }

    /// Whether the time this process had to finish is over: what cannot end by itself says its last words.
    pub fn parting(&self) -> bool {
        self.parting.get()
    }

    /// The next number in turn.
    pub fn turn(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }

    /// A request id: 32 hexadecimal digits, unguessable enough to correlate log lines and no more than that.
    pub fn request_id(&self) -> [u8; 32] {
        let mut id = [0; 32];
        for half in id.chunks_exact_mut(16) {
            half.copy_from_slice(&hexadecimal(self.random()));
        }
        id
    }

    /// Steps a SplitMix64 generator.
    fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

/// A number in 16 hexadecimal digits, all computed at once: each half of it in a word, each digit in a byte.
fn hexadecimal(number: u64) -> [u8; 16] {
    let digits = |half: u64| {
        let pairs = (half & 0xffff) | (half & 0xffff_0000) << 16;
        let pairs = (pairs | pairs << 8) & 0x00ff_00ff_00ff_00ff;
        let nibbles = (pairs | pairs << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        // One where the digit is a letter: letters begin 39 after the digits.
        let letters = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
        nibbles + 0x3030_3030_3030_3030 + letters * 39
    };
    let mut text = [0; 16];
    text[..8].copy_from_slice(&digits(number >> 32).to_be_bytes());
    text[8..].copy_from_slice(&digits(number & 0xffff_ffff).to_be_bytes());
    text
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.hand_over_lines();
    }
}

/// A place at an instance, given back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    worker: Rc<Worker>,
    /// The service.
    pub service: Arc<Service>,
    /// The instance.
    pub instance: Arc<Instance>,
    /// Requests the instance is given at the same time, as of when the place was taken.
    pub max_concurrency: u32,
    /// It is to be seen how the instance does.
    probe: bool,
}

impl Slot {
    /// Takes over a place that was acquired at `instance`.
    pub fn new(worker: &Rc<Worker>, route: &Route, instance: &Arc<Instance>, probe: bool) -> Slot {
        route.service.occupy();
        instance.wake();
        Slot {
            worker: Rc::clone(worker),
            service: Arc::clone(&route.service),
            instance: Arc::clone(instance),
            max_concurrency: route.max_concurrency,
            probe,
        }
    }
}

impl Slot {
    /// A connection to the instance was made.
    pub fn connected(&self) {
        if self.instance.health.connected() {
            self.wake_waiting();
        }
    }

    /// The instance has answered.
    pub fn answered(&self) {
        if self.instance.health.answered() {
            self.wake_waiting();
        }
    }

    /// There may be a place for a request that waits; whoever takes it passes the word on.
    pub fn wake_waiting(&self) {
        if self.service.waiting() > 0 {
            self.service.wake_one();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.service.vacate();
        if self.probe {
            self.instance.health.end_probe();
        }
        if self.instance.release() {
            self.worker.shared.drained.notify_one();
        }
        self.wake_waiting();
    }
}

/// Counts a connection of a worker as long as it lives.
#[derive(Debug)]
pub struct Admitted(Rc<Worker>);

impl Admitted {
    /// Counts one more connection.
    pub fn new(worker: &Rc<Worker>) -> Admitted {
        worker.connections.set(worker.connections.get() + 1);
        Admitted(Rc::clone(worker))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let left = self.0.connections.get() - 1;
        self.0.connections.set(left);
        if left == 0 {
            self.0.left.notify_one();
        }
    }
}

impl Worker {
    /// Milliseconds since 1970.
    pub fn wall_ms(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.shared.epoch);
        self.calendar.wall_ms(millis(since))
    }

    /// Has a line written to the access log.
    pub fn log(&self, write: impl FnOnce(&mut Lines)) {
        let mut lines = self.lines.borrow_mut();
        if lines.bytes.capacity() == 0 {
            *lines = self.shared.access_log.buffer();
        }
        write(&mut lines);
        if lines.bytes.len() >= BUFFER_BYTES {
            self.shared
                .access_log
                .push(std::mem::take(&mut lines), false);
        }
    }

    /// Hands over the lines of the access log, to be sent now.
    pub fn hand_over_lines(&self) {
        let mut lines = self.lines.borrow_mut();
        if !lines.entries.is_empty() {
            let lines = std::mem::take(&mut *lines);
            self.shared.access_log.push(lines, true);
        }
    }

    /// Tells the control plane, at most once a second, that a connection to an instance failed.
    pub fn report_unreachable(&self, instance: &Arc<Instance>, error: String) {
        if instance.may_report(self.sweep.precise_ms(), crate::shared::REPORT_INTERVAL_MS) {
            // A full channel means that there is more trouble than can be told; the next failure tells it again.
            let _ = self
                .shared
                .events
                .try_send(Event::Unreachable(Arc::clone(instance), error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::hexadecimal;

    #[test]
    fn numbers_are_written_in_hexadecimal() {
        for number in [0, 1, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX] {
            let expected = format!("{number:016x}");
            assert_eq!(hexadecimal(number), expected.as_bytes(), "{number}");
        }
    }
}
