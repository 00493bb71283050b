//! The sample application: its image, its repository, its service.

use super::environment::Environment;
use crate::assets::{self, python_base::Storage};
use crate::process::{self, say};
use crate::workspace;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The service and the repository.
const NAME: &str = "flask-hello";
/// The repository of the Python base image.
const BASE: &str = "python-base";
/// Longest time a deployment of the sample may take.
const DEPLOYMENT_MAX: Duration = Duration::from_secs(300);
/// Time between two looks at a service that is being deployed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Everything the steps share.
struct Sample<'a> {
    environment: &'a Environment,
    aws: PathBuf,
    registry: String,
    certificates: PathBuf,
    logins: PathBuf,
}

/// Deploys the sample unless the same content runs already, and prints its address.
pub fn deploy(environment: &Environment) -> Result<()> {
    let work = workspace::assets().join("sample");
    let sample = Sample {
        environment,
        aws: assets::aws_cli::prepare()?,
        registry: environment.get("APRON_REGISTRY")?.to_owned(),
        certificates: environment.certificate_dir(&work.join("certificates"))?,
        logins: work.join("auth.json"),
    };
    let image = format!("{}/{NAME}:{}", sample.registry, content_tag()?);
    let running = sample.find_service()?;
    if running
        .as_ref()
        .is_some_and(|service| runs(service, &image))
    {
        say(format!("the sample {NAME} runs already"));
    } else {
        sample.login()?;
        sample.push_base()?;
        sample.push_image(&image, &work)?;
        sample.roll_out(running.as_ref(), &image)?;
    }
    let service = sample.wait_until_running()?;
    let url = text(&service, "ServiceUrl")?;
    let ca = environment.get("APRON_CA_BUNDLE")?;
    println!("\n{NAME} is running: https://{url}/\n    curl --cacert {ca} https://{url}/\n");
    Ok(())
}

/// A tag that changes when the sample's files do.
fn content_tag() -> Result<String> {
    let dir = workspace::root().join("examples").join(NAME);
    let sums = process::capture(
        Command::new("sha256sum")
            .args(["Dockerfile", "app.py"])
            .current_dir(&dir),
    )?;
    let whole = process::capture_with_input(&mut Command::new("sha256sum"), Some(&sums))?;
    let short = whole.get(..12).context("sha256sum printed nothing")?;
    Ok(format!("sample-{short}"))
}

fn runs(service: &Value, image: &str) -> bool {
    service["Status"] == "RUNNING"
        && service["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"] == image
}

fn text<'v>(value: &'v Value, member: &str) -> Result<&'v str> {
    value[member]
        .as_str()
        .with_context(|| format!("the answer has no {member}: {value}"))
}

