//! Services in memory are what is stored: whatever is done, in whatever order.

use super::sample;
use apron_domain::service::ServiceSummary;
use apron_domain::{Millis, OperationKind, Service, ServiceStatus};
use apron_store::{Store, StoreError};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Services that are made and changed.
const SERVICES: u32 = 4;
/// When a service was created, as it says itself.
const CREATED_AT: u64 = 9;
/// Changes of the race, and its readers.
const CHANGES: u64 = 200;
const READERS: usize = 3;

async fn created(store: &Store, number: u32) -> Result<(), StoreError> {
    let service = sample::service(number, &format!("service-{number}"), u64::from(number));
    let (operation, service) =
        sample::begun(number, &service, OperationKind::CreateService, CREATED_AT);
    store.service_create(&service, &operation, 100).await
}

async fn update(store: &Store, number: u32, at: u64) {
    let id = sample::service_id(number);
    let change = |service: &mut Service| service.updated_at = Millis(at);
    // A service that is not there is left alone.
    let _ = store.service_update(&id, change).await;
}

async fn delete(store: &Store, number: u32, at: u64) {
    let change = |service: &mut Service| {
        service.status = ServiceStatus::Deleted;
        service.deleted_at = Some(Millis(at));
    };
    let _ = store
        .service_update(&sample::service_id(number), change)
        .await;
}

/// Every service through what keeps them in memory, against the rows themselves.
async fn compare(store: &Store) {
    let live = store.services_live().await.unwrap();
    let listed = store.service_summaries(None, 100).await.unwrap();
    let summaries: Vec<ServiceSummary> = live.iter().map(Service::summary).collect();
    assert_eq!(listed, summaries);
    if let Some(first) = live.first() {
        let after = (first.created_at, first.id.clone());
        let page = store.service_summaries(Some(&after), 2).await.unwrap();
        assert_eq!(
            page,
            summaries
                .iter()
                .skip(1)
                .take(2)
                .cloned()
                .collect::<Vec<_>>()
        );
    }
    for service in &live {
        let looked = store.service_look(&service.id).await.unwrap();
        assert_eq!(looked.as_deref(), Some(service));
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Create(u32),
    Update(u32),
    Delete(u32),
    Look(u32),
    Forget,
    TakeName(u32),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let number = 1..=SERVICES;
    prop_oneof![
        number.clone().prop_map(Step::Create),
        number.clone().prop_map(Step::Update),
        number.clone().prop_map(Step::Delete),
        number.clone().prop_map(Step::Look),
        Just(Step::Forget),
        number.prop_map(Step::TakeName),
        Just(Step::Reopen),
    ]
}

async fn take(step: Step, store: &mut Store, dir: &std::path::Path, now: u64) {
    match step {
        Step::Create(number) => drop(created(store, number).await),
        Step::Update(number) => update(store, number, now).await,
        Step::Delete(number) => delete(store, number, now).await,
        Step::Look(number) => {
            store
                .service_look(&sample::service_id(number))
                .await
                .unwrap();
        }
        Step::Forget => {
            store.services_forget_deleted(Millis(now)).await.unwrap();
            for number in 1..=SERVICES {
                let kept = store
                    .service_look(&sample::service_id(number))
                    .await
                    .unwrap();
                assert!(kept.is_none_or(|kept| kept.status != ServiceStatus::Deleted));
            }
        }
        // Refused by the database unless it is the service's own name or free: what was tried must not be seen.
        Step::TakeName(number) => {
            let change = |service: &mut Service| service.name = "service-1".to_owned();
            let _ = store
                .service_update(&sample::service_id(number), change)
                .await;
        }
        Step::Reopen => {
            store.close().await;
            *store = Store::open(dir).await.unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn services_in_memory_are_what_is_stored(steps in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            let mut store = Store::open(dir.path()).await.unwrap();
            for (now, step) in steps.into_iter().enumerate() {
                take(step, &mut store, dir.path(), 100 + now as u64).await;
                compare(&store).await;
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_reads_less_than_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    created(&store, 1).await.unwrap();
    created(&store, 2).await.unwrap();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (store, acknowledged) = (store.clone(), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                let id = sample::service_id(1);
                let mut seen = 0;
                while acknowledged.load(Ordering::SeqCst) < CHANGES {
                    let least = acknowledged.load(Ordering::SeqCst).max(seen);
                    let looked = store.service_look(&id).await.unwrap().unwrap();
                    assert!(
                        looked.updated_at.0 >= least,
                        "{} < {least}",
                        looked.updated_at.0
                    );
                    let page = store.service_summaries(None, 1).await.unwrap();
                    assert!(page[0].updated_at.0 >= looked.updated_at.0);
                    seen = page[0].updated_at.0;
                }
            })
        })
        .collect();
    let mut others = Vec::new();
    for at in CREATED_AT + 1..=CHANGES {
        update(&store, 1, at).await;
        acknowledged.store(at, Ordering::SeqCst);
        // Another one at the same time: commits overlap.
        let store = store.clone();
        others.push(tokio::spawn(async move { update(&store, 2, at).await }));
    }
    for task in readers.into_iter().chain(others) {
        task.await.unwrap();
    }
    compare(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_nobody_waits_for_is_seen_when_it_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    created(&store, 1).await.unwrap();
    for at in 1..=40_u64 {
        // Given up at another moment each time.
        let patience = std::time::Duration::from_micros(at * 20);
        let _ = tokio::time::timeout(patience, update(&store, 1, at)).await;
        // Whoever writes next waits for it.
        update(&store, 1, 1_000 + at).await;
        compare(&store).await;
    }
}
