//! Between the messages the rest of the proxy speaks of and HTTP/2's, for instances.

use crate::h1::field::Header;
use crate::h1::name::{ConnectionOptions, Fields, Name, classify};
use crate::h1::request::{Refusal, content_length};
use crate::h1::response::{Response, ResponseError, passes};
use crate::h1::{Framing, HEADERS_MAX, Version};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};

/// Most fields of a request head with those the proxy adds.
const FIELDS_MAX: usize = HEADERS_MAX + 16;

const fn bad(reason: &'static str) -> Refusal {
    Refusal {
        status: 400,
        reason,
    }
}

/// The request with the head that an HTTP/1 instance would get: so there is one place that decides which fields an
/// application gets. With `trailers`, the sender has said that it takes trailer fields, as gRPC requires.
pub fn request(head: &[u8], trailers: bool) -> Result<Request<()>, Refusal> {
    let mut slots = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut slots);
    let whole = parsed.parse(head).is_ok_and(|status| status.is_complete());
    let (Some(method), Some(target), true) = (parsed.method, parsed.path, whole) else {
        return Err(bad("request-head"));
    };
    let mut authority = None;
    let mut fields = HeaderMap::with_capacity(parsed.headers.len() + 1);
    for field in &*parsed.headers {
        match classify(field.name.as_bytes()) {
            Name::Host => authority = Some(field.value),
            Name::TransferEncoding | Name::Connection | Name::Upgrade => {}
            _ => {
                let name = HeaderName::from_bytes(field.name.as_bytes());
                let value = HeaderValue::from_bytes(field.value);
                fields.append(
                    name.map_err(|_| bad("header-name"))?,
                    value.map_err(|_| bad("header-value"))?,
                );
            }
        }
    }
    if trailers {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let uri = Uri::builder()
        .scheme("http")
        .authority(authority.ok_or(bad("host-missing"))?)
        .path_and_query(target)
        .build()
        .map_err(|_| bad("request-target"))?;
    let request = Request::builder().method(method).uri(uri).body(());
    let mut request = request.map_err(|_| bad("request-line"))?;
    *request.headers_mut() = fields;
    Ok(request)
}

/// The fields of a message as slices.
pub fn fields(headers: &HeaderMap) -> Vec<Header<'_>> {
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| Header {
            name: name.as_str().as_bytes(),
            value: value.as_bytes(),
        })
        .collect()
}

/// An instance's response as one of HTTP/1, to a request with method HEAD or another; `over` says that it has no body.
pub fn response<'h, 'm>(
    status: StatusCode,
    headers: &'h [Header<'m>],
    (to_head, over): (bool, bool),
) -> Result<Response<'h, 'm>, ResponseError> {
    if headers.len() > HEADERS_MAX {
        return Err(ResponseError::TooManyHeaders);
    }
    // RFC 9113 section 8.6: HTTP/2 does not have it.
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(ResponseError::Head);
    }
    let mut lengths = headers
        .iter()
        .filter(|field| classify(field.name) == Name::ContentLength);
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(field), None) => Some(content_length(field.value).ok_or(ResponseError::Framing)?),
        (Some(_), Some(_)) => return Err(ResponseError::Framing),
    };
    let framing = match (status.as_u16(), length) {
        (100..200 | 204 | 304, _) => Framing::None,
        _ if to_head => Framing::None,
        (_, Some(length)) => Framing::Length(length),
        (_, None) if over => Framing::Length(0),
        (_, None) => Framing::Chunked,
    };
    Ok(Response {
        version: Version::Http11,
        status: status.as_u16(),
        reason: status.canonical_reason().unwrap_or(""),
        framing,
        content_length: length,
        connection: ConnectionOptions::default(),
        upgrade: None,
        keep_alive: None,
        headers,
        passing: Fields::of(headers, passes),
        raw: &[],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_keeps_its_meaning() {
        let head =
            b"POST /a.B/C?d=e HTTP/1.1\r\nhost: A.test:8443\r\nContent-Type: application/grpc\r\n\
                     x-forwarded-for: 192.0.2.1\r\ntransfer-encoding: chunked\r\n\r\n";
        let request = request(head, true).unwrap();
        assert_eq!(request.uri(), "http://A.test:8443/a.B/C?d=e");
        assert_eq!(request.method(), "POST");
        let mut names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "te", "x-forwarded-for"]);
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let refused = |head: &[u8]| request(head, false).err().map(|refusal| refusal.reason);
        assert_eq!(
            refused(b"GET / HTTP/1.1\r\na: b\r\n\r\n"),
            Some("host-missing")
        );
        assert_eq!(
            refused(b"GET /<> HTTP/1.1\r\nhost: a\r\n\r\n"),
            Some("request-target")
        );
    }

    #[test]
    fn responses_are_framed_by_their_fields() {
        let framed = |status: u16, headers: &[Header<'_>], state| {
            response(StatusCode::from_u16(status).unwrap(), headers, state)
                .map(|response| response.framing)
        };
        let five = [Header {
            name: b"content-length",
            value: b"5",
        }];
        assert_eq!(framed(200, &five, (false, false)), Ok(Framing::Length(5)));
        assert_eq!(framed(200, &five, (true, true)), Ok(Framing::None));
        assert_eq!(framed(200, &[], (false, true)), Ok(Framing::Length(0)));
        assert_eq!(framed(200, &[], (false, false)), Ok(Framing::Chunked));
        assert_eq!(framed(204, &[], (false, true)), Ok(Framing::None));
        assert_eq!(
            framed(200, &[five[0], five[0]], (false, false)),
            Err(ResponseError::Framing)
        );
        assert_eq!(framed(101, &[], (false, true)), Err(ResponseError::Head));
    }
}
