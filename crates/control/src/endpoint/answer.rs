//! HTTP answers.

use apron_aws::codec::{self, Encoded};
use apron_aws::{ApiError, Model};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

/// A random UUID (RFC 9562, version 4) from 16 random bytes.
pub(crate) fn request_id(mut bytes: [u8; 16]) -> String {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// An error in the service's protocol, or in JSON when the service is not known.
pub(super) fn error(model: Option<&Model>, error: &ApiError, request_id: &str) -> Encoded {
    match model {
        Some(model) => codec::encode_error(model, error, request_id),
        None => codec::encode_error_without_service(error),
    }
}

/// The HTTP response of an encoded answer.
pub(super) fn response(encoded: Encoded, request_id: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(encoded.body)));
    *response.status_mut() =
        StatusCode::from_u16(encoded.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(encoded.content_type));
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", value);
    }
    response
}

/// The answer to `GET /`: the endpoint is up. Says nothing else to strangers.
pub(super) fn health() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"healthy\n")));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[cfg(test)]
mod tests {
    #[test]
    fn request_ids_are_random_uuids() {
        assert_eq!(
            super::request_id([0xff; 16]),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
        assert_eq!(
            super::request_id([0; 16]),
            "00000000-0000-4000-8000-000000000000"
        );
    }
}
