//! Signing, for our own command line and for tests.

use super::canonical::{Head, canonical_request};
use super::key::{Secret, derive, sha256_hex};
use super::verify::signature;
use super::{ALGORITHM, Authorization, Carrier, TERMINATOR, date};
use http::{HeaderMap, HeaderValue};

/// Who signs, for what.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The access key id.
    pub access_key_id: String,
    /// Its secret.
    pub secret: Secret,
    /// The region of the scope.
    pub region: String,
    /// The signing name of the service.
    pub service: String,
}

/// Signs a request in its headers: sets `x-amz-date` and `authorization` and signs all headers there are. `host` must be
/// set already.
///
/// # Errors
/// The access key id, region or service has characters that no header may carry.
pub fn sign(
    signer: &Signer,
    method: &str,
    path: &str,
    query: &str,
    headers: &mut HeaderMap,
    body: &[u8],
    now_ms: u64,
) -> Result<(), http::header::InvalidHeaderValue> {
    let date = date::format_basic(now_ms);
    headers.insert("x-amz-date", HeaderValue::from_str(&date)?);
    let mut signed_headers: Vec<String> = headers
        .keys()
        .map(|name| name.as_str().to_owned())
        .collect();
    signed_headers.sort_unstable();
    let mut authorization = Authorization {
        carrier: Carrier::Header,
        access_key_id: signer.access_key_id.clone(),
        day: date[..8].to_owned(),
        region: signer.region.clone(),
        service: signer.service.clone(),
        signed_headers,
        signature: String::new(),
        date,
        date_ms: now_ms,
        session_token: None,
    };
    let head = Head {
        method,
        path,
        query,
        headers,
    };
    let canonical = canonical_request(head, &authorization.signed_headers, None, &sha256_hex(body));
    let key = derive(
        &signer.secret,
        &authorization.day,
        &signer.region,
        &signer.service,
    );
    authorization.signature = hex::encode(signature(&key, &authorization, &canonical));
    let Authorization {
        access_key_id,
        day,
        region,
        service,
        signed_headers,
        signature,
        ..
    } = authorization;
    let value = format!(
        "{ALGORITHM} Credential={access_key_id}/{day}/{region}/{service}/{TERMINATOR}, SignedHeaders={}, Signature={signature}",
        signed_headers.join(";")
    );
    let mut value = HeaderValue::from_str(&value)?;
    value.set_sensitive(true);
    headers.insert("authorization", value);
    Ok(())
}
