//! Mutators that touch several rows do all or nothing.

use super::sample;
use apron_domain::{InstanceRole, Millis, OperationKind, ServiceStatus, Stage};
use apron_store::{Repository, StoreError};

#[tokio::test]
async fn a_taken_name_stores_neither_service_nor_operation() {
    let (_dir, store) = sample::store().await;
    sample::create(&store, 1, "web", 1).await;
    let second = sample::service(2, "web", 2);
    let (operation, second) = sample::begun(2, &second, OperationKind::CreateService, 2);
    let error = store
        .service_create(&second, &operation, u32::MAX)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, StoreError::Conflict { what, .. } if what == "services.name"),
        "{error}"
    );
    assert_eq!(store.service_get(&second.id).await.unwrap(), None);
    assert_eq!(store.operation_get(&operation.id).await.unwrap(), None);
}

#[tokio::test]
async fn the_name_of_a_deleted_service_is_free_and_the_service_still_described() {
    let (_dir, store) = sample::store().await;
    let first = sample::create(&store, 1, "web", 1).await;
    let deleted = store
        .service_update(&first.id, |service| {
            service.status = ServiceStatus::Deleted;
            service.deleted_at = Some(Millis(50));
        })
        .await
        .unwrap();
    let second = sample::create(&store, 2, "web", 60).await;
    assert_eq!(store.service_get(&first.id).await.unwrap(), Some(deleted));
    assert_eq!(store.service_find("web").await.unwrap(), Some(second));
    // Bringing the first back would make the name ambiguous.
    let error = store
        .service_update(&first.id, |s| s.status = ServiceStatus::Running)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
}

