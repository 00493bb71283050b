//! Features App Runner does not have, set by tags with the prefix `apron:`, which every stock tool can send.
//!
//! A tag stands on the service or on its auto scaling configuration; the service's wins. Defaults keep App Runner's
//! behaviour. An unknown key or a value that is not understood is refused before anything is stored.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What every extension's key begins with.
pub const PREFIX: &str = "apron:";

/// Longest time an extension can be set to, in milliseconds: a day.
pub const DURATION_MS_MAX: u64 = 86_400_000;

/// App Runner's longest request, in milliseconds (developer guide: 120 seconds).
pub const REQUEST_TIMEOUT_MS: u64 = 120_000;

/// How a service's instances are spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS, as gRPC servers speak it.
    H2c,
}

/// The extensions of a service, all of them with their defaults where no tag says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extensions {
    /// `apron:request-timeout`: longest time of a request in milliseconds; zero is none.
    pub request_timeout_ms: u64,
    /// `apron:idle-timeout`: longest time without a byte in either direction, in milliseconds; zero is none.
    pub idle_timeout_ms: u64,
    /// `apron:drain-timeout`: time an instance that left the routes is given to answer what it has, in milliseconds.
    pub drain_timeout_ms: Option<u64>,
    /// `apron:scale-to-zero-after`: time without a request after which the service has no instance, in milliseconds.
    pub scale_to_zero_after_ms: Option<u64>,
    /// `apron:upstream-protocol`.
    pub protocol: Protocol,
    /// `apron:sticky`: requests of one client go to one instance.
    pub sticky: bool,
    /// `apron:cpu`: instances without requests keep their processor.
    pub cpu_always: bool,
    /// `apron:build`: the Dockerfile in the source directory says how the image is built; services from source code only.
    pub dockerfile: bool,
    /// `apron:access-log`: each request is written to the service's log.
    pub access_log: bool,
    /// `apron:secret-refresh`: another value of a secret or parameter deploys the service anew.
    pub secret_refresh: bool,
    /// `apron:web-identity`: the ARN of the role that instances assume with a token of this platform.
    pub web_identity: Option<String>,
}

impl Default for Extensions {
    fn default() -> Self {
        Extensions {
            request_timeout_ms: REQUEST_TIMEOUT_MS,
            idle_timeout_ms: 0,
            drain_timeout_ms: None,
            scale_to_zero_after_ms: None,
            protocol: Protocol::Http1,
            sticky: false,
            cpu_always: false,
            dockerfile: false,
            access_log: true,
            secret_refresh: false,
            web_identity: None,
        }
    }
}

/// A tag that cannot be accepted; the text names the accepted form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// No extension has this key.
    #[error("Tag {0} is not valid: the keys with the prefix apron: are {known}", known = known())]
    Unknown(String),
    /// The extension exists, the value is not understood.
    #[error("Tag {key} is not valid: its value is {form}, not '{value}'")]
    Value {
        /// The key.
        key: &'static str,
        /// What the value can be.
        form: &'static str,
        /// What it was.
        value: String,
    },
}

/// An extension: key, form of the value, and how it is put into force.
struct Extension {
    key: &'static str,
    form: &'static str,
    set: fn(&mut Extensions, &str) -> Option<()>,
}

const TIME_OR_NONE: &str = "a time such as 30s, 15m or 24h of at most 24h, or none";

const EXTENSIONS: [Extension; 11] = [
    Extension {
        key: "apron:request-timeout",
        form: TIME_OR_NONE,
        set: |to, value| put(&mut to.request_timeout_ms, time_or_none(value)),
    },
    Extension {
        key: "apron:idle-timeout",
        form: TIME_OR_NONE,
        set: |to, value| put(&mut to.idle_timeout_ms, time_or_none(value)),
    },
    Extension {
        key: "apron:drain-timeout",
        form: "a time such as 30s, 15m or 24h of at most 24h",
        set: |to, value| put(&mut to.drain_timeout_ms, time(value).map(Some)),
    },
    Extension {
        key: "apron:scale-to-zero-after",
        form: TIME_OR_NONE,
        set: |to, value| {
            let after = time_or_none(value).map(|ms| Some(ms).filter(|ms| *ms > 0));
            put(&mut to.scale_to_zero_after_ms, after)
        },
    },
    Extension {
        key: "apron:upstream-protocol",
        form: "http1 or h2c",
        set: |to, value| {
            to.protocol = match value {
                "http1" => Protocol::Http1,
                "h2c" => Protocol::H2c,
                _ => return None,
            };
            Some(())
        },
    },
    Extension {
        key: "apron:sticky",
        form: "cookie or none",
        set: |to, value| put(&mut to.sticky, one_of(value, "cookie", "none")),
    },
    Extension {
        key: "apron:cpu",
        form: "always or throttled",
        set: |to, value| put(&mut to.cpu_always, one_of(value, "always", "throttled")),
    },
    Extension {
        key: "apron:build",
        form: "dockerfile or runtime",
        set: |to, value| put(&mut to.dockerfile, one_of(value, "dockerfile", "runtime")),
    },
    Extension {
        key: "apron:access-log",
        form: "on or off",
        set: |to, value| put(&mut to.access_log, one_of(value, "on", "off")),
    },
    Extension {
        key: "apron:secret-refresh",
        form: "redeploy or none",
        set: |to, value| put(&mut to.secret_refresh, one_of(value, "redeploy", "none")),
    },
    Extension {
        key: WEB_IDENTITY,
        form: "the ARN of an IAM role, or none",
        set: |to, value| put(&mut to.web_identity, role_or_none(value)),
    },
];

