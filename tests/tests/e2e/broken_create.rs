//! Five ways the first version can be broken: `CREATE_FAILED`, described, with the reason, and repaired by an update.

use anyhow::{Result, ensure};
use apron_e2e::images::EchoImage;
use apron_e2e::platform::Settings;
use apron_e2e::{Platform, Service};

/// One way to be broken.
pub struct Broken {
    /// How the image is made; none is an image that does not exist.
    image: Option<fn() -> EchoImage>,
    /// What events or deployment log must say.
    evidence: &'static [&'static str],
}

/// Prints and exits with 42.
pub const CRASH: Broken = Broken {
    image: Some(|| EchoImage::new("v3").mode("crash")),
    evidence: &["42", "cannot open the database"],
};
/// Listens on 5000 instead of 8080.
pub const WRONG_PORT: Broken = Broken {
    image: Some(|| EchoImage::new("v3").mode("wrong-port")),
    evidence: &["8080", "refused", "5000"],
};
/// Its health check answers 500.
pub const SICK: Broken = Broken {
    image: Some(|| EchoImage::new("v3").mode("sick")),
    evidence: &["500", "the database is down"],
};
/// Was never pushed.
pub const MISSING: Broken = Broken {
    image: None,
    evidence: &["echo:never-pushed", "not found"],
};
/// Is for another processor.
pub const FOREIGN: Broken = Broken {
    image: Some(|| EchoImage::new("v3").architecture("arm64")),
    evidence: &["arm64", "amd64"],
};

impl Broken {
    /// Pushes the image, if there is one, and returns its name.
    pub fn push(&self, platform: &Platform) -> Result<String> {
        match self.image {
            Some(image) => platform.push(&image(), "echo:v3"),
            None => {
                platform.repository("echo")?;
                Ok(format!("{}/echo:never-pushed", platform.registry()))
            }
        }
    }

    /// Events and deployment log together say what is wrong.
    pub fn check_evidence(
        &self,
        service: &Service,
        platform: &Platform,
        operation: &str,
    ) -> Result<()> {
        let mut text = service.events(platform)?.join("\n");
        text.push_str("\n--- deployment\n");
        text.push_str(&service.deployment_log(platform, operation)?.join("\n"));
        for wanted in self.evidence {
            ensure!(text.contains(wanted), "nothing says {wanted:?}:\n{text}");
        }
        ensure!(
            text.contains("failed. Failure reason : "),
            "no failure reason:\n{text}"
        );
        Ok(())
    }
}

fn check(broken: &Broken) -> Result<()> {
    let platform = Platform::start_with(&Settings {
        healthy_within: 8,
        ..Settings::default()
    })?;
    let bad = broken.push(&platform)?;
    let service = platform.create_service("echo", &bad)?;
    service.settle_as(&platform, "CREATE_FAILED")?;
    let failed = service.operation(&platform, &service.operation)?;
    ensure!(
        failed["Type"] == "CREATE_SERVICE" && failed["Status"] == "FAILED",
        "{failed}"
    );
    broken.check_evidence(&service, &platform, &service.operation)?;
    let events = service.events(&platform)?.join("\n");
    ensure!(
        events.contains("Service status is set to CREATE_FAILED."),
        "{events}"
    );

    let good = platform.push(&EchoImage::new("v4"), "echo:v4")?;
    service.update_to(&platform, &good)?;
    service.settle_as(&platform, "RUNNING")?;
    ensure!(service.version(&platform)? == "v4");
    Ok(())
}

#[test]
fn a_service_whose_application_crashes_is_repaired_by_an_update() -> Result<()> {
    check(&CRASH)
}

#[test]
fn a_service_on_the_wrong_port_is_repaired_by_an_update() -> Result<()> {
    check(&WRONG_PORT)
}

#[test]
fn a_service_that_is_sick_is_repaired_by_an_update() -> Result<()> {
    check(&SICK)
}

#[test]
fn a_service_of_a_missing_image_is_repaired_by_an_update() -> Result<()> {
    check(&MISSING)
}

#[test]
fn a_service_for_another_architecture_is_repaired_by_an_update() -> Result<()> {
    check(&FOREIGN)
}
