//! Tests of the content store, the distribution server, the pull client and unpacking, from outside: over loopback
//! sockets, with real files, and with the tools that people use.

#![allow(clippy::unwrap_used)] // the tests' own surroundings are expected to work

mod archives;
mod client;
mod content;
mod distribution;
mod garbage;
mod images;
mod kill;
mod listing;
mod manifests;
mod privileged_clients;
mod privileged_disk_full;
mod privileged_hostile;
mod privileged_round_trip;
mod privileged_unpack;
mod pulls;
mod pulls_authenticated;
mod server;
mod uploads;
