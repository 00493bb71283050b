//! The machine's ids for the users of instances: each has [`USERS`] of its own.

use crate::config::NodeConfig;
use crate::network::SLOTS_MAX;
use apron_link::instance::{PROBE_USERS, USERS};
use std::path::Path;
use std::process::Command;

/// The first id that systemd leaves to containers
/// (<https://systemd.io/UIDS-GIDS/>: 524288 to 1879048191). Nobody else is asked, and no file on the machine has these ids but
/// those on instances' disks.
const FIRST: u32 = 524_288;

/// Ranges for platforms; several on one machine rarely have the same.
const RANGES: u32 = 6;

/// The first id of an instance's users.
pub fn first(platform: &str, slot: u32) -> u32 {
    let sum = platform.bytes().fold(0_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    FIRST + (sum % RANGES * SLOTS_MAX + slot % SLOTS_MAX) * USERS
}

/// Whether instances can have users of their own here; if not, the reason goes to the log. Blocks.
pub fn are_possible(config: &NodeConfig, layers: &Path) -> bool {
    match possible(config, layers) {
        Ok(()) => true,
        Err(reason) => {
            tracing::warn!(
                reason,
                "the root of an instance is this machine's, without most of its rights: the kernel gives no user namespaces \
                 whose files can be on the layers' file system (Linux 5.19, user.max_user_namespaces)"
            );
            false
        }
    }
}

fn possible(config: &NodeConfig, layers: &Path) -> Result<(), String> {
    let asked = Command::new(&config.shim)
        .args([PROBE_USERS, &first(&config.name, 0).to_string()])
        .arg(layers)
        .env_clear()
        .output();
    match asked {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("start {}: {error}", config.shim.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_instances_of_a_platform_share_an_id() {
        assert_eq!(first("apron", 1) - first("apron", 0), USERS);
        assert_ne!(first("apron", 0), first("other", 0));
        // A group for ping is at most this (net.ipv4.ping_group_range).
        let last = FIRST + RANGES * SLOTS_MAX * USERS - 1;
        assert!(last < 1 << 31, "{last}");
        let most = ["a", "b", "c", "d", "e", "f"].map(|name| first(name, SLOTS_MAX - 1));
        assert!(most.iter().all(|first| first + (USERS - 1) <= last));
    }
}
