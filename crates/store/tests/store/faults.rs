//! Files that are damaged, foreign, too new, read-only; disks that are full.

use super::sample;
use apron_store::{Store, StoreError};
use std::os::unix::fs::FileExt;
use std::path::Path;

async fn raw(dir: &Path, sql: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("state.sqlite"));
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
}

async fn filled() -> tempfile::TempDir {
    let (dir, store) = sample::store().await;
    for number in 0..50 {
        sample::create(&store, number, &format!("s{number}"), 1).await;
    }
    store.close().await;
    dir
}

#[tokio::test]
async fn a_file_that_is_no_database_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("state.sqlite"),
        "not a database, but long enough to have a header ".repeat(200),
    )
    .unwrap();
    let error = Store::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with("cannot open the state database: the database is damaged"),
        "{error}"
    );
}

#[tokio::test]
async fn a_database_with_overwritten_pages_is_damaged() {
    let dir = filled().await;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("state.sqlite"))
        .unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    assert!(pages > 4, "{pages} pages");
    for page in 1..pages {
        file.write_all_at(&[0xa5; 512], page * 4096).unwrap();
    }
    let error = Store::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn a_cut_database_is_damaged() {
    let dir = filled().await;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("state.sqlite"))
        .unwrap();
    file.set_len(3 * 4096 + 100).unwrap();
    let error = Store::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn the_database_of_another_program_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::File::create(dir.path().join("state.sqlite")).unwrap();
    raw(dir.path(), "CREATE TABLE theirs (x)").await;
    let error = Store::open(dir.path()).await.unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
}

#[tokio::test]
async fn a_newer_schema_and_a_newer_record_are_refused() {
    let dir = filled().await;
    raw(
        dir.path(),
        "UPDATE services SET version = 9 WHERE name = 's1'",
    )
    .await;
    let store = Store::open(dir.path()).await.unwrap();
    let error = store.service_find("s1").await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::TooNew {
                found: 9,
                known: 2,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(store.service_find("s2").await.unwrap().is_some());
    store.close().await;
    raw(dir.path(), "PRAGMA user_version = 77").await;
    let error = Store::open(dir.path()).await.unwrap_err();
    assert!(
        matches!(error, StoreError::TooNew { found: 77, .. }),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("use the newer program"),
        "{error}"
    );
}

#[tokio::test]
async fn a_record_that_cannot_be_read_says_so_and_spares_the_others() {
    let dir = filled().await;
    raw(
        dir.path(),
        "UPDATE services SET record = '{}' WHERE name = 's1'",
    )
    .await;
    let store = Store::open(dir.path()).await.unwrap();
    let error = store.service_find("s1").await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(store.service_find("s2").await.unwrap().is_some());
}

#[tokio::test]
async fn a_lost_or_exchanged_key_file_is_noticed_at_once() {
    let (dir, store) = sample::store().await;
    store.secret_put("registry", "a", b"value").await.unwrap();
    store.close().await;
    let key = dir.path().join("sealing.key");
    let kept = dir.path().join("kept.key");
    std::fs::rename(&key, &kept).unwrap();
    for _ in 0..2 {
        let error = Store::open(dir.path()).await.unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Sealing(apron_store::SealError::KeyMissing { .. })
            ),
            "{error:?}"
        );
        assert!(!key.exists(), "no fresh key takes its place");
    }
    apron_store::Sealer::open(apron_store::MasterSource::File(key.clone())).unwrap();
    let error = Store::open(dir.path()).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Sealing(apron_store::SealError::KeyMissing { .. })
        ),
        "{error:?}"
    );
    std::fs::rename(&kept, &key).unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(
        store.secret_get("registry", "a").await.unwrap().as_deref(),
        Some(&b"value"[..])
    );
}

#[tokio::test]
async fn a_secret_moved_to_another_name_does_not_open() {
    let (dir, store) = sample::store().await;
    store.secret_put("registry", "a", b"value").await.unwrap();
    store.close().await;
    raw(
        dir.path(),
        "INSERT INTO secrets SELECT kind, 'b', sealed FROM secrets",
    )
    .await;
    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(
        store.secret_get("registry", "a").await.unwrap().as_deref(),
        Some(&b"value"[..])
    );
    let error = store.secret_get("registry", "b").await.unwrap_err();
    assert!(
        matches!(error, StoreError::Sealing(apron_store::SealError::Forged)),
        "{error:?}"
    );
}

#[test]
fn a_directory_that_is_a_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let error = runtime.block_on(Store::open(&path)).unwrap_err();
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
}
