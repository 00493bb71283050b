//! What a request says about who signed it: the `Authorization` header, or the query of a presigned request.

use super::canonical::Head;
use super::{ALGORITHM, AuthFailure, EXPIRES_SECONDS_MAX, SKEW_MS_MAX, TERMINATOR, date, key};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;

/// Signed headers in one request. The SDKs sign ten to fifteen.
const SIGNED_HEADERS_MAX: usize = 64;

/// Where the signature is carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// In the `Authorization` header.
    Header,
    /// In the query, with a life in seconds.
    Query {
        /// Seconds from the date on.
        expires: u64,
    },
}

/// What a request says about who signed it. Nothing of it is proved before [`super::verify`].
#[derive(Clone, Debug)]
pub struct Authorization {
    /// Where it stood.
    pub carrier: Carrier,
    /// The access key id.
    pub access_key_id: String,
    /// The day of the scope, `YYYYMMDD`.
    pub day: String,
    /// The region of the scope.
    pub region: String,
    /// The signing name of the service of the scope.
    pub service: String,
    /// Lower-case names of the signed headers, in their order.
    pub signed_headers: Vec<String>,
    /// The signature, hexadecimal as sent.
    pub signature: String,
    /// The date of the request, ISO 8601 basic.
    pub date: String,
    /// The date in milliseconds since the epoch.
    pub date_ms: u64,
    /// The session token, for temporary credentials.
    pub session_token: Option<String>,
}

struct Fields {
    carrier: Carrier,
    credential: String,
    signed_headers: String,
    signature: String,
    date: Option<String>,
    session_token: Option<String>,
}

impl Authorization {
    /// Reads the authorization of a request.
    ///
    /// # Errors
    /// [`AuthFailure::Missing`] when there is none, [`AuthFailure::Incomplete`] or [`AuthFailure::Refused`] when it
    /// cannot be used.
    pub fn parse(head: Head<'_>) -> Result<Authorization, AuthFailure> {
        let header = header(head, "authorization")?;
        let presigned = head
            .query
            .split('&')
            .any(|pair| pair.starts_with("X-Amz-Algorithm="));
        let fields = match (header, presigned) {
            (None, false) => return Err(AuthFailure::Missing),
            (Some(_), true) => {
                let text = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or the \
                            Authorization header should be specified";
                return Err(AuthFailure::Incomplete(text.to_owned()));
            }
            (Some(value), false) => from_header(head, value)?,
            (None, true) => from_query(head)?,
        };
        Authorization::assemble(head, fields)
    }

    fn assemble(head: Head<'_>, fields: Fields) -> Result<Authorization, AuthFailure> {
        let parts: Vec<&str> = fields.credential.split('/').collect();
        let &[access_key_id, day, region, service, terminator] = parts.as_slice() else {
            let text = "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term";
            return Err(AuthFailure::Incomplete(format!(
                "{text}, got '{}'",
                fields.credential
            )));
        };
        if terminator != TERMINATOR {
            let text = format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{terminator}'."
            );
            return Err(AuthFailure::Refused(text));
        }
        let (date, date_ms) = match fields.date {
            Some(text) => {
                let ms = date::parse_basic(&text).ok_or_else(|| bad_date(&text))?;
                (text, ms)
            }
            None => date_header(head)?,
        };
        let signed_headers: Vec<String> = fields
            .signed_headers
            .split(';')
            .map(str::to_owned)
            .collect();
        if signed_headers.len() > SIGNED_HEADERS_MAX {
            let text = format!("SignedHeaders names more than {SIGNED_HEADERS_MAX} headers");
            return Err(AuthFailure::Incomplete(text));
        }
        Ok(Authorization {
            carrier: fields.carrier,
            access_key_id: access_key_id.to_owned(),
            day: day.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed_headers,
            signature: fields.signature,
            date,
            date_ms,
            session_token: fields.session_token,
        })
    }

    /// Checks scope and date against the service that is called and the clock. `regions` are those this endpoint
    /// serves, the usual one first.
    ///
    /// # Errors
    /// [`AuthFailure::Refused`] with AWS's text.
    pub fn check_scope(
        &self,
        regions: &[&str],
        signing_name: &str,
        now_ms: u64,
    ) -> Result<(), AuthFailure> {
        let refused = |text: String| Err(AuthFailure::Refused(text));
        if !regions.contains(&self.region.as_str()) {
            let usual = regions.first().copied().unwrap_or_default();
            let given = &self.region;
            return refused(format!(
                "Credential should be scoped to a valid region, not '{given}'. This is '{usual}'."
            ));
        }
        if self.service != signing_name {
            return refused(format!(
                "Credential should be scoped to correct service: '{signing_name}'. "
            ));
        }
        if self.day != self.date[..8] {
            return refused(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
                 '{}' != '{}', from '{}'.",
                self.day,
                &self.date[..8],
                self.date
            ));
        }
        self.check_date(now_ms)
    }

    fn check_date(&self, now_ms: u64) -> Result<(), AuthFailure> {
        let now = date::format_basic(now_ms);
        if self.date_ms > now_ms.saturating_add(SKEW_MS_MAX) {
            let bound = date::format_basic(now_ms.saturating_add(SKEW_MS_MAX));
            let date = &self.date;
            let text = format!(
                "Signature not yet current: {date} is still later than {bound} ({now} + 15 min.)"
            );
            return Err(AuthFailure::Refused(text));
        }
        let (ends_ms, text) = match self.carrier {
            Carrier::Header => {
                let bound = date::format_basic(now_ms.saturating_sub(SKEW_MS_MAX));
                let date = &self.date;
                let text = format!(
                    "Signature expired: {date} is now earlier than {bound} ({now} - 15 min.)"
                );
                (self.date_ms.saturating_add(SKEW_MS_MAX), text)
            }
            Carrier::Query { expires } => {
                let ends_ms = self.date_ms.saturating_add(expires * 1000);
                let ends = date::format_basic(ends_ms);
                (
                    ends_ms,
                    format!("Signature expired: {ends} is now earlier than {now}"),
                )
            }
        };
        if ends_ms < now_ms {
            Err(AuthFailure::Refused(text))
        } else {
            Ok(())
        }
    }
}

