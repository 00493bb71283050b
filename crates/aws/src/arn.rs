//! Amazon Resource Names (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>).

use std::fmt;
use std::str::FromStr;

/// Characters of an ARN (the longest any service takes).
const ARN_CHARS_MAX: usize = 2048;

/// A name of the form `arn:partition:service:region:account:resource`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arn {
    /// The partition, `aws` here.
    pub partition: String,
    /// The service, for example `apprunner`.
    pub service: String,
    /// The region; empty for global services.
    pub region: String,
    /// The account, twelve digits; empty for resources without one.
    pub account: String,
    /// The rest, which may have colons of its own.
    pub resource: String,
}

/// A text that is no ARN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an ARN")]
pub struct InvalidArn(pub String);

impl Arn {
    /// An ARN in the partition `aws`.
    pub fn new(service: &str, region: &str, account: &str, resource: impl Into<String>) -> Arn {
        Arn {
            partition: "aws".to_owned(),
            service: service.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            resource: resource.into(),
        }
    }

    /// The parts of the resource between slashes.
    pub fn resource_parts(&self) -> Vec<&str> {
        self.resource.split('/').collect()
    }
}

impl FromStr for Arn {
    type Err = InvalidArn;

    fn from_str(text: &str) -> Result<Arn, InvalidArn> {
        let invalid = || InvalidArn(text.chars().take(128).collect());
        if text.len() > ARN_CHARS_MAX {
            return Err(invalid());
        }
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().ok_or_else(invalid);
        let (scheme, partition, service, region, account, resource) =
            (next()?, next()?, next()?, next()?, next()?, next()?);
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let account_ok = account.is_empty()
            || account == "aws"
            || (account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()));
        let ok = scheme == "arn"
            && partition.starts_with("aws")
            && [partition, service, region].into_iter().all(plain)
            && !service.is_empty()
            && account_ok
            && !resource.is_empty();
        if !ok {
            return Err(invalid());
        }
        Ok(Arn {
            partition: partition.to_owned(),
            ..Arn::new(service, region, account, resource)
        })
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Arn {
            partition,
            service,
            region,
            account,
            resource,
        } = self;
        write!(f, "arn:{partition}:{service}:{region}:{account}:{resource}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        for text in [
            "arn:aws:apprunner:us-east-1:123456789012:service/app/0123456789abcdef0123456789abcdef",
            "arn:aws:logs:us-east-1:123456789012:log-group:/aws/apprunner/x:*",
            "arn:aws:iam::123456789012:root",
            "arn:aws-cn:s3:::bucket/key",
        ] {
            assert_eq!(text.parse::<Arn>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "arn",
            "arn:aws:apprunner:us-east-1:123456789012",
            "arn:aws:apprunner:us-east-1:123456789012:",
            "arn:aws::us-east-1:123456789012:x",
            "arn:aws:apprunner:us-east-1:12345678901:x",
            "arn:gcp:apprunner:us-east-1:123456789012:x",
            "urn:aws:apprunner:us-east-1:123456789012:x",
            "arn:aws:apprunner:us east-1:123456789012:x",
        ] {
            assert!(text.parse::<Arn>().is_err(), "{text}");
        }
    }
}
