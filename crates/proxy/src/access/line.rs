//! How a line is written: as it stands within a JSON string, since that is how the link carries it. Names and numbers are
//! copied, texts are looked through for what JSON escapes. The fields, all of them in every line:
//!
//! | field | meaning |
//! |---|---|
//! | `time` | when the request ended (RFC 3339, UTC) |
//! | `service`, `instance` | ids; `instance` is empty if none had the request |
//! | `client` | the address the connection came from |
//! | `method`, `host`, `path`, `protocol` | as the client sent them; the path without its query, which may hold secrets |
//! | `request_id` | the `X-Request-Id` the application got |
//! | `user_agent` | what the client calls itself |
//! | `status` | as the client got it; 0 if it got none |
//! | `bytes_in`, `bytes_out` | of the bodies |
//! | `queue_us`, `connect_us` | microseconds spent waiting for a place and for connections |
//! | `first_byte_us`, `total_us` | microseconds from the request's head to the response's head (0 if there was none) and to the end |
//! | `failed`, `reason` | which side failed (`client`, `instance`, `platform`) and the slug of `X-Apron-Reason`; empty if none did |

use crate::h1::request::Request;
use memchr::memchr;
use std::time::Duration;

/// Longest text of a client that is kept, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;

/// Room for a usual line, in bytes.
pub const LINE_BYTES: usize = 512;

/// What the proxy knows about a request beside its head.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The service's id, as [`id`] makes it.
    pub service: &'a [u8],
    /// The client's address.
    pub client: &'a str,
    /// The protocol it speaks.
    pub protocol: &'a str,
    /// The request's id.
    pub request_id: &'a [u8],
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ended<'a> {
    /// The instance's id, as [`id`] makes it.
    pub instance: &'a [u8],
    /// The status, or zero.
    pub status: u16,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// Time without a place.
    pub queued: Duration,
    /// Time for connections.
    pub connecting: Duration,
    /// Time to the response's head.
    pub first_byte: Duration,
    /// Time to the end.
    pub total: Duration,
    /// The side that failed.
    pub failed: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// The part of a line that is known when the request comes.
