//! Response heads.

use super::field::{Header, Room};
use super::head::version;
use super::name::{ConnectionOptions, Fields, Name, classify};
use super::quick;
use super::request::{content_length, slots};
use super::{Framing, Version};
use std::time::Duration;

/// A response head that cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Not HTTP/1, or fields that break the grammar.
    #[error("invalid response head")]
    Head,
    /// More than [`super::HEADERS_MAX`] fields.
    #[error("too many header fields in the response")]
    TooManyHeaders,
    /// Lengths that contradict each other or an unknown transfer coding.
    #[error("ambiguous length of the response")]
    Framing,
}

/// A response head that has exactly one meaning.
#[derive(Debug)]
pub struct Response<'h, 'b> {
    /// The version.
    pub version: Version,
    /// The status code.
    pub status: u16,
    /// The reason phrase, perhaps empty.
    pub reason: &'b str,
    /// How the body ends.
    pub framing: Framing,
    /// A `Content-Length` field's value; also on responses that have no body.
    pub content_length: Option<u64>,
    /// What the `Connection` fields say.
    pub connection: ConnectionOptions,
    /// What the connection is switched to, if it is (status 101).
    pub upgrade: Option<&'b str>,
    /// How long the sender keeps an idle connection, if it says so.
    pub keep_alive: Option<Duration>,
    /// All header fields as they came.
    pub headers: &'h [Header<'b>],
    /// Those that are passed on.
    pub passing: Fields,
    /// The head of which the fields are parts, if they are parts of one.
    pub raw: &'b [u8],
}

impl Response<'_, '_> {
    /// Whether another request can be sent on the connection when the body has ended.
    pub fn persistent(&self) -> bool {
        self.framing != Framing::UntilClose
            && !self.connection.close
            && (self.version == Version::Http11 || self.connection.keep_alive)
    }

    /// Whether the connection becomes one of `protocol`.
    pub fn switches_to(&self, protocol: &str) -> bool {
        self.upgrade
            .is_some_and(|upgrade| upgrade.eq_ignore_ascii_case(protocol))
    }

    /// Whether another response to the same request follows.
    pub fn interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// Parses one whole head, as found by [`super::head::find_end`], that answers a request with method HEAD or another.
pub fn parse<'h, 'b>(
    head: &'b [u8],
    to_head: bool,
    room: &'h mut Room<'b>,
) -> Result<Response<'h, 'b>, ResponseError> {
    let mut slots = slots();
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, &mut slots) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::TooManyHeaders),
        _ => return Err(ResponseError::Head),
    }
    let (Some(status), Some(reason)) = (parsed.code, parsed.reason) else {
        return Err(ResponseError::Head);
    };
    let line = (version(parsed.version), status, reason);
    room.clear();
    room.extend(parsed.headers.iter().map(Header::from));
    understood(head, to_head, line, room)
}

/// Parses the head at the beginning of `bytes` and answers its length, too, without searching for its end first. `None` if
/// it is not whole or not written as usual: then [`super::head::find_end`] and [`parse`] say what it is.
pub fn parse_first<'h, 'b>(
    bytes: &'b [u8],
    to_head: bool,
    room: &'h mut Room<'b>,
) -> Option<(usize, Response<'h, 'b>)> {
    let quick = quick::response(bytes, room)?;
    let line = (quick.version, quick.status, quick.reason);
    let response = understood(quick.head, to_head, line, room).ok()?;
    Some((quick.head.len(), response))
}

/// What a head means that was split into version, status, reason and fields.
#[inline]
fn understood<'h, 'b>(
    head: &'b [u8],
    to_head: bool,
    (version, status, reason): (Version, u16, &'b str),
    headers: &'h [Header<'b>],
) -> Result<Response<'h, 'b>, ResponseError> {
    if !(100..1000).contains(&status) {
        return Err(ResponseError::Head);
    }
    let mut response = Response {
        version,
        status,
        reason,
        framing: Framing::None,
        content_length: None,
        connection: ConnectionOptions::default(),
        upgrade: None,
        keep_alive: None,
        headers,
        passing: Fields::default(),
        raw: head,
    };
    let chunked = read_fields(&mut response)?;
    response.framing = match (status, chunked, response.content_length) {
        (100..200 | 204 | 304, _, _) => Framing::None,
        _ if to_head => Framing::None,
        (_, true, Some(_)) => return Err(ResponseError::Framing),
        (_, true, None) if response.version == Version::Http10 => {
            return Err(ResponseError::Framing);
        }
        (_, true, None) => Framing::Chunked,
        (_, false, Some(length)) => Framing::Length(length),
        (_, false, None) => Framing::UntilClose,
    };
    Ok(response)
}

