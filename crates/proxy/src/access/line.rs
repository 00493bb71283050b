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
use std::time::Duration;

/// Longest text of a client that is kept, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;

/// Room for a usual line, in bytes.
const LINE_BYTES: usize = 512;

/// What the proxy knows about a request beside its head.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The service's id.
    pub service: &'a str,
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
    /// The instance's id.
    pub instance: &'a str,
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
    let path = request.target.split('?').next().unwrap_or_default();
    let agent = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("user-agent"))
        .map_or(&b""[..], |header| header.value);
    for (lead, value) in [
        (br#",\"service\":\""#.as_slice(), asked.service.as_bytes()),
        (br#"\",\"client\":\""#, asked.client.as_bytes()),
        (br#"\",\"method\":\""#, request.method.as_bytes()),
        (br#"\",\"host\":\""#, request.host.name.as_bytes()),
        (br#"\",\"path\":\""#, path.as_bytes()),
        (br#"\",\"protocol\":\""#, asked.protocol.as_bytes()),
        (br#"\",\"request_id\":\""#, asked.request_id),
        (br#"\",\"user_agent\":\""#, agent),
    ] {
        out.extend_from_slice(lead);
        text(value, &mut out);
    }
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
    text(ended.instance.as_bytes(), out);
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    for (lead, value) in [
        (br#"\",\"status\":"#.as_slice(), u64::from(ended.status)),
        (br#",\"bytes_in\":"#, ended.bytes_in),
        (br#",\"bytes_out\":"#, ended.bytes_out),
        (br#",\"queue_us\":"#, us(ended.queued)),
        (br#",\"connect_us\":"#, us(ended.connecting)),
        (br#",\"first_byte_us\":"#, us(ended.first_byte)),
        (br#",\"total_us\":"#, us(ended.total)),
    ] {
        out.extend_from_slice(lead);
        number(value, out);
    }
    out.extend_from_slice(br#",\"failed\":\""#);
    out.extend_from_slice(ended.failed.as_bytes());
    out.extend_from_slice(br#"\",\"reason\":\""#);
    out.extend_from_slice(ended.reason.as_bytes());
    out.extend_from_slice(br#"\"}"#);
}

fn number(mut number: u64, out: &mut Vec<u8>) {
    let (mut digits, mut at) = ([0; 20], 20);
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

/// Writes a text as it stands within a JSON string within a JSON string.
fn text(value: &[u8], out: &mut Vec<u8>) {
    let value = &value[..value.len().min(TEXT_BYTES_MAX)];
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
