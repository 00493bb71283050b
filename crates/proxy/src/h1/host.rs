//! The authority of a request: `Host`, absolute-form targets, SNI.

/// A host as routes name it: lower case, without port and without the root's dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The name, for example `app.example.com`, or `[::1]`.
    pub name: String,
    /// The port, if one was given.
    pub port: Option<u16>,
}

/// Longest host name, in bytes (RFC 1035 section 2.3.4), with a port.
const AUTHORITY_BYTES_MAX: usize = 262;

/// Reads `host[:port]`. `None` for anything that is not a registered name, an IPv4 address or a bracketed IPv6 address:
/// user information, blanks, percent escapes, an empty name, a port out of range.
pub fn parse(authority: &[u8]) -> Option<Host> {
    let text = std::str::from_utf8(authority)
        .ok()
        .filter(|text| text.len() <= AUTHORITY_BYTES_MAX)?;
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (
                &text[..address.len() + 2],
                after
                    .strip_prefix(':')
                    .or(Some("").filter(|_| after.is_empty()))?,
            )
        }
        None => {
            let (name, port) = text.split_once(':').unwrap_or((text, ""));
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() || !name.bytes().all(is_name_byte) {
                return None;
            }
            (name, port)
        }
    };
    let port = match port {
        "" => None,
        digits if digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok()?)
        }
        _ => return None,
    };
    Some(Host {
        name: name.to_ascii_lowercase(),
        port,
    })
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, Option<u16>)>) {
        let host = parse(text.as_bytes());
        assert_eq!(
            host.as_ref().map(|host| (host.name.as_str(), host.port)),
            expected,
            "{text:?}"
        );
    }

    #[test]
    fn hosts_are_normalised_or_refused() {
        check("A.Example.com", Some(("a.example.com", None)));
        check("a.example.com.:8443", Some(("a.example.com", Some(8443))));
        check("127.0.0.1:80", Some(("127.0.0.1", Some(80))));
        check("[::1]:443", Some(("[::1]", Some(443))));
        check("a:", Some(("a", None)));
        for bad in [
            "", ":80", "a b", "u@a", "a:99999", "a:+1", "a:80:80", "a/b", "[::1", "[x]", "[::1]80",
            "a%41", "é", ".",
        ] {
            check(bad, None);
        }
        check(&"a".repeat(300), None);
    }
}
