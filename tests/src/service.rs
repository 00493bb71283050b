//! A service of the platform under test.

use crate::api::{APP_RUNNER, LOGS};
use crate::http::{Response, Target};
use crate::{Platform, wait};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::time::Duration;

/// Longest time a service may take to settle.
const SETTLE_MAX: Duration = Duration::from_secs(90);

/// A created service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Its host name.
    pub url: String,
    /// The operation that created it.
    pub operation: String,
}

/// The source configuration of an image with port 8080 and these variables.
pub fn source(image: &str, auto_deployments: bool, variables: &Value) -> Value {
    json!({
        "ImageRepository": {
            "ImageIdentifier": image,
            "ImageRepositoryType": "ECR",
            "ImageConfiguration": { "Port": "8080", "RuntimeEnvironmentVariables": variables }
        },
        "AutoDeploymentsEnabled": auto_deployments
    })
}

/// An HTTP health check on `/health` as quick as the API allows.
pub fn quick_health() -> Value {
    json!({ "Protocol": "HTTP", "Path": "/health", "Interval": 1, "Timeout": 1, "UnhealthyThreshold": 3 })
}

/// The smallest input that creates a service from an image.
pub fn create_input(name: &str, image: &str) -> Value {
    json!({
        "ServiceName": name,
        "SourceConfiguration": source(image, false, &json!({ "APP_ENV": "apprunner" })),
        "InstanceConfiguration": { "Cpu": "0.25 vCPU", "Memory": "0.5 GB" },
        "HealthCheckConfiguration": quick_health()
    })
}

impl Platform {
    /// Creates a service from an image and returns at once.
    pub fn create_service(&self, name: &str, image: &str) -> Result<Service> {
        self.create_service_from(&create_input(name, image))
    }

    /// Creates a service from any input and returns at once.
    pub fn create_service_from(&self, input: &Value) -> Result<Service> {
        Service::of(&self.call(APP_RUNNER, "CreateService", input)?)
    }

    /// The service of that name, with its newest operation.
    pub fn service(&self, name: &str) -> Result<Service> {
        let listed = self.call(APP_RUNNER, "ListServices", &json!({}))?;
        let mut listed = listed["ServiceSummaryList"]
            .as_array()
            .into_iter()
            .flatten();
        let found = listed.find(|service| service["ServiceName"] == name);
        let found = found.with_context(|| format!("there is no service {name}"))?;
        let by_arn = json!({ "ServiceArn": found["ServiceArn"] });
        let operations = self.call(APP_RUNNER, "ListOperations", &by_arn)?;
        let operation = &operations["OperationSummaryList"][0]["Id"];
        Service::of(&json!({ "Service": found, "OperationId": operation }))
    }

    /// A service that runs this image.
    pub fn running_service(&self, name: &str, image: &str) -> Result<Service> {
        let service = self.create_service(name, image)?;
        service.settle_as(self, "RUNNING")?;
        Ok(service)
    }
}

impl Service {
    /// From the answer of a call that began an operation on it.
    pub fn of(answer: &Value) -> Result<Service> {
        let text = |value: &Value| {
            let text = value.as_str().map(str::to_owned);
            text.context("the answer left something of the service out")
        };
        Ok(Service {
            arn: text(&answer["Service"]["ServiceArn"])?,
            name: text(&answer["Service"]["ServiceName"])?,
            id: text(&answer["Service"]["ServiceId"])?,
            url: text(&answer["Service"]["ServiceUrl"])?,
            operation: text(&answer["OperationId"])?,
        })
    }

    /// What `DescribeService` says.
    pub fn describe(&self, platform: &Platform) -> Result<Value> {
        Ok(platform.call(
            APP_RUNNER,
            "DescribeService",
            &json!({ "ServiceArn": self.arn }),
        )?["Service"]
            .clone())
    }

