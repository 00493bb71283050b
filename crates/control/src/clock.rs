//! The two things decisions must not take for themselves: the time and chance.

use apron_domain::Millis;
use async_trait::async_trait;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Where the time comes from.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Millis;

    /// Waits until this time. On a clock that is set while somebody waits, until then by the clock before.
    async fn reach(&self, at: Millis);
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

#[async_trait]
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

    async fn reach(&self, at: Millis) {
        tokio::time::sleep(Duration::from_millis(at.since(self.now()))).await;
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
    now: watch::Sender<Millis>,
    drawn: AtomicU64,
}

impl Manual {
    /// A clock at this time.
    pub fn at(now: Millis) -> Manual {
        Manual {
            now: watch::Sender::new(now),
            drawn: AtomicU64::new(0),
        }
    }

    /// Moves the clock forward.
    pub fn pass(&self, ms: u64) {
        self.now.send_modify(|now| *now = now.plus(ms));
    }
}

#[async_trait]
impl Clock for Manual {
    fn now(&self) -> Millis {
        *self.now.borrow()
    }

    async fn reach(&self, at: Millis) {
        // The sender is this clock itself, so the channel is open.
        let _ = self.now.subscribe().wait_for(|now| *now >= at).await;
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
