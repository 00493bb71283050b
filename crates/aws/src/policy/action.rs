//! Entries of `Action` and `NotAction`: `service:Name` with wildcards, without case
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html>).

use super::context::Context;
use super::pattern::{Matched, Pattern, Syntax};

/// An action with wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionPattern {
    source: String,
    /// The service in lower case; none: every service.
    service: Option<String>,
    /// The action's name, in lower case.
    name: Pattern,
}

impl ActionPattern {
    pub(super) fn parse(source: &str) -> Result<ActionPattern, String> {
        let prefixed = || {
            format!(
                "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.: {source}"
            )
        };
        let (service, name) = match source {
            "*" | "*:*" => (None, "*"),
            _ => {
                let (service, name) = source.split_once(':').ok_or_else(prefixed)?;
                (Some(service.to_ascii_lowercase()), name)
            }
        };
        if let Some(service) = &service {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            if service.is_empty() || !service.bytes().all(plain) {
                return Err(format!("Vendor {service} is not valid"));
            }
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'*' | b'?' | b'-' | b'_');
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(format!("Action {source} is not valid"));
        }
        let syntax = Syntax {
            wildcards: true,
            variables: false,
        };
        Ok(ActionPattern {
            source: source.to_owned(),
            service,
            name: Pattern::parse(&name.to_ascii_lowercase(), syntax)?,
        })
    }

    /// Whether a text could be the action of a request, for example of a simulated one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(text: &str) -> Result<(), String> {
        match ActionPattern::parse(text)? {
            ActionPattern {
                service: Some(_), ..
            } => Ok(()),
            ActionPattern { service: None, .. } => Err(format!("{text} names no service")),
        }
    }

    /// The text as it is in the policy.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The service in lower case; none: every service.
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// Whether an action such as `apprunner:CreateService` is meant.
    pub fn matches(&self, action: &str) -> bool {
        let Some((service, name)) = action.split_once(':') else {
            return false;
        };
        let named = self
            .service
            .as_deref()
            .is_none_or(|own| own.eq_ignore_ascii_case(service));
        named
            && self
                .name
                .matches(&name.to_ascii_lowercase(), &Context::new())
                == Matched::Yes
    }
}
