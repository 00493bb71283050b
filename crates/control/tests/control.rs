//! The control plane over simulated instances: deployments, repairs, and being killed anywhere.

#[path = "control/deploy.rs"]
mod deploy;
#[path = "control/kill.rs"]
mod kill;
#[path = "control/steady.rs"]
mod steady;
