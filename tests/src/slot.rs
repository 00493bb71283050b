//! What platforms that run at the same time must not share: name, ports, network. A slot is a number that one test
//! process holds at a time, by a lock on a file, and everything follows from it.

use anyhow::{Context, Result, bail};
use std::fs::{self, File, TryLockError};

/// Platforms that can exist at the same time.
const SLOTS: u16 = 60;
/// First port of the first slot, below the range the kernel gives out by itself.
const FIRST_PORT: u16 = 20_000;
/// Ports per slot.
const PORTS: u16 = 10;

/// One slot; free again when it is dropped or its process ends.
pub struct Slot {
    number: u16,
    _lock: File,
}

impl Slot {
    /// Takes the first free slot.
    pub fn take() -> Result<Slot> {
        let dir = std::env::temp_dir().join("e2e-slots");
        fs::create_dir_all(&dir).with_context(|| format!("could not make {}", dir.display()))?;
        for number in 0..SLOTS {
            let lock =
                File::create(dir.join(number.to_string())).context("could not make a lock file")?;
            match lock.try_lock() {
                Ok(()) => {
                    return Ok(Slot {
                        number,
                        _lock: lock,
                    });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(error).context("could not lock a slot");
                }
            }
        }
        bail!("{SLOTS} platforms are running already")
    }

    /// The platform's name: short, because interface names hold 15 characters.
    pub fn name(&self) -> String {
        format!("e2e{}", self.number)
    }

    /// The network of its instances.
    pub fn network(&self) -> String {
        format!("10.{}.0.0/16", 60 + self.number)
    }

    /// The `index`th of its ports.
    pub fn port(&self, index: u16) -> u16 {
        assert!(index < PORTS, "a slot has {PORTS} ports");
        FIRST_PORT + self.number * PORTS + index
    }
}