#[tokio::test]
async fn deleted_services_are_forgotten_in_time_with_their_operations() {
    let (_dir, store) = sample::store().await;
    for (number, deleted) in [(1, 100), (2, 200), (3, 100)] {
        sample::create(&store, number, &format!("s{number}"), 1).await;
        let id = sample::service_id(number);
        if number == 3 {
            let instance = sample::instance(1, &id, InstanceRole::Retiring);
            store.instance_insert(&[instance]).await.unwrap();
        }
        store
            .service_update(&id, |service| {
                service.status = ServiceStatus::Deleted;
                service.deleted_at = Some(Millis(deleted));
            })
            .await
            .unwrap();
    }
    assert_eq!(store.services_forget_deleted(Millis(200)).await.unwrap(), 1);
    assert_eq!(
        store.service_get(&sample::service_id(1)).await.unwrap(),
        None
    );
    assert_eq!(
        store.operation_get(&sample::operation_id(1)).await.unwrap(),
        None
    );
    assert!(
        store
            .service_get(&sample::service_id(2))
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        store
            .service_get(&sample::service_id(3))
            .await
            .unwrap()
            .is_some(),
        "its instance is still there"
    );
    store
        .instance_delete(&sample::instance_id(1))
        .await
        .unwrap();
    assert_eq!(store.services_forget_deleted(Millis(200)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_refused_operation_changes_nothing() {
    let (_dir, store) = sample::store().await;
    let service = sample::create(&store, 1, "web", 1).await;
    let refused = store
        .operation_begin(&service.id, |service| Err(service.status))
        .await
        .unwrap();
    assert_eq!(refused.unwrap_err(), ServiceStatus::Running);
    assert_eq!(
        store.service_get(&service.id).await.unwrap().as_ref(),
        Some(&service)
    );
    let begin = |number: u32| {
        store.operation_begin(&service.id, move |service| {
            Ok::<_, ()>(sample::begun(
                number,
                service,
                OperationKind::UpdateService,
                9,
            ))
        })
    };
    let (_, changed) = begin(2).await.unwrap().unwrap();
    assert_eq!(
        store.service_get(&service.id).await.unwrap(),
        Some(changed.clone())
    );
    assert!(
        matches!(begin(3).await, Err(StoreError::Conflict { .. })),
        "one unfinished operation at a time"
    );
    assert_eq!(store.service_get(&service.id).await.unwrap(), Some(changed));
    assert_eq!(
        store.operation_get(&sample::operation_id(3)).await.unwrap(),
        None
    );
    let missing = store
        .operation_begin(&sample::service_id(77), |service| {
            Ok::<_, ()>(sample::begun(4, service, OperationKind::UpdateService, 9))
        })
        .await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn concluding_keeps_what_others_wrote_meanwhile() {
    let (_dir, store) = sample::store().await;
    let service = sample::create(&store, 1, "web", 1).await;
    let (operation, _) = store
        .operation_begin(&service.id, |service| {
            Ok::<_, ()>(sample::begun(2, service, OperationKind::UpdateService, 9))
        })
        .await
        .unwrap()
        .unwrap();
    store
        .service_update(&service.id, |service| service.push_pending = true)
        .await
        .unwrap();
    let operation = sample::ended(&operation, 10);
    let stored = store
        .operation_conclude(&operation, |service| {
            service.status = ServiceStatus::Running
        })
        .await
        .unwrap();
    assert!(stored.push_pending);
    assert_eq!(stored.status, ServiceStatus::Running);
    assert_eq!(
        store.operation_get(&operation.id).await.unwrap(),
        Some(operation.clone())
    );
    assert!(store.operations_unfinished().await.unwrap().is_empty());
    let journal = store.operation_journal(&operation.id).await.unwrap();
    assert_eq!(
        (journal[0].stage, journal[0].note.as_str()),
        (Stage::Done, "SUCCEEDED")
    );
}

#[tokio::test]
async fn the_traffic_switch_moves_every_role_at_once_and_can_run_twice() {
    let (_dir, store) = sample::store().await;
    let service = sample::create(&store, 1, "web", 1).await;
    let other = sample::create(&store, 2, "other", 1).await;
    let (operation, _) = store
        .operation_begin(&service.id, |service| {
            Ok::<_, ()>(sample::begun(3, service, OperationKind::UpdateService, 9))
        })
        .await
        .unwrap()
        .unwrap();
    let mut retiring = sample::instance(4, &service.id, InstanceRole::Retiring);
    retiring.retiring_since = Some(Millis(3));
    let foreign = sample::instance(5, &other.id, InstanceRole::Active);
    let rows = [
        sample::instance(1, &service.id, InstanceRole::Active),
        sample::instance(2, &service.id, InstanceRole::Candidate),
        sample::instance(3, &service.id, InstanceRole::Candidate),
        retiring,
        foreign.clone(),
    ];
    store.instance_insert(&rows).await.unwrap();
    let active = [sample::instance_id(2), sample::instance_id(99)];
    for now in [100, 200] {
        store
            .traffic_switch(&operation, |s| s.last_revision = 7, &active, Millis(now))
            .await
            .unwrap();
        let after = store.instances_of(&service.id).await.unwrap();
        let seen: Vec<_> = after
            .iter()
            .map(|i| (i.role, i.ready, i.retiring_since.map(|t| t.0)))
            .collect();
        let wanted = [
            (InstanceRole::Retiring, false, Some(100)),
            (InstanceRole::Active, true, None),
            (InstanceRole::Retiring, false, Some(100)),
            (InstanceRole::Retiring, false, Some(3)),
        ];
        assert_eq!(seen, wanted);
        assert_eq!(
            store.instances_of(&other.id).await.unwrap(),
            std::slice::from_ref(&foreign)
        );
        assert_eq!(
            store
                .service_get(&service.id)
                .await
                .unwrap()
                .unwrap()
                .last_revision,
            7
        );
    }
}

#[tokio::test]
async fn records_that_must_exist_are_missed_and_identities_kept() {
    let (_dir, store) = sample::store().await;
    let service = sample::service(1, "web", 1);
    let (operation, _) = sample::begun(1, &service, OperationKind::CreateService, 1);
    let missing = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::NotFound { .. })))
    };
    missing(store.operation_save(&operation, "note").await);
    missing(
        store
            .operation_conclude(&operation, |_| ())
            .await
            .map(|_| ()),
    );
    missing(store.service_update(&service.id, |_| ()).await.map(|_| ()));
    missing(
        store
            .traffic_switch(&operation, |_| (), &[], Millis(1))
            .await,
    );
    missing(
        store
            .instance_insert(&[sample::instance(1, &service.id, InstanceRole::Active)])
            .await,
    );
    missing(
        store
            .repository_update("none", |_: &mut Repository| ())
            .await
            .map(|_| ()),
    );
    let service = sample::create(&store, 1, "web", 1).await;
    let renamed = store
        .service_update(&service.id, |s| s.id = sample::service_id(2))
        .await;
    assert!(matches!(renamed, Err(StoreError::Invalid { .. })));
    assert_eq!(store.service_get(&service.id).await.unwrap(), Some(service));
}
