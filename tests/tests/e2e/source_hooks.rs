//! Webhooks of the hosts of repositories, with the headers and bodies that each of them sends.

use crate::source::{connect, connection, create, source, write_application};
use anyhow::{Context, Result, ensure};
use apron_e2e::git::{HttpHost, PASSWORD, Repository};
use apron_e2e::{Platform, Service, Settings};
use aws_lc_rs::hmac;
use serde_json::{Value, json};
use std::time::Duration;

/// Longest time from a webhook to the new answer.
const DEPLOYED_MAX: Duration = Duration::from_secs(90);

/// One host's way of telling of a push.
struct Sender {
    host: &'static str,
    /// The header that says what happened, and its value for a push.
    event: (&'static str, &'static str),
    /// The header with the signature or the secret.
    proof: &'static str,
    /// What the proof is, of the secret and the body.
    prove: fn(&str, &[u8]) -> String,
    /// The body for a push to a branch.
    body: fn(&str) -> Value,
}

const SENDERS: [Sender; 4] = [
    Sender {
        host: "GitHub",
        event: ("x-github-event", "push"),
        proof: "x-hub-signature-256",
        prove: |secret, body| format!("sha256={}", signature(secret, body)),
        body: by_reference,
    },
    Sender {
        host: "GitLab",
        event: ("x-gitlab-event", "Push Hook"),
        proof: "x-gitlab-token",
        prove: |secret, _| secret.to_owned(),
        body: by_reference,
    },
    Sender {
        host: "Gitea",
        event: ("x-gitea-event", "push"),
        proof: "x-gitea-signature",
        prove: signature,
        body: by_reference,
    },
    Sender {
        host: "Bitbucket",
        event: ("x-event-key", "repo:push"),
        proof: "x-hub-signature",
        prove: |secret, body| format!("sha256={}", signature(secret, body)),
        body: |branch| {
            let new = json!({ "type": "branch", "name": branch });
            json!({ "push": { "changes": [{ "new": new, "forced": false }] } })
        },
    },
];

fn signature(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hex::encode(hmac::sign(&key, body))
}

fn by_reference(branch: &str) -> Value {
    json!({ "ref": format!("refs/heads/{branch}"), "commits": [], "repository": { "name": "app" } })
}

/// Where webhooks go, and their secret, as `apron connect` prints them.
struct Hook {
    path: String,
    secret: String,
}

impl Hook {
    fn of(told: &str) -> Result<Hook> {
        let after = |label: &str| {
            let mut lines = told.lines().map(str::trim);
            let found = lines.find_map(|line| line.strip_prefix(label));
            found.with_context(|| format!("{label} is missing in\n{told}"))
        };
        let url = after("URL")?;
        let at = url.find("/hooks/").context("no path of webhooks")?;
        Ok(Hook {
            path: url[at..].to_owned(),
            secret: after("secret")?.trim().to_owned(),
        })
    }

    /// Tells of a push as this host does, with this secret; the answer's status.
    fn send(&self, platform: &Platform, sender: &Sender, secret: &str) -> Result<u16> {
        let body = (sender.body)("main").to_string();
        let proof = (sender.prove)(secret, body.as_bytes());
        let headers = [
            ("content-type", "application/json"),
            sender.event,
            (sender.proof, proof.as_str()),
        ];
        let target = platform.api_target()?;
        Ok(target
            .request("POST", &self.path, &headers, body.as_bytes())?
            .status)
    }
}

#[test]
fn webhooks_of_every_host_deploy_what_was_pushed_and_only_with_their_proof() -> Result<()> {
    // Nobody but a webhook tells of a push here.
    let platform = Platform::start_with(&Settings {
        ask_every: 3600,
        ..Settings::default()
    })?;
    let _bases = platform.serve_python_base()?;
    let host = HttpHost::start(&platform, 5)?;
    let bare = host.repository("app")?;
    let work = Repository::at(platform.dir().join("work"))?;
    write_application(&work, "app/", "v0")?;
    work.publish(&bare)?;
    let arn = connection(&platform, "hooked")?;
    let hook = Hook::of(&connect(&platform, "hooked", &host, PASSWORD)?)?;
    let service = create(
        &platform,
        "app-hooked",
        &source(&host.url("app"), &arn, "/app"),
    )?;
    service.settle_as(&platform, "RUNNING")?;

    for (number, sender) in SENDERS.iter().enumerate() {
        // A push that changes nothing of the source directory is told of as well, and deploys nothing.
        work.write("README", sender.host)?;
        work.publish(&bare)?;
        ensure!(hook.send(&platform, sender, &hook.secret)? == 202);
        let version = format!("v{}", number + 1);
        write_application(&work, "app/", &version)?;
        work.publish(&bare)?;
        deploys(&platform, &hook, sender, &service, &version)?;
    }
    let operations = service.operations(&platform)?;
    ensure!(operations.len() == 1 + SENDERS.len(), "{operations:#?}");
    strangers(&platform, &hook)
}

/// The wrong proof is refused; with the right one the version is deployed.
fn deploys(
    platform: &Platform,
    hook: &Hook,
    sender: &Sender,
    service: &Service,
    version: &str,
) -> Result<()> {
    let host = sender.host;
    let refused = hook.send(platform, sender, "another secret")?;
    ensure!(refused == 401, "{host}: {refused}");
    let taken = hook.send(platform, sender, &hook.secret)?;
    ensure!(taken == 202, "{host}: {taken}");
    service
        .wait_for_version(platform, version, DEPLOYED_MAX)
        .with_context(|| format!("told by {host}"))?;
    service.settle_as(platform, "RUNNING")
}

/// Without a proof, with that of another body, or for no connection nothing is believed.
fn strangers(platform: &Platform, hook: &Hook) -> Result<()> {
    let target = platform.api_target()?;
    let ask = |method: &str, path: &str, headers: &[(&str, &str)]| -> Result<u16> {
        Ok(target.request(method, path, headers, b"{}")?.status)
    };
    let other = format!("sha256={}", signature(&hook.secret, b"another body"));
    ensure!(ask("POST", &hook.path, &[])? == 401);
    ensure!(ask("POST", &hook.path, &[("x-hub-signature-256", &other)])? == 401);
    ensure!(ask("POST", "/hooks/none", &[])? == 404);
    ensure!(ask("GET", &hook.path, &[])? == 405);
    Ok(())
}
