//! Which name servers instances can use: those of the machine that can be reached from elsewhere.

use std::net::{IpAddr, Ipv4Addr};

/// Where name servers are listed; later ones are for machines whose first list names only a local stub.
const LISTS: &[&str] = &[
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
    "/run/resolvconf/resolv.conf",
];

/// Most name servers a C library looks at (resolv.conf(5)).
const SERVERS_MAX: usize = 3;

/// What Docker falls back to as well, when a machine names only a stub and nobody knows what is behind it.
const FALLBACK: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];

/// The name servers of this machine.
pub fn of_this_machine() -> Vec<Ipv4Addr> {
    let found = LISTS
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(|text| reachable_servers(&text))
        .find(|servers| !servers.is_empty());
    found.unwrap_or_else(|| {
        tracing::warn!(
            "this machine names no resolver that instances could reach, they are given {FALLBACK:?}"
        );
        FALLBACK.to_vec()
    })
}

/// The IPv4 servers in a list that are no stub on the machine itself.
fn reachable_servers(text: &str) -> Vec<Ipv4Addr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver"))
                .then(|| words.next())
                .flatten()
        })
        .filter_map(|word| word.parse::<IpAddr>().ok())
        .filter_map(|address| match address {
            IpAddr::V4(address) if !address.is_loopback() && !address.is_unspecified() => {
                Some(address)
            }
            _ => None,
        })
        .take(SERVERS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stubs_and_other_families_are_passed_over() {
        let text = "# comment\nsearch example.org\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.1\n\
            nameserver 192.0.2.2 # second\noptions edns0\n";
        assert_eq!(
            reachable_servers(text),
            [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)]
        );
        assert!(reachable_servers("nameserver 127.0.0.1\n").is_empty());
    }
}
