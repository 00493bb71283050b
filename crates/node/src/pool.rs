//! Network namespaces and disks made ahead of time, so that a start need not wait for them.
//!
//! What is in the pool is held by descriptors of this process and goes with it; only the disks' files remain, and the
//! next start removes those.

use crate::config::DISK_BYTES;
use crate::disk::{Disk, Disks};
use crate::error::{NodeError, Step};
use crate::network::{Namespace, Network};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// Pause before the pool is filled up, so that it does not compete with the start it was emptied for.
const REFILL_AFTER: Duration = Duration::from_millis(30);

/// Pause after a failure to fill the pool.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What an instance is made in.
#[derive(Debug)]
pub struct Slot {
    /// Its network.
    pub namespace: Namespace,
    /// Its disk.
    pub disk: Disk,
}

/// Slots made ahead of time.
#[derive(Debug)]
pub struct Pool {
    network: Arc<Network>,
    disks: Arc<Disks>,
    ready: Mutex<VecDeque<Slot>>,
    wanted: usize,
    disk_bytes: AtomicU64,
    taken: Arc<Notify>,
}

impl Pool {
    /// A pool that keeps `wanted` slots, with the first made already: what this machine cannot do shows now.
    pub async fn start(
        network: Arc<Network>,
        disks: Arc<Disks>,
        wanted: usize,
    ) -> Result<Arc<Pool>, NodeError> {
        let pool = Arc::new(Pool {
            network,
            disks,
            ready: Mutex::default(),
            wanted,
            disk_bytes: AtomicU64::new(DISK_BYTES),
            taken: Arc::default(),
        });
        let first = pool.clone().make(DISK_BYTES).await?;
        pool.put_back(first);
        tokio::spawn(refill(Arc::downgrade(&pool)));
        Ok(pool)
    }

    /// A slot with a disk of this size.
    pub async fn take(self: &Arc<Pool>, disk_bytes: u64) -> Result<Slot, NodeError> {
        let disk_bytes = Disks::size(disk_bytes);
        self.disk_bytes.store(disk_bytes, Ordering::Relaxed);
        let ready = {
            let mut ready = self.ready();
            let position = ready.iter().position(|slot| slot.disk.bytes == disk_bytes);
            position.and_then(|position| ready.remove(position))
        };
        self.taken.notify_one();
        match ready {
            Some(slot) => Ok(slot),
            None => self.clone().make(disk_bytes).await,
        }
    }

    /// Removes what a slot has left behind that no instance took over.
    pub fn discard(&self, slot: &Slot) {
        if let Err(error) = self.network.remove(slot.namespace.slot) {
            tracing::warn!(%error, "could not remove an unused network interface");
        }
        let _ = std::fs::remove_file(&slot.disk.path);
    }

    fn put_back(&self, slot: Slot) {
        let mut ready = self.ready();
        if ready.len() < self.wanted {
            ready.push_back(slot);
            return;
        }
        drop(ready);
        self.discard(&slot);
    }

    async fn make(self: Arc<Pool>, disk_bytes: u64) -> Result<Slot, NodeError> {
        let work = move || -> Result<Slot, NodeError> {
            let disk = self.disks.create(disk_bytes)?;
            match self.network.create() {
                Ok(namespace) => Ok(Slot { namespace, disk }),
                Err(error) => {
                    let _ = std::fs::remove_file(&disk.path);
                    Err(error)
                }
            }
        };
        tokio::task::spawn_blocking(work)
            .await
            .step("make a slot for an instance")?
    }

    /// Removes slots whose disk has another size than what is asked for now, and says whether more are needed.
    fn wants_more(&self) -> bool {
        let size = self.disk_bytes.load(Ordering::Relaxed);
        let (count, other) = {
            let mut ready = self.ready();
            let (kept, other): (VecDeque<Slot>, VecDeque<Slot>) = std::mem::take(&mut *ready)
                .into_iter()
                .partition(|slot| slot.disk.bytes == size);
            *ready = kept;
            (ready.len(), other)
        };
        other.iter().for_each(|slot| self.discard(slot));
        count < self.wanted
    }

    fn ready(&self) -> std::sync::MutexGuard<'_, VecDeque<Slot>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let ready = std::mem::take(&mut *self.ready());
        ready.iter().for_each(|slot| self.discard(slot));
    }
}

async fn refill(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(REFILL_AFTER).await;
        let Some(strong) = pool.upgrade() else { return };
        let check = strong.clone();
        let more = tokio::task::spawn_blocking(move || check.wants_more())
            .await
            .unwrap_or(false);
        if more {
            let size = strong.disk_bytes.load(Ordering::Relaxed);
            match strong.clone().make(size).await {
                Ok(slot) => strong.put_back(slot),
                Err(error) => {
                    tracing::warn!(%error, "could not prepare a slot for the next instance");
                    drop(strong);
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
            continue;
        }
        // Wait without keeping the pool alive, and look now and then whether it still is.
        let taken = strong.taken.clone();
        drop(strong);
        let _ = tokio::time::timeout(RETRY_AFTER, taken.notified()).await;
    }
}
