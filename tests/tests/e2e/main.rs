//! End to end: real programs, real clients, real kernel. `cargo xtask test` prepares what these tests need.

mod access_log;
mod auto_deploy;
mod bad_input;
mod broken_create;
mod broken_update;
mod conformance;
mod disk_full;
mod external_registry;
mod isolation;
mod kill_control;
mod kill_parts;
mod lifecycle;
mod proxy_upgrade;
mod reboot;
mod registry_clients;
mod registry_protocol;
mod scaling;
mod sdk_clients;
mod secrets;
mod start_failures;
mod trust;
mod tutorial;
mod update;
mod wire;
mod zero_downtime;
