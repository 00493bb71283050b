//! The tutorial, step by step, with the clients a new user has: AWS command line, skopeo, buildah, podman, curl.

use anyhow::{Context, Result, ensure};
use apron_e2e::{Platform, assets, aws, run, wait};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Longest time a log line may take to be found.
const LOG_MAX: Duration = Duration::from_secs(10);

/// buildah with storage of the test's own.
fn buildah(platform: &Platform) -> Command {
    let storage = platform.dir().join("containers");
    let mut command = Command::new("buildah");
    command
        .arg("--root")
        .arg(storage.join("root"))
        .arg("--runroot")
        .arg(storage.join("run"));
    command.args(["--storage-driver", "vfs"]);
    command
}

#[test]
fn a_new_user_follows_the_tutorial() -> Result<()> {
    let platform = Platform::start()?;
    let account = platform.variable("APRON_ACCOUNT_ID")?.to_owned();
    let identity = platform.aws(&["sts", "get-caller-identity"])?;
    ensure!(identity["Account"] == account.as_str(), "{identity}");
    let identity = aws::json(&run::ok(
        &mut platform.aws_v2(&["sts", "get-caller-identity"])?,
    )?)?;
    ensure!(
        identity["Account"] == account.as_str(),
        "version 2 says {identity}"
    );

    let logins = log_in(&platform)?;
    let image = build_and_push(&platform, &logins)?;
    let (arn, url) = create(&platform, &image)?;
    ask_with_curl(&platform, &url)?;
    read_logs(&platform, &arn)?;
    follow_logs(&platform, &arn, &url)?;
    delete(&platform, &arn)
}

fn log_in(platform: &Platform) -> Result<PathBuf> {
    let password = run::ok(&mut {
        let mut command = platform.client(assets::aws_v1()?);
        command.args(["ecr", "get-login-password"]);
        command
    })?;
    let logins = platform.dir().join("logins.json");
    for client in ["skopeo", "buildah", "podman"] {
        let mut command = if client == "buildah" {
            buildah(platform)
        } else {
            Command::new(client)
        };
        command
            .args([
                "login",
                "--username",
                "AWS",
                "--password-stdin",
                "--authfile",
            ])
            .arg(&logins);
        command
            .arg("--cert-dir")
            .arg(platform.certificate_dir()?)
            .arg(platform.registry());
        let said = run::ok_with_input(&mut command, Some(password.trim()))?;
        ensure!(said.contains("Login Succeeded"), "{client} says {said}");
    }
    Ok(logins)
}

/// Pushes the Python base, builds the sample on it from its Dockerfile and pushes it as `flask-hello:v1`.
fn build_and_push(platform: &Platform, logins: &PathBuf) -> Result<String> {
    for name in ["python-base", "flask-hello"] {
        let made = platform.aws(&["ecr", "create-repository", "--repository-name", name])?;
        let uri = format!("{}/{name}", platform.registry());
        ensure!(
            made["repository"]["repositoryUri"] == uri.as_str(),
            "{made}"
        );
    }
    let registry = platform.registry();
    let certificates = platform.certificate_dir()?;
    run::ok(
        Command::new("skopeo")
            .args(["copy", "--quiet", "--authfile"])
            .arg(logins)
            .arg("--dest-cert-dir")
            .arg(&certificates)
            .arg(format!(
                "oci:{}:3",
                assets::find("python-base-2")?.display()
            ))
            .arg(format!("docker://{registry}/python-base:3")),
    )?;
    let image = format!("{registry}/flask-hello:v1");
    run::ok(
        buildah(platform)
            .args([
                "build",
                "--quiet",
                "--build-arg",
                &format!("BASE={registry}/python-base:3"),
                "--authfile",
            ])
            .arg(logins)
            .arg("--cert-dir")
            .arg(&certificates)
            .args(["--tag", &image])
            .arg(assets::checkout().join("examples/flask-hello")),
    )?;
    run::ok(
        buildah(platform)
            .args(["push", "--quiet", "--authfile"])
            .arg(logins)
            .arg("--cert-dir")
            .arg(&certificates)
            .arg(&image),
    )?;
    run::ok(buildah(platform).args(["rmi", "--all", "--force"]))?;
    Ok(image)
}

