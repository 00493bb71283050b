use super::*;
use crate::code::{CodeSource, ConfigurationSource};
use crate::service::{HealthCheck, ImageSource, InstanceSize, RepositoryType, Scaling};
use proptest::prelude::*;
use std::collections::BTreeMap;

const LIMITS: Patience = Patience {
    settle_ms: 300,
    drain_ms: 120,
};

fn config(tag: &str) -> ServiceConfig {
    ServiceConfig {
        image: ImageSource {
            identifier: format!("localhost:7400/app:{tag}"),
            repository_type: RepositoryType::Ecr,
            access_role_arn: None,
            port: 8080,
            start_command: None,
            environment: BTreeMap::new(),
            secrets: Default::default(),
        },
        instance_role_arn: None,
        code: None,
        auto_deployments: true,
        size: InstanceSize::default(),
        health: HealthCheck::default(),
        scaling: Scaling {
            arn: "arn".to_owned(),
            name: "DefaultConfiguration".to_owned(),
            revision: 1,
            max_concurrency: 100,
            min_size: 1,
            max_size: 25,
        },
        encryption_key: None,
    }
}

fn service() -> Service {
    Service {
        id: ServiceId::from_random([1; 16]),
        name: "demo".to_owned(),
        label: "abcdefghij".to_owned(),
        status: ServiceStatus::OperationInProgress,
        config: config("v1"),
        deployed: None,
        previous: None,
        last_revision: 0,
        tried_commit: None,
        push_pending: false,
        tags: BTreeMap::new(),
        created_at: Millis(1),
        updated_at: Millis(1),
        deleted_at: None,
    }
}

fn digest(n: u8) -> Digest {
    Digest::parse(&format!("sha256:{}", format!("{n:02x}").repeat(32))).unwrap()
}

fn new(kind: OperationKind, tag: &str) -> NewOperation {
    let candidates = if kind.deploys() {
        vec![InstanceId::from_random([9; 16])]
    } else {
        Vec::new()
    };
    NewOperation {
        id: OperationId::from_random([2; 16]),
        kind,
        trigger: Trigger::User,
        config: config(tag),
        image: None,
        candidates,
    }
}

/// Runs an operation to its end; `break_at` fails the first step of that stage.
fn run(
    kind: OperationKind,
    tag: &str,
    service: &Service,
    break_at: Option<Stage>,
) -> (Operation, Service, Vec<Stage>) {
    let (mut operation, mut service) = Operation::begin(new(kind, tag), service, Millis(10));
    let mut stages = Vec::new();
    while let Some(step) = operation.step() {
        stages.push(operation.stage);
        if break_at == Some(operation.stage) {
            operation = operation.advance(
                Outcome::Failed(Failure::new(FailureKind::Platform, "broken")),
                LIMITS,
                Millis(20),
            );
            continue;
        }
        operation = match step {
            Step::ResolveImage => operation.advance(Outcome::Image(digest(7)), LIMITS, Millis(20)),
            Step::Route(_) => {
                service = operation.take_over(&service, Millis(20));
                operation.advance(Outcome::Done, LIMITS, Millis(20))
            }
            Step::Finish => {
                let (done, after) = operation.conclude(&service, Millis(30));
                service = after;
                done
            }
            _ => operation.advance(Outcome::Done, LIMITS, Millis(20)),
        };
    }
    (operation, service, stages)
}

#[test]
fn a_create_goes_through_every_stage_in_order() {
    use Stage::*;
    let (operation, service, stages) = run(OperationKind::CreateService, "v1", &service(), None);
    assert_eq!(
        stages,
        [
            Resolve, Prepare, Launch, Settle, Route, Drain, Retire, Finish
        ]
    );
    assert_eq!(operation.status, OperationStatus::Succeeded);
    assert_eq!(operation.ended_at, Some(Millis(30)));
    assert_eq!(service.status, ServiceStatus::Running);
    let deployed = service.deployed.unwrap();
    assert_eq!((deployed.revision, deployed.image), (1, digest(7)));
}

#[test]
fn a_failed_create_is_create_failed_and_an_update_repairs_it() {
    for stage in [Stage::Resolve, Stage::Prepare, Stage::Launch, Stage::Settle] {
        let (operation, failed, _) =
            run(OperationKind::CreateService, "v1", &service(), Some(stage));
        assert_eq!(operation.status, OperationStatus::Failed);
        assert_eq!(failed.status, ServiceStatus::CreateFailed);
        assert!(failed.deployed.is_none());
        let (operation, repaired, _) = run(OperationKind::UpdateService, "v2", &failed, None);
        assert_eq!(operation.status, OperationStatus::Succeeded);
        assert_eq!(repaired.status, ServiceStatus::Running);
    }
}

