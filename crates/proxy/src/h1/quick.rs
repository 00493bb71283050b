//! Splitting heads that are written as nearly all are, in one pass over their bytes. A head that is written in another way,
//! cut off or wrong is not taken here and left to httparse, which judges everything else; what is taken here is taken there
//! too and means the same there, to which a fuzz target holds both.

use super::field::{Header, Room};
use super::{HEAD_BYTES_MAX, Version};

/// The lowest bit of every byte in a word, and the highest.
const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = ONES << 7;

/// A request head at the beginning of what was read.
#[derive(Debug)]
pub struct Request<'b> {
    /// The head with its empty line.
    pub head: &'b [u8],
    /// The method, a token.
    pub method: &'b str,
    /// The target as it was sent.
    pub target: &'b str,
    /// The version.
    pub version: Version,
}

/// A response head at the beginning of what was read.
#[derive(Debug)]
pub struct Response<'b> {
    /// The head with its empty line.
    pub head: &'b [u8],
    /// The version.
    pub version: Version,
    /// The status code: three digits.
    pub status: u16,
    /// The reason phrase, perhaps empty.
    pub reason: &'b str,
}

/// Takes the request head at the beginning of `bytes` and puts its fields into the room, which must be empty.
pub fn request<'b>(bytes: &'b [u8], room: &mut Room<'b>) -> Option<Request<'b>> {
    let method = token_end(bytes, 0);
    if method == 0 || bytes.get(method) != Some(&b' ') {
        return None;
    }
    let target = method + 1;
    let space = run_end::<0x21>(bytes, target);
    let fields = space + 11;
    let version = match bytes.get(space..fields)? {
        b" HTTP/1.1\r\n" => Version::Http11,
        b" HTTP/1.0\r\n" => Version::Http10,
        _ => return None,
    };
    let method = match &bytes[..method] {
        b"GET" => "GET",
        b"POST" => "POST",
        other => std::str::from_utf8(other).ok()?,
    };
    let target = std::str::from_utf8(bytes.get(target..space)?).ok()?;
    if target.is_empty() {
        return None;
    }
    Some(Request {
        method,
        target,
        version,
        head: split(bytes, fields, room)?,
    })
}

/// Takes the response head at the beginning of `bytes` and puts its fields into the room, which must be empty.
pub fn response<'b>(bytes: &'b [u8], room: &mut Room<'b>) -> Option<Response<'b>> {
    const REASON: usize = 13;
    let (version, status) = match bytes.first_chunk::<REASON>()? {
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            minor,
            b' ',
            hundreds,
            tens,
            ones,
            b' ',
        ] => {
            let version = match minor {
                b'1' => Version::Http11,
                b'0' => Version::Http10,
                _ => return None,
            };
            (version, number([*hundreds, *tens, *ones])?)
        }
        _ => return None,
    };
    let end = run_end::<0x20>(bytes, REASON);
    let fields = end + 2;
    if bytes.get(end..fields)? != b"\r\n" || edged(bytes.get(REASON..end)?) {
        return None;
    }
    Some(Response {
        version,
        status,
        reason: match bytes.get(REASON..end)? {
            b"OK" => "OK",
            other => std::str::from_utf8(other).ok()?,
        },
        head: split(bytes, fields, room)?,
    })
}

/// Splits the fields that begin here, up to the empty line; answers the head.
fn split<'b>(bytes: &'b [u8], mut at: usize, room: &mut Room<'b>) -> Option<&'b [u8]> {
    loop {
        let colon = token_end(bytes, at);
        if colon == at {
            let length = at + 2;
            let whole = bytes.get(at..length)? == b"\r\n" && length <= HEAD_BYTES_MAX;
            return whole.then(|| &bytes[..length]);
        }
        let value = match bytes.get(colon..colon + 2)? {
            b": " => colon + 2,
            [b':', _] => colon + 1,
            _ => return None,
        };
        let end = run_end::<0x20>(bytes, value);
        let header = Header {
            name: &bytes[at..colon],
            value: bytes.get(value..end)?,
        };
        if bytes.get(end..end + 2)? != b"\r\n" || edged(header.value) {
            return None;
        }
        room.try_push(header).ok()?;
        at = end + 2;
    }
}

/// Whether a text begins or ends with a blank, which is not part of a value.
fn edged(text: &[u8]) -> bool {
    text.first() == Some(&b' ') || text.last() == Some(&b' ')
}

/// Where the token that begins here ends (RFC 9110 section 5.6.2). Letters and hyphens, of which most consist, are looked
/// at eight at once.
fn token_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        let lower = (word & !HIGHS) | (ONES * 0x20);
        // With the high bit set, none borrows from its neighbour; it stays where the comparison holds.
        let from_a = (lower | HIGHS) - (ONES * b'a' as u64);
        let to_z = (HIGHS | (ONES * b'z' as u64)) - lower;
        let no_hyphen = (((word & !HIGHS) ^ (ONES * b'-' as u64)) | HIGHS) - ONES;
        let others = ((!(from_a & to_z) & no_hyphen) | word) & HIGHS;
        if others != 0 {
            at += (others.trailing_zeros() / 8) as usize;
            break;
        }
        at += 8;
    }
    let token = |byte: &&u8| TOKEN[usize::from(**byte)];
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(token).count()
}

