//! AWS on the wire: errors, shape tables, validation, codecs, request signatures, resource names, the policy language.
//!
//! Pure: bytes in, values out. Nothing here reads a clock, a socket or a file.

pub mod arn;
pub mod codec;
pub mod error;
pub mod model;
pub mod policy;
pub mod sigv4;
pub mod validate;

pub use arn::Arn;
pub use error::ApiError;
pub use model::Model;