#[test]
fn a_failed_update_restores_the_configuration_that_runs() {
    let (_, running, _) = run(OperationKind::CreateService, "v1", &service(), None);
    for stage in [Stage::Resolve, Stage::Prepare, Stage::Launch, Stage::Settle] {
        let (operation, after, stages) =
            run(OperationKind::UpdateService, "v3", &running, Some(stage));
        assert_eq!(operation.status, OperationStatus::RollbackSucceeded);
        assert!(stages.ends_with(&[stage, Stage::Discard, Stage::Finish]));
        assert_eq!(after.status, ServiceStatus::Running);
        assert_eq!(after.config, config("v1"));
        assert_eq!(after.deployed, running.deployed);
    }
}

#[test]
fn pause_resume_and_delete_end_where_they_should() {
    let (_, running, _) = run(OperationKind::CreateService, "v1", &service(), None);
    let (_, paused, stages) = run(OperationKind::PauseService, "v1", &running, None);
    assert_eq!(
        stages,
        [Stage::Route, Stage::Drain, Stage::Retire, Stage::Finish]
    );
    assert_eq!(paused.status, ServiceStatus::Paused);
    assert_eq!(paused.deployed, running.deployed);
    let (operation, still, _) = run(
        OperationKind::ResumeService,
        "v1",
        &paused,
        Some(Stage::Settle),
    );
    assert_eq!(
        (operation.status, still.status),
        (OperationStatus::Failed, ServiceStatus::Paused)
    );
    let (_, resumed, _) = run(OperationKind::ResumeService, "v1", &paused, None);
    assert_eq!(resumed.status, ServiceStatus::Running);
    let (_, deleted, _) = run(OperationKind::DeleteService, "v1", &resumed, None);
    assert_eq!(
        (deleted.status, deleted.deleted_at),
        (ServiceStatus::Deleted, Some(Millis(30)))
    );
}

#[test]
fn settling_and_draining_end_in_time() {
    let (mut operation, _) = Operation::begin(
        new(OperationKind::UpdateService, "v2"),
        &service(),
        Millis(0),
    );
    operation.stage = Stage::Settle;
    assert_eq!(
        operation
            .advance(Outcome::Waiting, LIMITS, Millis(LIMITS.settle_ms - 1))
            .stage,
        Stage::Settle
    );
    let late = operation.advance(Outcome::Waiting, LIMITS, Millis(LIMITS.settle_ms));
    assert_eq!(
        (late.stage, late.status),
        (Stage::Discard, OperationStatus::RollbackInProgress)
    );
    assert_eq!(late.failure.unwrap().kind, FailureKind::HealthCheck);
    operation.stage = Stage::Drain;
    assert_eq!(
        operation
            .advance(Outcome::Waiting, LIMITS, Millis(LIMITS.drain_ms - 1))
            .stage,
        Stage::Drain
    );
    assert_eq!(
        operation
            .advance(Outcome::Waiting, LIMITS, Millis(LIMITS.drain_ms))
            .stage,
        Stage::Retire
    );
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Done),
        2 => (0u8..=255).prop_map(|n| Outcome::Image(digest(n))),
        1 => Just(Outcome::Commit(commit(1))),
        1 => Just(Outcome::Built(digest(3), Box::new(built(1)))),
        1 => Just(Outcome::Waiting),
        1 => Just(Outcome::Failed(Failure::new(FailureKind::Platform, "x"))),
    ]
}

proptest! {
    /// Whatever steps answer: an operation past `Route` never fails, one that failed never routes, and a stage is
    /// never entered again once left.
    #[test]
    fn no_sequence_of_outcomes_breaks_the_order(outcomes in prop::collection::vec(outcome(), 0..60), code in any::<bool>()) {
        let mut of_code = new(OperationKind::UpdateService, "v2");
        of_code.config.code = code.then(source);
        let (mut operation, _) = Operation::begin(of_code, &service(), Millis(0));
        let mut left: Vec<Stage> = Vec::new();
        for (tick, outcome) in outcomes.into_iter().enumerate() {
            let next = operation.advance(outcome, LIMITS, Millis(tick as u64));
            if next.stage != operation.stage {
                left.push(operation.stage);
                prop_assert!(!left.contains(&next.stage));
            }
            if next.failure.is_some() {
                prop_assert!(matches!(next.stage, Stage::Discard | Stage::Finish | Stage::Done));
            }
            operation = next;
        }
    }
}

#[test]
fn an_operation_is_cancelled_before_the_traffic_moves_and_not_after() {
    let (_, running, _) = run(OperationKind::CreateService, "v1", &service(), None);
    let (mut operation, _) =
        Operation::begin(new(OperationKind::UpdateService, "v2"), &running, Millis(0));
    operation.stage = Stage::Settle;
    let cancelled = operation.cancelled(Millis(5));
    assert_eq!(
        (cancelled.stage, cancelled.status),
        (Stage::Discard, OperationStatus::RollbackInProgress)
    );
    assert_eq!(cancelled.failure.unwrap().kind, FailureKind::Cancelled);
    operation.stage = Stage::Route;
    assert_eq!(operation.cancelled(Millis(5)), operation);
}

