//! A service's whole life with the clients that people have: boto3, the AWS SDK for JavaScript, and both AWS command
//! lines. The AWS SDK for Rust does the same in process, in the tests of `control`.

use anyhow::{Context, Result, ensure};
use apron_e2e::images::EchoImage;
use apron_e2e::{Platform, assets, aws, run, wait};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// Longest time an operation may take.
const SETTLE_MAX: Duration = Duration::from_secs(90);

#[test]
fn boto3_drives_a_service_through_its_life() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let mut command = platform.client(assets::python()?);
    command
        .arg(assets::checkout().join("tests/apps/lifecycle.py"))
        .arg(&image)
        .arg(platform.https_port().to_string())
        .arg(platform.ca());
    let said = run::ok(&mut command)?;
    ensure!(said.trim_end().ends_with("done"), "{said}");
    Ok(())
}

#[test]
fn the_javascript_sdk_drives_a_service_through_its_life() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let script = platform.dir().join("lifecycle.mjs");
    std::fs::copy(assets::checkout().join("tests/apps/lifecycle.mjs"), &script)?;
    std::os::unix::fs::symlink(
        assets::find("javascript")?.join("node_modules"),
        platform.dir().join("node_modules"),
    )?;
    let mut command = platform.client("node");
    command
        .arg(&script)
        .arg(&image)
        .arg(platform.https_port().to_string())
        .env("NODE_EXTRA_CA_CERTS", platform.ca());
    let said = run::ok(&mut command)?;
    ensure!(said.trim_end().ends_with("done"), "{said}");
    Ok(())
}

/// One of the two command lines.
type CommandLine = fn(&Platform, &[&str]) -> Result<Command>;

/// Runs a command of `aws apprunner`.
fn ask(platform: &Platform, line: CommandLine, arguments: &[&str]) -> Result<Value> {
    let arguments: Vec<&str> = std::iter::once("apprunner")
        .chain(arguments.iter().copied())
        .collect();
    aws::json(&run::ok(&mut line(platform, &arguments)?)?)
}

/// Runs a command that begins an operation on a service, and waits for its end.
fn operate(
    platform: &Platform,
    line: CommandLine,
    command: &[&str],
    arn: &str,
    status: &str,
) -> Result<()> {
    let arguments = [command, &["--service-arn", arn]].concat();
    let began = ask(platform, line, &arguments)?;
    ensure!(began["OperationId"].is_string(), "{command:?}: {began}");
    settle(platform, line, arn, status)
}

fn settle(platform: &Platform, line: CommandLine, arn: &str, status: &str) -> Result<()> {
    wait::until_true(status, SETTLE_MAX, || {
        let described = ask(platform, line, &["describe-service", "--service-arn", arn])?;
        let now = &described["Service"]["Status"];
        ensure!(now == status || now == "OPERATION_IN_PROGRESS", "{now}");
        Ok(now == status)
    })
}

fn answers(platform: &Platform, host: &str, status: u16) -> Result<()> {
    let answer = platform
        .service_target(host)?
        .request("GET", "/", &[], &[])?;
    ensure!(
        answer.status == status,
        "{} {}",
        answer.status,
        answer.text()
    );
    Ok(())
}

fn whole_life(line: CommandLine) -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let (arn, host) = create(&platform, line, &image)?;
    settle(&platform, line, &arn, "RUNNING")?;
    answers(&platform, &host, 200)?;
    let update = [
        "update-service",
        "--instance-configuration",
        "Cpu=0.5 vCPU,Memory=1 GB",
    ];
    operate(&platform, line, &update, &arn, "RUNNING")?;
    operate(&platform, line, &["pause-service"], &arn, "PAUSED")?;
    answers(&platform, &host, 503)?;
    operate(&platform, line, &["resume-service"], &arn, "RUNNING")?;
    operate(&platform, line, &["start-deployment"], &arn, "RUNNING")?;
    answers(&platform, &host, 200)?;
    let list = ask(&platform, line, &["list-operations", "--service-arn", &arn])?;
    let list = list["OperationSummaryList"].as_array().context("no list")?;
    let kinds: Vec<_> = list.iter().filter_map(|one| one["Type"].as_str()).collect();
    ensure!(
        kinds
            == [
                "START_DEPLOYMENT",
                "RESUME_SERVICE",
                "PAUSE_SERVICE",
                "UPDATE_SERVICE",
                "CREATE_SERVICE"
            ],
        "{kinds:?}"
    );
    tags(&platform, line, &arn)?;
    operate(&platform, line, &["delete-service"], &arn, "DELETED")
}

fn create(platform: &Platform, line: CommandLine, image: &str) -> Result<(String, String)> {
    let name = ["--auto-scaling-configuration-name", "command-line"];
    let made = [&["create-auto-scaling-configuration"][..], &name].concat();
    let made = ask(platform, line, &made)?;
    let scaling = made["AutoScalingConfiguration"]["AutoScalingConfigurationArn"]
        .as_str()
        .context("no ARN of the auto scaling configuration")?;
    let source = format!("ImageRepository={{ImageIdentifier={image},ImageRepositoryType=ECR}}");
    let arguments = [
        "create-service",
        "--service-name",
        "command-line",
        "--source-configuration",
        &source,
        "--auto-scaling-configuration-arn",
        scaling,
        "--tags",
        "Key=team,Value=blue",
    ];
    let service = ask(platform, line, &arguments)?["Service"].clone();
    let text = |member: &str| {
        let text = service[member].as_str().map(str::to_owned);
        text.with_context(|| format!("no {member} in {service}"))
    };
    Ok((text("ServiceArn")?, text("ServiceUrl")?))
}

fn tags(platform: &Platform, line: CommandLine, arn: &str) -> Result<()> {
    let of = ["--resource-arn", arn];
    let add = [&["tag-resource", "--tags", "Key=cost,Value=7"][..], &of].concat();
    ask(platform, line, &add)?;
    let remove = [&["untag-resource", "--tag-keys", "team"][..], &of].concat();
    ask(platform, line, &remove)?;
    let list = [&["list-tags-for-resource"][..], &of].concat();
    let tags = ask(platform, line, &list)?;
    ensure!(
        tags["Tags"] == serde_json::json!([{ "Key": "cost", "Value": "7" }]),
        "{tags}"
    );
    Ok(())
}

#[test]
fn the_command_line_of_version_1_drives_a_service_through_its_life() -> Result<()> {
    whole_life(Platform::aws_v1)
}

#[test]
fn the_command_line_of_version_2_drives_a_service_through_its_life() -> Result<()> {
    whole_life(Platform::aws_v2)
}
