//! Keeping the operator's passwords out of logs.

use std::collections::BTreeMap;

/// Shortest text that is taken for a password, in bytes: shorter ones would black out half of every log.
const SECRET_BYTES_MIN: usize = 4;

/// What stands in place of a password.
const HIDDEN: &str = "********";

/// Parts of variables' names whose values are passwords as a whole.
const SECRET_NAMES: &[&str] = &[
    "password", "passwd", "token", "secret", "_auth", "apikey", "api_key",
];

/// The passwords of an operator's variables.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    secrets: Vec<String>,
}

impl Mask {
    /// Finds them: what stands before the host in addresses, and the values of variables with telling names.
    pub fn of(variables: &BTreeMap<String, String>) -> Mask {
        let mut secrets = Vec::new();
        for (name, value) in variables {
            let name = name.to_lowercase();
            if SECRET_NAMES.iter().any(|part| name.contains(part)) {
                secrets.push(value.clone());
            }
            for after in value.split("://").skip(1) {
                let authority = after.split('/').next().unwrap_or_default();
                if let Some((user, _)) = authority.rsplit_once('@') {
                    let password = user.split_once(':').map_or(user, |(_, password)| password);
                    secrets.push(password.to_owned());
                }
            }
        }
        Mask::in_order(secrets)
    }

    /// These and more: every line of a secret, and what stands after a name in one, as in `//host/:_authToken=word`.
    pub fn with(&self, more: &[String]) -> Mask {
        let mut secrets = self.secrets.clone();
        for line in more.iter().flat_map(|secret| secret.lines()) {
            secrets.push(line.trim().to_owned());
            secrets.extend(
                line.split_once('=')
                    .map(|(_, value)| value.trim().to_owned()),
            );
        }
        Mask::in_order(secrets)
    }

    fn in_order(mut secrets: Vec<String>) -> Mask {
        secrets.retain(|secret| secret.len() >= SECRET_BYTES_MIN);
        // The longest first: one may be part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Mask { secrets }
    }

    /// The text without them.
    pub fn apply(&self, text: String) -> String {
        let mut text = text;
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), HIDDEN);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_found_in_addresses_and_by_names() {
        let variables = [
            (
                "PIP_INDEX_URL",
                "https://me:s3cret/word@pypi.example.com/simple",
            ),
            (
                "NPM_URL",
                "https://robot:hunter22@npm.example.com/ https://other.example.com/a@b",
            ),
            ("NPM_TOKEN", "abcdef"),
            ("PLAIN", "https://example.com/"),
        ];
        let variables = variables.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let mask = Mask::of(&variables);
        assert_eq!(
            mask.apply("get https://robot:hunter22@npm.example.com with abcdef".to_owned()),
            "get https://robot:********@npm.example.com with ********"
        );
        assert_eq!(
            mask.apply("https://example.com/".to_owned()),
            "https://example.com/"
        );
        let mask = mask.with(&["registry=x\n//host/:_authToken=t0ken\n".to_owned()]);
        assert_eq!(
            mask.apply("with t0ken and abcdef".to_owned()),
            "with ******** and ********"
        );
    }
}