/// Reads the special fields into `response`; answers whether the body is chunked.
fn read_fields(response: &mut Response<'_, '_>) -> Result<bool, ResponseError> {
    let (mut chunked, mut upgrade, mut upgrades) = (false, None, 0);
    for (at, header) in response.headers.iter().enumerate() {
        match classify(header.name) {
            name if passes(name) => response.passing.add(at),
            Name::ContentLength if response.content_length.is_some() => {
                return Err(ResponseError::Framing);
            }
            Name::ContentLength => {
                response.content_length =
                    Some(content_length(header.value).ok_or(ResponseError::Framing)?);
            }
            Name::TransferEncoding if chunked || !header.value.eq_ignore_ascii_case(b"chunked") => {
                return Err(ResponseError::Framing);
            }
            Name::TransferEncoding => chunked = true,
            Name::Connection => response.connection.add(header.value),
            Name::Upgrade => {
                upgrade = std::str::from_utf8(header.value).ok();
                upgrades += 1;
            }
            Name::KeepAlive => response.keep_alive = keep_alive(header.value),
            _ => {}
        }
    }
    if response.connection.nominates {
        response.passing = response.passing.without_nominated(response.headers);
    }
    let switches = response.status == 101 && response.connection.upgrade && upgrades == 1;
    response.upgrade = upgrade.filter(|_| switches);
    Ok(chunked)
}

/// Whether a field is passed on in a response: it means nothing to the proxy, or only in requests.
pub fn passes(name: Name) -> bool {
    matches!(
        name,
        Name::Other | Name::RequestId | Name::ForwardedFor | Name::ForwardedOther | Name::Host
    )
}

/// Reads `timeout=5, max=100`.
fn keep_alive(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?;
    let timeout = text
        .split(',')
        .find_map(|part| part.trim().strip_prefix("timeout="))?;
    timeout.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str, to_head: bool, expected: Result<(u16, Framing, bool), ResponseError>) {
        let mut room = Room::new();
        let parsed = parse(head.as_bytes(), to_head, &mut room);
        let parsed =
            parsed.map(|response| (response.status, response.framing, response.persistent()));
        assert_eq!(parsed, expected, "{head:?}");
    }

    #[test]
    fn framing_follows_status_method_and_fields() {
        check(
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
            false,
            Ok((200, Framing::Length(5), true)),
        );
        check(
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
            true,
            Ok((200, Framing::None, true)),
        );
        check(
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
            false,
            Ok((304, Framing::None, true)),
        );
        check(
            "HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n",
            false,
            Ok((200, Framing::Chunked, true)),
        );
        check(
            "HTTP/1.1 200 OK\r\n\r\n",
            false,
            Ok((200, Framing::UntilClose, false)),
        );
        check(
            "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n",
            false,
            Ok((200, Framing::Length(5), false)),
        );
        check(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\n",
            false,
            Ok((200, Framing::Length(5), false)),
        );
    }

    #[test]
    fn ambiguous_responses_are_refused() {
        for fields in [
            "content-length: 5\r\ncontent-length: 6",
            "content-length: 5\r\ntransfer-encoding: chunked",
            "transfer-encoding: gzip",
            "content-length: -1",
        ] {
            check(
                &format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"),
                false,
                Err(ResponseError::Framing),
            );
        }
        check(
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            false,
            Err(ResponseError::Framing),
        );
        check("HTTP/2 200 OK\r\n\r\n", false, Err(ResponseError::Head));
        check("HTTP/1.1 99 x\r\n\r\n", false, Err(ResponseError::Head));
        check(
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
            false,
            Err(ResponseError::Head),
        );
    }

    #[test]
    fn keep_alive_is_read() {
        assert_eq!(
            keep_alive(b"timeout=5, max=100"),
            Some(Duration::from_secs(5))
        );
        assert_eq!(keep_alive(b"max=100"), None);
    }
}
