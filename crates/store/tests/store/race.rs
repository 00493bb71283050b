//! Many tasks and two handles (as of two processes) at once.

use super::sample;
use apron_domain::{Millis, OperationKind, ServiceStatus};
use apron_store::{Store, StoreError};

const TASKS: u32 = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_creates_with_one_name_one_wins() {
    let (dir, store) = sample::store().await;
    let other = Store::open(dir.path()).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..TASKS {
        let store = if number % 2 == 0 {
            store.clone()
        } else {
            other.clone()
        };
        tasks.spawn(async move {
            let service = sample::service(number, "web", 1);
            let (operation, service) =
                sample::begun(number, &service, OperationKind::CreateService, 1);
            store.service_create(&service, &operation, u32::MAX).await
        });
    }
    let mut won = 0;
    while let Some(result) = tasks.join_next().await {
        match result.unwrap() {
            Ok(()) => won += 1,
            Err(error) => assert!(matches!(error, StoreError::Conflict { .. }), "{error}"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(store.services_count().await.unwrap(), 1);
    assert_eq!(store.operations_unfinished().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_creates_at_once_as_many_win_as_may_exist() {
    const MAY_EXIST: u32 = 5;
    let (_dir, store) = sample::store().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let service = sample::service(number, &format!("web{number}"), 1);
            let (operation, service) =
                sample::begun(number, &service, OperationKind::CreateService, 1);
            store.service_create(&service, &operation, MAY_EXIST).await
        });
    }
    while let Some(result) = tasks.join_next().await {
        if let Err(error) = result.unwrap() {
            assert!(
                matches!(
                    error,
                    StoreError::Limit {
                        limit: MAY_EXIST,
                        ..
                    }
                ),
                "{error}"
            );
        }
    }
    assert_eq!(store.services_count().await.unwrap(), MAY_EXIST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_operations_begun_on_one_service_one_wins() {
    let (dir, store) = sample::store().await;
    let other = Store::open(dir.path()).await.unwrap();
    let service = sample::create(&store, 1000, "web", 1).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..TASKS {
        let store = if number % 2 == 0 {
            store.clone()
        } else {
            other.clone()
        };
        let id = service.id.clone();
        tasks.spawn(async move {
            let make = |service: &apron_domain::Service| match service.status {
                ServiceStatus::Running => Ok(sample::begun(
                    number,
                    service,
                    OperationKind::UpdateService,
                    2,
                )),
                status => Err(status),
            };
            store.operation_begin(&id, make).await.unwrap().is_ok()
        });
    }
    let won = tasks
        .join_all()
        .await
        .into_iter()
        .filter(|won| *won)
        .count();
    assert_eq!(won, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_change_of_many_is_lost() {
    let (dir, store) = sample::store().await;
    let other = Store::open(dir.path()).await.unwrap();
    let service = sample::create(&store, 1, "web", 1).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..TASKS {
        let store = if number % 2 == 0 {
            store.clone()
        } else {
            other.clone()
        };
        let id = service.id.clone();
        tasks.spawn(async move {
            for _ in 0..4 {
                store
                    .service_update(&id, |service| {
                        service.updated_at = service.updated_at.plus(1)
                    })
                    .await
                    .unwrap();
            }
        });
    }
    tasks.join_all().await;
    // A handle does not see what another one commits.
    let fresh = Store::open(dir.path()).await.unwrap();
    let updated = fresh
        .service_get(&service.id)
        .await
        .unwrap()
        .unwrap()
        .updated_at;
    assert_eq!(updated, Millis(1 + u64::from(TASKS) * 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_given_up_half_way_leaves_no_trace_and_no_lock() {
    let (_dir, store) = sample::store().await;
    let service = sample::create(&store, 1, "web", 1).await;
    for delay in 0..200u64 {
        let update = store.service_update(&service.id, |service| service.last_revision += 1);
        let _ = tokio::time::timeout(std::time::Duration::from_micros(delay * 20), update).await;
        let before = store
            .service_get(&service.id)
            .await
            .unwrap()
            .unwrap()
            .last_revision;
        let after = store
            .service_update(&service.id, |_| ())
            .await
            .unwrap()
            .last_revision;
        assert!(after == before || after == before + 1);
    }
}
