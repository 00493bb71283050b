//! Sealed values: what an earlier version left in clear, rotation of the master key, customers' keys.

use super::sample;
use apron_domain::OperationKind;
use apron_store::{
    Change, Changed, EncryptionContext, KEY_RECORDS, Lock, MasterSource, Part, SealError, Store,
    StoreError, customer_key_id,
};
use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use std::path::Path;

const MARKER: &str = "marker-4711-of-a-variable";
const KEY: &str = "01234567-89ab-4cde-8f01-23456789abcd";

async fn raw(dir: &Path, sql: &str) {
    let file = dir.join("state.sqlite");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::Connection::close(connection).await.unwrap();
}

/// Whether any file of the directory shows the text.
fn shows(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(text.len()).any(|w| w == text.as_bytes())
    })
}

async fn put(store: &Store, name: &str, lock: Lock, value: &str) -> Result<(), StoreError> {
    let part = Part::Put {
        name: "value".to_owned(),
        lock,
        value: value.as_bytes().to_vec(),
    };
    let changed: Changed<(), ()> = store
        .vault_change("test", name, 10, |_: Option<Value>| {
            Ok(Change {
                record: Some(json!({"name": name})),
                parts: vec![part],
                outcome: (),
            })
        })
        .await;
    changed.map(|outcome| outcome.unwrap())
}

async fn get(store: &Store, name: &str) -> Option<String> {
    let none = EncryptionContext::default();
    let opened = store.vault_open("test", name, "value", &none);
    opened
        .await
        .unwrap()
        .map(|value| String::from_utf8(value).unwrap())
}

#[tokio::test]
async fn variables_never_lie_open_on_disk_and_those_of_earlier_versions_are_sealed_at_the_start() {
    let (dir, store) = sample::store().await;
    let service = sample::service(1, "web", 1);
    let (mut operation, mut service) = sample::begun(1, &service, OperationKind::CreateService, 1);
    let variables = [("NAME".to_owned(), MARKER.to_owned())];
    operation.config.image.environment = variables.into();
    service.config = operation.config.clone();
    store
        .service_create(&service, &operation, 10)
        .await
        .unwrap();
    assert_eq!(
        store.service_get(&service.id).await.unwrap().unwrap(),
        service
    );
    let operations = store.operations_unfinished().await.unwrap();
    assert_eq!(operations[0].config, service.config);
    store.close().await;
    assert!(!shows(dir.path(), MARKER));

    // As a version before this one stored it.
    let clear = |value: &str| format!("version = 1, record = '{}'", value.replace('\'', "''"));
    let (s, o) = (json!(service).to_string(), json!(operation).to_string());
    raw(dir.path(), &format!("UPDATE services SET {}", clear(&s))).await;
    raw(dir.path(), &format!("UPDATE operations SET {}", clear(&o))).await;
    assert!(shows(dir.path(), MARKER));
    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(
        store.service_get(&service.id).await.unwrap().unwrap(),
        service
    );
    assert_eq!(store.service_find("web").await.unwrap().unwrap(), service);
    assert!(
        !shows(dir.path(), MARKER),
        "free pages and the log included"
    );
    store.close().await;
}

#[tokio::test]
async fn the_master_key_is_replaced_under_way_and_what_was_sealed_still_opens() {
    let (dir, store) = sample::store().await;
    let key_file = dir.path().join("sealing.key");
    let before = std::fs::read_to_string(&key_file).unwrap();
    put(&store, "a", Lock::Platform, "one").await.unwrap();
    store.secret_put("kind", "name", b"two").await.unwrap();
    let rotation = store.sealing_rotate().await.unwrap();
    assert!(rotation.former_keys_removed);
    assert_eq!(rotation.data_keys, 2);
    put(&store, "b", Lock::Platform, "three").await.unwrap();
    let after = std::fs::read_to_string(&key_file).unwrap();
    assert_eq!(after.lines().count(), 2, "the former key is gone");
    assert_ne!(before, after);
    for store in [store.clone(), Store::open(dir.path()).await.unwrap()] {
        assert_eq!(get(&store, "a").await.as_deref(), Some("one"));
        assert_eq!(get(&store, "b").await.as_deref(), Some("three"));
        let two = store.secret_get("kind", "name").await.unwrap();
        assert_eq!(two.as_deref(), Some(&b"two"[..]));
    }
    std::fs::write(&key_file, before).unwrap();
    assert!(matches!(
        Store::open(dir.path()).await.unwrap_err(),
        StoreError::Sealing(SealError::KeyMissing { .. })
    ));
}

#[tokio::test]
async fn a_rotation_that_was_killed_anywhere_is_finished_at_the_next_start() {
    let (dir, store) = sample::store().await;
    let key_file = dir.path().join("sealing.key");
    put(&store, "a", Lock::Platform, "one").await.unwrap();
    store.close().await;
    let old = std::fs::read_to_string(&key_file).unwrap();
    // Killed when the fresh key was in the file and nothing was sealed with it.
    let new = format!("1111111111111111 {}", "cd".repeat(32));
    std::fs::write(&key_file, format!("{old}{new}\n")).unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(get(&store, "a").await.as_deref(), Some("one"));
    store.close().await;
    let text = std::fs::read_to_string(&key_file).unwrap();
    assert!(
        text.ends_with(&format!("{new}\n")) && text.lines().count() == 2,
        "{text}"
    );
    // Killed when everything was sealed with the fresh key and the former one was still in the file.
    let former = old.lines().nth(1).unwrap();
    std::fs::write(
        &key_file,
        format!("apron sealing keys 1\n{former}\n{new}\n"),
    )
    .unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(get(&store, "a").await.as_deref(), Some("one"));
    assert!(!std::fs::read_to_string(&key_file).unwrap().contains(former));
    // Killed while the file was being rewritten.
    std::fs::write(dir.path().join("sealing.draft"), "half").unwrap();
    store.sealing_rotate().await.unwrap();
    assert_eq!(get(&store, "a").await.as_deref(), Some("one"));
}

