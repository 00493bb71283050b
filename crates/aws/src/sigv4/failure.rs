//! Why a request is not authentic.

use crate::error::ApiError;
use crate::model::Protocol;

/// Why a request is not authentic. The texts are AWS's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthFailure {
    /// The request carries no signature at all.
    #[error("the request is not signed")]
    Missing,
    /// Parts of the signature are missing or cannot be read; the text names them.
    #[error("{0}")]
    Incomplete(String),
    /// Date, scope or set of signed headers are not acceptable; the text says why.
    #[error("{0}")]
    Refused(String),
    /// The access key or its session token is not one of ours.
    #[error("the access key is not known")]
    UnknownKey,
    /// The session token has expired.
    #[error("the session token has expired")]
    ExpiredToken,
    /// The signature is not that of the request.
    #[error("the signature is not that of the request")]
    Mismatch,
}

/// AWS's text for a wrong signature.
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. \
    Check your AWS Secret Access Key and signing method. Consult the service documentation for details.";

impl AuthFailure {
    /// The error a service with that protocol answers.
    pub fn to_error(&self, protocol: Protocol) -> ApiError {
        let query = protocol == Protocol::Query;
        match self {
            AuthFailure::Missing if query => ApiError::missing_authentication_token_query(),
            AuthFailure::Missing => ApiError::missing_authentication_token(),
            AuthFailure::Incomplete(text) if query => {
                ApiError::incomplete_signature(text).with_status(400)
            }
            AuthFailure::Incomplete(text) => {
                let mut error = ApiError::incomplete_signature(text);
                error.code = "IncompleteSignatureException".to_owned();
                error
            }
            AuthFailure::Refused(text) if query => ApiError::signature_does_not_match(text),
            AuthFailure::Refused(text) => ApiError::invalid_signature(text),
            AuthFailure::UnknownKey if query => ApiError::invalid_client_token_id(),
            AuthFailure::UnknownKey => ApiError::unrecognized_client(),
            AuthFailure::ExpiredToken if query => ApiError::expired_token_query(),
            AuthFailure::ExpiredToken => ApiError::expired_token(),
            AuthFailure::Mismatch if query => ApiError::signature_does_not_match(MISMATCH),
            AuthFailure::Mismatch => ApiError::invalid_signature(MISMATCH),
        }
    }
}
