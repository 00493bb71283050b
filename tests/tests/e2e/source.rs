//! Services from source code on hosts that ask for credentials: over HTTP with a token, over SSH with a key.

use anyhow::{Context, Result, ensure};
use apron_e2e::git::{HttpHost, PASSWORD, Repository, SshHost, USER};
use apron_e2e::{Platform, Service, run, wait};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Longest time from a push on a branch to its deployment.
const DEPLOYED_MAX: Duration = Duration::from_secs(150);

/// An application without a framework; its version is what it answers.
pub fn write_application(repository: &Repository, dir: &str, version: &str) -> Result<()> {
    let file = "version: 1.0\nruntime: python311\nbuild:\n  commands:\n    build:\n      - echo building\nrun:\n  \
                command: python3 main.py\n  network:\n    port: 8000\n";
    let application = format!(
        "import http.server, json\n\
         class H(http.server.BaseHTTPRequestHandler):\n    \
         def do_GET(self):\n        \
         body = json.dumps({{'version': '{version}'}}).encode()\n        \
         self.send_response(200)\n        \
         self.send_header('Content-Length', str(len(body)))\n        \
         self.end_headers()\n        \
         self.wfile.write(body)\n\
         http.server.ThreadingHTTPServer(('0.0.0.0', 8000), H).serve_forever()\n"
    );
    repository.write(&format!("{dir}apprunner.yaml"), file)?;
    repository.write(&format!("{dir}main.py"), &application)
}

/// A connection made with the AWS command line.
pub fn connection(platform: &Platform, name: &str) -> Result<String> {
    let made = platform.aws(&[
        "apprunner",
        "create-connection",
        "--connection-name",
        name,
        "--provider-type",
        "GITHUB",
    ])?;
    let arn = made["Connection"]["ConnectionArn"].as_str();
    Ok(arn.context("no ConnectionArn")?.to_owned())
}

/// The source configuration of a repository's branch `main`, as its file says.
pub fn source(url: &str, connection: &str, directory: &str) -> Value {
    json!({
        "CodeRepository": {
            "RepositoryUrl": url,
            "SourceCodeVersion": { "Type": "BRANCH", "Value": "main" },
            "SourceDirectory": directory,
            "CodeConfiguration": { "ConfigurationSource": "REPOSITORY" },
        },
        "AuthenticationConfiguration": { "ConnectionArn": connection },
    })
}

/// A service of this source, made with the AWS command line.
pub fn create(platform: &Platform, name: &str, source: &Value) -> Result<Service> {
    create_with(platform, name, source, &json!([]))
}

/// Like [`create`], with tags.
pub fn create_with(
    platform: &Platform,
    name: &str,
    source: &Value,
    tags: &Value,
) -> Result<Service> {
    let input = json!({
        "ServiceName": name,
        "SourceConfiguration": source,
        "InstanceConfiguration": { "Cpu": "0.25 vCPU", "Memory": "0.5 GB" },
        "HealthCheckConfiguration": { "Protocol": "HTTP", "Path": "/", "Interval": 1 },
        "Tags": tags,
    });
    let file = platform.dir().join("create.json");
    std::fs::write(&file, input.to_string())?;
    let argument = format!("file://{}", file.display());
    let made = platform.aws(&["apprunner", "create-service", "--cli-input-json", &argument])?;
    Service::of(&made)
}

/// The events of a service have all of these parts.
pub fn events(service: &Service, platform: &Platform, parts: &[&str]) -> Result<()> {
    let told = service.events(platform)?.join("\n");
    for part in parts {
        ensure!(told.contains(part), "{part} is missing in\n{told}");
    }
    Ok(())
}

/// `apron connect` for the host over HTTP, with this password.
pub fn connect(platform: &Platform, name: &str, host: &HttpHost, password: &str) -> Result<String> {
    let host = host.host();
    let arguments = [
        "connect",
        name,
        "--host",
        &host,
        "-u",
        USER,
        "--token-stdin",
    ];
    run::ok_with_input(&mut platform.apron(&arguments), Some(password))
}

#[test]
fn a_private_repository_over_http_is_built_and_followed() -> Result<()> {
    let platform = Platform::start_with(&apron_e2e::Settings {
        ask_every: 2,
        ..Default::default()
    })?;
    let _bases = platform.serve_python_base()?;
    let host = HttpHost::start(&platform, 5)?;
    let bare = host.repository("app")?;
    let work = Repository::at(platform.dir().join("work"))?;
    write_application(&work, "app/", "v1")?;
    work.publish(&bare)?;

    let arn = connection(&platform, "private")?;
    let wanted = source(&host.url("app"), &arn, "/app");
    let refused = create(&platform, "app-http", &wanted)
        .map(drop)
        .unwrap_err();
    ensure!(
        refused.to_string().contains("PENDING_HANDSHAKE"),
        "{refused:#}"
    );
    // With the wrong password first, as happens.
    connect(&platform, "private", &host, "wrong-password")?;
    let service = create(&platform, "app-http", &wanted)?;
    service.settle_as(&platform, "CREATE_FAILED")?;
    let refusal = "Failed to pull your application source code. Reason: the server refused";
    events(&service, &platform, &[refusal])?;
    let told = connect(&platform, "private", &host, PASSWORD)?;
    ensure!(
        told.contains("/hooks/") && !told.contains(PASSWORD),
        "{told}"
    );
    platform.aws(&["apprunner", "update-service", "--service-arn", &service.arn])?;
    service.settle_as(&platform, "RUNNING")?;
    ensure!(service.version(&platform)? == "v1");
    follow(&platform, &service, &work, &bare)
}