/// Where the run of ASCII characters from `LOWEST` to `~` that begins here ends. Eight bytes are looked at at once.
fn run_end<const LOWEST: u8>(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        // Subtracting borrows from the next byte only where one was found, so the lowest one found is one.
        let below = word.wrapping_sub(ONES * LOWEST as u64) & !word;
        let delete = word ^ (ONES * 0x7f);
        let delete = delete.wrapping_sub(ONES) & !delete;
        let others = (below | delete | word) & HIGHS;
        if others != 0 {
            return at + (others.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let inside = |byte: &&u8| (LOWEST..0x7f).contains(*byte);
    at + rest.iter().take_while(inside).count()
}

fn number(digits: [u8; 3]) -> Option<u16> {
    let digit = |number: u16, digit: &u8| number * 10 + u16::from(digit - b'0');
    let all = digits.iter().all(u8::is_ascii_digit);
    all.then(|| digits.iter().fold(0, digit))
}

/// Bytes of tokens.
const TOKEN: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&'
            | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::super::HEADERS_MAX;
    use super::*;

    fn taken(head: &str) -> Option<usize> {
        match head.starts_with("HTTP") {
            true => response(head.as_bytes(), &mut Room::new()).map(|it| it.head.len()),
            false => request(head.as_bytes(), &mut Room::new()).map(|it| it.head.len()),
        }
    }

    #[test]
    fn usual_heads_are_taken_with_what_follows_left_alone() {
        for head in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "POST /a?b=c HTTP/1.1\r\nhost:a\r\nx-empty:\r\nx-empty-too: \r\nuser-agent: a (b; c) d/1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
            "HTTP/1.0 404 Not Found\r\n\r\n",
            "HTTP/1.1 204 \r\n\r\n",
        ] {
            assert_eq!(taken(head), Some(head.len()), "{head:?}");
            assert_eq!(taken(&format!("{head}body")), Some(head.len()), "{head:?}");
            for cut in 0..head.len() {
                assert_eq!(taken(&head[..cut]), None, "{head:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn everything_else_is_left_to_the_parser() {
        for field in [
            "a: b\n",
            "a : b\r\n",
            " a: b\r\n",
            "a:  b\r\n",
            "a: b \r\n",
            "a: \tb\r\n",
            "a: b\tc\r\n",
            "a: \x7f\r\n",
            "a: é\r\n",
            "é: a\r\n",
            "a: b\r\n c\r\n",
            "a\0: b\r\n",
            "a: b\rc: d\r\n",
            ": a\r\n",
            "a\r\n",
        ] {
            assert_eq!(
                taken(&format!("GET / HTTP/1.1\r\n{field}\r\n")),
                None,
                "{field:?}"
            );
            assert_eq!(
                taken(&format!("HTTP/1.1 200 OK\r\n{field}\r\n")),
                None,
                "{field:?}"
            );
        }
        for start in [
            "\r\nGET / HTTP/1.1",
            "GET  / HTTP/1.1",
            "GET /\t HTTP/1.1",
            "GET /é HTTP/1.1",
            "GET / HTTP/1.2",
            "GET /",
            "GET / HTTP/1.1 ",
            " / HTTP/1.1",
            "HTTP/1.1 200",
            "HTTP/1.1 2x0 OK",
            "HTTP/1.1 200  OK",
            "HTTP/1.1 200 OK ",
            "HTTP/2 200 OK",
        ] {
            assert_eq!(taken(&format!("{start}\r\n\r\n")), None, "{start:?}");
        }
        let fields = |number| "a: b\r\n".repeat(number);
        let head = |number| format!("GET / HTTP/1.1\r\n{}\r\n", fields(number));
        assert!(taken(&head(HEADERS_MAX)).is_some());
        assert_eq!(taken(&head(HEADERS_MAX + 1)), None);
    }

    #[test]
    fn tokens_end_at_the_first_byte_that_is_none() {
        for length in 0..20 {
            for byte in 0..=255u8 {
                let mut bytes = b"aZ-zA!0_|Content-Type"[..length].to_vec();
                bytes.extend_from_slice(&[
                    byte, b':', 0, b'a', b'\x80', b'-', b'z', b'z', b'z', b'z',
                ]);
                let expected = length + usize::from(TOKEN[usize::from(byte)]);
                assert_eq!(token_end(&bytes, 0), expected, "{byte} at {length}");
            }
        }
    }

    #[test]
    fn runs_end_at_the_first_byte_outside() {
        for length in 0..40 {
            for byte in 0..=255u8 {
                let mut bytes = vec![b'~'; length];
                bytes.push(byte);
                bytes.extend_from_slice(b"\0~~\x80~~~~~~~~~~");
                let inside = |lowest: u8| (lowest..0x7f).contains(&byte);
                let expected = |lowest| length + usize::from(inside(lowest));
                assert_eq!(
                    run_end::<0x20>(&bytes, 0),
                    expected(0x20),
                    "{byte} at {length}"
                );
                assert_eq!(
                    run_end::<0x21>(&bytes, 0),
                    expected(0x21),
                    "{byte} at {length}"
                );
            }
        }
    }
}
