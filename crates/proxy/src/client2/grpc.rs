//! The platform's own answers to gRPC clients: a response that is nothing but trailers, with a status of gRPC's own
//! ("PROTOCOL-HTTP2.md" and "http-grpc-status-mapping.md" of the gRPC project).

use crate::h1::rewrite::Answer;
use http::{HeaderMap, HeaderValue, Response, header};

const INTERNAL: u8 = 13;
const UNIMPLEMENTED: u8 = 12;
const UNAVAILABLE: u8 = 14;
const DEADLINE_EXCEEDED: u8 = 4;
const UNKNOWN: u8 = 2;

/// Whether these are the fields of a gRPC request.
pub(super) fn is_spoken(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// An answer in gRPC's words.
pub(super) fn trailers_only(answer: &Answer<'_>) -> Response<()> {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert("grpc-status", u16::from(code(answer)).into());
    for (name, value) in [
        ("grpc-message", answer.text),
        ("x-apron-reason", answer.reason),
    ] {
        // Both are words of the platform, which need no escapes; a message that did would be left out.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    response
}

/// The status. A request that took too long is one whose deadline has passed: unlike one that met nobody, it must not be
/// repeated without thought.
fn code(answer: &Answer<'_>) -> u8 {
    match answer.status {
        504 => DEADLINE_EXCEEDED,
        404 => UNIMPLEMENTED,
        429 | 502 | 503 => UNAVAILABLE,
        400 | 408 | 431 => INTERNAL,
        _ => UNKNOWN,
    }
}