    /// Waits until no operation is under way and returns the status.
    pub fn settle(&self, platform: &Platform) -> Result<String> {
        wait::until(&format!("{} to settle", self.name), SETTLE_MAX, || {
            let status = self.describe(platform)?["Status"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            Ok((status != "OPERATION_IN_PROGRESS").then_some(status))
        })
    }

    /// Waits until no operation is under way; the status must then be `expected`.
    pub fn settle_as(&self, platform: &Platform, expected: &str) -> Result<()> {
        let status = self.settle(platform)?;
        if status != expected {
            bail!(
                "{} is {status}, not {expected}; its events:\n{}",
                self.name,
                self.events(platform)?.join("\n")
            );
        }
        Ok(())
    }

    /// An operation of App Runner that needs only the ARN.
    pub fn operate(&self, platform: &Platform, operation: &str) -> Result<Value> {
        platform.call(APP_RUNNER, operation, &json!({ "ServiceArn": self.arn }))
    }

    /// Updates the service to another image and returns the operation's id at once.
    pub fn update_to(&self, platform: &Platform, image: &str) -> Result<String> {
        let input = json!({
            "ServiceArn": self.arn,
            "SourceConfiguration": source(image, false, &json!({ "APP_ENV": "apprunner" }))
        });
        let answer = platform.call(APP_RUNNER, "UpdateService", &input)?;
        answer["OperationId"]
            .as_str()
            .map(str::to_owned)
            .context("UpdateService gave no OperationId")
    }

    /// The operations, newest first.
    pub fn operations(&self, platform: &Platform) -> Result<Vec<Value>> {
        let answer = self.operate(platform, "ListOperations")?;
        Ok(answer["OperationSummaryList"]
            .as_array()
            .cloned()
            .unwrap_or_default())
    }

    /// One operation by its id.
    pub fn operation(&self, platform: &Platform, id: &str) -> Result<Value> {
        let all = self.operations(platform)?;
        all.iter()
            .find(|operation| operation["Id"] == id)
            .cloned()
            .with_context(|| format!("no operation {id}: {all:?}"))
    }

    /// Messages of a log stream, oldest first; empty when the stream does not exist yet.
    pub fn log(&self, platform: &Platform, group: &str, stream: &str) -> Result<Vec<String>> {
        Ok(self
            .timed_log(platform, group, stream)?
            .into_iter()
            .map(|(_, message)| message)
            .collect())
    }

    /// Like [`Service::log`], each message with its time in milliseconds.
    pub fn timed_log(
        &self,
        platform: &Platform,
        group: &str,
        stream: &str,
    ) -> Result<Vec<(i64, String)>> {
        let input = json!({
            "logGroupName": format!("/aws/apprunner/{}/{}/{group}", self.name, self.id),
            "logStreamName": stream,
            "startFromHead": true
        });
        let answer = platform.call_raw(
            LOGS,
            "GetLogEvents",
            input.to_string().as_bytes(),
            crate::api::now(),
        )?;
        if answer.text().contains("ResourceNotFoundException") {
            return Ok(Vec::new());
        }
        anyhow::ensure!(
            answer.status == 200,
            "GetLogEvents answered {}: {}",
            answer.status,
            answer.text()
        );
        let answer: Value = serde_json::from_slice(&answer.body)?;
        let events = answer["events"].as_array().cloned().unwrap_or_default();
        let read = |event: &Value| {
            Some((
                event["timestamp"].as_i64()?,
                event["message"].as_str()?.to_owned(),
            ))
        };
        Ok(events.iter().filter_map(read).collect())
    }

    /// The lifecycle events.
    pub fn events(&self, platform: &Platform) -> Result<Vec<String>> {
        self.log(platform, "service", "events")
    }

    /// The log of one deployment.
    pub fn deployment_log(&self, platform: &Platform, operation: &str) -> Result<Vec<String>> {
        self.log(platform, "service", &format!("deployment/{operation}"))
    }

    /// Where its requests go.
    pub fn target(&self, platform: &Platform) -> Result<Target> {
        platform.service_target(&self.url)
    }

    /// `GET path` on a connection of its own.
    pub fn get(&self, platform: &Platform, path: &str) -> Result<Response> {
        self.target(platform)?.request("GET", path, &[], &[])
    }

    /// What the application says it is; an answer other than 200 is an error.
    pub fn identity(&self, platform: &Platform) -> Result<Value> {
        let response = self.get(platform, "/")?;
        if response.status != 200 {
            bail!(
                "{} answered {}: {}",
                self.url,
                response.status,
                response.text()
            );
        }
        serde_json::from_slice(&response.body).context("the application answered no JSON")
    }

    /// The version the application answers with.
    pub fn version(&self, platform: &Platform) -> Result<String> {
        Ok(self.identity(platform)?["version"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// Waits until the application answers with this version.
    pub fn wait_for_version(
        &self,
        platform: &Platform,
        version: &str,
        limit: Duration,
    ) -> Result<()> {
        wait::until_true(
            &format!("{} to answer as {version}", self.name),
            limit,
            || Ok(self.version(platform)? == version),
        )
    }
}
