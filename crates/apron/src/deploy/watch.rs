//! Following a deployment by its log, to its end.

use super::Project;
use crate::client;
use anyhow::{Context, Result, bail};
use apron_aws::model::{apprunner, apron, logs};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Longest time an operation that is under way already is waited for.
const SETTLED_WITHIN: Duration = Duration::from_secs(1800);

/// A deployment that was begun.
pub(super) struct Begun {
    arn: String,
    id: String,
    host: String,
    operation: String,
}

impl Begun {
    /// From a service and the answer with its operation's id.
    pub(super) fn of(service: &Value, answer: &Value) -> Result<Begun> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let begun = (|| {
            Some(Begun {
                arn: text(&service["ServiceArn"])?,
                id: text(&service["ServiceId"])?,
                host: text(&service["ServiceUrl"])?,
                operation: text(&answer["OperationId"])?,
            })
        })();
        begun.context("the platform's answer names no service or operation")
    }
}

/// Waits until a service has no operation under way; the service as it is then.
pub(super) fn settled(project: &Project<'_>, arn: &str) -> Result<Value> {
    let deadline = Instant::now() + SETTLED_WITHIN;
    let mut said = false;
    loop {
        let by_arn = json!({ "ServiceArn": arn });
        let answer = client::call(project.paths, apprunner(), "DescribeService", &by_arn)?;
        if answer["Service"]["Status"] != "OPERATION_IN_PROGRESS" {
            return Ok(answer["Service"].clone());
        }
        if !said {
            println!("Waiting for the operation under way.");
            said = true;
        }
        if Instant::now() > deadline {
            bail!("the operation under way does not end");
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Shows the log until the deployment has ended; fails as it fails.
pub(super) fn to_the_end(project: &Project<'_>, begun: &Begun) -> Result<()> {
    let mut token = None;
    loop {
        let operation = operation(project, begun)?;
        let more = show(project, begun, &mut token)?;
        let status = operation["Status"].as_str().unwrap_or_default().to_owned();
        match status.as_str() {
            "PENDING" | "IN_PROGRESS" | "ROLLBACK_IN_PROGRESS" => {}
            _ if more => continue,
            "SUCCEEDED" => break,
            _ => return Err(failed(&operation)),
        }
        if !more {
            std::thread::sleep(LOOK_EVERY);
        }
    }
    println!("{}", url(project, &begun.host));
    Ok(())
}

fn operation(project: &Project<'_>, begun: &Begun) -> Result<Value> {
    let input = json!({ "ServiceArn": begun.arn, "OperationId": begun.operation });
    let answer = client::call(project.paths, apron(), "DescribeOperation", &input)?;
    Ok(answer["Operation"].clone())
}

/// Prints what the log has more; whether it had anything.
fn show(project: &Project<'_>, begun: &Begun, token: &mut Option<String>) -> Result<bool> {
    let mut input = json!({
        "logGroupName": format!("/aws/apprunner/{}/{}/service", project.name, begun.id),
        "logStreamName": format!("deployment/{}", begun.operation),
        "startFromHead": true,
    });
    if let Some(token) = token {
        input["nextToken"] = json!(token);
    }
    let answer = match client::call(project.paths, logs(), "GetLogEvents", &input) {
        // The stream is there once something was said.
        Err(error) if error.to_string().contains("ResourceNotFoundException") => return Ok(false),
        answer => answer?,
    };
    let events = answer["events"].as_array().cloned().unwrap_or_default();
    for event in &events {
        println!("{}", event["message"].as_str().unwrap_or_default());
    }
    if let Some(next) = answer["nextForwardToken"].as_str() {
        *token = Some(next.to_owned());
    }
    Ok(!events.is_empty())
}

fn failed(operation: &Value) -> anyhow::Error {
    let mut text = operation["Reason"]
        .as_str()
        .unwrap_or("the deployment failed")
        .to_owned();
    let evidence = operation["Evidence"].as_array().into_iter().flatten();
    for line in evidence.filter_map(Value::as_str) {
        text.push_str("\n  ");
        text.push_str(line);
    }
    anyhow::anyhow!(text)
}

fn url(project: &Project<'_>, host: &str) -> String {
    match project.config.https_port() {
        443 => format!("https://{host}"),
        port => format!("https://{host}:{port}"),
    }
}
