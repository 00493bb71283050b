//! Why the value of a variable cannot be had. Never contains a value.

use apron_aws::ApiError;
use apron_domain::secret_reference::InvalidReference;
use apron_store::StoreError;

/// Why what a revision needs cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum InjectionError {
    /// A reference is not one.
    #[error("`{0}` is not a reference to a secret or parameter: {1}")]
    Reference(String, InvalidReference),
    /// The service has no instance role to read with.
    #[error(
        "the variable `{0}` comes from a secret, which is read with the instance role, and the service has none"
    )]
    NoRole(String),
    /// The instance role cannot be assumed.
    #[error("the value of the variable `{variable}` cannot be read: {reason}")]
    Role {
        /// The variable.
        variable: String,
        /// Why.
        reason: String,
    },
    /// The role may not, or there is no such secret.
    #[error("the value of the variable `{variable}` cannot be read from {source_name}: {error}")]
    Refused {
        /// The variable.
        variable: String,
        /// The secret or parameter.
        source_name: String,
        /// What Secrets Manager or Parameter Store answered.
        error: Box<ApiError>,
    },
    /// The secret is there and not what the variable needs.
    #[error("the value of the variable `{variable}` cannot be taken from {source_name}: {reason}")]
    Content {
        /// The variable.
        variable: String,
        /// The secret or parameter.
        source_name: String,
        /// What is wrong.
        reason: String,
    },
    /// The customer's key of the service cannot be used.
    #[error("the key of the service's EncryptionConfiguration cannot be used: {0}")]
    Key(String),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}
