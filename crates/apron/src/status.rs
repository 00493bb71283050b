//! `apron status`: what runs, in one screen.

use crate::client;
use crate::config::Config;
use crate::paths::Paths;
use crate::process;
use anyhow::{Result, bail};
use serde_json::{Value, json};

/// Prints the state of the platform and of its services; fails when it does not run.
pub fn status(paths: &Paths) -> Result<()> {
    let config = Config::read(paths)?;
    let Some(pid) = process::running(paths) else {
        bail!("not running. Start it with `apron up`");
    };
    println!("control plane  process {pid}, {}", config.endpoint());
    let mut input = json!({});
    loop {
        let page = client::call(paths, apron_aws::model::apprunner(), "ListServices", &input)?;
        for service in page["ServiceSummaryList"].as_array().into_iter().flatten() {
            let text = |name: &str| service[name].as_str().unwrap_or_default();
            println!(
                "{:<40} {:<22} https://{}",
                text("ServiceName"),
                text("Status"),
                text("ServiceUrl")
            );
        }
        match &page["NextToken"] {
            Value::String(token) => input = json!({ "NextToken": token }),
            _ => return Ok(()),
        }
    }
}
