//! The variables that let an unmodified AWS SDK in an instance find its credentials and the platform.

use crate::settings::Settings;
use apron_compute::TRUST_PATH;
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

/// What an instance is told. Without an instance role that is the region alone.
pub fn platform_variables(
    settings: &Settings,
    config: &ServiceConfig,
    credentials_path: Option<String>,
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
    let (Some(path), Some(endpoint)) = (credentials_path, &settings.instance_endpoint) else {
        return variables;
    };
    if !sets(OWN_CREDENTIALS) {
        default("AWS_ENDPOINT_URL", endpoint);
        // The SDK for JavaScript reads the second.
        for name in ["AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
            default(name, TRUST_PATH);
        }
        variables.trust = true;
    }
    if !sets(CREDENTIALS) {
        variables.own.insert(CREDENTIALS.to_owned(), path);
    }
    variables
}