fn header<'a>(head: Head<'a>, name: &str) -> Result<Option<&'a str>, AuthFailure> {
    let mut values = head.headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(AuthFailure::Incomplete(format!(
            "The header {name} is there more than once."
        )));
    }
    let unreadable =
        |_| AuthFailure::Incomplete(format!("The header {name} has characters outside ASCII."));
    first
        .map(|value| value.to_str().map_err(unreadable))
        .transpose()
}

fn from_header(head: Head<'_>, value: &str) -> Result<Fields, AuthFailure> {
    let (algorithm, rest) = value.split_once(' ').unwrap_or((value, ""));
    if algorithm != ALGORITHM {
        return Err(AuthFailure::Incomplete(format!(
            "Unsupported AWS 'algorithm': '{algorithm}'."
        )));
    }
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    for part in rest
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let Some((name, value)) = part.split_once('=') else {
            let text = format!(
                "'{part}' not a valid key=value pair (missing equal-sign) in Authorization header"
            );
            return Err(AuthFailure::Incomplete(text));
        };
        if found.insert(name, value).is_some() {
            return Err(AuthFailure::Incomplete(format!(
                "Authorization header has '{name}' more than once."
            )));
        }
    }
    let date = header(head, "x-amz-date")?;
    let mut missing: Vec<String> = ["Credential", "Signature", "SignedHeaders"]
        .iter()
        .filter(|name| found.get(*name).is_none_or(|value| value.is_empty()))
        .map(|name| format!("Authorization header requires '{name}' parameter."))
        .collect();
    if date.is_none() && !head.headers.contains_key("date") {
        let text =
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.";
        missing.push(text.to_owned());
    }
    if !missing.is_empty() {
        // The header itself is not echoed: AWS prints its hash, so that a support case can name it.
        let hash = BASE64_STANDARD
            .encode(hex::decode(key::sha256_hex(value.as_bytes())).unwrap_or_default());
        missing.push(format!(
            "(Hashed with SHA-256 and encoded with Base64) Authorization={hash}"
        ));
        return Err(AuthFailure::Incomplete(missing.join(" ")));
    }
    let take = |name: &str| found.get(name).copied().unwrap_or_default().to_owned();
    Ok(Fields {
        carrier: Carrier::Header,
        credential: take("Credential"),
        signed_headers: take("SignedHeaders"),
        signature: take("Signature"),
        date: date.map(str::to_owned),
        session_token: header(head, "x-amz-security-token")?.map(str::to_owned),
    })
}

fn from_query(head: Head<'_>) -> Result<Fields, AuthFailure> {
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    for pair in head
        .query
        .split('&')
        .filter(|pair| pair.starts_with("X-Amz-"))
    {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
        if found.insert(name, value).is_some() {
            return Err(AuthFailure::Incomplete(format!(
                "The query has '{name}' more than once."
            )));
        }
    }
    if let Some(algorithm) = found
        .get("X-Amz-Algorithm")
        .filter(|name| *name != ALGORITHM)
    {
        return Err(AuthFailure::Incomplete(format!(
            "Unsupported AWS 'algorithm': '{algorithm}'."
        )));
    }
    let wanted = [
        "X-Amz-Credential",
        "X-Amz-Signature",
        "X-Amz-SignedHeaders",
        "X-Amz-Date",
        "X-Amz-Expires",
    ];
    let missing: Vec<String> = wanted
        .iter()
        .filter(|name| found.get(*name).is_none_or(String::is_empty))
        .map(|name| format!("AWS query-string parameters must include '{name}'."))
        .collect();
    if !missing.is_empty() {
        return Err(AuthFailure::Incomplete(format!(
            "{} Re-examine the query-string parameters.",
            missing.join(" ")
        )));
    }
    let expires = found
        .get("X-Amz-Expires")
        .and_then(|text| text.parse::<u64>().ok());
    let Some(expires) = expires.filter(|seconds| (1..=EXPIRES_SECONDS_MAX).contains(seconds))
    else {
        let text =
            format!("X-Amz-Expires must be a number of seconds from 1 to {EXPIRES_SECONDS_MAX}");
        return Err(AuthFailure::Incomplete(text));
    };
    let mut take = |name: &str| found.remove(name);
    Ok(Fields {
        carrier: Carrier::Query { expires },
        credential: take("X-Amz-Credential").unwrap_or_default(),
        signed_headers: take("X-Amz-SignedHeaders").unwrap_or_default(),
        signature: take("X-Amz-Signature").unwrap_or_default(),
        date: take("X-Amz-Date"),
        session_token: take("X-Amz-Security-Token"),
    })
}

fn date_header(head: Head<'_>) -> Result<(String, u64), AuthFailure> {
    let text = header(head, "date")?.unwrap_or_default();
    let ms = date::parse_imf(text)
        .or_else(|| date::parse_basic(text))
        .ok_or_else(|| bad_date(text))?;
    Ok((date::format_basic(ms), ms))
}

fn bad_date(text: &str) -> AuthFailure {
    AuthFailure::Incomplete(format!(
        "Date must be in ISO-8601 'basic format'. Got '{text}'. See http://en.wikipedia.org/wiki/ISO_8601"
    ))
}
