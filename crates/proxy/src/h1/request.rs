//! Request heads.

use super::field::{Header, Room};
use super::head::version;
use super::host::{self, Host};
use super::name::{ConnectionOptions, Fields, Name, classify};
use super::quick;
use super::{Framing, HEADERS_MAX, Version};
use std::mem::MaybeUninit;

/// Why a request is refused: the status of the answer and a slug that says what was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code of the answer.
    pub status: u16,
    /// What was wrong, for the `x-apron-reason` field.
    pub reason: &'static str,
}

const fn bad(reason: &'static str) -> Refusal {
    Refusal {
        status: 400,
        reason,
    }
}

/// Empty room of the parser for header fields.
pub(super) fn slots<'b>() -> [MaybeUninit<httparse::Header<'b>>; HEADERS_MAX] {
    [const { MaybeUninit::uninit() }; HEADERS_MAX]
}

/// A request head that has exactly one meaning.
#[derive(Debug)]
pub struct Request<'h, 'b> {
    /// The method, a token.
    pub method: &'b str,
    /// The target in origin form (or `*`): path and query.
    pub target: &'b str,
    /// The version.
    pub version: Version,
    /// The host to route by.
    pub host: Host<'b>,
    /// The host as the client wrote it.
    pub authority: &'b [u8],
    /// How the body ends.
    pub framing: Framing,
    /// What the `Connection` fields ask for.
    pub connection: ConnectionOptions,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The one protocol the client asks to switch this connection to (RFC 9110 section 7.8).
    pub upgrade: Option<&'b str>,
    /// All header fields as they came.
    pub headers: &'h [Header<'b>],
    /// What the rewriting needs to know of them.
    pub sorted: Sorted<'b>,
}

/// The fields of a request that are passed on, changed or not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sorted<'b> {
    /// Those that are passed on as they are.
    pub ordinary: Fields,
    /// `X-Forwarded-For`.
    pub forwarded_for: Fields,
    /// `X-Request-Id`.
    pub request_id: Fields,
    /// The head of which the fields are parts, if they are parts of one.
    pub raw: &'b [u8],
}

impl<'b> Sorted<'b> {
    /// Sorts fields that are not parts of one head.
    pub fn of(headers: &[Header<'b>]) -> Sorted<'b> {
        let mut sorted = Sorted::default();
        for (at, header) in headers.iter().enumerate() {
            sorted.add(classify(header.name), at);
        }
        sorted
    }

    fn add(&mut self, name: Name, at: usize) {
        match name {
            Name::Other => self.ordinary.add(at),
            Name::ForwardedFor => self.forwarded_for.add(at),
            Name::RequestId => self.request_id.add(at),
            _ => {}
        }
    }
}

impl Request<'_, '_> {
    /// Whether the client's connection can take another request after this one (RFC 9112 section 9.3).
    pub fn persistent(&self) -> bool {
        !self.connection.close && (self.version == Version::Http11 || self.connection.keep_alive)
    }

    /// Whether the client says that it takes trailer fields (RFC 9110 section 10.1.4).
    pub fn takes_trailers(&self) -> bool {
        let fields = self.headers.iter();
        fields
            .filter(|field| field.is("te"))
            .flat_map(|field| field.value.split(|byte| *byte == b','))
            .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    }

    /// Whether repeating the request has the effect of one (RFC 9110 section 9.2.2).
    pub fn idempotent(&self) -> bool {
        matches!(
            self.method,
            "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"
        )
    }
}

/// The fields that frame, address and steer a request.
#[derive(Default)]
struct Special<'b> {
    host: Option<&'b [u8]>,
    length: Option<u64>,
    chunked: bool,
    connection: ConnectionOptions,
    expects_continue: bool,
    upgrade: Option<&'b [u8]>,
    upgrades: usize,
    sorted: Sorted<'b>,
}

/// Parses one whole head, as found by [`super::head::find_end`].
pub fn parse<'h, 'b>(head: &'b [u8], room: &'h mut Room<'b>) -> Result<Request<'h, 'b>, Refusal> {
    let mut slots = slots();
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut slots) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(bad("request-head")),
        Err(error) => return Err(refusal(error)),
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(bad("request-line"));
    };
    let line = (method, target, version(parsed.version));
    room.clear();
    room.extend(parsed.headers.iter().map(Header::from));
    understood(head, line, room)
}

