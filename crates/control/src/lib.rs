//! The application: one module per AWS service's operations, and the machinery behind them.
//!
//! * API: [`endpoint`] takes requests apart; [`apprunner`], [`ecr`], [`kms`], [`logs`], [`secretsmanager`], [`ssm`], [`sts`],
//!   [`operator`] answer them; [`git`] takes pushes, [`hooks`] hear of pushes elsewhere.
//! * Machinery: [`operations`] begins, [`executor`] carries out, [`steady`] keeps by its [`agenda`], [`scaler`] counts,
//!   [`auto_deploy`] and [`secret_refresh`] react, [`housekeeping`] tidies.
//! * Secrets: [`vault`] keeps them, [`injection`] reads them for instances, [`instance_credentials`] lets instances act.
//! * The world: [`fleet`] sees instances, [`routes`] and [`dataplane`] move traffic, [`traffic`] hears of it,
//!   [`troubles`] are told, [`images`] finds images, [`source`] source code, [`chronicle`] and
//!   [`access_log`] write the services' logs, [`certificates`] signs, [`listener`] accepts.

pub mod access_log;
pub mod access_role;
pub mod agenda;
pub mod apprunner;
pub mod audit;
pub mod authorizer;
pub mod auto_deploy;
pub mod certificates;
pub mod chronicle;
pub mod clock;
pub mod configurations;
pub mod dataplane;
pub mod ecr;
pub mod endpoint;
pub mod engine;
pub mod executor;
pub mod fleet;
pub mod git;
pub mod hooks;
pub mod housekeeping;
pub mod iam;
pub mod images;
pub mod injection;
pub mod instance_credentials;
pub mod kms;
pub mod listener;
pub mod logs;
pub mod operations;
pub mod operator;
pub mod platform;
pub mod prober;
pub mod routes;
pub mod scaler;
pub mod secret_refresh;
pub mod secretsmanager;
pub mod settings;
pub mod source;
pub mod ssm;
pub mod steady;
pub mod sts;
pub mod traffic;
pub mod troubles;
pub mod vault;
pub mod web_identity;

pub use settings::Settings;