#[test]
fn the_previous_deployment_is_remembered_once_also_when_the_switch_runs_twice() {
    let (_, first, _) = run(OperationKind::CreateService, "v1", &service(), None);
    assert!(first.previous.is_none());
    let (mut operation, begun) =
        Operation::begin(new(OperationKind::UpdateService, "v2"), &first, Millis(0));
    operation.image = Some(digest(8));
    let once = operation.take_over(&begun, Millis(5));
    let twice = operation.take_over(&once, Millis(5));
    assert_eq!(once.previous, first.deployed);
    assert_eq!(twice, once);
}

fn commit(n: u8) -> String {
    format!("{n:02x}").repeat(20)
}

fn source() -> CodeSource {
    CodeSource {
        repository: "https://git.example.com/app".to_owned(),
        branch: "main".to_owned(),
        directory: "/".to_owned(),
        connection_arn: None,
        provider: "GIT".to_owned(),
        configuration: ConfigurationSource::Repository,
        values: None,
        built: None,
    }
}

fn built(n: u8) -> BuiltCode {
    BuiltCode {
        commit: commit(n),
        tree: commit(n + 1),
        dockerfile: false,
        start_command: Some("serve".to_owned()),
        port: Some(9000),
        port_variable: None,
        environment: BTreeMap::new(),
        secrets: BTreeMap::new(),
    }
}

/// Runs an operation on source code; `break_at` fails the first step of that stage.
fn run_code(
    kind: OperationKind,
    service: &Service,
    break_at: Option<Stage>,
) -> (Operation, Service, Vec<Stage>) {
    let mut new = new(kind, "");
    new.config.image.identifier.clear();
    new.config.code = Some(source());
    let (mut operation, mut service) = Operation::begin(new, service, Millis(10));
    let mut stages = Vec::new();
    while let Some(step) = operation.step() {
        stages.push(operation.stage);
        let broken = Outcome::Failed(Failure::new(FailureKind::Build, "broken"));
        let outcome = match step {
            _ if break_at == Some(operation.stage) => broken,
            Step::ResolveImage => panic!("an image was looked up for source code"),
            Step::ResolveSource => Outcome::Commit(commit(1)),
            Step::Build(found) => {
                assert_eq!(found, commit(1));
                Outcome::Built(digest(5), Box::new(built(2)))
            }
            _ => Outcome::Done,
        };
        match operation.stage {
            Stage::Route => service = operation.take_over(&service, Millis(20)),
            Stage::Finish => {
                (operation, service) = operation.conclude(&service, Millis(30));
                continue;
            }
            _ => {}
        }
        operation = operation.advance(outcome, LIMITS, Millis(20));
    }
    (operation, service, stages)
}

#[test]
fn source_code_is_built_between_the_commit_and_the_image() {
    let (operation, running, stages) = run_code(OperationKind::CreateService, &service(), None);
    assert_eq!(stages[..3], [Stage::Resolve, Stage::Build, Stage::Prepare]);
    assert_eq!(operation.status, OperationStatus::Succeeded);
    let deployed = running.deployed.clone().unwrap();
    assert_eq!(deployed.image, digest(5));
    assert_eq!(
        (deployed.config.image.port, running.config.image.port),
        (9000, 9000)
    );
    assert_eq!(running.config.code.as_ref().unwrap().built, Some(built(2)));
    assert_eq!(running.tried_commit, Some(commit(2)));
}

#[test]
fn a_failed_build_leaves_what_runs_and_remembers_the_commit() {
    let (_, running, _) = run_code(OperationKind::CreateService, &service(), None);
    let (operation, after, stages) =
        run_code(OperationKind::StartDeployment, &running, Some(Stage::Build));
    assert_eq!(
        stages,
        [Stage::Resolve, Stage::Build, Stage::Discard, Stage::Finish]
    );
    assert_eq!(operation.status, OperationStatus::RollbackSucceeded);
    assert_eq!(
        (&after.deployed, &after.config),
        (&running.deployed, &running.config)
    );
    assert_eq!(after.tried_commit, Some(commit(1)));
    assert!(operation.cancelled(Millis(40)) == operation);
}

#[test]
fn rows_of_before_source_code_are_read() {
    let mut stored = serde_json::to_value(config("v1")).unwrap();
    stored.as_object_mut().unwrap().remove("code");
    assert_eq!(
        serde_json::from_value::<ServiceConfig>(stored).unwrap(),
        config("v1")
    );
    let mut stored = serde_json::to_value(service()).unwrap();
    stored.as_object_mut().unwrap().remove("tried_commit");
    assert_eq!(
        serde_json::from_value::<Service>(stored).unwrap(),
        service()
    );
}
