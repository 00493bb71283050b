//! Writing heads: the request as the application gets it, the response as the client gets it, and the platform's own
//! answers. Fields of one connection are dropped, framing is written anew from what was understood.

use super::body::Encoder;
use super::field::Header;
use super::name::Fields;
use super::request::Request;
use super::response::Response;
use super::{Framing, Version};
use crate::decimal::number;
use std::io::Write;

/// What the proxy knows about the client's connection, ready to be written.
#[derive(Clone, Copy, Debug)]
pub struct Forwarding<'a> {
    /// What is the same for all its requests, as [`connection`] makes it.
    pub connection: &'a [u8],
    /// The request's id, if the client sent none that can be kept.
    pub request_id: &'a [u8],
}

/// What the forwarded fields say of a connection: from the client's address in `X-Forwarded-For` to the name of
/// `X-Forwarded-Host`. `proto` is `https` or `http`, the port the one the client connected to.
pub fn connection(client: &str, proto: &str, port: u16) -> Box<[u8]> {
    let fields = format!(
        "{client}\r\nx-forwarded-proto: {proto}\r\nx-forwarded-port: {port}\r\nx-forwarded-host: "
    );
    fields.into_bytes().into()
}

/// Longest request id of a client that is kept, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Room for the fields the proxy adds, in bytes, so that writing a head allocates once.
const ADDED_BYTES: usize = 320;

/// Writes one field with its line end.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes the fields at these positions: neighbours with one copy if they are parts of one head.
fn fields(out: &mut Vec<u8>, headers: &[Header<'_>], chosen: Fields, raw: &[u8]) {
    let mut at = 0;
    while at < headers.len() {
        let first = at;
        while at < headers.len() && chosen.has(at) {
            at += 1;
        }
        if at > first {
            match lines(raw, headers, first, at) {
                Some(lines) => out.extend_from_slice(lines),
                None => {
                    for header in &headers[first..at] {
                        field(out, header.name, header.value);
                    }
                }
            }
        }
        at += 1;
    }
}

/// The lines from one field to before another, or to the end, in the head whose parts they are. Only line ends and the
/// blanks around a value are there and not in the fields, so the lines say what the fields say.
fn lines<'r>(
    raw: &'r [u8],
    headers: &[Header<'_>],
    first: usize,
    before: usize,
) -> Option<&'r [u8]> {
    let place = |at: usize| {
        headers.get(at).map_or(raw.len().wrapping_sub(2), |header| {
            let name = header.name.as_ptr().addr();
            name.wrapping_sub(raw.as_ptr().addr())
        })
    };
    raw.get(place(first)..place(before))
}

