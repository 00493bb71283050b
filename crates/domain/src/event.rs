//! What the service's log streams say about an operation, in the words of the real service where they are known.
//!
//! The stream `events` tells a service's life, `deployment/<operation id>` the course of one deployment.

use crate::code::{CodeSource, ConfigurationSource};
use crate::failure::{Failure, FailureKind};
use crate::operation::{Operation, OperationKind, Stage, Trigger};
use crate::service::{HealthProtocol, RepositoryType, Service, ServiceConfig};

/// Lines for the two streams, in order, without time stamps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// For the stream `events`.
    pub events: Vec<String>,
    /// For the stream `deployment/<operation id>`.
    pub deployment: Vec<String>,
}

impl Lines {
    fn event(&mut self, text: impl AsRef<str>) {
        self.events.push(format!("[AppRunner] {}", text.as_ref()));
    }

    fn deploy(&mut self, text: impl AsRef<str>) {
        self.deployment
            .push(format!("[AppRunner] {}", text.as_ref()));
    }

    fn both(&mut self, text: impl AsRef<str>) {
        self.event(text.as_ref());
        self.deploy(text.as_ref());
    }
}

/// The noun of an operation in event texts.
fn noun(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::CreateService => "Service creation",
        OperationKind::StartDeployment => "Deployment",
        OperationKind::UpdateService => "Service update",
        OperationKind::PauseService => "Service pause",
        OperationKind::ResumeService => "Service resume",
        OperationKind::DeleteService => "Service deletion",
    }
}

fn triggering_event(operation: &Operation) -> &'static str {
    match (operation.kind, operation.trigger) {
        (OperationKind::CreateService, _) => "SERVICE_CREATE",
        (OperationKind::UpdateService, _) => "SERVICE_UPDATE",
        (_, Trigger::Push | Trigger::Secret) => "SERVICE_AUTO_DEPLOY",
        _ => "SERVICE_DEPLOY",
    }
}

/// The check in the words of the real service: ``protocol `HTTP` [Path: '/x'], [Port: '3000']``.
pub fn check_text(config: &ServiceConfig) -> String {
    let port = config.image.port;
    match config.health.protocol {
        HealthProtocol::Tcp => format!("protocol `TCP` [Port: '{port}']"),
        HealthProtocol::Http => format!(
            "protocol `HTTP` [Path: '{}'], [Port: '{port}']",
            config.health.path
        ),
    }
}

fn repository(config: &ServiceConfig) -> &'static str {
    match config.image.repository_type {
        RepositoryType::Ecr => "ECR",
        RepositoryType::EcrPublic => "ECR_PUBLIC",
    }
}

/// What is deployed, in the words of the real service.
fn artifact(config: &ServiceConfig) -> String {
    match &config.code {
        Some(code) => format!(
            "[Repo Type: Source], [Repository: {}], [Branch: {}], [SourceDirectory: {}]",
            code.repository, code.branch, code.directory
        ),
        None => format!(
            "[Repo Type: {}], [Repository: {}]",
            repository(config),
            config.image.identifier
        ),
    }
}

/// What is said when an operation was accepted.
pub fn began(operation: &Operation) -> Lines {
    let mut lines = Lines::default();
    lines.event(format!("{} started.", noun(operation.kind)));
    lines.event("Service status is set to OPERATION_IN_PROGRESS.");
    if operation.kind.deploys() && operation.kind != OperationKind::ResumeService {
        lines.event(format!(
            "Deployment Artifact: {}",
            artifact(&operation.config)
        ));
        lines.event(format!(
            "Deployment with ID : {} started. Triggering event : {}",
            operation.id,
            triggering_event(operation)
        ));
    }
    entered_stage(operation, &mut lines);
    lines
}

