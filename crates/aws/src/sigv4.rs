//! AWS Signature Version 4: checking what a client signed
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>).
//!
//! A check has two halves with the look-up of the secret between them, so that a request with an unknown key is
//! refused before its body is read: [`Authorization::parse`] and [`Authorization::check_scope`] need only the head,
//! [`verify`] needs the secret and the body.

mod authorization;
mod canonical;
pub mod date;
mod failure;
mod key;
mod sign;
mod verify;

pub use authorization::{Authorization, Carrier};
pub use canonical::Head;
pub use failure::AuthFailure;
pub use key::{KeyCache, Secret};
pub use sign::{Signer, sign};
pub use verify::{Payload, verify};

/// The one algorithm.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The last part of a credential scope.
pub const TERMINATOR: &str = "aws4_request";
/// The payload hash of a request that does not sign its body.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// How far a request's date may be from ours, either way, milliseconds.
pub const SKEW_MS_MAX: u64 = 15 * 60 * 1000;
/// The longest life of a presigned request, seconds.
pub const EXPIRES_SECONDS_MAX: u64 = 7 * 24 * 60 * 60;