/// Bytes of these fields when they are written.
fn bytes_of(headers: &[Header<'_>], raw: &[u8]) -> usize {
    if !raw.is_empty() {
        return raw.len();
    }
    let bytes = headers
        .iter()
        .map(|header| header.name.len() + header.value.len() + 4);
    bytes.sum()
}

/// Bytes that are enough for nearly every head that [`request_head`] writes of this request.
pub fn request_head_bytes(request: &Request<'_, '_>) -> usize {
    let bytes = bytes_of(request.headers, request.sorted.raw);
    bytes + request.method.len() + request.target.len() + ADDED_BYTES
}

/// Writes the head of `request` as an application gets it.
pub fn request_head(request: &Request<'_, '_>, forwarding: Forwarding<'_>, out: &mut Vec<u8>) {
    let sorted = &request.sorted;
    out.reserve(request_head_bytes(request));
    out.extend_from_slice(request.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(request.target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(request.authority);
    out.extend_from_slice(b"\r\n");
    let ordinary = match request.connection.nominates {
        true => sorted.ordinary.without_nominated(request.headers),
        false => sorted.ordinary,
    };
    fields(out, request.headers, ordinary, sorted.raw);
    out.extend_from_slice(b"x-forwarded-for: ");
    if !sorted.forwarded_for.is_empty() {
        forwarded_for(request, out);
    }
    out.extend_from_slice(forwarding.connection);
    out.extend_from_slice(request.authority);
    out.extend_from_slice(b"\r\nx-request-id: ");
    out.extend_from_slice(request_id(request).unwrap_or(forwarding.request_id));
    out.extend_from_slice(b"\r\n");
    framing(request.framing, out);
    if let Some(protocol) = request.upgrade {
        out.extend_from_slice(b"connection: upgrade\r\n");
        field(out, b"upgrade", protocol.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// What the client says of the way before it, with a comma after each.
fn forwarded_for(request: &Request<'_, '_>, out: &mut Vec<u8>) {
    let chosen = |(at, _): &(usize, &Header<'_>)| request.sorted.forwarded_for.has(*at);
    for (_, header) in request.headers.iter().enumerate().filter(chosen) {
        if !header.value.is_empty() {
            out.extend_from_slice(header.value);
            out.extend_from_slice(b", ");
        }
    }
}

/// The client's id of the request, if it can be kept.
pub fn request_id<'b>(request: &Request<'_, 'b>) -> Option<&'b [u8]> {
    if request.sorted.request_id.is_empty() {
        return None;
    }
    let chosen = |(at, _): &(usize, &Header<'_>)| request.sorted.request_id.has(*at);
    let mut ids = request.headers.iter().enumerate().filter(chosen);
    ids.find_map(|(_, header)| Some(header.value).filter(|value| is_sane_id(value)))
}

fn is_sane_id(value: &[u8]) -> bool {
    let allowed = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b'=' | b'+' | b'/' | b':')
    };
    (1..=REQUEST_ID_BYTES_MAX).contains(&value.len()) && value.iter().all(allowed)
}

fn framing(framing: Framing, out: &mut Vec<u8>) {
    match framing {
        Framing::Length(length) => content_length(length, out),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
}

fn content_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"content-length: ");
    number(length, out);
    out.extend_from_slice(b"\r\n");
}

/// The client a response goes to.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// The version of its request.
    pub version: Version,
    /// Whether its connection may take another request.
    pub persistent: bool,
}

/// How a response's body is written and whether the connection lives on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The coding of the body.
    pub encoder: Encoder,
    /// Whether the client's connection may take another request.
    pub persistent: bool,
}

/// Writes the head of a final `response` as the client gets it.
pub fn response_head(response: &Response<'_, '_>, client: Client, out: &mut Vec<u8>) -> Delivery {
    status_and_fields(response, out);
    let mut delivery = Delivery {
        encoder: Encoder::Raw,
        persistent: client.persistent,
    };
    match response.framing {
        Framing::None if matches!(response.status, 100..200 | 204) => {}
        Framing::None => {
            if let Some(length) = response.content_length {
                content_length(length, out);
            }
        }
        Framing::Length(length) => content_length(length, out),
        Framing::Chunked | Framing::UntilClose if client.version == Version::Http11 => {
            delivery.encoder = Encoder::Chunked;
            framing(Framing::Chunked, out);
        }
        Framing::Chunked | Framing::UntilClose => delivery.persistent = false,
    }
    match (delivery.persistent, client.version) {
        (false, _) => out.extend_from_slice(b"connection: close\r\n"),
        (true, Version::Http10) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        (true, Version::Http11) => {}
    }
    out.extend_from_slice(b"\r\n");
    delivery
}

/// Writes an interim response (1xx other than 101).
pub fn interim_head(response: &Response<'_, '_>, out: &mut Vec<u8>) {
    status_and_fields(response, out);
    out.extend_from_slice(b"\r\n");
}

/// Writes the 101 that makes the connection one of `protocol`.
pub fn switching_head(response: &Response<'_, '_>, protocol: &str, out: &mut Vec<u8>) {
    status_and_fields(response, out);
    out.extend_from_slice(b"connection: upgrade\r\n");
    field(out, b"upgrade", protocol.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn status_and_fields(response: &Response<'_, '_>, out: &mut Vec<u8>) {
    let bytes = bytes_of(response.headers, response.raw);
    out.reserve(bytes + response.reason.len() + ADDED_BYTES);
    let mut line = *b"HTTP/1.1 000 ";
    for (digit, unit) in line[9..12].iter_mut().zip([100, 10, 1]) {
        *digit += (response.status / unit % 10) as u8;
    }
    out.extend_from_slice(&line);
    out.extend_from_slice(response.reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    fields(out, response.headers, response.passing, response.raw);
}

/// An answer the platform itself makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The status code.
    pub status: u16,
    /// The slug in the `x-apron-reason` field.
    pub reason: &'a str,
    /// The body: a sentence for people.
    pub text: &'a str,
    /// A `Location` to go to.
    pub location: Option<&'a str>,
    /// Seconds after which the client may ask again.
    pub retry_after_s: Option<u32>,
}

/// Writes a platform's answer with its body, or without it if it answers a HEAD request.
pub fn answer(
    answer: &Answer<'_>,
    to_head: bool,
    persistent: bool,
    date: &[u8],
    out: &mut Vec<u8>,
) {
    let phrase = phrase(answer.status);
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 {} {phrase}\r\nx-apron-reason: {}\r\n",
        answer.status, answer.reason
    );
    field(out, b"date", date);
    if let Some(location) = answer.location {
        field(out, b"location", location.as_bytes());
    }
    if let Some(seconds) = answer.retry_after_s {
        let _ = write!(out, "retry-after: {seconds}\r\n");
    }
    out.extend_from_slice(
        b"content-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\n",
    );
    content_length(answer.text.len() as u64 + 1, out);
    if !persistent {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if !to_head {
        out.extend_from_slice(answer.text.as_bytes());
        out.push(b'\n');
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        404 => "Not Found",
        408 => "Request Timeout",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::Room;
    use super::super::{request, response};
    use super::*;

    fn rewritten(head: &str) -> String {
        let (mut room, mut out) = (Room::new(), Vec::new());
        let forwarding = Forwarding {
            connection: &connection("192.0.2.7", "https", 443),
            request_id: b"made",
        };
        let request = request::parse(head.as_bytes(), &mut room).unwrap();
        request_head(&request, forwarding, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn spoofs_and_hop_by_hop_fields_do_not_reach_the_application() {
        let out = rewritten(
            "POST http://a/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: http\r\nX-Forwarded-For: 10.0.0.1\r\nForwarded: for=x\r\n\
             X_Forwarded_For: evil\r\nConnection: close, X-Drop\r\nX-Drop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\n\
             Proxy: http://evil\r\nX-Request-Id: kept-1\r\nContent-Length: 3\r\nAccept: */*\r\n\r\n",
        );
        let expected = "POST /x HTTP/1.1\r\nhost: a\r\nAccept: */*\r\nx-forwarded-for: 10.0.0.1, 192.0.2.7\r\n\
                        x-forwarded-proto: https\r\nx-forwarded-port: 443\r\nx-forwarded-host: a\r\nx-request-id: kept-1\r\n\
                        content-length: 3\r\n\r\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn neighbours_are_copied_and_nothing_else() {
        let head = "GET / HTTP/1.1\r\nA: 1\r\nb:2 \r\nUpgrade: h2c\r\nc: 3\r\nHost: a\r\nKeep-Alive: 1\r\nd:\r\n\r\n";
        let out = rewritten(head);
        assert!(
            out.starts_with(
                "GET / HTTP/1.1\r\nhost: a\r\nA: 1\r\nb:2 \r\nc: 3\r\nd:\r\nx-forwarded-for: "
            ),
            "{out}"
        );
    }

    #[test]
    fn an_insane_request_id_is_replaced() {
        let out = rewritten("GET / HTTP/1.1\r\nhost: a\r\nx-request-id: a b\r\n\r\n");
        assert!(out.contains("x-request-id: made\r\n"), "{out}");
    }

    fn delivered(head: &str, version: Version, to_head: bool) -> (String, Delivery) {
        let (mut room, mut out) = (Room::new(), Vec::new());
        let response = response::parse(head.as_bytes(), to_head, &mut room).unwrap();
        let delivery = response_head(
            &response,
            Client {
                version,
                persistent: true,
            },
            &mut out,
        );
        (String::from_utf8(out).unwrap(), delivery)
    }

    #[test]
    fn responses_are_framed_for_their_client() {
        let until_close = "HTTP/1.1 200 OK\r\nconnection: x-drop\r\nx-drop: 1\r\nx-apron-reason: forged\r\na: b\r\n\r\n";
        let (out, delivery) = delivered(until_close, Version::Http11, false);
        assert_eq!(
            out,
            "HTTP/1.1 200 OK\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        assert_eq!(
            delivery,
            Delivery {
                encoder: Encoder::Chunked,
                persistent: true
            }
        );
        let (out, delivery) = delivered(until_close, Version::Http10, false);
        assert_eq!(out, "HTTP/1.1 200 OK\r\na: b\r\nconnection: close\r\n\r\n");
        assert_eq!(
            delivery,
            Delivery {
                encoder: Encoder::Raw,
                persistent: false
            }
        );
        let (out, _) = delivered(
            "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n",
            Version::Http10,
            true,
        );
        assert_eq!(
            out,
            "HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: keep-alive\r\n\r\n"
        );
        let (out, _) = delivered(
            "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
            Version::Http11,
            false,
        );
        assert_eq!(out, "HTTP/1.1 204 No Content\r\n\r\n");
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        let paused = Answer {
            status: 503,
            reason: "paused",
            text: "the service is paused",
            location: None,
            retry_after_s: Some(1),
        };
        answer(&paused, false, true, b"now", &mut with);
        answer(&paused, true, true, b"now", &mut without);
        assert!(with.ends_with(b"content-length: 22\r\n\r\nthe service is paused\n"));
        assert_eq!(with[..without.len()], without);
        let head = String::from_utf8(without.clone()).unwrap();
        assert!(
            head.contains("\r\ndate: now\r\nretry-after: 1\r\n"),
            "{head}"
        );
        assert!(without.ends_with(b"\r\n\r\n"));
    }
}
