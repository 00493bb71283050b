//! The instances' network: a namespace and a pair of interfaces each, with nothing but a route between them.
//!
//! An instance has one address with no neighbours; its only way leads to the machine, which forwards to the internet and
//! drops everything else ([`firewall`]). Nothing is shared on layer 2, and a packet with another sender's address is
//! dropped by the reverse path filter of its interface.

mod addresses;
mod firewall;
mod namespace;
mod netlink;
mod resolvers;
mod sysctl;

pub use addresses::{SLOTS_MAX, Subnet};
pub use namespace::{Namespace, close};

use crate::config::NodeConfig;
use crate::error::NodeError;
use netlink::Netlink;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

/// The network of one platform.
#[derive(Debug)]
pub struct Network {
    subnet: Subnet,
    prefix: String,
    resolvers: Vec<Ipv4Addr>,
    used: Mutex<BTreeSet<u32>>,
}

impl Network {
    /// Sets up forwarding and the firewall; existing rules of the same platform are replaced in one step.
    pub fn open(config: &NodeConfig) -> Result<Network, NodeError> {
        let resolvers = match config.resolvers.is_empty() {
            true => resolvers::of_this_machine(),
            false => config.resolvers.clone(),
        };
        let prefix = config.interface_prefix();
        firewall::install(&firewall::Rules {
            table: config.scope(),
            interfaces: interfaces(&prefix),
            instances: config.instance_network,
            blocked: config.blocked_destinations.clone(),
            resolvers: resolvers.clone(),
            doors: config.doors,
        })?;
        sysctl::enable_forwarding(&config.scope())?;
        Ok(Network {
            subnet: config.instance_network,
            prefix,
            resolvers,
            used: Mutex::default(),
        })
    }

    /// Name servers instances use.
    pub fn resolvers(&self) -> &[Ipv4Addr] {
        &self.resolvers
    }

    /// Marks a slot as used by an instance that exists already.
    pub fn claim(&self, slot: u32) {
        self.used().insert(slot);
    }

    /// Gives a slot back, after its interface is gone.
    pub fn release(&self, slot: u32) {
        self.used().remove(&slot);
    }

    /// Makes a namespace with an address; blocks for some milliseconds.
    pub fn create(&self) -> Result<Namespace, NodeError> {
        let slot = {
            let mut used = self.used();
            let slot = (0..self.subnet.slots())
                .find(|slot| !used.contains(slot))
                .ok_or_else(|| {
                    NodeError::step("find a free address", format!("{} is used up", self.subnet))
                })?;
            used.insert(slot);
            slot
        };
        let ends = namespace::Ends {
            interface: self.interface(slot),
            address: self.subnet.host(slot),
            gateway: self.subnet.gateway(),
        };
        // What a killed run was making can still stand in the way: the kernel removes a namespace with some delay.
        let again = |_| {
            Netlink::open()?.delete_link(&ends.interface)?;
            namespace::create(&ends)
        };
        match namespace::create(&ends).or_else(again) {
            Ok(descriptor) => Ok(Namespace {
                slot,
                address: ends.address,
                descriptor,
            }),
            Err(error) => {
                // Whatever was made of it goes; the first error is the one to tell.
                let _ = self.remove(slot);
                Err(error)
            }
        }
    }

    /// Removes a slot's interface and gives the slot back. One that is gone is fine.
    pub fn remove(&self, slot: u32) -> Result<(), NodeError> {
        Netlink::open()?.delete_link(&self.interface(slot))?;
        self.release(slot);
        Ok(())
    }

    /// Removes interfaces of this platform that belong to none of the claimed slots.
    pub fn remove_unclaimed(&self) -> Result<(), NodeError> {
        let kept: BTreeSet<String> = self
            .used()
            .iter()
            .map(|slot| self.interface(*slot))
            .collect();
        remove_interfaces(&self.prefix, &kept)
    }

    fn interface(&self, slot: u32) -> String {
        format!("{}_{slot:x}", self.prefix)
    }

    fn used(&self) -> std::sync::MutexGuard<'_, BTreeSet<u32>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes every trace of a platform's network.
pub fn purge(config: &NodeConfig) -> Result<(), NodeError> {
    remove_interfaces(&config.interface_prefix(), &BTreeSet::new())?;
    firewall::remove(&config.scope())?;
    sysctl::restore_forwarding(&config.scope())
}

/// The pattern of a platform's interface names.
fn interfaces(prefix: &str) -> String {
    format!("{prefix}_*")
}

fn remove_interfaces(prefix: &str, kept: &BTreeSet<String>) -> Result<(), NodeError> {
    let mut netlink = Netlink::open()?;
    let begins = format!("{prefix}_");
    for name in netlink.link_names()? {
        if name.starts_with(&begins) && !kept.contains(&name) {
            netlink.delete_link(&name)?;
        }
    }
    Ok(())
}
