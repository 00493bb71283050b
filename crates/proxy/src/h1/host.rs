//! The authority of a request: `Host`, absolute-form targets, SNI.

use std::borrow::Cow;

/// A host as routes name it: lower case, without port and without the root's dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'b> {
    /// The name, for example `app.example.com`, or `[::1]`.
    pub name: Cow<'b, str>,
    /// The port, if one was given.
    pub port: Option<u16>,
}

/// Longest host name, in bytes (RFC 1035 section 2.3.4), with a port.
const AUTHORITY_BYTES_MAX: usize = 262;

/// What a byte is in a registered name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Lower,
    Upper,
    Colon,
    Never,
}

const CLASSES: [Class; 256] = {
    let mut table = [Class::Never; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => Class::Lower,
            b'A'..=b'Z' => Class::Upper,
            b':' => Class::Colon,
            _ => Class::Never,
        };
        byte += 1;
    }
    table
};

/// Reads `host[:port]`. `None` for anything that is not a registered name, an IPv4 address or a bracketed IPv6 address:
/// user information, blanks, percent escapes, an empty name, a port out of range.
pub fn parse(authority: &[u8]) -> Option<Host<'_>> {
    if authority.len() > AUTHORITY_BYTES_MAX {
        return None;
    }
    let bracketed = match authority.strip_prefix(b"[") {
        Some(rest) => 2 + std::str::from_utf8(rest).ok()?.find(']')?,
        None => 0,
    };
    let (mut end, mut upper) = (bracketed, false);
    if bracketed > 0 {
        let address = std::str::from_utf8(&authority[1..bracketed - 1]).ok()?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        upper = true;
    } else {
        for byte in authority {
            match CLASSES[usize::from(*byte)] {
                Class::Lower => {}
                Class::Upper => upper = true,
                Class::Colon => break,
                Class::Never => return None,
            }
            end += 1;
        }
    }
    let (name, port) = authority.split_at(end);
    let name = std::str::from_utf8(name.strip_suffix(b".").unwrap_or(name)).ok()?;
    if name.is_empty() {
        return None;
    }
    let name = match upper {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    };
    let port = match port {
        [] | b":" => None,
        [b':', digits @ ..] => Some(port_number(digits)?),
        _ => return None,
    };
    Some(Host { name, port })
}

fn port_number(digits: &[u8]) -> Option<u16> {
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |number: u32, digit: &u8| number * 10 + u32::from(digit - b'0');
    u16::try_from(digits.iter().fold(0, number)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, Option<u16>)>) {
        let host = parse(text.as_bytes());
        assert_eq!(
            host.as_ref().map(|host| (&*host.name, host.port)),
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
