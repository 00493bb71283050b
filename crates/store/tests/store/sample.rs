//! Values to store: fixed ones and arbitrary ones.

use apron_domain::operation::NewOperation;
use apron_domain::service::{
    Deployed, HealthCheck, HealthProtocol, ImageSource, InstanceSize, RepositoryType, SIZES,
    Scaling,
};
use apron_domain::{
    Digest, Failure, FailureKind, Instance, InstanceId, InstanceRole, Millis, Operation,
    OperationId, OperationKind, OperationStatus, Service, ServiceConfig, ServiceId, ServiceStatus,
    Stage, Trigger,
};
use apron_store::{Repository, Store};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

/// A store in a directory that goes away with it.
pub async fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    (dir, store)
}

pub fn service_id(number: u32) -> ServiceId {
    ServiceId::parse(&format!("{number:032x}")).unwrap()
}

pub fn operation_id(number: u32) -> OperationId {
    OperationId::parse(&format!("{number:032x}")).unwrap()
}

pub fn instance_id(number: u32) -> InstanceId {
    InstanceId::parse(&format!("{number:032x}")).unwrap()
}

pub fn config() -> ServiceConfig {
    ServiceConfig {
        image: ImageSource {
            identifier: "registry.example/app:v1".to_owned(),
            repository_type: RepositoryType::Ecr,
            access_role_arn: None,
            port: 8080,
            start_command: None,
            environment: [("APP_ENV".to_owned(), "apprunner".to_owned())].into(),
            secrets: Default::default(),
        },
        instance_role_arn: None,
        code: None,
        auto_deployments: false,
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

/// A running service created at that time.
pub fn service(number: u32, name: &str, created: u64) -> Service {
    Service {
        id: service_id(number),
        name: name.to_owned(),
        label: "abcdefghij".to_owned(),
        status: ServiceStatus::Running,
        config: config(),
        deployed: None,
        previous: None,
        last_revision: 0,
        tried_commit: None,
        push_pending: false,
        tags: [("team".to_owned(), "blue".to_owned())].into(),
        created_at: Millis(created),
        updated_at: Millis(created),
        deleted_at: None,
    }
}

/// An operation just begun on a service, and the service with it.
pub fn begun(
    number: u32,
    service: &Service,
    kind: OperationKind,
    now: u64,
) -> (Operation, Service) {
    let new = NewOperation {
        id: operation_id(number),
        kind,
        trigger: Trigger::User,
        config: config(),
        image: None,
        candidates: vec![instance_id(number)],
    };
    Operation::begin(new, service, Millis(now))
}

/// The same operation, ended.
pub fn ended(operation: &Operation, now: u64) -> Operation {
    let mut operation = operation.clone();
    operation.stage = Stage::Done;
    operation.status = OperationStatus::Succeeded;
    operation.updated_at = Millis(now);
    operation.ended_at = Some(Millis(now));
    operation
}

/// Stores a new service with an ended create operation of the same number.
pub async fn create(store: &Store, number: u32, name: &str, created: u64) -> Service {
    let service = service(number, name, created);
    let (operation, _) = begun(number, &service, OperationKind::CreateService, created);
    store
        .service_create(&service, &ended(&operation, created), u32::MAX)
        .await
        .unwrap();
    service
}

pub fn instance(number: u32, service: &ServiceId, role: InstanceRole) -> Instance {
    Instance {
        id: instance_id(number),
        service: service.clone(),
        revision: 1,
        role,
        ready: false,
        created_at: Millis(1),
        retiring_since: None,
    }
}

fn text() -> impl Strategy<Value = String> {
    // Any characters, quotes, control characters and those beyond the basic plane among them.
    vec(any::<char>(), 0..20).prop_map(String::from_iter)
}

fn millis() -> impl Strategy<Value = Millis> {
    (0u64..=i64::MAX as u64).prop_map(Millis)
}

fn hex32() -> impl Strategy<Value = [u8; 16]> {
    any::<[u8; 16]>()
}

fn digest() -> impl Strategy<Value = Digest> {
    "[0-9a-f]{64}".prop_map(|hex| Digest::parse(&format!("sha256:{hex}")).unwrap())
}

fn any_config() -> impl Strategy<Value = ServiceConfig> {
    let image = (
        text(),
        any::<bool>(),
        of(text()),
        any::<u16>(),
        of(text()),
        btree_map(text(), text(), 0..4),
    );
    let health = (any::<bool>(), text(), any::<[u32; 4]>());
    let scaling = (text(), text(), any::<[u32; 4]>());
    (
        image,
        any::<bool>(),
        proptest::sample::select(&SIZES[..]),
        health,
        scaling,
    )
        .prop_map(
            |(image, auto_deployments, size, health, scaling)| ServiceConfig {
                image: ImageSource {
                    identifier: image.0,
                    repository_type: if image.1 {
                        RepositoryType::Ecr
                    } else {
                        RepositoryType::EcrPublic
                    },
                    access_role_arn: image.2,
                    port: image.3,
                    start_command: image.4,
                    environment: image.5,
                    secrets: Default::default(),
                },
                instance_role_arn: None,
                code: None,
                auto_deployments,
                size,
                health: HealthCheck {
                    protocol: if health.0 {
                        HealthProtocol::Tcp
                    } else {
                        HealthProtocol::Http
                    },
                    path: health.1,
                    interval: health.2[0],
                    timeout: health.2[1],
                    healthy_threshold: health.2[2],
                    unhealthy_threshold: health.2[3],
                },
                scaling: Scaling {
                    arn: scaling.0,
                    name: scaling.1,
                    revision: scaling.2[0],
                    max_concurrency: scaling.2[1],
                    min_size: scaling.2[2],
                    max_size: scaling.2[3],
                },
                encryption_key: None,
            },
        )
}

/// Any service, of any status.
pub fn any_service() -> impl Strategy<Value = Service> {
    let statuses = [
        ServiceStatus::CreateFailed,
        ServiceStatus::Running,
        ServiceStatus::Deleted,
        ServiceStatus::DeleteFailed,
        ServiceStatus::Paused,
        ServiceStatus::OperationInProgress,
    ];
    let deployed = of((any::<u32>(), any_config(), digest()));
    let previous = of((any::<u32>(), any_config(), digest()));
    let deployment = |(revision, config, image)| Deployed {
        revision,
        config,
        image,
    };
    (
        (
            hex32(),
            text(),
            text(),
            proptest::sample::select(statuses.to_vec()),
            any_config(),
            deployed,
            previous,
        ),
        (any::<u32>(), any::<bool>(), btree_map(text(), text(), 0..4)),
        (millis(), millis(), of(millis())),
    )
        .prop_map(move |(a, b, times)| Service {
            id: ServiceId::from_random(a.0),
            name: a.1,
            label: a.2,
            status: a.3,
            config: a.4,
            deployed: a.5.map(deployment),
            previous: a.6.map(deployment),
            last_revision: b.0,
            tried_commit: None,
            push_pending: b.1,
            tags: b.2,
            created_at: times.0,
            updated_at: times.1,
            deleted_at: times.2,
        })
}

fn any_failure() -> impl Strategy<Value = Failure> {
    let kind = prop_oneof![
        Just(FailureKind::ImagePull),
        Just(FailureKind::HealthCheck),
        of(any::<i32>()).prop_map(|code| FailureKind::ApplicationExit { code }),
    ];
    (kind, text(), vec(text(), 0..5))
        .prop_map(|(kind, message, lines)| Failure::new(kind, message).with_evidence(lines))
}

/// Any operation of that service, at any stage.
pub fn any_operation(service: ServiceId) -> impl Strategy<Value = Operation> {
    let kinds = [
        OperationKind::CreateService,
        OperationKind::StartDeployment,
        OperationKind::UpdateService,
        OperationKind::PauseService,
        OperationKind::ResumeService,
        OperationKind::DeleteService,
    ];
    let stages = [
        Stage::Resolve,
        Stage::Prepare,
        Stage::Launch,
        Stage::Settle,
        Stage::Route,
        Stage::Drain,
        Stage::Retire,
        Stage::Discard,
        Stage::Finish,
        Stage::Done,
    ];
    (
        (
            hex32(),
            proptest::sample::select(kinds.to_vec()),
            any::<bool>(),
        ),
        (
            proptest::sample::select(stages.to_vec()),
            millis(),
            any::<u32>(),
            any_config(),
            of(digest()),
        ),
        (
            vec(hex32().prop_map(InstanceId::from_random), 0..4),
            of(any_failure()),
        ),
        (millis(), millis(), of(millis())),
    )
        .prop_map(move |(a, b, c, times)| {
            let base = self::service(0, "", 0);
            let (mut operation, _) = begun(0, &base, a.1, 0);
            operation.id = OperationId::from_random(a.0);
            operation.service = service.clone();
            operation.trigger = if a.2 { Trigger::User } else { Trigger::Push };
            operation.status = OperationStatus::RollbackInProgress;
            (operation.stage, operation.stage_since, operation.revision) = (b.0, b.1, b.2);
            (operation.config, operation.image) = (b.3, b.4);
            (operation.candidates, operation.failure) = c;
            (
                operation.started_at,
                operation.updated_at,
                operation.ended_at,
            ) = times;
            operation
        })
}

/// Any instance of that service.
pub fn any_instance(service: ServiceId) -> impl Strategy<Value = Instance> {
    let roles = [
        InstanceRole::Candidate,
        InstanceRole::Active,
        InstanceRole::Retiring,
    ];
    (
        hex32(),
        any::<u32>(),
        proptest::sample::select(roles.to_vec()),
        any::<bool>(),
        millis(),
        of(millis()),
    )
        .prop_map(
            move |(id, revision, role, ready, created_at, retiring_since)| Instance {
                id: InstanceId::from_random(id),
                service: service.clone(),
                revision,
                role,
                ready,
                created_at,
                retiring_since,
            },
        )
}

/// Any repository.
pub fn any_repository() -> impl Strategy<Value = Repository> {
    (
        "[a-z]{1,20}(/[a-z]{1,20})?",
        millis(),
        any::<bool>(),
        any::<bool>(),
        btree_map(text(), text(), 0..4),
    )
        .prop_map(
            |(name, created_at, immutable_tags, scan_on_push, tags)| Repository {
                name,
                created_at,
                immutable_tags,
                scan_on_push,
                policy: None,
                tags,
            },
        )
}
