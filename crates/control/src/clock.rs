//! The two things decisions must not take for themselves: the time and chance.

use apron_domain::Millis;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Millis;
}

/// Where random bytes come from.
pub trait Chance: Send + Sync {
    /// Fills the buffer with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// `N` random bytes.
pub fn random<const N: usize>(chance: &dyn Chance) -> [u8; N] {
    let mut bytes = [0; N];
    chance.fill(&mut bytes);
    bytes
}

/// The machine's clock and random source.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Clock for Machine {
    fn now(&self) -> Millis {
        // The one place where the control plane reads the wall clock.
        #[allow(clippy::disallowed_methods)]
        let now = std::time::SystemTime::now();
        let since = now
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Chance for Machine {
    fn fill(&self, buffer: &mut [u8]) {
        aws_lc_rs::rand::fill(buffer).expect("the operating system has a random source");
    }
}

/// A clock that is moved by hand and a predictable source of bytes, for tests.
#[derive(Debug, Default)]
pub struct Manual {
    now: AtomicU64,
    drawn: AtomicU64,
}

impl Manual {
    /// A clock at this time.
    pub fn at(now: Millis) -> Manual {
        Manual {
            now: AtomicU64::new(now.0),
            drawn: AtomicU64::new(0),
        }
    }

    /// Moves the clock forward.
    pub fn pass(&self, ms: u64) {
        self.now.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for Manual {
    fn now(&self) -> Millis {
        Millis(self.now.load(Ordering::SeqCst))
    }
}

impl Chance for Manual {
    fn fill(&self, buffer: &mut [u8]) {
        let draw = self.drawn.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        buffer
            .iter_mut()
            .rev()
            .zip(draw.iter().rev().chain(std::iter::repeat(&0)))
            .for_each(|(to, from)| *to = *from);
    }
}
