//! IPv4 networks and how instances are numbered in them.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// Most instances a machine is given addresses for.
pub const SLOTS_MAX: u32 = 4096;

/// An IPv4 network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its lowest address.
    pub base: Ipv4Addr,
    /// How many leading bits all its addresses share.
    pub prefix: u8,
}

impl Subnet {
    /// Where instances are when nothing else is said.
    pub const DEFAULT: Subnet = Subnet {
        base: Ipv4Addr::new(10, 213, 0, 0),
        prefix: 16,
    };

    /// The first address: the machine's end of every instance's interface.
    pub fn gateway(self) -> Ipv4Addr {
        self.nth(1)
    }

    /// The address of an instance's slot.
    pub fn host(self, slot: u32) -> Ipv4Addr {
        self.nth(slot + 2)
    }

    /// How many slots there are.
    pub fn slots(self) -> u32 {
        let addresses = 1_u64 << (32 - u32::from(self.prefix));
        // Without the network's own address, the gateway and the broadcast address.
        u32::try_from(addresses - 3)
            .unwrap_or(u32::MAX)
            .min(SLOTS_MAX)
    }

    fn nth(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base) + offset)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// Text that is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an IPv4 network such as 10.213.0.0/16")]
pub struct InvalidSubnet(String);

impl FromStr for Subnet {
    type Err = InvalidSubnet;

    fn from_str(text: &str) -> Result<Subnet, InvalidSubnet> {
        let invalid = || InvalidSubnet(text.to_owned());
        let (base, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let base: Ipv4Addr = base.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        let host_bits = 32_u32.checked_sub(u32::from(prefix)).ok_or_else(invalid)?;
        let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
        match u32::from(base) & !mask {
            0 => Ok(Subnet { base, prefix }),
            _ => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_written() {
        for text in ["10.213.0.0/16", "0.0.0.0/0", "169.254.169.254/32"] {
            assert_eq!(text.parse::<Subnet>().unwrap().to_string(), text);
        }
        for text in ["10.213.0.1/16", "10.0.0.0/33", "10.0.0/8", "", "fe80::/64"] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }

    #[test]
    fn slots_stay_inside_the_network() {
        let small: Subnet = "10.9.8.0/28".parse().unwrap();
        assert_eq!(small.gateway(), Ipv4Addr::new(10, 9, 8, 1));
        assert_eq!(small.slots(), 13);
        assert_eq!(small.host(small.slots() - 1), Ipv4Addr::new(10, 9, 8, 14));
        assert_eq!(Subnet::DEFAULT.slots(), SLOTS_MAX);
    }
}