/// Parses the head at the beginning of `bytes` and answers its length, too, without searching for its end first. `None` if
/// it is not whole or not written as usual: then [`super::head::find_end`] and [`parse`] say what it is.
pub fn parse_first<'h, 'b>(
    bytes: &'b [u8],
    room: &'h mut Room<'b>,
) -> Option<(usize, Result<Request<'h, 'b>, Refusal>)> {
    let quick = quick::request(bytes, room)?;
    let line = (quick.method, quick.target, quick.version);
    Some((quick.head.len(), understood(quick.head, line, room)))
}

/// What a head means that was split into method, target, version and fields.
#[inline]
fn understood<'h, 'b>(
    head: &'b [u8],
    (method, target, version): (&'b str, &'b str, Version),
    headers: &'h [Header<'b>],
) -> Result<Request<'h, 'b>, Refusal> {
    let special = special(headers, version)?;
    let (target, authority) = split_target(method, target)?;
    let host_field = special.host.ok_or(bad("host-missing"))?;
    let host = host::parse(host_field).ok_or(bad("host-invalid"))?;
    if authority.is_some_and(|authority| host::parse(authority).as_ref() != Some(&host)) {
        return Err(bad("host-mismatch"));
    }
    let framing = match (special.chunked, special.length) {
        (true, _) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::None,
    };
    let has_body = !matches!(framing, Framing::None | Framing::Length(0));
    Ok(Request {
        method,
        target,
        version,
        host,
        authority: host_field,
        framing,
        connection: special.connection,
        expects_continue: special.expects_continue && has_body && version == Version::Http11,
        upgrade: special.upgraded(method, version, has_body),
        headers,
        sorted: Sorted {
            raw: head,
            ..special.sorted
        },
    })
}

impl<'b> Special<'b> {
    /// The protocol the connection is to be switched to, if everything that it takes to ask for that is there.
    fn upgraded(&self, method: &str, version: Version, has_body: bool) -> Option<&'b str> {
        let may_upgrade = self.upgrades == 1
            && self.connection.upgrade
            && version == Version::Http11
            && !has_body;
        self.upgrade
            .filter(|_| may_upgrade)
            .and_then(protocol)
            .filter(|name| method == "GET" || !is_websocket(name))
    }
}

/// Whether a protocol that a connection is to be switched to is WebSocket.
pub fn is_websocket(name: &str) -> bool {
    name.eq_ignore_ascii_case("websocket")
}

/// Longest name of a protocol, in bytes.
const PROTOCOL_BYTES_MAX: usize = 64;

/// Reads an `Upgrade` with one protocol. None that is HTTP: the connection would carry requests that nobody looks at.
fn protocol(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let (name, version) = text.split_once('/').unwrap_or((text, "1"));
    let is_token = |part: &str| !part.is_empty() && part.bytes().all(is_token_byte);
    let is_http = ["h2c", "h2", "http"]
        .iter()
        .any(|http| name.eq_ignore_ascii_case(http));
    (text.len() <= PROTOCOL_BYTES_MAX && is_token(name) && is_token(version) && !is_http)
        .then_some(text)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn refusal(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal {
            status: 431,
            reason: "too-many-headers",
        },
        httparse::Error::Version => Refusal {
            status: 505,
            reason: "http-version",
        },
        httparse::Error::HeaderName => bad("header-name"),
        httparse::Error::HeaderValue => bad("header-value"),
        httparse::Error::NewLine => bad("line-end"),
        httparse::Error::Token | httparse::Error::Status => bad("request-line"),
    }
}

