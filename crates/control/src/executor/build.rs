//! From a branch to an image: the steps that only services from source code have.

use super::steps::service_of;
use super::{StepError, settle};
use crate::engine::Engine;
use crate::source::Scribe;
use crate::source::choice::complete;
use apron_builder::git::Fetched;
use apron_builder::{
    ApiConfiguration, BuildLog, BuildRequest, Built, Configuration, Origin, Supplies,
};
use apron_domain::code::{BuiltCode, CodeSource, ConfigurationSource};
use apron_domain::operation::Outcome;
use apron_domain::{Failure, FailureKind, Operation, Service};
use async_trait::async_trait;
use std::time::Duration;

/// Time between two looks at whether a fetch or a build was cancelled.
const CANCELLED_LOOK_EVERY: Duration = Duration::from_millis(250);

/// Finds the branch's head and fetches its files.
pub async fn resolve(engine: &Engine, operation: &Operation) -> Outcome {
    let Some(code) = &operation.config.code else {
        return without_source();
    };
    let fetched = engine.sources.fetch(&operation.id, code);
    match unless_cancelled(engine, operation, fetched).await {
        Some(Ok(fetched)) => Outcome::Commit(fetched.commit),
        Some(Err(failure)) => Outcome::Failed(failure),
        None => Outcome::Waiting,
    }
}

/// Builds the image. If the files of the commit are gone, which only happens when something was killed or tidied in
/// between, the branch is fetched again and its head is what is built.
pub async fn build(
    engine: &Engine,
    operation: &Operation,
    commit: &str,
) -> Result<Outcome, StepError> {
    let Some(code) = &operation.config.code else {
        return Ok(without_source());
    };
    let service = service_of(engine, operation).await?;
    let fetched = match engine.sources.fetched(&operation.id, commit).await {
        Some(fetched) => fetched,
        None => {
            let fetch = engine.sources.fetch(&operation.id, code);
            match unless_cancelled(engine, operation, fetch).await {
                Some(Ok(fetched)) => fetched,
                Some(Err(failure)) => return Ok(Outcome::Failed(failure)),
                None => return Ok(Outcome::Waiting),
            }
        }
    };
    let extensions = engine.routes.extensions(&service).await?;
    let request = request(operation, &service, code, &fetched, extensions.dockerfile);
    let (scribe, writing) = Scribe::new(
        engine.chronicle.clone(),
        engine.clock.clone(),
        &service,
        operation,
    );
    if request.configuration == Configuration::Repository && engine.sources.is_own(code) {
        let dir = fetched.files.join(code.directory.trim_matches('/'));
        for line in complete(&dir)? {
            scribe.line(&format!("[AppRunner] {line}"));
        }
    }
    let supplies = OfService {
        engine,
        operation,
        service: &service,
    };
    let built = engine.builder.build(&request, &supplies, &scribe);
    let built = unless_cancelled(engine, operation, built).await;
    drop(scribe);
    writing.done().await;
    Ok(match built {
        Some(Ok(built)) => outcome(built, fetched, extensions.dockerfile),
        Some(Err(failure)) => Outcome::Failed(failure),
        None => Outcome::Waiting,
    })
}

/// What the build of a service is given: images as its deployments are, and its own secrets, with its instance role.
struct OfService<'a> {
    engine: &'a Engine,
    operation: &'a Operation,
    service: &'a Service,
}

#[async_trait]
impl Supplies for OfService<'_> {
    async fn image(&self, reference: &str) -> Result<apron_oci::Digest, Failure> {
        self.engine.images.fetch(reference).await
    }

    async fn secret(&self, name: &str) -> Result<Option<String>, Failure> {
        let config = &self.operation.config;
        let injection = &self.engine.injection;
        injection.secret(&self.service.id, name, config).await
    }
}

fn request(
    operation: &Operation,
    service: &Service,
    code: &CodeSource,
    fetched: &Fetched,
    dockerfile: bool,
) -> BuildRequest {
    let configuration = match (dockerfile, code.configuration, &code.values) {
        (true, ..) => Configuration::Dockerfile,
        (false, ConfigurationSource::Api, Some(values)) => Configuration::Api(ApiConfiguration {
            runtime: values.runtime.clone(),
            build_command: values.build_command.clone(),
            start_command: values.start_command.clone(),
        }),
        _ => Configuration::Repository,
    };
    BuildRequest {
        operation: operation.id.clone(),
        service: service.id.clone(),
        service_name: service.name.clone(),
        source: fetched.files.clone(),
        directory: code.directory.clone(),
        configuration,
        origin: Origin {
            repository: code.repository.clone(),
            branch: code.branch.clone(),
            commit: fetched.commit.clone(),
        },
    }
}

fn outcome(built: Built, fetched: Fetched, dockerfile: bool) -> Outcome {
    let code = BuiltCode {
        commit: fetched.commit,
        tree: fetched.tree,
        dockerfile,
        start_command: built.start_command,
        port: built.port,
        port_variable: built.port_variable,
        environment: built.environment,
        secrets: built.secrets,
    };
    Outcome::Built(built.image, Box::new(code))
}

/// The work's result; none when the operator cancelled the operation meanwhile, and the work is dropped.
async fn unless_cancelled<T>(
    engine: &Engine,
    operation: &Operation,
    work: impl Future<Output = T>,
) -> Option<T> {
    let cancelled = async {
        while !settle::is_cancelled(engine, operation).await {
            tokio::time::sleep(CANCELLED_LOOK_EVERY).await;
        }
    };
    tokio::select! {
        result = work => Some(result),
        () = cancelled => None,
    }
}

fn without_source() -> Outcome {
    let text = "the operation came to its build without a source";
    Outcome::Failed(Failure::new(FailureKind::Platform, text))
}
