//! AWS on the wire: errors, shape tables, validation, codecs, request signatures, resource names.
//!
//! Pure: bytes in, values out. Nothing here reads a clock, a socket or a file.

pub mod error;

pub use error::ApiError;