fn create(platform: &Platform, image: &str) -> Result<(String, String)> {
    let source = json!({
        "ImageRepository": {
            "ImageIdentifier": image,
            "ImageRepositoryType": "ECR",
            "ImageConfiguration": {
                "Port": "8080",
                "RuntimeEnvironmentVariables": { "APP_ENV": "apprunner" }
            }
        },
        "AutoDeploymentsEnabled": false
    })
    .to_string();
    let created = platform.aws(&[
        "apprunner",
        "create-service",
        "--service-name",
        "flask-hello",
        "--source-configuration",
        &source,
        "--instance-configuration",
        "Cpu=0.25 vCPU,Memory=0.5 GB",
        "--health-check-configuration",
        "Protocol=HTTP,Path=/health,Interval=1",
    ])?;
    let service = &created["Service"];
    ensure!(service["Status"] == "OPERATION_IN_PROGRESS", "{created}");
    ensure!(
        service["InstanceConfiguration"]["Cpu"] == "256",
        "{created}"
    );
    ensure!(
        service["InstanceConfiguration"]["Memory"] == "512",
        "{created}"
    );
    ensure!(
        created["OperationId"]
            .as_str()
            .is_some_and(|id| id.len() == 32 || id.len() == 36),
        "{created}"
    );
    let arn = service["ServiceArn"].as_str().context("no ARN")?.to_owned();
    let url = service["ServiceUrl"].as_str().context("no URL")?.to_owned();
    let (label, rest) = url.split_once('.').context("the URL has no dot")?;
    ensure!(
        label.len() == 10 && rest == "us-east-1.apron.localhost",
        "{url}"
    );
    wait::until_true("the service to run", Duration::from_secs(120), || {
        let status = described(platform, &arn)?["Status"].clone();
        ensure!(status != "CREATE_FAILED", "the service failed");
        Ok(status == "RUNNING")
    })?;
    Ok((arn, url))
}

fn described(platform: &Platform, arn: &str) -> Result<Value> {
    let answer = platform.call(
        apron_e2e::api::APP_RUNNER,
        "DescribeService",
        &json!({ "ServiceArn": arn }),
    )?;
    Ok(answer["Service"].clone())
}

/// curl finds the address without any set-up: names below `localhost` are loopback.
fn ask_with_curl(platform: &Platform, url: &str) -> Result<()> {
    let https = format!("https://{url}:{}/", platform.https_port());
    let body = run::ok(
        Command::new("curl")
            .args(["-sSf", "--cacert"])
            .arg(platform.ca())
            .arg(&https),
    )?;
    let body: Value = serde_json::from_str(&body)?;
    ensure!(
        body["environment"] == "apprunner" && body["version"] == "v1",
        "{body}"
    );
    let untrusting = run::fails(Command::new("curl").args(["-sS"]).arg(&https))?;
    ensure!(untrusting.contains("certificate"), "{untrusting}");
    let plain = format!("http://{url}:{}/some?path=1", platform.http_port());
    let redirect = run::ok(Command::new("curl").args([
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{redirect_url}",
        &plain,
    ]))?;
    let (status, location) = redirect.split_once(' ').context("curl printed nothing")?;
    ensure!(status == "301" || status == "308", "{redirect}");
    ensure!(
        location.starts_with(&format!("https://{url}")) && location.ends_with("/some?path=1"),
        "{redirect}"
    );
    Ok(())
}

