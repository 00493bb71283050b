//! The control plane over simulated instances: deployments, repairs, and being killed anywhere.
#![allow(clippy::unwrap_used)]

#[path = "control/audit.rs"]
mod audit;
#[path = "control/configurations.rs"]
mod configurations;
#[path = "control/denials.rs"]
mod denials;
#[path = "control/deploy.rs"]
mod deploy;
#[path = "control/extensions.rs"]
mod extensions;
#[path = "control/identities.rs"]
mod identities;
#[path = "control/injection.rs"]
mod injection;
#[path = "control/kill.rs"]
mod kill;
#[path = "control/machine.rs"]
mod machine;
#[path = "control/quotas.rs"]
mod quotas;
#[path = "control/random.rs"]
mod random;
#[path = "control/rights.rs"]
mod rights;
#[path = "control/root.rs"]
mod root;
#[path = "control/root_key.rs"]
mod root_key;
#[path = "control/scaling.rs"]
mod scaling;
#[path = "control/sdk.rs"]
mod sdk;
#[path = "control/source.rs"]
mod source;
#[path = "control/states.rs"]
mod states;
#[path = "control/steady.rs"]
mod steady;
#[path = "control/vault.rs"]
mod vault;
#[path = "control/web_identity.rs"]
mod web_identity;
