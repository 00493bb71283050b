//! What the backend is told.

use crate::cgroup::Priority;
use crate::error::NodeError;
use crate::network::Subnet;
use std::path::PathBuf;

/// Longest platform name, in bytes: it becomes part of directory and table names.
pub const NAME_BYTES_MAX: usize = 40;

/// Bytes of a platform's name in the names of its interfaces, which hold 15.
const INTERFACE_PREFIX_BYTES: usize = 5;

/// Prepared slots kept ready when nothing else is said.
pub const POOL_SLOTS: usize = 2;

/// Size of the disks kept ready, in bytes: what App Runner gives an instance.
pub const DISK_BYTES: u64 = 3 << 30;

/// Settings of a [`crate::Node`].
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Where unpacked layers and instances' disks are.
    pub data_dir: PathBuf,
    /// Where plans, sockets and exits of instances are; emptied by a reboot or not, both work.
    pub run_dir: PathBuf,
    /// Tells several platforms on one machine apart: lower-case letters, digits and `-`, at most
    /// [`NAME_BYTES_MAX`] bytes. Control groups are in `apron-<name>` and `apron-<name>-builds`, firewall rules in the table `apron-<name>`, interface
    /// names begin with it or with five characters made from it.
    pub name: String,
    /// Addresses of instances; no more than /8, no less than /28, used by nothing else on this machine.
    pub instance_network: Subnet,
    /// The shim's program.
    pub shim: PathBuf,
    /// Networks that instances must not reach, besides the machine itself, each other, and link-local addresses (where clouds
    /// have their metadata).
    pub blocked_destinations: Vec<Subnet>,
    /// Name servers for instances; empty means those of this machine.
    pub resolvers: Vec<std::net::Ipv4Addr>,
    /// Prepared network namespaces and disks kept ready, so that a start need not wait for them.
    pub pool_slots: usize,
    /// A file with the certificates that instances are given to trust, for those that talk to the platform.
    pub trust_bundle: Option<PathBuf>,
    /// Instances have users of their own, who are nobody on the machine, where the kernel allows that.
    pub user_namespaces: bool,
    /// Builds use every processor, also the core that they otherwise leave to everything else.
    pub builds_on_every_processor: bool,
    /// Where the platform listens for its instances, if it does.
    pub doors: Option<Doors>,
}

/// Ports of the platform on the machine's end of the instances' interfaces ([`Subnet::gateway`]). Instances reach them at
/// [`DOORS_ADDRESS`] and nowhere else: `credentials` at port 80, `api` at port 443.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doors {
    /// Port of the endpoint that gives an application its credentials, plain HTTP.
    pub credentials: u16,
    /// Port of the platform's API, with TLS.
    pub api: u16,
}

/// The address at which instances reach the platform: that of the container credentials of ECS, whose SDKs know it.
pub const DOORS_ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(169, 254, 170, 2);

impl NodeConfig {
    /// A configuration with the usual values.
    pub fn new(name: &str, data_dir: PathBuf, run_dir: PathBuf, shim: PathBuf) -> NodeConfig {
        NodeConfig {
            data_dir,
            run_dir,
            name: name.to_owned(),
            instance_network: Subnet::DEFAULT,
            shim,
            blocked_destinations: Vec::new(),
            resolvers: Vec::new(),
            pool_slots: POOL_SLOTS,
            trust_bundle: None,
            user_namespaces: true,
            builds_on_every_processor: false,
            doors: None,
        }
    }

    /// `apron-<name>`: the control groups' parent and the firewall table.
    pub fn scope(&self) -> String {
        format!("apron-{}", self.name)
    }

    /// The control groups' parent for builds.
    pub fn build_scope(&self) -> String {
        format!("apron-{}-builds", self.name)
    }

    /// What builds get of the processor.
    pub(crate) fn build_priority(&self) -> Priority {
        Priority::Low {
            leave_core: !self.builds_on_every_processor,
        }
    }

    /// What this platform's interface names begin with, before `_`: its name when that is short enough, otherwise five
    /// characters made from it.
    pub fn interface_prefix(&self) -> String {
        if self.name.len() <= INTERFACE_PREFIX_BYTES {
            return self.name.clone();
        }
        // FNV-1a, folded to 16 bits: stable across versions, unlike the standard library's hasher.
        let hash = self
            .name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        format!(
            "a{:04x}",
            (hash ^ (hash >> 16) ^ (hash >> 32) ^ (hash >> 48)) & 0xffff
        )
    }

    /// Refuses what cannot work, with the reason.
    pub fn check(&self) -> Result<(), NodeError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.bytes().all(plain)
        {
            return Err(NodeError::Config(format!(
                "the name `{}` is not 1 to {NAME_BYTES_MAX} lower-case letters, digits and dashes",
                self.name
            )));
        }
        for directory in [&self.data_dir, &self.run_dir] {
            // These have a meaning in the mount options of overlayfs.
            let text = directory.to_string_lossy();
            if !directory.is_absolute() || text.contains([',', ':', '\\', '\n']) {
                return Err(NodeError::Config(format!(
                    "the directory `{text}` is not absolute or contains a comma, colon, backslash or line end"
                )));
            }
        }
        if !(8..=28).contains(&self.instance_network.prefix) {
            return Err(NodeError::Config(format!(
                "the instance network {} is not between /8 and /28",
                self.instance_network
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, data: &str) -> NodeConfig {
        NodeConfig::new(
            name,
            data.into(),
            "/run/apron".into(),
            "/bin/apron-shim".into(),
        )
    }

    #[test]
    fn names_become_prefixes_that_fit_into_interface_names() {
        let prefix = |name: &str| config(name, "/d").interface_prefix();
        assert_eq!(prefix("apron"), "apron");
        assert!(prefix("apron-two").len() == 5 && prefix("apron-two") != prefix("apron-three"));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert!(config("apron", "/var/lib/apron").check().is_ok());
        for (name, data) in [
            ("", "/d"),
            ("Apron", "/d"),
            ("a b", "/d"),
            ("a", "relative"),
            ("a", "/with,comma"),
        ] {
            assert!(config(name, data).check().is_err(), "{name} {data}");
        }
        let mut small = config("a", "/d");
        small.instance_network.prefix = 30;
        assert!(
            small
                .check()
                .unwrap_err()
                .to_string()
                .contains("between /8 and /28")
        );
    }
}
