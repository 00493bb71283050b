//! Services that exist without having been deployed by the platform.

use anyhow::Result;
use apron_domain::operation::NewOperation;
use apron_domain::service::{
    Deployed, HealthCheck, ImageSource, InstanceSize, RepositoryType, Scaling,
};
use apron_domain::{
    Digest, Millis, Operation, OperationId, OperationKind, OperationStatus, Service, ServiceConfig,
    ServiceId, ServiceStatus, Stage, Trigger,
};
use apron_store::Store;
use apron_testkit::World;
use std::collections::BTreeMap;

/// Variables of each service.
const VARIABLES: u32 = 10;

/// Writes so many paused services.
pub fn services(world: &World, count: u32) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let store = Store::open(&world.store_dir()).await?;
        for number in 0..count {
            let (service, operation) = one(number)?;
            store.service_create(&service, &operation, count).await?;
        }
        store.close().await;
        Ok(())
    })
}

fn one(number: u32) -> Result<(Service, Operation)> {
    let config = config();
    let service = Service {
        id: ServiceId::parse(&format!("{number:032x}"))?,
        name: format!("service-{number}"),
        label: format!("s{number:09}"),
        status: ServiceStatus::Paused,
        deployed: Some(Deployed {
            revision: 1,
            config: config.clone(),
            image: Digest::parse(&format!("sha256:{number:064x}"))?,
        }),
        config: config.clone(),
        previous: None,
        last_revision: 1,
        tried_commit: None,
        push_pending: false,
        tags: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
        created_at: Millis(1_700_000_000_000 + u64::from(number)),
        updated_at: Millis(1_700_000_000_000 + u64::from(number)),
        deleted_at: None,
    };
    let new = NewOperation {
        id: OperationId::parse(&format!("{number:032x}"))?,
        kind: OperationKind::PauseService,
        trigger: Trigger::User,
        config,
        image: None,
        candidates: Vec::new(),
    };
    let (mut operation, _) = Operation::begin(new, &service, service.created_at);
    operation.stage = Stage::Done;
    operation.status = OperationStatus::Succeeded;
    operation.ended_at = Some(service.created_at);
    Ok((service, operation))
}

fn config() -> ServiceConfig {
    let variable = |n| {
        (
            format!("VARIABLE_{n}"),
            format!("the value of variable {n}"),
        )
    };
    ServiceConfig {
        image: ImageSource {
            identifier: "localhost:7400/app:v1".to_owned(),
            repository_type: RepositoryType::Ecr,
            access_role_arn: None,
            port: 8080,
            start_command: None,
            environment: (0..VARIABLES).map(variable).collect(),
            secrets: Default::default(),
        },
        instance_role_arn: None,
        code: None,
        auto_deployments: false,
        size: InstanceSize::default(),
        health: HealthCheck::default(),
        scaling: Scaling {
            arn: "arn:aws:apprunner:us-east-1:111122223333:autoscalingconfiguration/DefaultConfiguration/1/00000000000000000000000000000001".to_owned(),
            name: "DefaultConfiguration".to_owned(),
            revision: 1,
            max_concurrency: 100,
            min_size: 1,
            max_size: 25,
        },
        encryption_key: None,
    }
}