fn special<'b>(headers: &[Header<'b>], version: Version) -> Result<Special<'b>, Refusal> {
    let mut found = Special::default();
    for (at, header) in headers.iter().enumerate() {
        let name = classify(header.name);
        found.sorted.add(name, at);
        match name {
            Name::Host if found.host.is_some() => return Err(bad("host-repeated")),
            Name::Host => found.host = Some(header.value),
            Name::ContentLength if found.length.is_some() => {
                return Err(bad("content-length-repeated"));
            }
            Name::ContentLength => {
                found.length = Some(content_length(header.value).ok_or(bad("content-length"))?)
            }
            Name::TransferEncoding if found.chunked => {
                return Err(bad("transfer-encoding-repeated"));
            }
            Name::TransferEncoding if !header.value.eq_ignore_ascii_case(b"chunked") => {
                return Err(bad("transfer-encoding"));
            }
            Name::TransferEncoding => found.chunked = true,
            Name::Connection => found.connection.add(header.value),
            Name::Expect if !header.value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(Refusal {
                    status: 417,
                    reason: "expectation",
                });
            }
            Name::Expect => found.expects_continue = true,
            Name::Upgrade => {
                found.upgrade = Some(header.value);
                found.upgrades += 1;
            }
            _ => {}
        }
    }
    if found.chunked && found.length.is_some() {
        return Err(bad("content-length-and-transfer-encoding"));
    }
    if found.chunked && version == Version::Http10 {
        return Err(bad("transfer-encoding-in-http-1-0"));
    }
    Ok(found)
}

