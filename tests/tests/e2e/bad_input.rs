//! Bad input, tried as a new user would: a clear error, nothing half done.

use anyhow::{Context, Result, ensure};
use apron_e2e::api::{APP_RUNNER, ECR, LOGS, now};
use apron_e2e::http::Response;
use apron_e2e::images::EchoImage;
use apron_e2e::service::create_input;
use apron_e2e::{Platform, run};
use serde_json::{Value, json};
use time::Duration;

fn says(response: &Response, status: u16, kind: &str) -> Result<()> {
    ensure!(
        response.status == status,
        "{} instead of {status}: {}",
        response.status,
        response.text()
    );
    ensure!(response.text().contains(kind), "{}", response.text());
    Ok(())
}

#[test]
fn wrong_keys_and_clocks_are_told_apart() -> Result<()> {
    let platform = Platform::start()?;
    let mut wrong_key = platform.aws_v1(&["apprunner", "list-services"])?;
    wrong_key.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE");
    let said = run::fails(&mut wrong_key)?;
    ensure!(said.contains("UnrecognizedClientException"), "{said}");
    let mut wrong_secret = platform.aws_v1(&["apprunner", "list-services"])?;
    wrong_secret.env(
        "AWS_SECRET_ACCESS_KEY",
        "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    );
    let said = run::fails(&mut wrong_secret)?;
    ensure!(
        said.contains("InvalidSignatureException") || said.contains("SignatureDoesNotMatch"),
        "{said}"
    );
    let mut query = platform.aws_v1(&["sts", "get-caller-identity"])?;
    query.env(
        "AWS_SECRET_ACCESS_KEY",
        "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    );
    let said = run::fails(&mut query)?;
    ensure!(said.contains("SignatureDoesNotMatch"), "{said}");

    for skew in [Duration::minutes(-20), Duration::minutes(20)] {
        let skewed = platform.call_raw(APP_RUNNER, "ListServices", b"{}", now() + skew)?;
        ensure!((400..=403).contains(&skewed.status), "{}", skewed.status);
        let text = skewed.text();
        ensure!(
            text.contains("Signature")
                && (text.contains("expired") || text.contains("not yet current")),
            "{text}"
        );
    }
    let fresh = platform.call_raw(
        APP_RUNNER,
        "ListServices",
        b"{}",
        now() - Duration::minutes(4),
    )?;
    ensure!(
        fresh.status == 200,
        "four minutes are within the tolerance: {}",
        fresh.text()
    );
    let unsigned = platform.api_target()?.request(
        "POST",
        "/",
        &[
            ("x-amz-target", "AppRunner.ListServices"),
            ("content-type", "application/x-amz-json-1.0"),
        ],
        b"{}",
    )?;
    ensure!(
        (400..=403).contains(&unsigned.status),
        "{}",
        unsigned.status
    );
    Ok(())
}

#[test]
fn damaged_requests_are_refused() -> Result<()> {
    let platform = Platform::start()?;
    let call = |operation: &str, body: &[u8]| platform.call_raw(APP_RUNNER, operation, body, now());
    says(
        &call("NoSuchOperation", b"{}")?,
        404,
        "UnknownOperationException",
    )
    .or_else(|_| {
        says(
            &call("NoSuchOperation", b"{}")?,
            400,
            "UnknownOperationException",
        )
    })?;
    says(
        &call("ListServices", b"{\"MaxResults\":")?,
        400,
        "SerializationException",
    )?;
    says(&call("ListServices", b"[1]")?, 400, "Exception")?;
    says(&call("DescribeService", b"{}")?, 400, "erviceArn")?;
    says(
        &call("DescribeService", b"{\"ServiceArn\":7}")?,
        400,
        "Exception",
    )?;
    let unknown = format!(
        "arn:aws:apprunner:us-east-1:{}:service/none/{}",
        platform.variable("APRON_ACCOUNT_ID")?,
        "0".repeat(32)
    );
    says(
        &call(
            "DescribeService",
            json!({ "ServiceArn": unknown }).to_string().as_bytes(),
        )?,
        400,
        "ResourceNotFoundException",
    )?;

    // More than any operation takes: refused, and the platform is fine afterwards.
    let huge = vec![b' '; 48 << 20];
    let refused = call("ListServices", &huge);
    if let Ok(response) = refused {
        ensure!(
            response.status == 413 || response.status == 400,
            "{}",
            response.status
        );
    }
    // A body that ends before its announced length.
    let mut connection = platform.api_target()?.connect()?;
    connection.send_head(
        "POST",
        "/",
        &[
            ("content-length", "100"),
            ("x-amz-target", "AppRunner.ListServices"),
        ],
    )?;
    connection.send(b"{")?;
    drop(connection);
    platform.call(APP_RUNNER, "ListServices", &json!({}))?;
    platform.call(LOGS, "DescribeLogGroups", &json!({}))?;
    Ok(())
}

/// A change of a good input, and what the refusal must mention.
type Mistake = (fn(&mut Value), &'static str);

const MISTAKES: &[Mistake] = &[
    (
        |input| input["InstanceConfiguration"] = json!({ "Cpu": "256", "Memory": "4096" }),
        "4096",
    ),
    (
        |input| input["InstanceConfiguration"] = json!({ "Cpu": "3 vCPU", "Memory": "4096" }),
        "pu",
    ),
    (|input| input["ServiceName"] = json!("no"), "erviceName"),
    (
        |input| input["ServiceName"] = json!("has spaces"),
        "erviceName",
    ),
    (
        |input| {
            input["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"] =
                json!("no such thing")
        },
        "mage",
    ),
    (
        |input| input["HealthCheckConfiguration"]["Interval"] = json!(21),
        "nterval",
    ),
    (
        |input| container(input)["RuntimeEnvironmentVariables"] = json!({ "PORT": "1" }),
        "PORT",
    ),
    (|input| container(input)["Port"] = json!("99999"), "ort"),
];

fn container(input: &mut Value) -> &mut Value {
    &mut input["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"]
}

#[test]
fn invalid_services_are_refused_and_nothing_is_made() -> Result<()> {
    let platform = Platform::start()?;
    let create = |input: &Value| {
        platform.call_raw(
            APP_RUNNER,
            "CreateService",
            input.to_string().as_bytes(),
            now(),
        )
    };
    for (mistake, expected) in MISTAKES {
        let mut input = create_input("echo", "localhost:7400/echo:v1");
        mistake(&mut input);
        let answer = create(&input)?;
        says(&answer, 400, "InvalidRequestException")
            .with_context(|| format!("about {expected}"))?;
        ensure!(
            answer.text().contains(expected),
            "not about {expected}: {}",
            answer.text()
        );
    }
    let list = platform.call(APP_RUNNER, "ListServices", &json!({}))?;
    ensure!(
        list["ServiceSummaryList"]
            .as_array()
            .is_some_and(Vec::is_empty),
        "{list}"
    );
    Ok(())
}

#[test]
fn names_that_exist_are_refused() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    platform.create_service("echo", &image)?;
    let again = create_input("echo", &image).to_string();
    let answer = platform.call_raw(APP_RUNNER, "CreateService", again.as_bytes(), now())?;
    says(
        &answer,
        400,
        "Service with the provided name already exists: echo.",
    )?;
    let exists = platform.call_raw(
        ECR,
        "CreateRepository",
        b"{\"repositoryName\":\"echo\"}",
        now(),
    )?;
    says(&exists, 400, "RepositoryAlreadyExistsException")?;
    let bad = platform.call_raw(
        ECR,
        "CreateRepository",
        b"{\"repositoryName\":\"Not/OK!\"}",
        now(),
    )?;
    says(&bad, 400, "InvalidParameterException")
}