/// What is said when an operation came from `before` to `after`; nothing when the stage is the same.
pub fn moved(before: &Operation, after: &Operation, service: &Service) -> Lines {
    let mut lines = Lines::default();
    if before.stage == after.stage {
        return lines;
    }
    match (before.stage, &after.failure) {
        (Stage::Resolve, None) => match &after.config.code {
            None => lines.both("Successfully pulled your application image from ECR."),
            Some(_) => {
                lines.both("Successfully pulled your application source code.");
                let commit = after.commit.as_deref().unwrap_or_default();
                lines.deploy(format!("Commit: {commit}"));
            }
        },
        (Stage::Build, None) => lines.both("Successfully built your application source code."),
        (Stage::Settle, None) => {
            lines.both("Health check is successful. Routing traffic to application.");
        }
        (Stage::Route, None) if after.kind.deploys() => {
            lines.both("Successfully routed incoming traffic to application.");
        }
        (_, Some(failure)) if before.failure.is_none() => failed(after, failure, &mut lines),
        _ => {}
    }
    if after.stage == Stage::Done {
        ended(after, service, &mut lines);
    } else {
        entered_stage(after, &mut lines);
    }
    lines
}

fn entered_stage(operation: &Operation, lines: &mut Lines) {
    match operation.stage {
        Stage::Resolve => match &operation.config.code {
            None => {
                lines.event(format!(
                    "Pulling image {} from ECR repository.",
                    operation.config.image.identifier
                ));
                lines.deploy("Starting to pull your application image.");
            }
            Some(code) => pulling_source(code, lines),
        },
        Stage::Build => {
            let code = operation.config.code.as_ref();
            if code.is_some_and(|c| c.configuration == ConfigurationSource::Repository) {
                lines.event("Reading apprunner.yaml config file.");
            }
            lines.deploy("Starting to build your application source code.");
        }
        Stage::Launch => {
            lines.event(
                "Provisioning instances and deploying image for publicly accessible service.",
            );
            lines.deploy("Starting to deploy your application image.");
        }
        Stage::Settle => {
            lines.both(format!(
                "Performing health check on {}.",
                check_text(&operation.config)
            ));
        }
        _ => {}
    }
}

fn pulling_source(code: &CodeSource, lines: &mut Lines) {
    lines.event(format!(
        "Pulling source code from {} Repository ( {} ).",
        code.provider, code.repository
    ));
    lines.deploy("Starting to pull your application source code.");
}

fn failed(operation: &Operation, failure: &Failure, lines: &mut Lines) {
    match &failure.kind {
        FailureKind::ImagePull => lines.both(format!(
            "Failed to pull your application image. Be sure you configure your service with a valid access role \
             to your ECR repository. Reason: {}",
            failure.message
        )),
        FailureKind::ApplicationExit { code } => {
            let code = code.map(|c| format!("  Container exit code: {c}")).unwrap_or_default();
            lines.both(format!("Your application stopped or failed to start. See logs for more information.{code}"));
            lines.both(format!("Reason: {}", failure.message));
        }
        FailureKind::HealthCheck => {
            lines.both(format!(
                "Health check failed on {}. Check your configured port number. For more information, read the \
                 application logs.",
                check_text(&operation.config)
            ));
            lines.both(format!("Reason: {}", failure.message));
        }
        _ => lines.both(format!("{}. Reason: {}", failure.reason(), failure.message)),
    }
    for line in &failure.evidence {
        lines.deploy(format!("  {line}"));
    }
    match &failure.kind {
        // There is no image yet, and the lines above say that.
        FailureKind::Source | FailureKind::Build => {}
        _ => lines.deploy("Failed to deploy your application image."),
    }
    lines.event(format!(
        "Deployment with ID : {} failed. Failure reason : {}.",
        operation.id,
        failure.reason()
    ));
}

fn ended(operation: &Operation, service: &Service, lines: &mut Lines) {
    let noun = noun(operation.kind);
    match (&operation.failure, operation.kind) {
        (Some(_), _) => lines.event(format!("{noun} failed. For details, see service logs.")),
        (None, OperationKind::UpdateService) => {
            lines.event(format!(
                "{noun} completed successfully. New application and configuration is deployed."
            ));
        }
        (None, _) => lines.event(format!("{noun} completed successfully.")),
    }
    if operation.failure.is_none() && operation.kind.deploys() {
        lines.deploy("Successfully deployed your application image.");
    }
    lines.event(format!(
        "Service status is set to {}.",
        service.status.as_str()
    ));
}
