//! Pulling from a second registry.

use crate::images::{TestImage, has, noise};
use crate::server::{TestGate, TestServer, test_store_bounds};
use apron_oci::{ContentStore, Credentials, Digest, ImageName, OciError, PullError, Puller};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const AUTH: &str = "Basic dXNlcjpzZWNyZXQ=";

fn name(server: &TestServer, rest: &str) -> ImageName {
    ImageName::parse(&format!("{}/{rest}", server.host())).unwrap()
}

fn empty_store() -> (tempfile::TempDir, Arc<ContentStore>) {
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open_bounded(directory.path(), test_store_bounds()).unwrap();
    (directory, store)
}

#[tokio::test]
async fn an_open_registry() {
    let server = TestServer::start().await;
    let image = TestImage::new("amd64", 1, 3_000_000);
    image
        .push(server.address, "team/app", "v1", "")
        .await
        .expect(201);
    let (_directory, store) = empty_store();
    for reference in [
        "team/app:v1".to_owned(),
        format!("team/app@{}", image.digest()),
    ] {
        let digest = Puller::new()
            .pull(&store, &name(&server, &reference), None, &[])
            .await
            .unwrap();
        assert_eq!(digest, image.digest());
    }
    let found = store.image(image.digest().as_str()).await.unwrap();
    assert!(has(&store, &found.layers[0].digest));
}

#[tokio::test]
async fn a_registry_with_credentials() {
    let gate = TestGate {
        credentials: Some("user:secret".to_owned()),
        ..TestGate::default()
    };
    let server = TestServer::with_gate(gate).await;
    let image = TestImage::new("amd64", 1, 1000);
    image
        .push(server.address, "app", "v1", AUTH)
        .await
        .expect(201);
    let (_directory, store) = empty_store();
    let wanted = name(&server, "app:v1");
    let pair = |password: &str| {
        Some(Credentials {
            username: "user".to_owned(),
            password: password.to_owned(),
        })
    };
    Puller::new()
        .pull(&store, &wanted, pair("secret"), &[])
        .await
        .unwrap();
    for credentials in [None, pair("wrong")] {
        let error = Puller::new()
            .pull(&store, &wanted, credentials, &[])
            .await
            .unwrap_err();
        assert!(
            matches!(error, PullError::Refused { status: 401, .. }),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains("UNAUTHORIZED: credentials are missing or wrong"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_missing_is_said_in_the_registrys_words() {
    let server = TestServer::start().await;
    server
        .gate
        .unknown
        .lock()
        .unwrap()
        .insert("missing".to_owned());
    let (_directory, store) = empty_store();
    let error = Puller::new()
        .pull(&store, &name(&server, "missing:v1"), None, &[])
        .await
        .unwrap_err();
    let host = server.host();
    assert_eq!(
        error.to_string(),
        format!(
            "registry {host} answered 404 to GET /v2/missing/manifests/v1: NAME_UNKNOWN: The repository with name \
             'missing' does not exist"
        )
    );
    let error = Puller::new()
        .pull(&store, &name(&server, "app:v9"), None, &[])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("MANIFEST_UNKNOWN"), "{error}");
}

#[tokio::test]
async fn an_image_for_other_machines_is_not_fetched() {
    let server = TestServer::start().await;
    let image = TestImage::new("arm64", 1, 1000);
    image
        .push(server.address, "app", "v1", "")
        .await
        .expect(201);
    let (_directory, store) = empty_store();
    let error = Puller::new()
        .pull(&store, &name(&server, "app:v1"), None, &[])
        .await
        .unwrap_err();
    assert!(
        matches!(error, PullError::Content(OciError::Architecture { .. })),
        "{error}"
    );
    assert!(!has(&store, &Digest::of(&image.layer)));
}

#[tokio::test]
async fn a_registry_that_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (_directory, store) = empty_store();
    let wanted = ImageName::parse(&format!("{address}/app:v1")).unwrap();
    let error = Puller::new()
        .pull(&store, &wanted, None, &[])
        .await
        .unwrap_err();
    assert!(matches!(error, PullError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

/// A proxy in front of a registry that closes each connection after some bytes of the answer.
async fn cutting_proxy(server: &TestServer, cut_after: usize, cuts: usize) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (target, left) = (server.address, Arc::new(AtomicUsize::new(cuts)));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let left = Arc::clone(&left);
            tokio::spawn(async move {
                let upstream = tokio::net::TcpStream::connect(target).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = upstream.into_split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                });
                let (mut sent, mut buffer) = (0, vec![0; 16 * 1024]);
                while let Ok(count) = from_server.read(&mut buffer).await {
                    if count == 0 || to_client.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                    sent += count;
                    let cut = sent > cut_after
                        && left
                            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                            .is_ok();
                    if cut {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_download_that_breaks_off_is_resumed() {
    let server = TestServer::start().await;
    let image = TestImage::new("amd64", 1, 6_000_000);
    image
        .push(server.address, "app", "v1", "")
        .await
        .expect(201);
    let proxy = cutting_proxy(&server, 1_500_000, 3).await;
    let (_directory, store) = empty_store();
    let wanted = ImageName::parse(&format!("{proxy}/app:v1")).unwrap();
    let digest = Puller::new()
        .pull(&store, &wanted, None, &[])
        .await
        .unwrap();
    let found = store.image(digest.as_str()).await.unwrap();
    assert!(has(&store, &found.layers[0].digest));
}

#[tokio::test]
async fn content_that_is_not_what_it_says_is_not_kept() {
    let server = TestServer::start().await;
    let image = TestImage::new("amd64", 1, 5000);
    image
        .push(server.address, "app", "v1", "")
        .await
        .expect(201);
    let layer = Digest::of(&image.layer);
    let damaged = noise(77, image.layer.len());
    std::fs::write(
        server
            .directory
            .path()
            .join("blobs/sha256")
            .join(layer.hex()),
        damaged,
    )
    .unwrap();
    let (directory, store) = empty_store();
    let error = Puller::new()
        .pull(&store, &name(&server, "app:v1"), None, &[])
        .await
        .unwrap_err();
    assert!(matches!(error, PullError::BadAnswer { .. }), "{error}");
    assert!(error.to_string().contains("content has digest"), "{error}");
    assert!(!has(&store, &layer));
    assert!(!has(&store, &image.digest()));
    assert_eq!(crate::images::count_files(directory.path(), "tmp"), 0);
}
