//! A service as all workers see it: requests that wait, and counters. Lives across route tables.

use crate::access::line;
use crate::clock::micros;
use crate::reason::Reason;
use apron_link::proxy::LATENCY_CLASSES_MS;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Most requests of one service that wait for an instance when no more can be started.
pub const WAITING_MAX: u32 = 1_000;

/// Most requests of one service that wait while more instances can be started: what a burst may hold in memory and
/// connections until they are.
pub const WAITING_GROWING_MAX: u32 = 10_000;

/// One service.
#[derive(Debug)]
pub struct Service {
    /// The service's id.
    pub id: String,
    /// The id as it stands in the access log.
    pub logged: Box<[u8]>,
    /// Traffic since the process started.
    pub counters: Counters,
    outstanding: AtomicU32,
    waiting: AtomicU32,
    peak: AtomicU32,
    /// Requests refused for want of an instance that the control plane has not been told of.
    asked: AtomicU32,
    wanting: AtomicBool,
    noted: AtomicBool,
    tickets: AtomicU64,
    waiters: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
    reported: Mutex<Reading>,
}

/// Traffic since the process started; the difference of two readings is what is reported.
#[derive(Debug, Default)]
pub struct Counters {
    answered: [AtomicU64; 6],
    latency: [AtomicU64; 16],
    latency_us: AtomicU64,
    refused: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// What the counters said at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Requests by class of status; index 0 is cut before a status.
    pub answered: [u64; 6],
    /// Requests by class of time.
    pub latency: [u64; 16],
    /// Sum of the times from head to end, in milliseconds.
    pub latency_ms: u64,
    /// Requests the platform answered with an error or cut.
    pub refused: u64,
    /// Bytes of request bodies.
    pub bytes_in: u64,
    /// Bytes of response bodies.
    pub bytes_out: u64,
}

/// What is known of a request's outcome while it is under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finished {
    /// The status the client was answered with; zero is none.
    pub status: u16,
    /// When the head of the answer was there.
    pub answered_at: Option<Instant>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// The answer was delivered in full.
    pub delivered: bool,
    /// Why it was not answered in full, or why the platform answered it.
    pub failed: Option<Reason>,
}

impl Finished {
    /// The head of a final answer is there.
    pub fn answered(&mut self, status: u16) {
        self.status = status;
        self.answered_at = Some(Instant::now());
    }

    /// The request ends before its answer does. The first reason counts.
    pub fn cut(&mut self, reason: Reason) {
        self.failed.get_or_insert(reason);
    }
}

impl Counters {
    /// Counts a request that took this time.
    pub fn add(&self, finished: &Finished, time: Duration) {
        let class = usize::from(finished.status / 100);
        self.answered[class.min(5)].fetch_add(1, Relaxed);
        let us = micros(time);
        self.latency[latency_class(us)].fetch_add(1, Relaxed);
        let refused = finished.failed.is_some_and(Reason::is_ours);
        for (counter, value) in [
            (&self.latency_us, us),
            (&self.refused, refused.into()),
            (&self.bytes_in, finished.bytes_in),
            (&self.bytes_out, finished.bytes_out),
        ] {
            if value > 0 {
                counter.fetch_add(value, Relaxed);
            }
        }
    }

    fn read(&self) -> Reading {
        Reading {
            answered: std::array::from_fn(|class| self.answered[class].load(Relaxed)),
            latency: std::array::from_fn(|class| self.latency[class].load(Relaxed)),
            latency_ms: self.latency_us.load(Relaxed) / 1_000,
            refused: self.refused.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
        }
    }
}

/// The class of [`LATENCY_CLASSES_MS`] a time in microseconds is in.
fn latency_class(us: u64) -> usize {
    LATENCY_CLASSES_MS.partition_point(|end| us > end * 1_000)
}

impl Service {
    /// A service without traffic.
    pub fn new(id: String) -> Service {
        Service {
            logged: line::id(&id),
            id,
            counters: Counters::default(),
            outstanding: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            asked: AtomicU32::new(0),
            wanting: AtomicBool::new(false),
            noted: AtomicBool::new(false),
            tickets: AtomicU64::new(0),
            waiters: Mutex::default(),
            reported: Mutex::default(),
        }
    }