#[tokio::test]
async fn keys_from_outside_are_rotated_by_whoever_provides_them() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("provided");
    let state = dir.path().join("state");
    let line = |n: u8| {
        format!(
            "{} {}",
            format!("{n:02x}").repeat(8),
            format!("{n:02x}").repeat(32)
        )
    };
    std::fs::write(&keys, format!("apron sealing keys 1\n{}\n", line(1))).unwrap();
    let source = MasterSource::Command(vec!["cat".to_owned(), keys.display().to_string()]);
    let store = Store::open_with(&state, source.clone()).await.unwrap();
    put(&store, "a", Lock::Platform, "one").await.unwrap();
    let error = store.sealing_rotate().await.unwrap_err();
    assert!(
        matches!(error, StoreError::Sealing(SealError::NothingNew { .. })),
        "{error:?}"
    );
    std::fs::write(
        &keys,
        format!("apron sealing keys 1\n{}\n{}\n", line(1), line(2)),
    )
    .unwrap();
    let rotation = store.sealing_rotate().await.unwrap();
    assert_eq!(rotation.key, "02".repeat(8));
    assert!(!rotation.former_keys_removed);
    std::fs::write(&keys, format!("apron sealing keys 1\n{}\n", line(2))).unwrap();
    let store = Store::open_with(&state, source).await.unwrap();
    assert_eq!(get(&store, "a").await.as_deref(), Some("one"));
}

#[tokio::test]
async fn a_customers_key_survives_a_restart_and_nothing_opens_without_it() {
    let (dir, store) = sample::store().await;
    let id = customer_key_id(KEY).unwrap();
    store
        .customer_key_create(KEY, json!({"made": true}), 10)
        .await
        .unwrap();
    let context = EncryptionContext::of("a", "b");
    put(&store, "a", Lock::Customer(id, context.clone()), "one")
        .await
        .unwrap();
    let sealed = store.customer_key_seal(&id, &context, b"two").unwrap();
    store.close().await;
    let store = Store::open(dir.path()).await.unwrap();
    let opened = store
        .vault_open("test", "a", "value", &context)
        .await
        .unwrap();
    assert_eq!(opened.as_deref(), Some(&b"one"[..]));
    assert_eq!(store.customer_key_open(&context, &sealed).unwrap(), b"two");
    let other = EncryptionContext::default();
    assert!(
        store
            .vault_open("test", "a", "value", &other)
            .await
            .is_err()
    );
    store.customer_key_destroy(KEY).await.unwrap();
    assert!(
        store
            .vault_get::<Value>(KEY_RECORDS, KEY)
            .await
            .unwrap()
            .is_none()
    );
    assert!(matches!(
        store
            .vault_open("test", "a", "value", &context)
            .await
            .unwrap_err(),
        StoreError::Sealing(SealError::KeyMissing { .. })
    ));
}

#[tokio::test]
async fn records_of_the_vault_are_listed_limited_and_dropped_with_their_parts() {
    let (dir, store) = sample::store().await;
    for name in ["/a/x", "/a/y", "/b", "c"] {
        put(&store, name, Lock::Platform, MARKER).await.unwrap();
    }
    let names = |page: Vec<(String, Value)>| page.into_iter().map(|(n, _)| n).collect::<Vec<_>>();
    let page = store.vault_page("test", "/a/", None, 10).await.unwrap();
    assert_eq!(names(page), ["/a/x", "/a/y"]);
    let page = store.vault_page("test", "", Some("/a/x"), 2).await.unwrap();
    assert_eq!(names(page), ["/a/y", "/b"]);
    assert_eq!(store.vault_all::<Value>("test").await.unwrap().len(), 4);
    let full: Changed<(), ()> = store
        .vault_change("test", "d", 4, |_: Option<Value>| {
            Ok(Change::record(json!({}), ()))
        })
        .await;
    assert!(matches!(full, Err(StoreError::Limit { limit: 4, .. })));
    let refused = store
        .vault_change("test", "c", 4, |_: Option<Value>| {
            Err::<Change<Value, ()>, &str>("no")
        })
        .await
        .unwrap();
    assert_eq!(refused, Err("no"));
    store.vault_drop("test", "c").await.unwrap();
    assert_eq!(get(&store, "c").await, None);
    store.close().await;
    raw(dir.path(), "\
        INSERT OR REPLACE INTO vault_parts SELECT kind, '/a/y', part, sealed FROM vault_parts WHERE name = '/b'").await;
    let store = Store::open(dir.path()).await.unwrap();
    let moved = store
        .vault_open("test", "/a/y", "value", &EncryptionContext::default())
        .await;
    assert!(matches!(moved, Err(StoreError::Sealing(SealError::Forged))));
    assert!(!shows(dir.path(), MARKER));
}
