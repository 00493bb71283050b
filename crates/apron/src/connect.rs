//! `apron connect`: completing the handshake of a connection, with the credentials its repositories are read with.

use crate::client;
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use apron_aws::model::{apprunner, apron};
use clap::Args;
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest token read from standard input, in bytes.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// Longest key file, in bytes.
const KEY_BYTES_MAX: u64 = 16 << 10;

/// Which connection, and its credentials.
#[derive(Args)]
pub struct Connect {
    /// The connection's name or ARN.
    connection: String,
    /// The host of its repositories, with the port where it is not the usual one; by default the provider's own.
    #[arg(long)]
    host: Option<String>,
    /// Read a token or password from standard input.
    #[arg(long, conflicts_with = "ssh_key")]
    token_stdin: bool,
    /// The user name that goes with the token, where the host wants one of its own.
    #[arg(short, long, requires = "token_stdin")]
    username: Option<String>,
    /// A file with a private key without passphrase, for repositories by ssh.
    #[arg(long)]
    ssh_key: Option<PathBuf>,
    /// The file of known hosts that has the host's key; by default that of this user.
    #[arg(long, requires = "ssh_key")]
    known_hosts: Option<PathBuf>,
}

/// Completes the handshake.
pub fn connect(paths: &Paths, arguments: Connect) -> Result<()> {
    let (arn, provider) = find(paths, &arguments.connection)?;
    let mut input = json!({ "ConnectionArn": arn });
    if let Some(host) = &arguments.host {
        input["Host"] = json!(host.to_ascii_lowercase());
    }
    if arguments.token_stdin {
        input["Token"] = json!(token()?);
        if let Some(username) = &arguments.username {
            input["Username"] = json!(username);
        }
    }
    if let Some(file) = &arguments.ssh_key {
        let usual = match provider.as_str() {
            "BITBUCKET" => "bitbucket.org",
            _ => "github.com",
        };
        let host = arguments.host.as_deref().unwrap_or(usual);
        input["SshPrivateKey"] = json!(read_key(file)?);
        input["KnownHosts"] = json!(host_keys(host, arguments.known_hosts.as_deref())?);
    }
    let answer = client::call(paths, apron(), "CompleteConnection", &input)?;
    let text = |member: &str| answer[member].as_str().unwrap_or_default().to_owned();
    println!("The connection is available.");
    println!("Pushes deploy at once with a webhook (JSON, push events):");
    println!("  URL     {}", text("WebhookUrl"));
    println!("  secret  {}", text("WebhookSecret"));
    println!("Without one the branch is looked at now and then.");
    Ok(())
}

/// The ARN and the provider of a connection given by ARN or name.
fn find(paths: &Paths, connection: &str) -> Result<(String, String)> {
    let mut input = json!({});
    loop {
        let page = client::call(paths, apprunner(), "ListConnections", &input)?;
        let text = |c: &Value, member: &str| c[member].as_str().unwrap_or_default().to_owned();
        let mut listed = page["ConnectionSummaryList"]
            .as_array()
            .into_iter()
            .flatten();
        let is_it = |c: &&Value| {
            text(c, "ConnectionName") == connection || text(c, "ConnectionArn") == connection
        };
        if let Some(found) = listed.find(is_it) {
            return Ok((text(found, "ConnectionArn"), text(found, "ProviderType")));
        }
        match &page["NextToken"] {
            Value::String(token) => input = json!({ "NextToken": token }),
            _ => bail!(
                "there is no connection {connection}; make it with `aws apprunner create-connection`"
            ),
        }
    }
}

fn token() -> Result<String> {
    let mut text = String::new();
    let read = std::io::stdin()
        .take(TOKEN_BYTES_MAX)
        .read_to_string(&mut text);
    read.context("cannot read the token from standard input")?;
    let token = text.trim_end_matches(['\r', '\n']);
    if token.is_empty() {
        bail!("standard input has no token");
    }
    Ok(token.to_owned())
}

fn read_key(file: &Path) -> Result<String> {
    let length = std::fs::metadata(file).map(|found| found.len());
    let length = length.with_context(|| format!("cannot read {}", file.display()))?;
    if length > KEY_BYTES_MAX {
        bail!("{} is too large for a private key", file.display());
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The lines of a host in a file of known hosts.
fn host_keys(host: &str, file: Option<&Path>) -> Result<String> {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let usual = Path::new(&home).join(".ssh/known_hosts");
    let file = file.unwrap_or(&usual);
    // OpenSSH writes a port of its own as `[host]:port`.
    let name = match host.split_once(':') {
        Some((name, port)) => format!("[{name}]:{port}"),
        None => host.to_owned(),
    };
    let mut command = Command::new("ssh-keygen");
    command.args(["-F", &name, "-f"]).arg(file);
    let output = command.output();
    let output = output.context("cannot run ssh-keygen: install the package openssh-client")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let keys: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    if keys.is_empty() {
        bail!(
            "{} has no key of {host}: get it with `ssh-keyscan`, compare it with what the host publishes, and add it",
            file.display()
        );
    }
    Ok(format!("{}\n", keys.join("\n")))
}
