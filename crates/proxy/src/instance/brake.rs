//! The brake of an instance: an open file by which its processor is taken away while it has no requests, and given back
//! before it gets one.
//!
//! No instance with a request may stay braked. Two sides meet here: a worker that takes a place at the instance, and the
//! link's thread that puts the brake on.
//!
//! * A worker first counts its request (`outstanding`), then looks whether the brake is on (`on`).
//! * The link first says that the brake is on, then looks whether there are requests; if there are, it takes that back.
//!
//! All four are sequentially consistent, so there is one order of them in which each side's first step stands before its
//! second. Whichever first step is the later one in that order, that side's second step sees the other's first: either the
//! worker sees that the brake is on and takes it off, or the link sees the request and leaves it off. What is written to
//! the file is written under a lock, and `on` is cleared only after `busy` was written: a worker that finds it cleared, at
//! its first look or under the lock, is at an instance that has its processor.

use rustix::io::{pwrite, retry_on_intr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A file and what to write to it.
#[derive(Debug)]
pub struct Brake {
    file: OwnedFd,
    idle: String,
    busy: String,
}

impl Brake {
    /// A brake that is off: what it was before is not known, so `busy` is written.
    pub fn new(file: OwnedFd, idle: String, busy: String) -> Brake {
        let brake = Brake { file, idle, busy };
        brake.take_off();
        brake
    }

    fn put_on(&self) -> bool {
        self.write(&self.idle)
    }

    fn take_off(&self) -> bool {
        self.write(&self.busy)
    }

    fn write(&self, text: &str) -> bool {
        // Control files take a value by one write.
        match retry_on_intr(|| pwrite(&self.file, text.as_bytes(), 0)) {
            Ok(written) if written == text.len() => true,
            Ok(_) => false,
            Err(error) => {
                tracing::debug!(%error, text, "a brake does not take what is written to it");
                false
            }
        }
    }
}

/// Where an instance keeps its brake.
#[derive(Debug, Default)]
pub struct Holder {
    /// The brake is on, or about to be.
    on: AtomicBool,
    brake: Mutex<Option<Brake>>,
}

impl Holder {
    /// Whether the brake is on. One load, which is all that a request costs at an instance that is not braked.
    pub fn is_on(&self) -> bool {
        self.on.load(SeqCst)
    }

    /// Holds a brake, in the place of another if there is one.
    pub fn hold(&self, brake: Brake) {
        let mut held = self.lock();
        *held = Some(brake);
        self.on.store(false, SeqCst);
    }

    /// Puts the brake on, unless the instance `has_requests` by then. For the link's thread only.
    pub fn put_on(&self, has_requests: impl Fn() -> bool) {
        let held = self.lock();
        let Some(brake) = held.as_ref().filter(|_| !self.is_on()) else {
            return;
        };
        self.on.store(true, SeqCst);
        if has_requests() || !brake.put_on() {
            // What was half written may have taken effect.
            brake.take_off();
            self.on.store(false, SeqCst);
        }
    }

    /// Takes the brake off. If that fails the next request tries it again.
    pub fn take_off(&self) {
        let held = self.lock();
        if self.is_on() && held.as_ref().is_none_or(Brake::take_off) {
            self.on.store(false, SeqCst);
        }
    }

    /// Takes the brake off and gives it up.
    pub fn give_up(&self) {
        let mut held = self.lock();
        if let Some(brake) = held.take().filter(|_| self.is_on()) {
            brake.take_off();
        }
        self.on.store(false, SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Brake>> {
        self.brake.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Instance;
    use std::sync::atomic::AtomicUsize;

    /// How often the brake is on while requests come.
    const BRAKED: usize = 500;

    fn brake(path: &std::path::Path) -> Brake {
        let file = std::fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .unwrap();
        Brake::new(file.into(), "idle".into(), "busy".into())
    }

    #[test]
    fn no_instance_with_a_request_is_braked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("brake");
        let instance = Instance::new("i".into(), "127.0.0.1:1".parse().unwrap());
        instance.brake.hold(brake(&path));
        let says = || std::fs::read_to_string(&path).unwrap();
        let braked = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while braked.load(SeqCst) < BRAKED {
                        assert!(instance.try_acquire(10));
                        instance.wake();
                        assert_eq!(says(), "busy");
                        instance.release();
                        // Otherwise there would hardly ever be a moment without a request.
                        (0..20).for_each(|_| std::thread::yield_now());
                    }
                });
            }
            while braked.load(SeqCst) < BRAKED {
                instance.put_brake_on();
                braked.fetch_add(instance.brake.is_on().into(), SeqCst);
                std::thread::yield_now();
            }
        });
        instance.put_brake_on();
        assert_eq!((says().as_str(), instance.brake.is_on()), ("idle", true));
        instance.brake.give_up();
        assert_eq!((says().as_str(), instance.brake.is_on()), ("busy", false));
        // Without a brake nothing is done.
        instance.put_brake_on();
        assert!(!instance.brake.is_on());
    }

    #[test]
    fn a_brake_that_fails_stays_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("brake");
        std::fs::write(&path, "").unwrap();
        let holder = Holder::default();
        let read_only = std::fs::File::open(&path).unwrap();
        holder.hold(Brake::new(read_only.into(), "idle".into(), "busy".into()));
        holder.put_on(|| false);
        assert!(!holder.is_on());
    }
}
