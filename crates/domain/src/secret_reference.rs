//! Where the value of a variable in `RuntimeEnvironmentSecrets` comes from (App Runner developer guide, "Referencing
//! environment variables").

use std::fmt;

/// A secret or a parameter, and which part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretReference {
    /// A secret of Secrets Manager.
    Secret {
        /// Its ARN, with or without the six characters at its end.
        arn: String,
        /// The member of the JSON text that the secret is.
        json_key: Option<String>,
        /// The staging label of the version.
        stage: Option<String>,
        /// The id of the version.
        version: Option<String>,
    },
    /// A parameter of Parameter Store.
    Parameter {
        /// Its ARN, or its name when it is of the same account and region.
        name: String,
    },
}

/// A text that is no reference, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidReference(pub String);

/// Parts of a secret's ARN before what is added to it: `arn:aws:secretsmanager:<region>:<account>:secret:<name>`.
const SECRET_ARN_PARTS: usize = 7;

impl SecretReference {
    /// Reads a reference for a service of this region and account.
    ///
    /// # Errors
    /// The text says what is expected.
    pub fn parse(
        text: &str,
        region: &str,
        account: &str,
    ) -> Result<SecretReference, InvalidReference> {
        let wrong = |reason: &str| Err(InvalidReference(reason.to_owned()));
        if !text.starts_with("arn:") {
            return match is_parameter_name(text) {
                true => Ok(SecretReference::Parameter {
                    name: text.to_owned(),
                }),
                false => wrong(
                    "it is neither the ARN of a secret or parameter nor the name of a parameter",
                ),
            };
        }
        let parts: Vec<&str> = text.split(':').collect();
        let (service, place) = match parts.as_slice() {
            [_, _, service, of_region, of_account, ..] => (*service, (*of_region, *of_account)),
            _ => return wrong("it is not a whole ARN"),
        };
        match service {
            "secretsmanager" => secret(&parts),
            "ssm" if place != (region, account) => {
                wrong("a parameter has to be of the service's own region and account")
            }
            "ssm" => match parts.as_slice() {
                [_, _, _, _, _, resource] if resource.starts_with("parameter/") => {
                    Ok(SecretReference::Parameter {
                        name: text.to_owned(),
                    })
                }
                _ => wrong("the ARN of a parameter ends with `parameter/<name>`"),
            },
            _ => wrong("it is the ARN of neither a secret nor a parameter"),
        }
    }

    /// The ARN of the secret, or the ARN or name of the parameter: without what says which part of it.
    pub fn id(&self) -> &str {
        match self {
            SecretReference::Secret { arn, .. } => arn,
            SecretReference::Parameter { name } => name,
        }
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretReference::Secret { arn, json_key, .. } => match json_key {
                Some(key) => write!(f, "the key `{key}` of the secret {arn}"),
                None => write!(f, "the secret {arn}"),
            },
            SecretReference::Parameter { name } => write!(f, "the parameter {name}"),
        }
    }
}

fn secret(parts: &[&str]) -> Result<SecretReference, InvalidReference> {
    let named =
        parts.get(5) == Some(&"secret") && parts.get(6).is_some_and(|name| !name.is_empty());
    if !named || parts.len() > SECRET_ARN_PARTS + 3 {
        return Err(InvalidReference(
            "the ARN of a secret ends with `secret:<name>`, optionally followed by `:<json-key>:<version-stage>:<version-id>`"
                .to_owned(),
        ));
    }
    let further = |index: usize| {
        let part = parts.get(SECRET_ARN_PARTS + index).copied();
        part.filter(|part| !part.is_empty()).map(str::to_owned)
    };
    Ok(SecretReference::Secret {
        arn: parts[..SECRET_ARN_PARTS].join(":"),
        json_key: further(0),
        stage: further(1),
        version: further(2),
    })
}

fn is_parameter_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-/".contains(&b);
    !text.is_empty() && text.bytes().all(plain) && (!text.contains('/') || text.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: &str = "us-east-1";
    const ACCOUNT: &str = "111122223333";
    const SECRET: &str = "arn:aws:secretsmanager:us-east-1:111122223333:secret:app/db-AbCdEf";

    fn parse(text: &str) -> Result<SecretReference, InvalidReference> {
        SecretReference::parse(text, REGION, ACCOUNT)
    }

    #[test]
    fn every_form_of_the_guide_is_read() {
        let secret = |json_key: &str, stage: &str, version: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            Ok(SecretReference::Secret {
                arn: SECRET.to_owned(),
                json_key: some(json_key),
                stage: some(stage),
                version: some(version),
            })
        };
        assert_eq!(parse(SECRET), secret("", "", ""));
        assert_eq!(parse(&format!("{SECRET}:user")), secret("user", "", ""));
        assert_eq!(parse(&format!("{SECRET}:user::")), secret("user", "", ""));
        assert_eq!(
            parse(&format!("{SECRET}::AWSPREVIOUS:")),
            secret("", "AWSPREVIOUS", "")
        );
        assert_eq!(parse(&format!("{SECRET}:a:b:c")), secret("a", "b", "c"));
        let parameter = |name: &str| {
            Ok(SecretReference::Parameter {
                name: name.to_owned(),
            })
        };
        for name in [
            "plain",
            "/app/key",
            "arn:aws:ssm:us-east-1:111122223333:parameter/app/key",
        ] {
            assert_eq!(parse(name), parameter(name));
        }
    }

    #[test]
    fn other_texts_are_refused_with_a_reason() {
        for (text, part) in [
            ("", "neither"),
            ("a b", "neither"),
            ("app/key", "neither"),
            ("arn:aws", "not a whole ARN"),
            ("arn:aws:s3:::bucket", "neither a secret nor a parameter"),
            (
                "arn:aws:secretsmanager:us-east-1:111122223333:secret:",
                "secret:<name>",
            ),
            (
                "arn:aws:secretsmanager:us-east-1:111122223333:other:x",
                "secret:<name>",
            ),
            (&format!("{SECRET}:a:b:c:d"), "secret:<name>"),
            (
                "arn:aws:ssm:us-east-1:999999999999:parameter/a",
                "own region and account",
            ),
            (
                "arn:aws:ssm:eu-west-1:111122223333:parameter/a",
                "own region and account",
            ),
            (
                "arn:aws:ssm:us-east-1:111122223333:document/a",
                "parameter/<name>",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
