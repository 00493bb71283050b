//! The backend on a real kernel. Needs root, the programs nft, mkfs.ext4, ip and a static busybox, and the shim built
//! next to this test (`cargo build -p apron-shim`). Every test has a network namespace of its own in place of the
//! machine's, a directory, and a name; all of it is removed even when the test fails.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adoption;
mod brake;
mod build_pace;
mod conformance;
mod doors;
mod image;
mod isolation;
mod limits;
mod machine;
mod output;
mod start;
mod traces;
mod users;
