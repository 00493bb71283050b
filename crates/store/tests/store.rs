//! The store against a real database in a directory of its own.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod store {
    mod crash;
    mod faults;
    mod memory;
    mod pages;
    mod privileged;
    mod race;
    mod rows;
    mod sample;
    mod sealing;
    mod transactions;
}
