//! The crate from outside: tables, validation, answers, signatures.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may unwrap as tests do"
)]

mod answers;
mod signatures;
mod tables;
mod validation;