fn read_logs(platform: &Platform, arn: &str) -> Result<()> {
    let id = arn.rsplit('/').next().context("the ARN has no id")?;
    let group = format!("/aws/apprunner/flask-hello/{id}");
    let groups = platform.aws(&[
        "logs",
        "describe-log-groups",
        "--log-group-name-prefix",
        "/aws/apprunner/flask-hello",
    ])?;
    let names: Vec<&str> = groups["logGroups"]
        .as_array()
        .context("no groups")?
        .iter()
        .filter_map(|group| group["logGroupName"].as_str())
        .collect();
    ensure!(
        names == [format!("{group}/application"), format!("{group}/service")],
        "{names:?}"
    );

    let streams = platform.aws(&[
        "logs",
        "describe-log-streams",
        "--log-group-name",
        &format!("{group}/service"),
    ])?;
    let streams = streams["logStreams"].to_string();
    ensure!(
        streams.contains("\"events\"") && streams.contains("\"deployment/"),
        "{streams}"
    );

    let events = platform.aws(&[
        "logs",
        "get-log-events",
        "--log-group-name",
        &format!("{group}/service"),
        "--log-stream-name",
        "events",
        "--start-from-head",
    ])?;
    let events: Vec<&str> = events["events"]
        .as_array()
        .context("no events")?
        .iter()
        .filter_map(|event| event["message"].as_str())
        .collect();
    for expected in [
        "Service creation started.",
        "Triggering event : SERVICE_CREATE",
        "Performing health check on protocol `HTTP` [Path: '/health'], [Port: '8080'].",
        "Health check is successful. Routing traffic to application.",
        "Successfully routed incoming traffic to application.",
        "Service creation completed successfully.",
        "Service status is set to RUNNING.",
    ] {
        let text = events.iter().find(|event| event.contains(expected));
        ensure!(
            text.is_some_and(|text| text.starts_with("[AppRunner] ")),
            "no event {expected:?} in {events:#?}"
        );
    }
    read_access_lines(platform, &group)
}

/// The sample prints its requests; they are found by both command lines.
fn read_access_lines(platform: &Platform, group: &str) -> Result<()> {
    let application = format!("{group}/application");
    for wanted in ["GET / HTTP", "GET /health HTTP"] {
        wait::until_true(&format!("the access line of {wanted}"), LOG_MAX, || {
            let pattern = format!("\"{wanted}\"");
            let found = platform.aws(&[
                "logs",
                "filter-log-events",
                "--log-group-name",
                &application,
                "--filter-pattern",
                &pattern,
            ])?;
            let events = found["events"].as_array().cloned().unwrap_or_default();
            Ok(events.iter().any(|event| {
                event["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(wanted))
                    && event["logStreamName"]
                        .as_str()
                        .is_some_and(|stream| stream.starts_with("instance/"))
            }))
        })?;
    }
    let tail = run::ok(&mut platform.aws_v2(&["logs", "tail", &application, "--since", "10m"])?)?;
    ensure!(tail.contains("GET / HTTP"), "`aws logs tail` shows {tail}");
    Ok(())
}

/// `aws logs tail --follow` shows a request that is made while it runs.
fn follow_logs(platform: &Platform, arn: &str, url: &str) -> Result<()> {
    let id = arn.rsplit('/').next().context("the ARN has no id")?;
    let group = format!("/aws/apprunner/flask-hello/{id}/application");
    let seen = platform.dir().join("followed");
    let mut follower = platform
        .aws_v2(&["logs", "tail", &group, "--since", "1s", "--follow"])?
        .env("PYTHONUNBUFFERED", "1")
        .stdout(std::fs::File::create(&seen)?)
        .spawn()?;
    let mut number = 0;
    let followed = wait::until_true(
        "a new line in `aws logs tail --follow`",
        Duration::from_secs(40),
        || {
            number += 1;
            platform.service_target(url)?.request(
                "GET",
                &format!("/followed-{number}"),
                &[],
                &[],
            )?;
            wait::pace(Duration::from_millis(300));
            Ok(std::fs::read_to_string(&seen)?.contains("GET /followed-"))
        },
    );
    follower.kill()?;
    follower.wait()?;
    followed
}

fn delete(platform: &Platform, arn: &str) -> Result<()> {
    let deleted = platform.aws(&["apprunner", "delete-service", "--service-arn", arn])?;
    ensure!(
        deleted["Service"]["Status"] == "OPERATION_IN_PROGRESS",
        "{deleted}"
    );
    wait::until_true("the service to be deleted", Duration::from_secs(60), || {
        Ok(described(platform, arn)?["Status"] == "DELETED")
    })?;
    let list = platform.aws(&["apprunner", "list-services"])?;
    ensure!(
        list["ServiceSummaryList"]
            .as_array()
            .is_some_and(Vec::is_empty),
        "{list}"
    );
    platform.aws(&[
        "ecr",
        "delete-repository",
        "--repository-name",
        "flask-hello",
        "--force",
    ])?;
    let gone = platform.aws_fails(&[
        "ecr",
        "delete-repository",
        "--repository-name",
        "flask-hello",
        "--force",
    ])?;
    ensure!(gone.contains("RepositoryNotFoundException"), "{gone}");
    Ok(())
}
