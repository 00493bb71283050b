//! Builds on a real kernel, with the machine's network: base images come from Debian's mirrors, dependencies from the
//! package registries. Needs root, the programs of the local backend, and the shim built next to this test.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bare_images;
mod dockerfile_parts;
mod dockerfiles;
mod failures;
mod languages;
mod like_buildah;
mod machine;
mod private_repository;
mod usual_dockerfiles;