/// Commits on the branch deploy by themselves, and only those that change the source directory and can be built.
fn follow(platform: &Platform, service: &Service, work: &Repository, bare: &Path) -> Result<()> {
    work.write("README", "changed")?;
    work.publish(bare)?;
    write_application(work, "app/", "v2")?;
    work.publish(bare)?;
    service.wait_for_version(platform, "v2", DEPLOYED_MAX)?;
    service.settle_as(platform, "RUNNING")?;
    events(
        service,
        platform,
        &["Triggering event : SERVICE_AUTO_DEPLOY"],
    )?;
    let broken = std::fs::read_to_string(work.dir().join("app/apprunner.yaml"))?;
    let broken = broken.replace("echo building", "echo broken && exit 7");
    work.write("app/apprunner.yaml", &broken)?;
    work.publish(bare)?;
    wait::until_true("the broken commit to be tried", DEPLOYED_MAX, || {
        Ok(service.operations(platform)?[0]["Status"] == "ROLLBACK_SUCCEEDED")
    })?;
    ensure!(service.version(platform)? == "v2");
    let why = run::ok(&mut platform.apron(&["why", "app-http"]))?;
    ensure!(
        why.contains("exit code 7") && why.contains("broken"),
        "{why}"
    );
    Ok(())
}

#[test]
fn a_repository_over_ssh_is_built() -> Result<()> {
    let platform = Platform::start()?;
    let _bases = platform.serve_python_base()?;
    let host = SshHost::start(&platform, 5)?;
    let bare = platform.dir().join("ssh-app.git");
    apron_e2e::git::bare(&bare)?;
    let work = Repository::at(platform.dir().join("work"))?;
    write_application(&work, "", "by-ssh")?;
    work.publish(&bare)?;
    let arn = connection(&platform, "by-ssh")?;
    let (name, key, hosts) = (host.host(), host.key(), host.known_hosts());
    let mut connect = platform.apron(&["connect", "by-ssh", "--host", &name]);
    connect
        .arg("--ssh-key")
        .arg(&key)
        .arg("--known-hosts")
        .arg(&hosts);
    run::ok(&mut connect)?;
    let service = create(&platform, "app-ssh", &source(&host.url(&bare), &arn, "/"))?;
    service.settle_as(&platform, "RUNNING")?;
    ensure!(service.version(&platform)? == "by-ssh");
    // Of the key nothing is left on the machine but what is sealed.
    let keys = std::fs::read_dir(platform.run_dir().join("keys"))?;
    ensure!(keys.count() == 0, "a key file is left");
    let url = host.url(&bare);
    crate::source_secrets::are_given_at_run_time_and_not_to_builds(
        &platform, &work, &bare, &url, &arn,
    )
}

#[test]
fn what_cannot_be_fetched_is_explained() -> Result<()> {
    let platform = Platform::start()?;
    let host = HttpHost::start(&platform, 5)?;
    let arn = connection(&platform, "private")?;
    connect(&platform, "private", &host, PASSWORD)?;
    host.repository("empty")?;
    let other = Repository::at(platform.dir().join("other"))?;
    other.write("a", "a")?;
    other.commit()?;
    let modules = Repository::at(platform.dir().join("modules"))?;
    let url = other.dir().display().to_string();
    modules.git(&["submodule", "add", "-q", &url, "vendor"])?;
    modules.publish(&host.repository("modules")?)?;
    let pointers = Repository::at(platform.dir().join("pointers"))?;
    pointers.write(
        ".gitattributes",
        "*.bin filter=lfs diff=lfs merge=lfs -text\n",
    )?;
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 9\n",
        "0".repeat(64)
    );
    pointers.write("model.bin", &pointer)?;
    pointers.publish(&host.repository("pointers")?)?;
    for (name, reason) in [
        ("empty", "is empty"),
        ("absent", "was not found"),
        ("modules", "a submodule at vendor"),
        ("pointers", "model.bin is a pointer of Git LFS"),
    ] {
        let service = create(&platform, name, &source(&host.url(name), &arn, "/"))?;
        service.settle_as(&platform, "CREATE_FAILED")?;
        events(
            &service,
            &platform,
            &["Failed to pull your application source code", reason],
        )?;
    }
    Ok(())
}
