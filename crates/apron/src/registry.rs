//! `apron registry`: credentials of other image registries, kept sealed by the platform.

use crate::client;
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use apron_aws::model::apron;
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Read;

/// Longest password read from standard input, in bytes.
const PASSWORD_BYTES_MAX: u64 = 16 << 10;

/// What to do with credentials.
#[derive(Subcommand)]
pub enum Command {
    /// Keep the credentials of a registry.
    Login {
        /// Its host, with port where it is not 443.
        host: String,
        /// The user name.
        #[arg(short, long)]
        username: String,
        /// Read the password from standard input.
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// Forget the credentials of a registry.
    Logout {
        /// Its host.
        host: String,
    },
    /// List the registries whose credentials are kept.
    List,
}

/// Does it.
pub fn registry(paths: &Paths, command: Command) -> Result<()> {
    match command {
        Command::Login { host, username, .. } => {
            let input = json!({ "Host": host, "Username": username, "Password": password()? });
            client::call(paths, apron(), "PutRegistryCredential", &input)?;
            println!("The credentials of {host} are kept.");
        }
        Command::Logout { host } => {
            client::call(
                paths,
                apron(),
                "DeleteRegistryCredential",
                &json!({ "Host": host }),
            )?;
            println!("The credentials of {host} are forgotten.");
        }
        Command::List => {
            let answer = client::call(paths, apron(), "ListRegistryCredentials", &json!({}))?;
            for host in answer["Hosts"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                println!("{host}");
            }
        }
    }
    Ok(())
}

fn password() -> Result<String> {
    let mut text = String::new();
    let read = std::io::stdin()
        .take(PASSWORD_BYTES_MAX)
        .read_to_string(&mut text);
    read.context("cannot read the password from standard input")?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("standard input has no password");
    }
    Ok(password.to_owned())
}
