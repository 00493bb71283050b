//! Each request is a line in the service's log group, and is found there by the usual tools.

use anyhow::{Result, ensure};
use apron_e2e::images::EchoImage;
use apron_e2e::service::create_input;
use apron_e2e::{Platform, Service, wait};
use serde_json::json;
use std::time::Duration;

/// Longest wait until a request is in the log.
const LOGGED_WITHIN: Duration = Duration::from_secs(20);

fn serving(platform: &Platform, name: &str, access_log: &str) -> Result<Service> {
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let mut input = create_input(name, &image);
    input["Tags"] = json!([{ "Key": "apron:access-log", "Value": access_log }]);
    let service = platform.create_service_from(&input)?;
    service.settle_as(platform, "RUNNING")?;
    Ok(service)
}

/// What `aws logs filter-log-events` finds of a path in the access log.
fn found(platform: &Platform, service: &Service, path: &str) -> Result<Vec<(String, String)>> {
    let group = format!("/aws/apprunner/{}/{}/service", service.name, service.id);
    let answer = platform.aws(&[
        "logs",
        "filter-log-events",
        "--log-group-name",
        &group,
        "--log-stream-name-prefix",
        "access/",
        "--filter-pattern",
        &format!("\"{path}\""),
    ])?;
    let events = answer["events"].as_array().cloned().unwrap_or_default();
    let text =
        |event: &serde_json::Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
    Ok(events
        .iter()
        .map(|event| (text(event, "logStreamName"), text(event, "message")))
        .collect())
}

#[test]
fn requests_are_lines_in_the_services_log_unless_it_is_turned_off() -> Result<()> {
    let platform = Platform::start()?;
    let logged = serving(&platform, "logged", "on")?;
    let silent = serving(&platform, "silent", "off")?;
    for service in [&silent, &logged] {
        let answer = service.get(&platform, "/NOT-THERE-BUT-ASKED?secret=1")?;
        ensure!(answer.status == 404, "{}", answer.text());
    }
    let lines = wait::until("the request in the log", LOGGED_WITHIN, || {
        let lines = found(&platform, &logged, "NOT-THERE-BUT-ASKED")?;
        Ok((!lines.is_empty()).then_some(lines))
    })?;
    ensure!(lines.len() == 1, "{lines:?}");
    let (stream, line) = &lines[0];
    ensure!(stream.len() == "access/yyyy-mm-dd".len(), "{stream}");
    ensure!(line.contains("GET") && line.contains("404"), "{line}");
    ensure!(!line.contains("secret"), "{line}");
    // The silent service's request came before.
    ensure!(found(&platform, &silent, "NOT-THERE-BUT-ASKED")?.is_empty());
    Ok(())
}