/// The key of [`Extensions::web_identity`].
pub const WEB_IDENTITY: &str = "apron:web-identity";

fn put<T>(place: &mut T, value: Option<T>) -> Option<()> {
    *place = value?;
    Some(())
}

fn known() -> String {
    EXTENSIONS.map(|extension| extension.key).join(", ")
}

fn one_of(value: &str, yes: &str, no: &str) -> Option<bool> {
    match value {
        _ if value == yes => Some(true),
        _ if value == no => Some(false),
        _ => None,
    }
}

/// Milliseconds of a number with its unit, `s`, `m` or `h`; at least one second.
fn time(value: &str) -> Option<u64> {
    let unit = match value.as_bytes().last()? {
        b's' => 1_000,
        b'm' => 60_000,
        b'h' => 3_600_000,
        _ => return None,
    };
    let digits = &value[..value.len() - 1];
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let ms = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    (1_000..=DURATION_MS_MAX).contains(&ms).then_some(ms)
}

fn time_or_none(value: &str) -> Option<u64> {
    match value {
        "none" => Some(0),
        value => time(value),
    }
}

/// The ARN of a role in any partition and account.
fn role_or_none(value: &str) -> Option<Option<String>> {
    if value == "none" {
        return Some(None);
    }
    let parts: Vec<&str> = value.splitn(6, ':').collect();
    let &["arn", partition, "iam", "", account, resource] = parts.as_slice() else {
        return None;
    };
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=,.@-".contains(&byte);
    let name = resource.strip_prefix("role/")?;
    let is_role = !name.is_empty() && !name.ends_with('/') && name.bytes().all(plain);
    let known = partition.starts_with("aws") && is_account && is_role;
    known.then(|| Some(value.to_owned()))
}

/// Checks one tag. Tags without the prefix are none of this module's business and pass.
pub fn check(key: &str, value: &str) -> Result<(), ExtensionError> {
    set(&mut Extensions::default(), key, value)
}

fn set(extensions: &mut Extensions, key: &str, value: &str) -> Result<(), ExtensionError> {
    if !key.starts_with(PREFIX) {
        return Ok(());
    }
    let Some(extension) = EXTENSIONS.iter().find(|extension| extension.key == key) else {
        return Err(ExtensionError::Unknown(key.to_owned()));
    };
    (extension.set)(extensions, value).ok_or_else(|| ExtensionError::Value {
        key: extension.key,
        form: extension.form,
        value: value.to_owned(),
    })
}

impl Extensions {
    /// The extensions of a service with these tags whose auto scaling configuration has those. Stored tags were
    /// checked; one that is not understood, of a later version for example, leaves the default.
    pub fn of(
        service: &BTreeMap<String, String>,
        scaling: &BTreeMap<String, String>,
    ) -> Extensions {
        let mut extensions = Extensions::default();
        for (key, value) in scaling.iter().chain(service) {
            let _ = set(&mut extensions, key, value);
        }
        extensions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn the_service_wins_over_its_scaling_configuration() {
        let scaling = tags(&[("apron:request-timeout", "1h"), ("apron:sticky", "cookie")]);
        let service = tags(&[("apron:request-timeout", "none"), ("team", "apron")]);
        let extensions = Extensions::of(&service, &scaling);
        assert_eq!(extensions.request_timeout_ms, 0);
        assert!(extensions.sticky);
        assert_eq!(
            Extensions::of(&tags(&[]), &tags(&[])),
            Extensions::default()
        );
    }

    #[test]
    fn times_have_units_and_bounds() {
        for (value, ms) in [("1s", 1_000), ("15m", 900_000), ("24h", DURATION_MS_MAX)] {
            assert_eq!(time(value), Some(ms), "{value}");
        }
        for value in [
            "",
            "s",
            "0s",
            "25h",
            "1",
            "1 s",
            "+1s",
            "1d",
            "99999999999999999999s",
            "１s",
        ] {
            assert_eq!(time(value), None, "{value}");
        }
    }

    #[test]
    fn a_web_identity_is_a_role() {
        let arn = "arn:aws:iam::123456789012:role/path/shop";
        assert_eq!(role_or_none(arn), Some(Some(arn.to_owned())));
        assert_eq!(role_or_none("none"), Some(None));
        for value in [
            "",
            "shop",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::12345678901:role/x",
            "arn:aws:iam::123456789012:user/x",
            "arn:aws:sts::123456789012:role/x",
            "arn:aws:iam:us-east-1:123456789012:role/x",
            "arn:aws:iam::123456789012:role/x y",
            "arn:aws:iam::123456789012:role/x\n",
        ] {
            assert_eq!(role_or_none(value), None, "{value}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_is() {
        assert_eq!(check("team", "anything"), Ok(()));
        let unknown = check("apron:colour", "blue").unwrap_err().to_string();
        assert!(
            unknown.contains("apron:colour") && unknown.contains("apron:sticky"),
            "{unknown}"
        );
        for extension in &EXTENSIONS {
            let error = check(extension.key, "tomorrow").unwrap_err().to_string();
            assert!(
                error.contains(extension.key) && error.contains(extension.form),
                "{error}"
            );
        }
    }
}
