//! The variables that let an unmodified AWS SDK in an instance find its credentials and the platform.

use crate::settings::Settings;
use apron_compute::{TOKEN_PATH, TRUST_PATH};
use apron_domain::ServiceConfig;
use std::collections::BTreeMap;

/// Where an SDK finds the path of its credentials (AWS SDKs and Tools, "Container credential provider").
const CREDENTIALS: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
/// A service that sets this brings credentials of its own, most likely for the real AWS.
const OWN_CREDENTIALS: &str = "AWS_ACCESS_KEY_ID";

/// Variables of the platform's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlatformVariables {
    /// Those that the application gets unless its service sets them.
    pub own: BTreeMap<String, String>,
    /// Those that it gets unless its service or its image sets them.
    pub defaults: BTreeMap<String, String>,
    /// Whether it needs the file with the certificates to trust.
    pub trust: bool,
}

/// What an application acts with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Means<'a> {
    /// Where it finds the credentials of its instance role.
    pub credentials_path: Option<&'a str>,
    /// The ARN of the role that it assumes with its token.
    pub web_identity: Option<&'a str>,
    /// The name of that role's sessions.
    pub session: &'a str,
}

/// What an instance is told. Without an instance role that is the region alone. One with a token for a role of another account is
/// led to the real AWS, where that role is.
pub fn platform_variables(
    settings: &Settings,
    config: &ServiceConfig,
    means: &Means<'_>,
) -> PlatformVariables {
    let mut variables = PlatformVariables::default();
    let image = &config.image;
    let sets =
        |name: &str| image.environment.contains_key(name) || image.secrets.contains_key(name);
    let mut default = |name: &str, value: &str| {
        variables.defaults.insert(name.to_owned(), value.to_owned());
    };
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        default(name, &settings.region);
    }
    let here = format!(":iam::{}:role/", settings.account);
    let elsewhere = means.web_identity.is_some_and(|role| !role.contains(&here));
    if let Some(role) = means.web_identity {
        default("AWS_ROLE_ARN", role);
        default("AWS_ROLE_SESSION_NAME", means.session);
        default("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN_PATH);
    }
    let (Some(path), Some(endpoint)) = (means.credentials_path, &settings.instance_endpoint) else {
        return variables;
    };
    if !sets(OWN_CREDENTIALS) && !elsewhere {
        default("AWS_ENDPOINT_URL", endpoint);
        // The SDK for JavaScript reads the second.
        for name in ["AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
            default(name, TRUST_PATH);
        }
        variables.trust = true;
    }
    if !sets(CREDENTIALS) {
        variables
            .own
            .insert(CREDENTIALS.to_owned(), path.to_owned());
    }
    variables
}