/// Reads a `Content-Length`: digits only, within 64 bits.
pub fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 20 {
        return None;
    }
    value.iter().try_fold(0u64, |length, byte| match byte {
        b'0'..=b'9' => length.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Splits a target into origin form and the authority that an absolute form names (RFC 9112 section 3.2).
fn split_target<'b>(method: &str, target: &'b str) -> Result<(&'b str, Option<&'b [u8]>), Refusal> {
    if method == "CONNECT" {
        return Err(Refusal {
            status: 501,
            reason: "method-connect",
        });
    }
    if target
        .bytes()
        .any(|byte| !(0x21..0x7f).contains(&byte) || byte == b'#')
    {
        return Err(bad("request-target"));
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((target, None));
    }
    let scheme = ["http://", "https://"].into_iter().find(|scheme| {
        target
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let Some(scheme) = scheme else {
        return Err(bad("request-target"));
    };
    let rest = &target[scheme.len()..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let origin = match &rest[end..] {
        "" if method == "OPTIONS" => "*",
        "" => "/",
        query if query.starts_with('?') => return Err(bad("request-target")),
        path => path,
    };
    Ok((origin, Some(&rest.as_bytes()[..end])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str, expected: Result<(&str, &str, Framing), (u16, &str)>) {
        let mut room = Room::new();
        let parsed = parse(head.as_bytes(), &mut room);
        let parsed = parsed
            .as_ref()
            .map(|request| (request.target, &*request.host.name, request.framing));
        assert_eq!(
            parsed.map_err(|refusal| (refusal.status, refusal.reason)),
            expected,
            "{head:?}"
        );
    }

    #[test]
    fn plain_requests_are_understood() {
        check(
            "GET /a?b HTTP/1.1\r\nHost: A.b:8443\r\n\r\n",
            Ok(("/a?b", "a.b", Framing::None)),
        );
        check(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n",
            Ok(("/", "a", Framing::Length(5))),
        );
        check(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n",
            Ok(("/", "a", Framing::Chunked)),
        );
        check(
            "GET https://a/x HTTP/1.1\r\nhost: a\r\n\r\n",
            Ok(("/x", "a", Framing::None)),
        );
        check(
            "OPTIONS http://a HTTP/1.1\r\nhost: a\r\n\r\n",
            Ok(("*", "a", Framing::None)),
        );
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        let cases = [
            (
                "content-length: 5\r\ntransfer-encoding: chunked",
                "content-length-and-transfer-encoding",
            ),
            (
                "content-length: 5\r\ncontent-length: 5",
                "content-length-repeated",
            ),
            ("content-length: 5, 5", "content-length"),
            ("content-length: +5", "content-length"),
            ("content-length: 0x5", "content-length"),
            ("content-length: ", "content-length"),
            ("content-length: 99999999999999999999", "content-length"),
            ("content-length: 18446744073709551616", "content-length"),
            (
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
                "transfer-encoding-repeated",
            ),
            ("transfer-encoding: gzip, chunked", "transfer-encoding"),
            ("transfer-encoding: chunked, identity", "transfer-encoding"),
            ("transfer-encoding: xchunked", "transfer-encoding"),
            ("transfer-encoding: \"chunked\"", "transfer-encoding"),
            ("transfer-encoding:\x0bchunked", "header-value"),
            ("transfer-encoding : chunked", "header-name"),
            (" transfer-encoding: chunked", "header-name"),
            ("a: b\r\n folded", "header-name"),
            ("a: b\rc: d", "header-value"),
            ("a\0: b", "header-name"),
            ("host: b", "host-repeated"),
        ];
        for (fields, reason) in cases {
            check(
                &format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n"),
                Err((400, reason)),
            );
        }
        check(
            "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
            Err((400, "transfer-encoding-in-http-1-0")),
        );
    }

    #[test]
    fn requests_without_one_clear_address_are_refused() {
        check("GET / HTTP/1.1\r\n\r\n", Err((400, "host-missing")));
        check(
            "GET / HTTP/1.1\r\nhost: \r\n\r\n",
            Err((400, "host-invalid")),
        );
        check(
            "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n",
            Err((400, "host-invalid")),
        );
        check(
            "GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n",
            Err((400, "host-mismatch")),
        );
        check(
            "GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n",
            Err((400, "host-mismatch")),
        );
        check(
            "GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n",
            Err((400, "request-target")),
        );
        check(
            "GET a HTTP/1.1\r\nhost: a\r\n\r\n",
            Err((400, "request-target")),
        );
        check(
            "GET /#x HTTP/1.1\r\nhost: a\r\n\r\n",
            Err((400, "request-target")),
        );
        check(
            "CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n",
            Err((501, "method-connect")),
        );
        check(
            "GET / HTTP/1.2\r\nhost: a\r\n\r\n",
            Err((505, "http-version")),
        );
        check("PRI * HTTP/2.0\r\n\r\n", Err((505, "http-version")));
        check(
            "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
            Err((400, "request-line")),
        );
    }

    #[test]
    fn only_a_whole_request_to_upgrade_counts() {
        let asked =
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\r\n";
        let upgrade = |head: &str| {
            let mut room = Room::new();
            let request = parse(head.as_bytes(), &mut room).unwrap();
            request.upgrade.map(str::to_owned)
        };
        assert_eq!(upgrade(asked).as_deref(), Some("WebSocket"));
        for other in ["tcp", "SPDY/3.1", "IRC/6.9"] {
            let asked = asked.replace("WebSocket", other).replace("GET", "POST");
            assert_eq!(upgrade(&asked).as_deref(), Some(other));
        }
        for ignored in [
            asked.replace("WebSocket", "h2c"),
            asked.replace("WebSocket", "HTTP/2.0"),
            asked.replace("WebSocket", "websocket, tcp"),
            asked.replace("WebSocket", "websocket\r\nupgrade: tcp"),
            asked.replace("WebSocket", "a/"),
            asked.replace("WebSocket", ""),
            asked.replace("Upgrade", "keep-alive"),
            asked.replace("GET", "POST"),
            asked.replace("HTTP/1.1", "HTTP/1.0"),
            asked.replace("host: a", "host: a\r\ncontent-length: 1"),
        ] {
            assert_eq!(upgrade(&ignored), None, "{ignored}");
        }
    }
}
