//! Slows those who guess: after a number of requests from one address that were not authentic, each further refusal waits. Good
//! requests never do, so that nobody can lock out somebody else who comes from the same address.

use apron_domain::Millis;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Refusals of one address that wait for nothing.
const FREE_REFUSALS: u32 = 20;
/// The first wait; each further one is twice as long.
const WAIT_FIRST: Duration = Duration::from_millis(50);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Time without a refusal after which an address begins anew, milliseconds.
const FORGET_AFTER_MS: u64 = 60_000;
/// Addresses remembered. At the bound those that would be forgotten next go.
const ADDRESSES_MAX: usize = 4_096;
/// Refusals that wait at the same time; more are refused as too many at once.
const WAITING_MAX: usize = 64;

/// The refusals of addresses.
pub struct Throttle {
    addresses: Mutex<HashMap<IpAddr, Refusals>>,
    waiting: Semaphore,
}

#[derive(Clone, Copy)]
struct Refusals {
    count: u32,
    last: Millis,
}

impl Default for Throttle {
    fn default() -> Throttle {
        Throttle {
            addresses: Mutex::default(),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }
}

impl Throttle {
    /// An address is refused: waits as long as it has to. Returns whether the refusal is one too many to wait.
    pub async fn refused(&self, address: Option<IpAddr>, now: Millis) -> bool {
        let Some(address) = address else { return false };
        let wait = wait(self.count(address, now));
        if wait.is_zero() {
            return false;
        }
        match self.waiting.try_acquire() {
            Ok(_place) => {
                tokio::time::sleep(wait).await;
                false
            }
            Err(_) => true,
        }
    }

    fn count(&self, address: IpAddr, now: Millis) -> u32 {
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if addresses.len() >= ADDRESSES_MAX && !addresses.contains_key(&address) {
            addresses.retain(|_, it| now.since(it.last) < FORGET_AFTER_MS);
            let oldest = addresses.iter().min_by_key(|(_, it)| it.last);
            if let Some(oldest) = oldest.map(|(address, _)| *address)
                && addresses.len() >= ADDRESSES_MAX
            {
                addresses.remove(&oldest);
            }
        }
        let known = addresses.entry(address).or_insert(Refusals {
            count: 0,
            last: now,
        });
        if now.since(known.last) >= FORGET_AFTER_MS {
            known.count = 0;
        }
        known.count = known.count.saturating_add(1);
        known.last = now;
        known.count
    }
}

/// How long the refusal of that number waits.
fn wait(count: u32) -> Duration {
    let Some(beyond) = count.checked_sub(FREE_REFUSALS + 1) else {
        return Duration::ZERO;
    };
    WAIT_FIRST.saturating_mul(1 << beyond.min(10)).min(WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_free_then_slower_then_bounded() {
        assert_eq!(wait(FREE_REFUSALS), Duration::ZERO);
        assert_eq!(wait(FREE_REFUSALS + 1), WAIT_FIRST);
        assert_eq!(wait(FREE_REFUSALS + 2), WAIT_FIRST * 2);
        assert_eq!(wait(u32::MAX), WAIT_MAX);
    }

    #[test]
    fn addresses_are_counted_apart_forgotten_and_bounded() {
        let throttle = Throttle::default();
        let address = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        assert_eq!(throttle.count(address(1), Millis(1)), 1);
        assert_eq!(throttle.count(address(1), Millis(2)), 2);
        assert_eq!(throttle.count(address(2), Millis(2)), 1);
        assert_eq!(throttle.count(address(1), Millis(2 + FORGET_AFTER_MS)), 1);
        for n in 0..ADDRESSES_MAX * 2 {
            throttle.count(address(n), Millis(3));
        }
        assert!(throttle.addresses.lock().unwrap().len() <= ADDRESSES_MAX);
    }
}
