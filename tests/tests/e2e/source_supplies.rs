//! What a build from a Dockerfile is given by the platform: images of registries that ask for credentials, those of its own
//! registry, and the service's secrets.

use crate::source::{connect, connection, source};
use anyhow::{Result, ensure};
use apron_e2e::git::{HttpHost, PASSWORD, Repository};
use apron_e2e::images::EchoImage;
use apron_e2e::registry::Registry;
use apron_e2e::{Platform, api, run};
use serde_json::{Value, json};

/// A service whose configuration is the API's, so that it can name secrets.
fn input(name: &str, source: &Value, secret: &str, role: &str) -> Value {
    let mut source = source.clone();
    source["CodeRepository"]["CodeConfiguration"] = json!({
        "ConfigurationSource": "API",
        "CodeConfigurationValues": { "Runtime": "PYTHON_311", "Port": "8080", "RuntimeEnvironmentSecrets": { "LICENCE": secret } },
    });
    json!({
        "ServiceName": name,
        "SourceConfiguration": source,
        "InstanceConfiguration": { "Cpu": "0.25 vCPU", "Memory": "0.5 GB", "InstanceRoleArn": role },
        "HealthCheckConfiguration": { "Protocol": "TCP", "Interval": 1 },
        "Tags": [{ "Key": "apron:build", "Value": "dockerfile" }],
    })
}

#[test]
fn builds_have_images_behind_credentials_and_the_services_secrets() -> Result<()> {
    let platform = Platform::start()?;
    let _bases = platform.serve_python_base()?;
    let host = HttpHost::start(&platform, 5)?;
    let arn = connection(&platform, "supplies")?;
    connect(&platform, "supplies", &host, PASSWORD)?;
    let other = Registry::start(&platform, 6, Some(("reader", "correct horse")))?;
    let outside = platform.layout(&EchoImage::new("outside"))?;
    let outside = other.push(&outside, "team/echo:v1")?;
    let own = platform.push(&EchoImage::new("of-our-registry"), "team/base:v1")?;
    let marker = format!("hush-build-{}", platform.slot.name());
    let secret = json!({"Name": "licence", "SecretString": marker});
    let secret = platform.call(api::SECRETS_MANAGER, "CreateSecret", &secret)?;
    let secret = secret["ARN"].as_str().unwrap_or_default();
    let role = crate::secrets::instance_role(&platform, &["secretsmanager:GetSecretValue"])?;

    let work = Repository::at(platform.dir().join("work"))?;
    let dockerfile = format!(
        "FROM apron/python311 AS licensed\n\
         RUN --mount=type=secret,id=LICENCE,required cat /run/secrets/LICENCE && wc -c < /run/secrets/LICENCE > /length.txt\n\
         RUN test \"$(cat /length.txt)\" = {} && test ! -e /run/secrets/LICENCE\n\
         FROM {own}\nCOPY --from=licensed /length.txt /\nCOPY --from={outside} /echo /second\n",
        marker.len()
    );
    work.write("Dockerfile", &dockerfile)?;
    work.publish(&host.repository("supplied")?)?;
    let source = source(&host.url("supplied"), &arn, "/");
    let service = platform.create_service_from(&input("refused", &source, secret, &role))?;
    service.settle_as(&platform, "CREATE_FAILED")?;
    let why = run::ok(&mut platform.apron(&["why", "refused"]))?;
    ensure!(
        why.contains(&format!("the base image {outside} cannot be had")),
        "{why}"
    );
    let log = service.deployment_log(&platform, &service.operation)?;
    let log = log.join("\n");
    ensure!(log.contains("[Build] ********"), "{log}");

    let host = other.host();
    let login = ["registry", "login", &host, "-u", "reader"];
    let mut login = platform.apron(&login);
    run::ok_with_input(login.arg("--password-stdin"), Some("correct horse\n"))?;
    let service = platform.create_service_from(&input("supplied", &source, secret, &role))?;
    service.settle_as(&platform, "RUNNING")?;
    ensure!(service.version(&platform)? == "of-our-registry");
    let leaks = crate::secrets::leaks(&platform, &marker)?;
    ensure!(leaks.is_empty(), "the secret lies open in {leaks:?}");
    Ok(())
}