pub fn request(request: &Request<'_, '_>, asked: Asked<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(LINE_BYTES);
    let target = request.target.as_bytes();
    let path = &target[..memchr(b'?', target).unwrap_or(target.len())];
    let agent = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("user-agent"))
        .map_or(&b""[..], |header| header.value);
    // Names of fields are of known length, which makes copying them a matter of two or three instructions. What a parser
    // has let through or the platform has made needs no second look: a method is a token, a host a name or an address, an
    // id that is kept is sane.
    out.extend_from_slice(br#",\"service\":\""#);
    out.extend_from_slice(asked.service);
    out.extend_from_slice(br#"\",\"client\":\""#);
    out.extend_from_slice(asked.client.as_bytes());
    out.extend_from_slice(br#"\",\"method\":\""#);
    out.extend_from_slice(bounded(request.method.as_bytes()));
    out.extend_from_slice(br#"\",\"host\":\""#);
    out.extend_from_slice(request.host.name.as_bytes());
    out.extend_from_slice(br#"\",\"path\":\""#);
    text(path, &mut out);
    out.extend_from_slice(br#"\",\"protocol\":\""#);
    out.extend_from_slice(asked.protocol.as_bytes());
    out.extend_from_slice(br#"\",\"request_id\":\""#);
    out.extend_from_slice(asked.request_id);
    out.extend_from_slice(br#"\",\"user_agent\":\""#);
    text(agent, &mut out);
    out.extend_from_slice(br#"\""#);
    out
}

/// Writes a whole line: the time, what was known when the request came, how it ended.
pub fn finish(time: &[u8; 24], request: &[u8], ended: Ended<'_>, out: &mut Vec<u8>) {
    out.reserve(request.len() + LINE_BYTES);
    out.extend_from_slice(br#"{\"time\":\""#);
    out.extend_from_slice(time);
    out.extend_from_slice(br#"\""#);
    out.extend_from_slice(request);
    out.extend_from_slice(br#",\"instance\":\""#);
    out.extend_from_slice(ended.instance);
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    out.extend_from_slice(br#"\",\"status\":"#);
    number(u64::from(ended.status), out);
    out.extend_from_slice(br#",\"bytes_in\":"#);
    number(ended.bytes_in, out);
    out.extend_from_slice(br#",\"bytes_out\":"#);
    number(ended.bytes_out, out);
    out.extend_from_slice(br#",\"queue_us\":"#);
    number(us(ended.queued), out);
    out.extend_from_slice(br#",\"connect_us\":"#);
    number(us(ended.connecting), out);
    out.extend_from_slice(br#",\"first_byte_us\":"#);
    number(us(ended.first_byte), out);
    out.extend_from_slice(br#",\"total_us\":"#);
    number(us(ended.total), out);
    out.extend_from_slice(br#",\"failed\":\""#);
    out.extend_from_slice(ended.failed.as_bytes());
    out.extend_from_slice(br#"\",\"reason\":\""#);
    out.extend_from_slice(ended.reason.as_bytes());
    out.extend_from_slice(br#"\"}"#);
}

/// Writes a number. Those of up to four digits, which most are, without a loop and with copies of a known length.
#[inline]
pub fn number(number: u64, out: &mut Vec<u8>) {
    let pair = |pair: u64| PAIRS[(pair % 100) as usize];
    match number {
        0..10 => out.push(b'0' + number as u8),
        10..100 => out.extend_from_slice(&pair(number)),
        100..1_000 => {
            let [tens, ones] = pair(number);
            out.extend_from_slice(&[b'0' + (number / 100) as u8, tens, ones]);
        }
        1_000..10_000 => {
            let ([first, second], [third, fourth]) = (pair(number / 100), pair(number));
            out.extend_from_slice(&[first, second, third, fourth]);
        }
        _ => long_number(number, out),
    }
}

/// Writes numbers of which most begin as the one before them: moments in time.
#[derive(Debug, Default)]
pub struct Moments {
    begin: u64,
    written: Vec<u8>,
}

impl Moments {
    /// Writes a number.
    pub fn write(&mut self, moment: u64, out: &mut Vec<u8>) {
        let begin = moment / 10_000;
        if begin == 0 {
            return number(moment, out);
        }
        if begin != self.begin {
            self.begin = begin;
            self.written.clear();
            number(begin, &mut self.written);
        }
        out.extend_from_slice(&self.written);
        out.extend_from_slice(&PAIRS[(moment / 100 % 100) as usize]);
        out.extend_from_slice(&PAIRS[(moment % 100) as usize]);
    }
}

fn long_number(mut number: u64, out: &mut Vec<u8>) {
    let (mut digits, mut at) = ([0; 20], 20);
    while number >= 10 {
        let pair = PAIRS[(number % 100) as usize];
        number /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&pair);
    }
    if number > 0 {
        at -= 1;
        digits[at] = b'0' + number as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// The numbers below 100 in two digits.
const PAIRS: [[u8; 2]; 100] = {
    let (mut pairs, mut at) = ([[0; 2]; 100], 0);
    while at < 100 {
        pairs[at] = [b'0' + at as u8 / 10, b'0' + at as u8 % 10];
        at += 1;
    }
    pairs
};

/// An id as it stands in a line: once for all its lines.
pub fn id(id: &str) -> Box<[u8]> {
    let mut out = Vec::new();
    text(id.as_bytes(), &mut out);
    out.into()
}

fn bounded(value: &[u8]) -> &[u8] {
    &value[..value.len().min(TEXT_BYTES_MAX)]
}

/// Writes a text as it stands within a JSON string within a JSON string.
fn text(value: &[u8], out: &mut Vec<u8>) {
    let value = bounded(value);
    // Without a branch per byte, so that the compiler looks at many at once.
    let plain = value.iter().fold(true, |plain, byte| {
        plain & (*byte >= 0x20) & (*byte < 0x7f) & (*byte != b'"') & (*byte != b'\\')
    });
    match plain {
        true => out.extend_from_slice(value),
        false => escaped(value, out),
    }
}

fn escaped(value: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for char in String::from_utf8_lossy(value).chars() {
        match char {
            '"' => out.extend_from_slice(br#"\\\""#),
            '\\' => out.extend_from_slice(br"\\\\"),
            '\0'..' ' | '\x7f' => {
                let code = char as usize;
                out.extend_from_slice(br"\\u00");
                out.extend_from_slice(&[DIGITS[code >> 4], DIGITS[code & 15]]);
            }
            char => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Moments, number};

    #[test]
    fn moments_are_written_in_decimal() {
        let mut moments = Moments::default();
        for moment in [
            0,
            9,
            9_999,
            10_000,
            10_001,
            1_764_290_000_123,
            1_764_290_000_999,
            7,
            u64::MAX,
        ] {
            let mut out = Vec::new();
            moments.write(moment, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), moment.to_string());
        }
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        let powers = (0..20).map(|power| 10u64.pow(power));
        let around = powers.flat_map(|power| [power - 1, power, power + 1, power / 7 * 6]);
        for value in around.chain([0, 42, 99, 101, u64::MAX]) {
            let mut out = Vec::new();
            number(value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
