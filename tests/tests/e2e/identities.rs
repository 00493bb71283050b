//! Users, roles and permissions with the clients that people have: boto3 and both AWS command lines.

use anyhow::{Context, Result, ensure};
use apron_e2e::{Platform, assets, aws, run};
use serde_json::Value;
use std::process::Command;

#[test]
fn boto3_meets_permissions_at_every_door() -> Result<()> {
    let platform = Platform::start()?;
    let mut command = platform.client(assets::python()?);
    command
        .arg("-B")
        .arg(assets::checkout().join("tests/apps/identities.py"))
        .arg(format!("localhost:{}", platform.api_port()))
        .arg(platform.ca());
    let said = run::ok(&mut command)?;
    ensure!(said.trim_end().ends_with("done"), "{said}");
    let said = run::ok(&mut platform.apron(&["audit", "verify"]))?;
    ensure!(said.contains("are what was written"), "{said}");
    Ok(())
}

/// One of the two command lines.
type CommandLine = fn(&Platform, &[&str]) -> Result<Command>;

#[test]
fn the_command_lines_meet_permissions() -> Result<()> {
    let platform = Platform::start()?;
    permissions(&platform, Platform::aws_v1, "ann")?;
    permissions(&platform, Platform::aws_v2, "bob")
}

fn permissions(platform: &Platform, line: CommandLine, name: &str) -> Result<()> {
    let ask = |arguments: &[&str]| -> Result<Value> {
        aws::json(&run::ok(&mut line(platform, arguments)?)?)
    };
    ask(&["iam", "create-user", "--user-name", name])?;
    let made = ask(&["iam", "create-access-key", "--user-name", name])?;
    let text = |member: &str| made["AccessKey"][member].as_str().context("no key");
    let (id, secret) = (text("AccessKeyId")?, text("SecretAccessKey")?);
    let list = || -> Result<Command> {
        let mut command = line(platform, &["apprunner", "list-services"])?;
        command
            .env("AWS_ACCESS_KEY_ID", id)
            .env("AWS_SECRET_ACCESS_KEY", secret);
        Ok(command)
    };
    let said = run::fails(&mut list()?)?;
    let denied = format!("user/{name} is not authorized to perform: apprunner:ListServices");
    ensure!(
        said.contains("AccessDeniedException") && said.contains(&denied),
        "{said}"
    );
    let policy = "arn:aws:iam::aws:policy/AWSAppRunnerReadOnlyAccess";
    ask(&[
        "iam",
        "attach-user-policy",
        "--user-name",
        name,
        "--policy-arn",
        policy,
    ])?;
    run::ok(&mut list()?)?;
    Ok(())
}
