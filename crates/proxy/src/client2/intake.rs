//! Between HTTP/2's messages and those the rest of the proxy speaks of.

use crate::clock::date_now;
use crate::h1::field::Header;
use crate::h1::name::{ConnectionOptions, Name, allowed_in_trailers, classify};
use crate::h1::request::{Refusal, Request, Sorted, is_websocket};
use crate::h1::response::Response as Answered;
use crate::h1::{Framing, HEADERS_MAX, Version, host, rewrite};
use crate::visit::sticky::Cookie;
use http::{HeaderMap, HeaderName, HeaderValue, Response};

const fn bad(reason: &'static str) -> Refusal {
    Refusal {
        status: 400,
        reason,
    }
}

/// The fields of a request, as slices: the cookie crumbs joined (RFC 9113 section 8.2.3), the rest as they came.
pub fn fields<'m>(
    headers: &'m HeaderMap,
    cookies: &'m mut Vec<u8>,
) -> Result<Vec<Header<'m>>, Refusal> {
    if headers.len() > HEADERS_MAX {
        return Err(Refusal {
            status: 431,
            reason: "too-many-headers",
        });
    }
    // RFC 9113 section 8.2.1; the http crate takes them.
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let mut values = headers.values().map(HeaderValue::as_bytes);
    if values.any(|value| blank(value.first()) || blank(value.last())) {
        return Err(bad("header-value"));
    }
    for crumb in headers.get_all(http::header::COOKIE) {
        if !cookies.is_empty() {
            cookies.extend_from_slice(b"; ");
        }
        cookies.extend_from_slice(crumb.as_bytes());
    }
    let others = headers
        .iter()
        .filter(|(name, _)| *name != http::header::COOKIE);
    let mut fields: Vec<_> = others
        .map(|(name, value)| Header {
            name: name.as_str().as_bytes(),
            value: value.as_bytes(),
        })
        .collect();
    if !cookies.is_empty() {
        fields.push(Header {
            name: b"cookie",
            value: cookies,
        });
    }
    Ok(fields)
}

/// Whether a request opens a WebSocket (RFC 8441 section 4).
pub fn asks_for_websocket(parts: &http::request::Parts) -> bool {
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    parts.method == http::Method::CONNECT
        && protocol.is_some_and(|protocol| is_websocket(protocol.as_str()))
}

/// Understands a request. `bodyless` says that its stream has ended with the head.
pub fn request<'h, 'b>(
    parts: &'b http::request::Parts,
    headers: &'h [Header<'b>],
    bodyless: bool,
) -> Result<Request<'h, 'b>, Refusal> {
    let websocket = asks_for_websocket(parts);
    // What HTTP/1 asks a WebSocket with (RFC 8441 section 5).
    let method = if websocket {
        "GET"
    } else {
        parts.method.as_str()
    };
    if method == "CONNECT" {
        return Err(Refusal {
            status: 501,
            reason: "method-connect",
        });
    }
    let target = parts
        .uri
        .path_and_query()
        .map_or("", http::uri::PathAndQuery::as_str);
    let allowed = target
        .bytes()
        .all(|byte| (0x21..0x7f).contains(&byte) && byte != b'#');
    if !allowed || !(target.starts_with('/') || (target == "*" && method == "OPTIONS")) {
        return Err(bad("request-target"));
    }
    let (host, authority) = address(parts, headers)?;
    let framing = framing(headers, bodyless || websocket)?;
    Ok(Request {
        method,
        target,
        version: Version::Http11,
        host,
        authority,
        framing,
        connection: ConnectionOptions::default(),
        expects_continue: false,
        upgrade: websocket.then_some("websocket"),
        headers,
        sorted: Sorted::of(headers),
    })
}

fn field<'b>(headers: &[Header<'b>], wanted: Name) -> impl Iterator<Item = &'b [u8]> {
    let fields = headers.iter();
    fields
        .filter(move |header| classify(header.name) == wanted)
        .map(|header| header.value)
}

