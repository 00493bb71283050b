//! Garbage collection, alone and beside pushes.

use crate::client::{get, head, post};
use crate::images::{TestImage, count_files, has, push_blob, put_manifest};
use crate::manifests::{index, put};
use crate::server::{TestGate, TestServer, test_bounds, test_store_bounds};
use crate::uploads::now_ms;
use apron_oci::{Collected, Digest, OCI_INDEX, OCI_MANIFEST, StoreBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const HOUR_MS: u64 = 60 * 60 * 1000;

#[tokio::test]
async fn what_nothing_refers_to_goes_after_the_grace_time() {
    let server = TestServer::start().await;
    let (kept, dropped) = (
        TestImage::new("amd64", 1, 1000),
        TestImage::new("amd64", 2, 1000),
    );
    kept.push(server.address, "app", "v1", "").await.expect(201);
    dropped
        .push(server.address, "app", "v2", "")
        .await
        .expect(201);
    server
        .store
        .delete_manifest("app", &dropped.digest())
        .await
        .unwrap();
    let now = now_ms();
    assert_eq!(
        server.store.collect_garbage(now).await.unwrap(),
        Collected::default()
    );
    assert!(has(&server.store, &dropped.digest()));
    let collected = server
        .store
        .collect_garbage(now + 3 * HOUR_MS)
        .await
        .unwrap();
    let parts = [&dropped.manifest, &dropped.config, &dropped.layer];
    let bytes = parts.iter().map(|part| part.len() as u64).sum();
    assert_eq!(collected, Collected { blobs: 3, bytes });
    for part in parts {
        assert!(!has(&server.store, &Digest::of(part)));
        get(
            server.address,
            &format!("/v2/app/blobs/{}", Digest::of(part)),
        )
        .await
        .expect(404);
    }
    get(server.address, "/v2/app/manifests/v1")
        .await
        .expect(200);
    get(
        server.address,
        &format!("/v2/app/blobs/{}", Digest::of(&kept.layer)),
    )
    .await
    .expect(200);
    assert_eq!(count_files(server.directory.path(), "blobs/sha256"), 3);
}

#[tokio::test]
async fn pinned_images_stay_without_a_repository() {
    let server = TestServer::start().await;
    let image = TestImage::new("amd64", 1, 1000);
    image
        .push(server.address, "app", "v1", "")
        .await
        .expect(201);
    server
        .store
        .pin("service/1:a b", image.digest().as_str())
        .await
        .unwrap();
    server.store.delete_repository("app").await.unwrap();
    server
        .store
        .collect_garbage(now_ms() + 3 * HOUR_MS)
        .await
        .unwrap();
    server.store.image(image.digest().as_str()).await.unwrap();
    assert_eq!(
        server.store.pins().await.unwrap(),
        [("service/1:a b".to_owned(), image.digest())]
    );
    server.store.unpin("service/1:a b").await.unwrap();
    server.store.unpin("service/1:a b").await.unwrap();
    let collected = server
        .store
        .collect_garbage(now_ms() + 3 * HOUR_MS)
        .await
        .unwrap();
    assert_eq!(collected.blobs, 3);
    assert!(
        server
            .store
            .pin("x", image.digest().as_str())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn an_index_keeps_its_images_even_when_they_were_deleted() {
    let server = TestServer::start().await;
    let (arm, amd) = (
        TestImage::new("arm64", 1, 100),
        TestImage::new("amd64", 2, 100),
    );
    for image in [&arm, &amd] {
        image
            .push(server.address, "app", image.digest().as_str(), "")
            .await
            .expect(201);
    }
    let both = index(OCI_INDEX, &[(&arm, "arm64"), (&amd, "amd64")]);
    let answer = put(server.address, "app", "all", &both).await.expect(201);
    let digest = Digest::parse(answer.header("docker-content-digest")).unwrap();
    server
        .store
        .delete_manifest("app", &amd.digest())
        .await
        .unwrap();
    server
        .store
        .collect_garbage(now_ms() + 3 * HOUR_MS)
        .await
        .unwrap();
    assert_eq!(
        server
            .store
            .image(digest.as_str())
            .await
            .unwrap()
            .manifest_digest,
        amd.digest()
    );
    server.store.pin("index", digest.as_str()).await.unwrap();
    server.store.delete_repository("app").await.unwrap();
    server
        .store
        .collect_garbage(now_ms() + 3 * HOUR_MS)
        .await
        .unwrap();
    server.store.image(digest.as_str()).await.unwrap();
    server.store.unpin("index").await.unwrap();
    server
        .store
        .collect_garbage(now_ms() + 3 * HOUR_MS)
        .await
        .unwrap();
    assert_eq!(count_files(server.directory.path(), "blobs/sha256"), 0);
}

#[tokio::test]
async fn being_told_that_content_exists_keeps_it() {
    let bounds = StoreBounds {
        grace_ms: HOUR_MS,
        ..test_store_bounds()
    };
    let server = TestServer::with(TestGate::default(), bounds, test_bounds()).await;
    for content in [&b"looked at"[..], b"mounted", b"forgotten"] {
        push_blob(server.address, "app", content, "").await;
        let path = server
            .directory
            .path()
            .join("blobs/sha256")
            .join(Digest::of(content).hex());
        age(&path);
        age(&server
            .directory
            .path()
            .join("repositories/app/_layers")
            .join(Digest::of(content).hex()));
    }
    head(
        server.address,
        &format!("/v2/app/blobs/{}", Digest::of(b"looked at")),
    )
    .await
    .expect(200);
    let mount = format!(
        "/v2/b/blobs/uploads/?mount={}&from=app",
        Digest::of(b"mounted")
    );
    post(server.address, &mount).await.expect(201);
    let collected = server.store.collect_garbage(now_ms()).await.unwrap();
    assert_eq!(collected, Collected { blobs: 1, bytes: 9 });
    assert!(!has(&server.store, &Digest::of(b"forgotten")));
}

/// Makes a file two hours older than it is.
fn age(path: &std::path::Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.set_modified(modified - std::time::Duration::from_millis(2 * HOUR_MS))
        .unwrap();
}

/// Collections without any grace run beside each step of pushes; a push that was acknowledged is whole. Without grace a
/// layer may go before its manifest comes: then the manifest is refused, never half stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pushes_beside_collections_are_whole_or_refused() {
    let bounds = StoreBounds {
        grace_ms: 0,
        ..test_store_bounds()
    };
    let server = TestServer::with(TestGate::default(), bounds, test_bounds()).await;
    let (mut stored, mut removed) = (0, 0);
    for round in 0..60u64 {
        let image = TestImage::new("amd64", round % 4, 2000);
        let address = server.address;
        let collect = |wanted: u64| {
            let store = Arc::clone(&server.store);
            async move {
                match round % 3 == wanted {
                    true => store.collect_garbage(now_ms()).await.unwrap().blobs,
                    false => 0,
                }
            }
        };
        let (_, first) = tokio::join!(push_blob(address, "app", &image.layer, ""), collect(0));
        let (_, second) = tokio::join!(push_blob(address, "app", &image.config, ""), collect(1));
        let put = put_manifest(address, "app", "v1", OCI_MANIFEST, &image.manifest, "");
        let (answer, third) = tokio::join!(put, collect(2));
        removed += first + second + third;
        if answer.status != 201 {
            answer.expect_error(400, "MANIFEST_BLOB_UNKNOWN");
            continue;
        }
        stored += 1;
        let found = server.store.image(image.digest().as_str()).await.unwrap();
        for layer in &found.layers {
            get(address, &format!("/v2/app/blobs/{}", layer.digest))
                .await
                .expect(200);
        }
        server
            .store
            .delete_manifest("app", &image.digest())
            .await
            .unwrap();
    }
    assert!(
        stored > 0 && removed > 0,
        "stored {stored}, removed {removed}"
    );
}

/// With a grace time, no push is ever refused because of a collection.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pushes_beside_collections_with_grace_all_succeed() {
    let bounds = StoreBounds {
        grace_ms: 60_000,
        ..test_store_bounds()
    };
    let server = Arc::new(TestServer::with(TestGate::default(), bounds, test_bounds()).await);
    let done = Arc::new(AtomicBool::new(false));
    let collector = tokio::spawn({
        let (server, done) = (Arc::clone(&server), Arc::clone(&done));
        async move {
            while !done.load(Ordering::Relaxed) {
                server.store.collect_garbage(now_ms()).await.unwrap();
            }
        }
    });
    for round in 0..40u64 {
        let image = TestImage::new("amd64", round, 2000);
        image
            .push(server.address, "app", "v1", "")
            .await
            .expect(201);
        server
            .store
            .delete_manifest("app", &image.digest())
            .await
            .unwrap();
    }
    done.store(true, Ordering::Relaxed);
    collector.await.unwrap();
}
