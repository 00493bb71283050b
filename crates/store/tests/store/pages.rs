//! Paging gives every record once, in order, whatever the page size.

use super::sample;
use apron_domain::{Millis, OperationKind, ServiceStatus};
use apron_store::Repository;

#[tokio::test]
async fn services_are_paged_by_time_and_id() {
    let (_dir, store) = sample::store().await;
    // Several in the same millisecond, stored in another order than listed; one deleted.
    for (number, created) in [(5, 20), (3, 10), (4, 20), (1, 10), (2, 10), (6, 5)] {
        sample::create(&store, number, &format!("s{number}"), created).await;
    }
    store
        .service_update(&sample::service_id(2), |service| {
            service.status = ServiceStatus::Deleted;
            service.deleted_at = Some(Millis(30));
        })
        .await
        .unwrap();
    for limit in 1..=6 {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = store
                .service_summaries(after.as_ref(), limit)
                .await
                .unwrap();
            assert!(page.len() <= limit as usize);
            let Some(last) = page.last() else { break };
            after = Some((last.created_at, last.id.clone()));
            seen.extend(page.into_iter().map(|service| service.name));
        }
        assert_eq!(seen, ["s6", "s1", "s3", "s4", "s5"], "page size {limit}");
    }
    assert_eq!(store.services_live().await.unwrap().len(), 5);
    assert_eq!(store.services_count().await.unwrap(), 5);
}

#[tokio::test]
async fn lists_show_what_services_say() {
    let (_dir, store) = sample::store().await;
    for number in 1..=3 {
        sample::create(&store, number, &format!("it's \"{number}\""), 1).await;
    }
    let changed = sample::service_id(2);
    let change = store.service_update(&changed, |service| {
        service.status = ServiceStatus::Paused;
        service.updated_at = Millis(7);
    });
    change.await.unwrap();
    let listed = store.service_summaries(None, 10).await.unwrap();
    let live = store.services_live().await.unwrap();
    let own: Vec<_> = live.iter().map(|service| service.summary()).collect();
    assert_eq!((&listed, listed.len()), (&own, 3));
}

#[tokio::test]
async fn operations_are_paged_newest_first() {
    let (_dir, store) = sample::store().await;
    let service = sample::create(&store, 1, "one", 1).await;
    sample::create(&store, 100, "two", 1).await;
    for (number, now) in [(2, 10), (9, 10), (4, 10), (5, 11)] {
        let begun = store
            .operation_begin(&service.id, |service| {
                Ok::<_, ()>(sample::begun(
                    number,
                    service,
                    OperationKind::UpdateService,
                    now,
                ))
            })
            .await
            .unwrap();
        store
            .operation_save(&sample::ended(&begun.unwrap().0, now), "ended")
            .await
            .unwrap();
    }
    let wanted = [5, 4, 9, 2, 1].map(sample::operation_id);
    for limit in 1..=6 {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = store
                .operations(&service.id, after.as_ref(), limit)
                .await
                .unwrap();
            let Some(last) = page.last() else { break };
            after = Some((last.started_at, last.id.clone()));
            seen.extend(page.into_iter().map(|operation| operation.id));
        }
        assert_eq!(seen, wanted, "page size {limit}");
    }
}

#[tokio::test]
async fn repositories_are_paged_by_name() {
    let (_dir, store) = sample::store().await;
    for name in ["b", "a/c", "z", "a"] {
        let repository = Repository {
            name: name.to_owned(),
            created_at: Millis(1),
            immutable_tags: false,
            scan_on_push: false,
            policy: None,
            tags: Default::default(),
        };
        store.repository_create(&repository).await.unwrap();
    }
    let first = store.repositories(None, 3).await.unwrap();
    let names: Vec<_> = first
        .iter()
        .map(|repository| repository.name.as_str())
        .collect();
    assert_eq!(names, ["a", "a/c", "b"]);
    let rest = store.repositories(Some("b"), 3).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert!(store.repositories(Some("z"), 3).await.unwrap().is_empty());
    assert_eq!(store.repositories(None, u32::MAX).await.unwrap().len(), 4);
}