    /// Requests at instances now.
    pub fn outstanding(&self) -> u32 {
        self.outstanding.load(SeqCst)
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(SeqCst)
    }

    /// A request has a place at an instance.
    pub fn occupy(&self) {
        let outstanding = self.outstanding.fetch_add(1, SeqCst) + 1;
        self.note_peak(outstanding + self.waiting.load(Relaxed));
    }

    /// A request has given its place back.
    pub fn vacate(&self) {
        self.outstanding.fetch_sub(1, SeqCst);
    }

    /// Enters the queue at its end; `None` if `max` wait already.
    pub fn enqueue(&self, max: u32) -> Option<Waiter<'_>> {
        let before = self
            .waiting
            .fetch_update(SeqCst, Relaxed, |now| (now < max).then(|| now + 1))
            .ok()?;
        self.note_peak(before + 1 + self.outstanding.load(Relaxed));
        Some(Waiter {
            service: self,
            ticket: self.tickets.fetch_add(1, Relaxed),
            woken: None,
        })
    }

    fn note_peak(&self, now: u32) {
        if now > self.peak.load(Relaxed) {
            self.peak.fetch_max(now, Relaxed);
        }
    }

    /// The most requests at the same time since the last call.
    pub fn take_peak(&self) -> u32 {
        let now = self.outstanding() + self.waiting();
        self.peak.swap(now, Relaxed).max(now)
    }

    /// Wakes the request that waits longest.
    pub fn wake_one(&self) {
        while let Some((_, waiter)) = { self.waiters().pop_first() } {
            if waiter.send(()).is_ok() {
                return;
            }
        }
    }

    /// Wakes as many requests that wait, those that wait longest.
    pub fn wake(&self, count: u32) {
        match count >= self.waiting() {
            true => self.wake_all(),
            false => (0..count).for_each(|_| self.wake_one()),
        }
    }

    /// Wakes every request that waits.
    pub fn wake_all(&self) {
        let waiters = std::mem::take(&mut *self.waiters());
        for waiter in waiters.into_values() {
            // A waiter that has left needs no wake-up.
            let _ = waiter.send(());
        }
    }

    /// What the counters say, and what they said at the last call.
    pub fn report(&self) -> (Reading, Reading) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.counters.read();
        (now, std::mem::replace(&mut *reported, now))
    }

    /// A request was refused for want of an instance.
    pub fn ask(&self) {
        self.asked.fetch_add(1, SeqCst);
    }

    /// Requests that wait, and those that were refused since the last call.
    pub fn take_wanting(&self) -> u32 {
        self.waiting().saturating_add(self.asked.swap(0, SeqCst))
    }

    /// Whether demand has begun to exceed what instances may be given, as far as the control plane was told.
    pub fn begins_to_want(&self) -> bool {
        !self.wanting.load(SeqCst) && !self.wanting.swap(true, SeqCst)
    }

    /// Whether there still is more demand than instances may be given. If not, the next request that waits begins it anew:
    /// a request counts itself as waiting before it looks whether that was told, and here it is the other way round, so
    /// that one of the two sees the other.
    pub fn still_wants(&self) -> bool {
        let wants = || self.waiting() > 0 || self.asked.load(SeqCst) > 0;
        if wants() {
            return true;
        }
        self.wanting.store(false, SeqCst);
        wants() && self.begins_to_want()
    }

    /// Nobody was told that the service wants instances.
    pub fn forget_wanting(&self) {
        self.wanting.store(false, SeqCst);
    }

    /// Whether this is the first traffic since it was last written down that there was none.
    pub fn is_new_traffic(&self) -> bool {
        !self.noted.load(Relaxed) && !self.noted.swap(true, SeqCst)
    }

    /// Writes down that there is no traffic.
    pub fn forget_traffic(&self) {
        self.noted.store(false, SeqCst);
    }

    fn waiters(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<()>>> {
        // The map is whole between any two statements, so a panic elsewhere does not spoil it.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a service's queue. Keeps its position when it was woken in vain.
#[derive(Debug)]
pub struct Waiter<'a> {
    service: &'a Service,
    ticket: u64,
    woken: Option<oneshot::Receiver<()>>,
}

impl Waiter<'_> {
    /// Registers for the next wake-up. A wake-up between a vain attempt and this call is not seen: look again after it.
    pub fn register(&mut self) {
        let (sender, receiver) = oneshot::channel();
        self.service.waiters().insert(self.ticket, sender);
        self.woken = Some(receiver);
    }

    /// Ready when it is woken, which it is told once.
    pub fn poll_woken(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(woken) = &mut self.woken else {
            return Poll::Pending;
        };
        let woken = Pin::new(woken).poll(context).map(|_| ());
        if woken.is_ready() {
            self.woken = None;
        }
        woken
    }

    /// Whether nobody who is registered waits longer.
    pub fn is_first(&self) -> bool {
        let waiters = self.service.waiters();
        waiters
            .first_key_value()
            .is_none_or(|(first, _)| *first >= self.ticket)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let registered = self.service.waiters().remove(&self.ticket).is_some();
        self.service.waiting.fetch_sub(1, SeqCst);
        let unused = self
            .woken
            .as_mut()
            .is_some_and(|woken| woken.try_recv().is_ok());
        if !registered && unused {
            self.service.wake_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_and_in_order() {
        let service = Service::new("s".into());
        let mut waiters: Vec<_> = (0..WAITING_MAX)
            .map(|_| service.enqueue(WAITING_MAX).unwrap())
            .collect();
        assert!(service.enqueue(WAITING_MAX).is_none());
        assert!(service.enqueue(WAITING_GROWING_MAX).is_some());
        waiters.drain(2..);
        assert_eq!(service.waiting(), 2);
        for waiter in &mut waiters {
            waiter.register();
        }
        assert!(waiters[0].is_first() && !waiters[1].is_first());
        service.wake_one();
        assert!(waiters[0].woken.as_mut().unwrap().try_recv().is_ok());
        assert!(waiters[1].woken.as_mut().unwrap().try_recv().is_err());
        // Woken in vain: it is still the first.
        waiters[0].register();
        service.wake_one();
        assert!(waiters[1].woken.as_mut().unwrap().try_recv().is_err());
    }

    #[test]
    fn a_waiter_that_leaves_passes_its_wake_up_on() {
        let service = Service::new("s".into());
        let enqueue = || service.enqueue(WAITING_MAX).unwrap();
        let (mut first, mut second) = (enqueue(), enqueue());
        first.register();
        second.register();
        service.wake_one();
        drop(first);
        assert!(second.woken.as_mut().unwrap().try_recv().is_ok());
        drop(second);
        assert_eq!(service.waiting(), 0);
        assert!(service.waiters().is_empty());
    }

    #[test]
    fn wanting_begins_once_and_ends_when_nobody_waits() {
        let service = Service::new("s".into());
        let waiter = service.enqueue(WAITING_MAX).unwrap();
        assert!(service.begins_to_want() && !service.begins_to_want());
        assert!(service.still_wants());
        drop(waiter);
        service.ask();
        assert!(service.still_wants());
        assert_eq!((service.take_wanting(), service.take_wanting()), (1, 0));
        assert!(!service.still_wants());
        assert!(service.begins_to_want());
    }

    #[test]
    fn peaks_and_times_are_counted_in_their_interval() {
        let service = Service::new("s".into());
        service.occupy();
        service.occupy();
        let waiter = service.enqueue(WAITING_MAX).unwrap();
        drop(waiter);
        service.vacate();
        assert_eq!((service.take_peak(), service.take_peak()), (3, 1));
        let finished = Finished {
            status: 200,
            ..Finished::default()
        };
        for (us, class) in [
            (0, 0),
            (1_000, 0),
            (1_001, 1),
            (120_000_000, 14),
            (u64::MAX, 15),
        ] {
            assert_eq!(latency_class(us), class, "{us}");
        }
        service.counters.add(&finished, Duration::from_micros(700));
        service.counters.add(&finished, Duration::from_micros(700));
        let (now, before) = service.report();
        assert_eq!(
            (now.latency[0], now.latency_ms, before),
            (2, 1, Reading::default())
        );
        assert_eq!(service.report(), (now, now));
    }
}
