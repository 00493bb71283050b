//! Leaves of the local authority, made anew long before they end.

use anyhow::{Context, Result};
use apron_control::certificates::Authority;
use apron_control::clock::{Clock, Machine};
use apron_control::listener;
use apron_link::proxy::Certificate;
use rustls::ServerConfig;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;

/// How often a leaf, which is valid for more than a year, is made anew.
const RENEW_EVERY: Duration = Duration::from_secs(30 * 24 * 3600);

/// The time as the certificate library wants it.
pub fn now() -> OffsetDateTime {
    let seconds = i64::try_from(Machine.now().0 / 1000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The services' certificate for these names, renewed while the platform runs.
pub fn keep_services(
    authority: Authority,
    names: Vec<String>,
) -> Result<watch::Receiver<Vec<Certificate>>> {
    let first = authority.leaf(&names, now())?;
    let (sender, receiver) = watch::channel(vec![first]);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            match authority.leaf(&names, now()) {
                Ok(leaf) => {
                    sender.send_replace(vec![leaf]);
                }
                Err(error) => {
                    tracing::error!(%error, "the services' certificate could not be renewed")
                }
            }
        }
    });
    Ok(receiver)
}

/// The API's TLS configuration for these names, renewed while the platform runs.
pub fn keep_api(
    authority: Authority,
    names: Vec<String>,
) -> Result<watch::Receiver<Arc<ServerConfig>>> {
    let make = move || -> Result<Arc<ServerConfig>> {
        listener::tls(&authority.leaf(&names, now())?)
            .context("the API's certificate cannot be used")
    };
    let (sender, receiver) = watch::channel(make()?);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            match make() {
                Ok(config) => {
                    sender.send_replace(config);
                }
                Err(error) => {
                    tracing::error!("the API's certificate could not be renewed: {error:#}")
                }
            }
        }
    });
    Ok(receiver)
}
