//! Whatever is stored comes back the same, from another handle too.

use super::sample;
use apron_domain::{OperationKind, Stage};
use apron_store::{JOURNAL_LINES_MAX, Store};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

fn runner() -> TestRunner {
    TestRunner::new(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn any_service_and_operation_come_back_as_stored() {
    let runtime = runtime();
    let (dir, store) = runtime.block_on(sample::store());
    let other = runtime.block_on(Store::open(dir.path())).unwrap();
    let pairs = sample::any_service()
        .prop_flat_map(|service| (sample::any_operation(service.id.clone()), Just(service)));
    runner()
        .run(&pairs, |(operation, mut service)| {
            // Names are made unique by the id; whether they collide is another test.
            service.name = format!("{}{}", service.name, service.id);
            runtime.block_on(async {
                store
                    .service_create(&service, &operation, u32::MAX)
                    .await
                    .unwrap();
                assert_eq!(
                    other.service_get(&service.id).await.unwrap().as_ref(),
                    Some(&service)
                );
                assert_eq!(
                    other.operation_get(&operation.id).await.unwrap().as_ref(),
                    Some(&operation)
                );
                assert_eq!(
                    other.operations(&service.id, None, 10).await.unwrap(),
                    std::slice::from_ref(&operation)
                );
                let found = other.service_find(&service.name).await.unwrap();
                assert_eq!(
                    found.is_some(),
                    service.status != apron_domain::ServiceStatus::Deleted
                );
                let unfinished = other.operations_unfinished().await.unwrap();
                assert_eq!(
                    unfinished.contains(&operation),
                    operation.stage != Stage::Done
                );
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn any_instance_comes_back_as_stored() {
    let runtime = runtime();
    let (_dir, store) = runtime.block_on(sample::store());
    let service = runtime.block_on(sample::create(&store, 1, "one", 1));
    runner()
        .run(
            &proptest::collection::vec(sample::any_instance(service.id.clone()), 1..4),
            |mut instances| {
                runtime.block_on(async {
                    store.instance_insert(&instances).await.unwrap();
                    instances.sort_by(|a, b| a.id.cmp(&b.id));
                    assert_eq!(store.instances_of(&service.id).await.unwrap(), instances);
                    assert_eq!(store.instances().await.unwrap(), instances);
                    for instance in &instances {
                        store.instance_delete(&instance.id).await.unwrap();
                    }
                    assert!(store.instances().await.unwrap().is_empty());
                });
                Ok(())
            },
        )
        .unwrap();
}

#[test]
fn any_repository_secret_and_fact_come_back_as_stored() {
    let runtime = runtime();
    let (_dir, store) = runtime.block_on(sample::store());
    let values = (sample::any_repository(), any::<Vec<u8>>(), any::<String>());
    runner()
        .run(&values, |(repository, secret, fact)| {
            runtime.block_on(async {
                store.repository_create(&repository).await.unwrap();
                assert_eq!(
                    store
                        .repository_get(&repository.name)
                        .await
                        .unwrap()
                        .as_ref(),
                    Some(&repository)
                );
                assert!(store.repository_delete(&repository.name).await.unwrap());
                assert!(!store.repository_delete(&repository.name).await.unwrap());
                store
                    .secret_put("registry", &repository.name, &secret)
                    .await
                    .unwrap();
                assert_eq!(
                    store
                        .secret_get("registry", &repository.name)
                        .await
                        .unwrap(),
                    Some(secret)
                );
                assert!(
                    store
                        .secret_delete("registry", &repository.name)
                        .await
                        .unwrap()
                );
                assert_eq!(
                    store
                        .secret_get("registry", &repository.name)
                        .await
                        .unwrap(),
                    None
                );
                store.fact_put("fact", &fact).await.unwrap();
                assert_eq!(store.fact_get("fact").await.unwrap(), Some(fact));
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn saving_an_instance_changes_its_row_and_makes_none() {
    let (_dir, store) = sample::store().await;
    let service = sample::create(&store, 1, "one", 1).await;
    let mut instance = sample::instance(1, &service.id, apron_domain::InstanceRole::Candidate);
    store.instance_save(&instance).await.unwrap();
    assert!(store.instances().await.unwrap().is_empty());
    store
        .instance_insert(std::slice::from_ref(&instance))
        .await
        .unwrap();
    let first = instance.clone();
    instance.ready = true;
    store
        .instance_insert(std::slice::from_ref(&instance))
        .await
        .unwrap();
    assert_eq!(
        store.instances().await.unwrap(),
        [first],
        "a known id is left as it is"
    );
    store.instance_save(&instance).await.unwrap();
    assert_eq!(store.instances().await.unwrap(), [instance]);
    store
        .instance_delete(&sample::instance_id(9))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_journal_keeps_its_newest_lines() {
    let (_dir, store) = sample::store().await;
    let service = sample::create(&store, 1, "one", 1).await;
    let begun = store
        .operation_begin(&service.id, |service| {
            Ok::<_, ()>(sample::begun(2, service, OperationKind::UpdateService, 5))
        })
        .await
        .unwrap();
    let (mut operation, _) = begun.unwrap();
    let lines = u64::from(JOURNAL_LINES_MAX) + 3;
    for number in 1..=lines {
        operation.updated_at = apron_domain::Millis(number);
        store
            .operation_save(&operation, &format!("line {number}"))
            .await
            .unwrap();
    }
    let journal = store.operation_journal(&operation.id).await.unwrap();
    assert_eq!(journal.len(), JOURNAL_LINES_MAX as usize);
    assert_eq!(
        (journal[0].sequence, journal[0].note.as_str()),
        (4, "line 4")
    );
    let last = journal.last().unwrap();
    assert_eq!(
        (last.sequence, last.at.0, last.stage),
        (lines, lines, Stage::Resolve)
    );
}

#[tokio::test]
async fn secrets_are_listed_by_kind_and_never_lie_open_on_disk() {
    let (dir, store) = sample::store().await;
    let secret = b"a password that must not be found";
    for name in ["b.example", "a.example"] {
        store.secret_put("registry", name, secret).await.unwrap();
    }
    store.secret_put("other", "c", secret).await.unwrap();
    assert_eq!(
        store.secrets("registry").await.unwrap(),
        ["a.example", "b.example"]
    );
    store.close().await;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
}