/// The host, parsed and as it came: `:authority`, with which a `Host` field must agree, or that field alone.
fn address<'b>(
    parts: &'b http::request::Parts,
    headers: &[Header<'b>],
) -> Result<(host::Host<'b>, &'b [u8]), Refusal> {
    let mut hosts = field(headers, Name::Host);
    let named = parts
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let (authority, other) = match (named, hosts.next()) {
        (Some(authority), other) => (authority, other),
        (None, Some(authority)) => (authority, None),
        (None, None) => return Err(bad("host-missing")),
    };
    let host = host::parse(authority).ok_or(bad("host-invalid"))?;
    if hosts.next().is_some()
        || other.is_some_and(|other| host::parse(other).as_ref() != Some(&host))
    {
        return Err(bad("host-mismatch"));
    }
    Ok((host, authority))
}

/// How the body ends; with `none` it must not have one.
fn framing(headers: &[Header<'_>], none: bool) -> Result<Framing, Refusal> {
    let mut lengths = field(headers, Name::ContentLength);
    let framing = match (lengths.next(), lengths.next()) {
        (_, Some(_)) => return Err(bad("content-length-repeated")),
        (Some(value), None) => {
            Framing::Length(crate::h1::request::content_length(value).ok_or(bad("content-length"))?)
        }
        (None, None) if none => Framing::None,
        (None, None) => Framing::Chunked,
    };
    match none && !matches!(framing, Framing::None | Framing::Length(0)) {
        true => Err(bad("content-length")),
        false => Ok(framing),
    }
}

/// An instance's response as HTTP/2 has it; `None` if a field cannot be said there.
pub fn response(answered: &Answered<'_, '_>) -> Option<Response<()>> {
    let mut response = Response::builder().status(answered.status).body(()).ok()?;
    let headers = response.headers_mut();
    for (at, header) in answered.headers.iter().enumerate() {
        if answered.passing.has(at) {
            headers.append(
                HeaderName::from_bytes(header.name).ok()?,
                HeaderValue::from_bytes(header.value).ok()?,
            );
        }
    }
    let has_no_length = matches!(answered.status, 100..200 | 204);
    if let Some(length) = answered
        .content_length
        .filter(|_| !has_no_length && answered.framing != Framing::Chunked)
    {
        headers.insert(http::header::CONTENT_LENGTH, length.into());
    }
    Some(response)
}

/// Adds the cookie that keeps a client at its instance.
pub fn add_cookie(response: &mut Response<()>, cookie: Option<Cookie>) {
    let value = cookie.and_then(|cookie| HeaderValue::from_bytes(&cookie.value()).ok());
    if let Some(value) = value {
        let headers = response.headers_mut();
        headers.append(http::header::SET_COOKIE, value);
    }
}

/// A platform's answer and its body.
pub fn answer(answer: &rewrite::Answer<'_>) -> Option<(Response<()>, String)> {
    let body = format!("{}\n", answer.text);
    let mut response = Response::builder()
        .status(answer.status)
        .header("date", &date_now()[..])
        .header("x-apron-reason", answer.reason)
        .header("content-type", "text/plain; charset=utf-8")
        .header("cache-control", "no-store")
        .header("content-length", body.len());
    if let Some(location) = answer.location {
        response = response.header("location", location);
    }
    if let Some(seconds) = answer.retry_after_s {
        response = response.header("retry-after", seconds);
    }
    Some((response.body(()).ok()?, body))
}

/// Trailer fields as HTTP/1 has them, those that may be passed on.
pub fn trailers_to_fields(trailers: &HeaderMap) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in trailers
        .iter()
        .filter(|(name, _)| allowed_in_trailers(name.as_str().as_bytes()))
    {
        rewrite::field(&mut out, name.as_str().as_bytes(), value.as_bytes());
    }
    out
}

/// Trailer fields that a chunked body ended with, as HTTP/2 has them.
pub fn fields_to_trailers(mut block: &[u8]) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    while let Some(end) = memchr::memmem::find(block, b"\r\n") {
        let (line, rest) = block.split_at(end);
        block = &rest[2..];
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            trailers.append(name, value);
        }
    }
    trailers
}
