//! Names of parameters, alone, as ARNs and with a selector.

use super::{ParameterStore, error, invalid};
use crate::settings::Settings;
use apron_aws::{ApiError, Arn};

/// Characters of a name (Parameter Store: 1011 with the ARN before it).
const NAME_CHARS_MAX: usize = 1011;
/// Levels of a hierarchy (Parameter Store's quota).
const LEVELS_MAX: usize = 15;

/// A parameter's name and which of its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selected {
    /// The name.
    pub name: String,
    /// `:` and a number or label, as it was given.
    pub selector: Option<String>,
}

/// The ARN of a parameter.
pub fn parameter_arn(settings: &Settings, name: &str) -> String {
    let slash = if name.starts_with('/') { "" } else { "/" };
    let resource = format!("parameter{slash}{name}");
    Arn::new("ssm", &settings.region, &settings.account, resource).to_string()
}

impl ParameterStore {
    /// Reads a name or ARN with an optional selector; none when it is of another account or region.
    pub(super) fn selected(&self, text: &str) -> Option<Selected> {
        let (name, selector) = match text.parse::<Arn>() {
            Ok(arn) => {
                let ours = arn.service == "ssm"
                    && arn.region == self.settings.region
                    && arn.account == self.settings.account;
                let rest = arn.resource.strip_prefix("parameter").filter(|_| ours)?;
                let (name, selector) = split(rest);
                // Whether a name without a hierarchy has its slash cannot be seen in an ARN; it has none.
                let single = name.matches('/').count() == 1;
                let name = if single {
                    name.trim_start_matches('/')
                } else {
                    name
                };
                (name.to_owned(), selector)
            }
            Err(_) => {
                let (name, selector) = split(text);
                (name.to_owned(), selector)
            }
        };
        Some(Selected { name, selector })
    }
}

fn split(text: &str) -> (&str, Option<String>) {
    match text.split_once(':') {
        Some((name, selector)) => (name, Some(format!(":{selector}"))),
        None => (text, None),
    }
}

/// Holds the name of a new parameter against the rules of Parameter Store.
pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    if !name.chars().all(allowed) {
        return Err(invalid(
            "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). If formed as a path, it can consist of \
             sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 \
             symbols .-_",
        ));
    }
    if name.contains('/') && !name.starts_with('/') {
        return Err(invalid(
            "Parameter name must be a fully qualified name: if it is formed as a path it begins with a slash.",
        ));
    }
    if name.contains("//") || name.ends_with('/') {
        return Err(invalid(format!(
            "Parameter name {name} has an empty sub-path."
        )));
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(invalid(format!(
            "Parameter name has more than {NAME_CHARS_MAX} characters."
        )));
    }
    let first = name.trim_start_matches('/').to_ascii_lowercase();
    if first.starts_with("aws") || first.starts_with("ssm") {
        return Err(error(
            "AccessDeniedException",
            format!("No access to reserved parameter name: {name}."),
        ));
    }
    match name.matches('/').count() > LEVELS_MAX {
        true => Err(error(
            "HierarchyLevelLimitExceededException",
            format!("Parameter hierarchy can't exceed {LEVELS_MAX} levels."),
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        for good in ["a", "/a/b", "A.b-c_d", "/my/app/password"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "a b", "a/b", "/a//b", "/a/", "/aws/x", "ssm", "/SSMx", "a:b", "é",
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        let deep = "/a".repeat(LEVELS_MAX + 1);
        assert_eq!(
            check_name(&deep).unwrap_err().code,
            "HierarchyLevelLimitExceededException"
        );
    }
}
