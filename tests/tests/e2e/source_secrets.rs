//! A build that is after secrets, and an application from source that is given one when it runs.

use crate::source::source;
use anyhow::{Result, ensure};
use apron_e2e::git::Repository;
use apron_e2e::{Platform, Service, api, assets, run};
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// Where in the repository it is.
const DIRECTORY: &str = "/hostile";

/// An application that answers how long its secret is, after a build that shows all it sees and attacks.
fn write(platform: &Platform, work: &Repository, secret: &str) -> Result<()> {
    let storage = platform.data_dir().join("store");
    let file = format!(
        "version: 1.0\nruntime: python311\nbuild:\n  commands:\n    build:\n      - env\n      - \
         python3 attack.py {}\n      - env > seen.txt\nrun:\n  command: python3 main.py\n  network:\n    port: 8000\n  \
         secrets:\n    - name: APP_SECRET\n      value-from: \"{secret}\"\n",
        storage.display()
    );
    let application = "import http.server, json, os\n\
         class H(http.server.BaseHTTPRequestHandler):\n    \
         def do_GET(self):\n        \
         body = json.dumps({'version': os.environ['APP_SECRET'], 'seen': open('seen.txt').read()}).encode()\n        \
         self.send_response(200)\n        \
         self.send_header('Content-Length', str(len(body)))\n        \
         self.end_headers()\n        \
         self.wfile.write(body)\n\
         http.server.ThreadingHTTPServer(('0.0.0.0', 8000), H).serve_forever()\n";
    let attack = std::fs::read_to_string(assets::checkout().join("tests/apps/build_attacker.py"))?;
    let path = |name: &str| format!("{}/{name}", DIRECTORY.trim_start_matches('/'));
    work.write(&path("apprunner.yaml"), &file)?;
    work.write(&path("main.py"), application)?;
    work.write(&path("attack.py"), &attack)
}

/// Files below a directory that hold the text: the database and the unpacked layers of images among them.
fn holders(dir: &Path, text: &str) -> Result<String> {
    let mut grep = Command::new("grep");
    let done = grep.args(["-rlF", "-e", text]).arg(dir).output()?;
    Ok(String::from_utf8(done.stdout)?)
}

/// Builds and runs it from a directory of a repository that is there already, over its connection.
pub fn are_given_at_run_time_and_not_to_builds(
    platform: &Platform,
    work: &Repository,
    bare: &Path,
    url: &str,
    connection: &str,
) -> Result<()> {
    let marker = format!("hush-source-{}", platform.slot.name());
    // Through the API and not through a command line, which everybody sees.
    let input = json!({"Name": "source", "SecretString": marker});
    let made = platform.call(api::SECRETS_MANAGER, "CreateSecret", &input)?;
    let secret = made["ARN"].as_str().unwrap_or_default();
    write(platform, work, secret)?;
    work.publish(bare)?;
    let role = crate::secrets::instance_role(platform, &["secretsmanager:GetSecretValue"])?;
    let service = platform.create_service_from(&json!({
        "ServiceName": "hostile",
        "SourceConfiguration": source(url, connection, DIRECTORY),
        "InstanceConfiguration": { "Cpu": "0.25 vCPU", "Memory": "0.5 GB", "InstanceRoleArn": role },
        "HealthCheckConfiguration": { "Protocol": "HTTP", "Path": "/", "Interval": 1 },
    }))?;
    let status = service.settle(platform)?;
    let log = build_log(platform, &service)?;
    ensure!(status == "RUNNING", "{status}: {log}");
    for part in [
        "trace the first process: PermissionError",
        "read the memory of the first process: PermissionError",
        "trace a process outside: OSError: nobody can be traced",
        "see a process outside: OSError: no process is the platform's",
        "read the variable of a secret: OSError: no process has it",
        "find a path to credentials: KeyError",
        "find the platform's files: FileNotFoundError",
    ] {
        ensure!(log.contains(part), "{part} is missing in\n{log}");
    }
    ensure!(!log.contains(": worked"), "{log}");
    ensure!(!log.contains("APP_SECRET="), "{log}");

    let told = service.identity(platform)?;
    ensure!(told["version"] == marker.as_str(), "{told}");
    let seen = told["seen"].as_str().unwrap_or_default();
    ensure!(
        seen.contains("PATH=") && !seen.contains("APP_SECRET"),
        "{seen}"
    );
    let said = [log, platform.own_log()].join("\n");
    ensure!(!said.contains(&marker), "the secret is told: {said}");
    let found = holders(&platform.data_dir(), &marker)?;
    ensure!(found.is_empty(), "the secret lies open in {found}");
    // What was looked through holds what the build left.
    let left = holders(&platform.data_dir().join("node"), "trace_outside")?;
    ensure!(!left.is_empty(), "the layers of the build are not there");
    Ok(())
}

/// All that was said of the service's operations.
fn build_log(platform: &Platform, service: &Service) -> Result<String> {
    let mut log = String::new();
    for operation in service.operations(platform)? {
        let id = operation["Id"].as_str().unwrap_or_default().to_owned();
        log.push_str(&service.deployment_log(platform, &id)?.join("\n"));
        log.push_str(&run::ok(&mut platform.apron(&[
            "why",
            &service.name,
            "--operation",
            &id,
        ]))?);
    }
    Ok(log)
}
