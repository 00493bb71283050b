//! Which TCP ports an instance listens on, for the explanation of a refused connection.

use std::collections::BTreeSet;

/// State of a listening socket in `/proc/net/tcp` (proc(5)).
const LISTENING: &str = "0A";

/// The ports anything in the namespace of a process listens on, and whether only loopback reaches each.
pub fn ports(pid: i32) -> BTreeSet<(u16, bool)> {
    ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok())
        .flat_map(|text| parse(&text))
        .collect()
}

fn parse(table: &str) -> Vec<(u16, bool)> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (address, port) = fields.nth(1)?.rsplit_once(':')?;
            (fields.nth(1)? == LISTENING)
                .then(|| Some((u16::from_str_radix(port, 16).ok()?, is_loopback(address))))
                .flatten()
        })
        .collect()
}

/// Addresses stand there in the machine's byte order, in words of four bytes.
fn is_loopback(address: &str) -> bool {
    match address.len() {
        8 => address.ends_with("7F"),
        _ => address == "00000000000000000000000001000000",
    }
}

/// What to add to a refused connection to `port`: where the application listens instead.
pub fn explain(port: u16, listening: &BTreeSet<(u16, bool)>) -> String {
    if listening.contains(&(port, true)) && !listening.contains(&(port, false)) {
        return "; the application listens on this port for 127.0.0.1 only, it has to for 0.0.0.0"
            .to_owned();
    }
    let others: BTreeSet<String> = listening
        .iter()
        .filter(|(other, _)| *other != port)
        .map(|(other, _)| other.to_string())
        .collect();
    match others.len() {
        0 => "; the application listens on no port".to_owned(),
        1 => format!(
            "; the application listens on port {}",
            others.iter().next().map_or("", String::as_str)
        ),
        _ => format!(
            "; the application listens on ports {}",
            others.into_iter().collect::<Vec<_>>().join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue\n\
        0: 00000000:1388 00000000:0000 0A 00000000:00000000\n\
        1: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n\
        2: 0200D50A:1389 0100D50A:9999 01 00000000:00000000\n";

    #[test]
    fn only_listening_sockets_count() {
        assert_eq!(parse(TCP), [(5000, false), (8080, true)]);
        assert!(parse("").is_empty());
    }

    #[test]
    fn the_likely_mistake_is_named() {
        let listening: BTreeSet<(u16, bool)> = parse(TCP).into_iter().collect();
        assert!(explain(8080, &listening).contains("for 127.0.0.1 only"));
        assert!(explain(80, &listening).ends_with("listens on ports 5000, 8080"));
        assert!(explain(80, &BTreeSet::new()).ends_with("listens on no port"));
        assert!(explain(80, &BTreeSet::from([(5000, false)])).ends_with("listens on port 5000"));
    }
}
