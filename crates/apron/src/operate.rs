//! `apron rollback`, `cancel`, `why`: the operator's words that the AWS API does not have.

use crate::client;
use crate::paths::Paths;
use anyhow::{Result, bail};
use apron_aws::model::{apprunner, apron};
use serde_json::{Value, json};

/// Deploys what a service ran before.
pub fn roll_back(paths: &Paths, service: &str) -> Result<()> {
    let input = json!({ "ServiceArn": arn(paths, service)? });
    let answer = client::call(paths, apron(), "RollbackService", &input)?;
    println!(
        "The service goes back to what it ran before, by operation {}.",
        text(&answer, "OperationId")
    );
    Ok(())
}

/// Cancels the deployment of a service that is under way.
pub fn cancel(paths: &Paths, service: &str) -> Result<()> {
    let input = json!({ "ServiceArn": arn(paths, service)? });
    let answer = client::call(paths, apron(), "CancelOperation", &input)?;
    println!(
        "Operation {} is cancelled; what serves goes on.",
        text(&answer, "OperationId")
    );
    Ok(())
}

/// Prints how an operation went.
pub fn why(paths: &Paths, service: &str, operation: Option<String>) -> Result<()> {
    let mut input = json!({ "ServiceArn": arn(paths, service)? });
    if let Some(operation) = operation {
        input["OperationId"] = json!(operation);
    }
    let answer = client::call(paths, apron(), "DescribeOperation", &input)?;
    let operation = &answer["Operation"];
    println!(
        "{} {} {}",
        text(operation, "Type"),
        text(operation, "Id"),
        text(operation, "Status")
    );
    let reason = text(operation, "Reason");
    if !reason.is_empty() {
        println!("{reason}");
    }
    for line in operation["Evidence"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        println!("  {line}");
    }
    println!("Course:");
    for line in operation["Journal"].as_array().into_iter().flatten() {
        println!(
            "  {:.3} {:<8} {}",
            line["At"].as_f64().unwrap_or(0.0),
            text(line, "Stage"),
            text(line, "Note")
        );
    }
    Ok(())
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

/// The ARN of a service given by ARN or name.
fn arn(paths: &Paths, service: &str) -> Result<String> {
    if service.starts_with("arn:") {
        return Ok(service.to_owned());
    }
    let mut input = json!({});
    loop {
        let page = client::call(paths, apprunner(), "ListServices", &input)?;
        let mut services = page["ServiceSummaryList"].as_array().into_iter().flatten();
        if let Some(found) = services.find(|s| text(s, "ServiceName") == service) {
            return Ok(text(found, "ServiceArn").to_owned());
        }
        match &page["NextToken"] {
            Value::String(token) => input = json!({ "NextToken": token }),
            _ => bail!("there is no service named {service}"),
        }
    }
}
