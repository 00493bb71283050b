//! How long the calls take that a deployment waits for: `cargo run --release -p apron-store --example latency [directory]`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use apron_domain::operation::NewOperation;
use apron_domain::service::{HealthCheck, ImageSource, InstanceSize, RepositoryType, Scaling};
use apron_domain::{
    Millis, Operation, OperationId, OperationKind, Service, ServiceConfig, ServiceId,
    ServiceStatus, Stage, Trigger,
};
use apron_store::Store;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SERVICES: u8 = 100;
const ROUNDS: usize = 500;

#[tokio::main]
async fn main() {
    let base = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(base).unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let mut operations = Vec::new();
    let mut times = Vec::new();
    for number in 0..SERVICES {
        let (service, operation) = create(number);
        let begun = Instant::now();
        store
            .service_create(&service, &operation, u32::MAX)
            .await
            .unwrap();
        times.push(begun.elapsed());
        operations.push(operation);
    }
    report("service_create", times);
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let operation = &mut operations[round % SERVICES as usize];
        operation.stage = if operation.stage == Stage::Launch {
            Stage::Settle
        } else {
            Stage::Launch
        };
        let begun = Instant::now();
        store
            .operation_save(operation, "a note about the step")
            .await
            .unwrap();
        times.push(begun.elapsed());
    }
    report("operation_save", times);
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let begun = Instant::now();
        assert!(
            store
                .service_get(&operations[round % SERVICES as usize].service)
                .await
                .unwrap()
                .is_some()
        );
        times.push(begun.elapsed());
    }
    report("service_get", times);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        assert_eq!(
            store.services_live().await.unwrap().len(),
            SERVICES as usize
        );
        times.push(begun.elapsed());
    }
    report("services_live of 100", times);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!(
        "{}",
        status
            .lines()
            .filter(|line| line.starts_with("VmRSS"))
            .collect::<String>()
    );
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at =
        |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!("{what}: p50 {:.2} ms, p99 {:.2} ms", at(50), at(99));
}

fn create(number: u8) -> (Service, Operation) {
    let config = ServiceConfig {
        image: ImageSource {
            identifier: "registry.example/app:v1".to_owned(),
            repository_type: RepositoryType::Ecr,
            access_role_arn: None,
            port: 8080,
            start_command: None,
            environment: (0..20)
                .map(|n| (format!("KEY_{n}"), "some value".to_owned()))
                .collect(),
            secrets: Default::default(),
        },
        instance_role_arn: None,
        code: None,
        auto_deployments: true,
        size: InstanceSize::default(),
        health: HealthCheck::default(),
        scaling: Scaling {
            arn: "arn:aws:apprunner:us-east-1:000000000000:autoscalingconfiguration/Default/1/0"
                .to_owned(),
            name: "Default".to_owned(),
            revision: 1,
            max_concurrency: 100,
            min_size: 1,
            max_size: 25,
        },
        encryption_key: None,
    };
    let service = Service {
        id: ServiceId::from_random([number; 16]),
        name: format!("service-{number}"),
        label: "abcdefghij".to_owned(),
        status: ServiceStatus::OperationInProgress,
        config: config.clone(),
        deployed: None,
        previous: None,
        last_revision: 0,
        tried_commit: None,
        push_pending: false,
        tags: BTreeMap::new(),
        created_at: Millis(1),
        updated_at: Millis(1),
        deleted_at: None,
    };
    let new = NewOperation {
        id: OperationId::from_random([number; 16]),
        kind: OperationKind::CreateService,
        trigger: Trigger::User,
        config,
        image: None,
        candidates: Vec::new(),
    };
    let (operation, service) = Operation::begin(new, &service, Millis(1));
    (service, operation)
}