impl Sample<'_> {
    fn aws(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = self.environment.command(&self.aws);
        let printed = process::capture(command.args(arguments).args(["--output", "json"]))?;
        if printed.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&printed)
            .with_context(|| format!("the AWS command line printed no JSON: {printed}"))
    }

    fn find_service(&self) -> Result<Option<Value>> {
        let list = self.aws(&["apprunner", "list-services"])?;
        let summaries = list["ServiceSummaryList"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let Some(summary) = summaries
            .into_iter()
            .find(|summary| summary["ServiceName"] == NAME)
        else {
            return Ok(None);
        };
        self.describe(text(&summary, "ServiceArn")?).map(Some)
    }

    fn describe(&self, arn: &str) -> Result<Value> {
        Ok(self.aws(&["apprunner", "describe-service", "--service-arn", arn])?["Service"].clone())
    }

    fn login(&self) -> Result<()> {
        let mut command = self.environment.command(&self.aws);
        let password = process::capture(command.args(["ecr", "get-login-password"]))?;
        process::capture_with_input(
            Command::new("skopeo")
                .args([
                    "login",
                    "--username",
                    "AWS",
                    "--password-stdin",
                    "--authfile",
                ])
                .arg(&self.logins)
                .arg("--cert-dir")
                .arg(&self.certificates)
                .arg(&self.registry),
            Some(password.trim()),
        )?;
        Ok(())
    }

    fn make_repository(&self, name: &str) -> Result<()> {
        match self.aws(&["ecr", "create-repository", "--repository-name", name]) {
            Err(error)
                if !error
                    .to_string()
                    .contains("RepositoryAlreadyExistsException") =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn is_pushed(&self, image: &str) -> bool {
        let mut command = Command::new("skopeo");
        command
            .args(["inspect", "--raw", "--authfile"])
            .arg(&self.logins);
        command
            .arg("--cert-dir")
            .arg(&self.certificates)
            .arg(format!("docker://{image}"));
        process::capture(&mut command).is_ok()
    }

    fn push_base(&self) -> Result<()> {
        let image = format!("{}/{BASE}:3", self.registry);
        self.make_repository(BASE)?;
        if self.is_pushed(&image) {
            return Ok(());
        }
        let layout = assets::python_base::prepare()?;
        say(format!("pushing the Python base image to {image}"));
        process::capture(
            Command::new("skopeo")
                .args(["copy", "--quiet", "--authfile"])
                .arg(&self.logins)
                .arg("--dest-cert-dir")
                .arg(&self.certificates)
                .arg(format!("oci:{}:3", layout.display()))
                .arg(format!("docker://{image}")),
        )?;
        Ok(())
    }

    fn push_image(&self, image: &str, work: &Path) -> Result<()> {
        self.make_repository(NAME)?;
        if self.is_pushed(image) {
            return Ok(());
        }
        say(format!("building {image} from its Dockerfile"));
        let storage = Storage::in_dir(&work.join("containers"));
        let base = format!("BASE={}/{BASE}:3", self.registry);
        let sources = workspace::root().join("examples").join(NAME);
        process::capture(
            storage
                .buildah()
                .args(["build", "--quiet", "--build-arg", &base, "--authfile"])
                .arg(&self.logins)
                .arg("--cert-dir")
                .arg(&self.certificates)
                .args(["--tag", image])
                .arg(&sources),
        )?;
        say(format!("pushing {image}"));
        process::capture(
            storage
                .buildah()
                .args(["push", "--quiet", "--authfile"])
                .arg(&self.logins)
                .arg("--cert-dir")
                .arg(&self.certificates)
                .arg(image),
        )?;
        Ok(())
    }

    /// Creates the service, or moves the one that is there to the image.
    fn roll_out(&self, existing: Option<&Value>, image: &str) -> Result<()> {
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
        if let Some(service) = existing {
            say(format!("updating the service {NAME}"));
            let arn = text(service, "ServiceArn")?;
            self.aws(&[
                "apprunner",
                "update-service",
                "--service-arn",
                arn,
                "--source-configuration",
                &source,
            ])?;
            return Ok(());
        }
        say(format!("creating the service {NAME}"));
        self.aws(&[
            "apprunner",
            "create-service",
            "--service-name",
            NAME,
            "--source-configuration",
            &source,
            "--instance-configuration",
            "Cpu=0.25 vCPU,Memory=0.5 GB",
            "--health-check-configuration",
            "Protocol=HTTP,Path=/health,Interval=1",
        ])?;
        Ok(())
    }

    fn wait_until_running(&self) -> Result<Value> {
        let deadline = Instant::now() + DEPLOYMENT_MAX;
        loop {
            let service = self
                .find_service()?
                .with_context(|| format!("the service {NAME} disappeared"))?;
            match text(&service, "Status")? {
                "RUNNING" => return Ok(service),
                "OPERATION_IN_PROGRESS" => {}
                status => bail!(
                    "the service {NAME} is {status}; `aws logs tail /aws/apprunner/{NAME}/{}/service` says why",
                    text(&service, "ServiceId")?
                ),
            }
            if Instant::now() > deadline {
                bail!(
                    "the service {NAME} was not running after {} s",
                    DEPLOYMENT_MAX.as_secs()
                );
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
