//! The policy language from outside: documents, matching, conditions, decisions, tables of actions.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may unwrap as tests do"
)]

mod actions;
mod conditions;
mod documents;
mod evaluation;
mod examples;
mod mutated;
mod principals;
mod property;
mod reference;
mod resources;
mod simulation;
mod world;
