//! The proof: is the signature that of this request and this secret.

use super::canonical::{Head, canonical_request};
use super::key::{KeyCache, Secret, hmac_sha256, sha256_hex};
use super::{ALGORITHM, AuthFailure, Authorization, Carrier, TERMINATOR, UNSIGNED_PAYLOAD};
use aws_lc_rs::constant_time::verify_slices_are_equal;

/// What a service accepts as proof of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The body's hash is signed.
    Signed,
    /// The body may also be left out of the signature (`UNSIGNED-PAYLOAD`), where the transport protects it.
    MayBeUnsigned,
}

/// Proves that `authorization` signs this request with `secret`. Scope and date are [`Authorization::check_scope`]'s.
///
/// # Errors
/// [`AuthFailure::Refused`] when headers that must be signed are not, [`AuthFailure::Mismatch`] otherwise.
pub fn verify(
    authorization: &Authorization,
    head: Head<'_>,
    body: &[u8],
    secret: &Secret,
    payload: Payload,
    keys: &KeyCache,
) -> Result<(), AuthFailure> {
    check_signed_headers(authorization, head)?;
    let without = (authorization.carrier != Carrier::Header).then_some("X-Amz-Signature");
    let hash = payload_hash(head, body, payload);
    let request = canonical_request(head, &authorization.signed_headers, without, &hash);
    let key = keys.key(
        secret,
        &authorization.day,
        &authorization.region,
        &authorization.service,
    );
    let expect = signature(&key, authorization, &request);
    let mut given = [0u8; 32];
    let well_formed = hex::decode_to_slice(&authorization.signature, &mut given).is_ok()
        && !authorization
            .signature
            .bytes()
            .any(|b| b.is_ascii_uppercase());
    match well_formed && verify_slices_are_equal(&expect, &given).is_ok() {
        true => Ok(()),
        false => Err(AuthFailure::Mismatch),
    }
}

/// The signature of a canonical request.
pub(super) fn signature(
    key: &[u8; 32],
    authorization: &Authorization,
    canonical: &[u8],
) -> [u8; 32] {
    let Authorization {
        day,
        region,
        service,
        date,
        ..
    } = authorization;
    let hash = sha256_hex(canonical);
    let text = format!("{ALGORITHM}\n{date}\n{day}/{region}/{service}/{TERMINATOR}\n{hash}");
    hmac_sha256(key, text.as_bytes())
}

/// The hash is always that of the body that came; a header that claims another one only makes the signature fail.
fn payload_hash(head: Head<'_>, body: &[u8], payload: Payload) -> String {
    let unsigned = head
        .headers
        .get("x-amz-content-sha256")
        .is_some_and(|value| value == UNSIGNED_PAYLOAD);
    match payload {
        Payload::MayBeUnsigned if unsigned => UNSIGNED_PAYLOAD.to_owned(),
        _ => sha256_hex(body),
    }
}

/// `host` and every `x-amz-*` header of the request must be signed, names in order, none twice.
fn check_signed_headers(authorization: &Authorization, head: Head<'_>) -> Result<(), AuthFailure> {
    let signed = &authorization.signed_headers;
    let refused = |text: String| Err(AuthFailure::Refused(text));
    if !signed.is_sorted_by(|a, b| a < b)
        || signed
            .iter()
            .any(|name| name.bytes().any(|b| b.is_ascii_uppercase()))
    {
        return refused("SignedHeaders must be lower-case names in alphabetical order".to_owned());
    }
    let is_signed = |name: &str| {
        signed
            .binary_search_by(|other| other.as_str().cmp(name))
            .is_ok()
    };
    if !is_signed("host") {
        return refused(
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".to_owned(),
        );
    }
    let mut names = head.headers.keys().map(http::HeaderName::as_str);
    match names.find(|name| name.starts_with("x-amz-") && !is_signed(name)) {
        Some(name) => refused(format!(
            "'{name}' must be a 'SignedHeader' in the AWS Authorization."
        )),
        None => Ok(()),
    }
}
