//! IAM's own errors, in its words.

use apron_aws::policy::PolicyError;
use apron_aws::{ApiError, model};

/// An error of IAM by the name of its shape.
pub fn error(shape: &str, message: impl Into<String>) -> ApiError {
    model::iam().error(shape, message)
}

/// A user, group or role does not exist.
pub fn no_such_entity(word: &str, name: &str) -> ApiError {
    error(
        "NoSuchEntityException",
        format!("The {word} with name {name} cannot be found."),
    )
}

/// A managed policy does not exist.
pub fn no_policy(arn: &str) -> ApiError {
    error(
        "NoSuchEntityException",
        format!("Policy {arn} was not found."),
    )
}

/// A managed policy of AWS cannot be changed.
pub fn managed_by_aws(arn: &str) -> ApiError {
    let message = format!("Cannot perform the operation on {arn}: it is managed by AWS.");
    let mut denied = ApiError::access_denied(message);
    denied.code = "AccessDenied".to_owned();
    denied
}

/// A name is taken.
pub fn exists(what: &str, name: &str) -> ApiError {
    error(
        "EntityAlreadyExistsException",
        format!("{what} with name {name} already exists."),
    )
}

/// A quota is reached.
pub fn quota(name: &str, limit: usize) -> ApiError {
    error(
        "LimitExceededException",
        format!("Cannot exceed quota for {name}: {limit}"),
    )
}

/// Something has to go first.
pub fn conflict(message: &str) -> ApiError {
    error("DeleteConflictException", message)
}

/// The input breaks a rule that the model does not have.
pub fn invalid_input(message: impl Into<String>) -> ApiError {
    error("InvalidInputException", message)
}

/// A document is refused.
pub fn document(refused: &PolicyError) -> ApiError {
    let shape = match refused {
        PolicyError::Malformed(_) => "MalformedPolicyDocumentException",
        PolicyError::TooLong { .. } => "LimitExceededException",
    };
    error(shape, refused.to_string())
}
