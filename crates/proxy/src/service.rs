//! A service as all workers see it: requests that wait, and counters. Lives across route tables.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Most requests of one service that wait for an instance.
pub const WAITING_MAX: u32 = 1_000;

/// One service.
#[derive(Debug)]
pub struct Service {
    /// The service's id.
    pub id: String,
    /// Requests at instances now.
    pub outstanding: AtomicU32,
    /// Traffic since the process started.
    pub counters: Counters,
    waiting: AtomicU32,
    tickets: AtomicU64,
    waiters: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
    wanted_ms: AtomicU64,
    reported: Mutex<Reading>,
}

/// Traffic since the process started; the difference of two readings is what is reported.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests by class of status; index 0 is cut before a status.
    pub answered: [AtomicU64; 6],
    /// Sum of the milliseconds from head to end.
    pub latency_ms: AtomicU64,
    /// Bytes of request bodies.
    pub bytes_in: AtomicU64,
    /// Bytes of response bodies.
    pub bytes_out: AtomicU64,
}

/// What the counters said at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// As [`Counters::answered`].
    pub answered: [u64; 6],
    /// As [`Counters::latency_ms`].
    pub latency_ms: u64,
    /// As [`Counters::bytes_in`].
    pub bytes_in: u64,
    /// As [`Counters::bytes_out`].
    pub bytes_out: u64,
}

/// One finished request, to be counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finished {
    /// The status the client was answered with; zero is none.
    pub status: u16,
    /// Milliseconds from head to end.
    pub latency_ms: u64,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
}

impl Counters {
    /// Counts a request.
    pub fn add(&self, finished: Finished) {
        let class = usize::from(finished.status / 100);
        self.answered[if class < 6 { class } else { 5 }].fetch_add(1, Relaxed);
        for (counter, value) in [
            (&self.latency_ms, finished.latency_ms),
            (&self.bytes_in, finished.bytes_in),
            (&self.bytes_out, finished.bytes_out),
        ] {
            if value > 0 {
                counter.fetch_add(value, Relaxed);
            }
        }
    }
}

impl Service {
    /// A service without traffic.
    pub fn new(id: String) -> Service {
        Service {
            id,
            outstanding: AtomicU32::new(0),
            counters: Counters::default(),
            waiting: AtomicU32::new(0),
            tickets: AtomicU64::new(0),
            waiters: Mutex::default(),
            wanted_ms: AtomicU64::new(0),
            reported: Mutex::default(),
        }
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(SeqCst)
    }

    /// Enters the queue at its end; `None` if it is full.
    pub fn enqueue(&self) -> Option<Waiter<'_>> {
        self.waiting
            .fetch_update(SeqCst, Relaxed, |now| (now < WAITING_MAX).then(|| now + 1))
            .ok()?;
        Some(Waiter {
            service: self,
            ticket: self.tickets.fetch_add(1, Relaxed),
            woken: None,
        })
    }

    /// Wakes the request that waits longest.
    pub fn wake_one(&self) {
        while let Some((_, waiter)) = { self.waiters().pop_first() } {
            if waiter.send(()).is_ok() {
                return;
            }
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

    /// Notes that this reading is reported; answers the one before.
    pub fn reported(&self, reading: Reading) -> Reading {
        std::mem::replace(
            &mut *self.reported.lock().unwrap_or_else(PoisonError::into_inner),
            reading,
        )
    }

    /// Whether the control plane may be told that an instance is wanted: at most once in `interval_ms`.
    pub fn may_report(&self, now_ms: u64, interval_ms: u64) -> bool {
        let due = |last: u64| (last == 0 || now_ms >= last + interval_ms).then_some(now_ms.max(1));
        self.wanted_ms.fetch_update(Relaxed, Relaxed, due).is_ok()
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
    pub fn register(&mut self) -> &mut oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.service.waiters().insert(self.ticket, sender);
        self.woken.insert(receiver)
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
            .map(|_| service.enqueue().unwrap())
            .collect();
        assert!(service.enqueue().is_none());
        waiters.drain(2..);
        assert_eq!(service.waiting(), 2);
        for waiter in &mut waiters {
            waiter.register();
        }
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
        let (mut first, mut second) = (service.enqueue().unwrap(), service.enqueue().unwrap());
        first.register();
        second.register();
        service.wake_one();
        drop(first);
        assert!(second.woken.as_mut().unwrap().try_recv().is_ok());
        drop(second);
        assert_eq!(service.waiting(), 0);
        assert!(service.waiters().is_empty());
    }
}
