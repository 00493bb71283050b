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

use crate::clock::micros;
use crate::decimal::number;
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
        .find(|header| header.is("user-agent"))
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
    out.extend_from_slice(br#"\",\"status\":"#);
    number(u64::from(ended.status), out);
    out.extend_from_slice(br#",\"bytes_in\":"#);
    number(ended.bytes_in, out);
    out.extend_from_slice(br#",\"bytes_out\":"#);
    number(ended.bytes_out, out);
    out.extend_from_slice(br#",\"queue_us\":"#);
    number(micros(ended.queued), out);
    out.extend_from_slice(br#",\"connect_us\":"#);
    number(micros(ended.connecting), out);
    out.extend_from_slice(br#",\"first_byte_us\":"#);
    number(micros(ended.first_byte), out);
    out.extend_from_slice(br#",\"total_us\":"#);
    number(micros(ended.total), out);
    out.extend_from_slice(br#",\"failed\":\""#);
    out.extend_from_slice(ended.failed.as_bytes());
    out.extend_from_slice(br#"\",\"reason\":\""#);
    out.extend_from_slice(ended.reason.as_bytes());
    out.extend_from_slice(br#"\"}"#);
}

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
