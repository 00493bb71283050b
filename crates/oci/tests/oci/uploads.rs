//! Uploads: in one piece, in chunks, broken off and continued.

use crate::client::{delete, get, head, open_upload, send};
use crate::images::{count_files, has, noise};
use crate::server::{TestGate, TestServer, test_bounds, test_store_bounds};
use apron_oci::{ContentStore, Digest, RegistryBounds, StoreBounds};
use http::Method;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

async fn patch(
    server: SocketAddr,
    upload: &str,
    bytes: &[u8],
    range: Option<&str>,
) -> crate::client::Answer {
    let mut headers = vec![("content-type", "application/octet-stream")];
    headers.extend(range.map(|range| ("content-range", range)));
    send(server, Method::PATCH, upload, &headers, bytes.to_vec()).await
}

async fn finish(
    server: SocketAddr,
    upload: &str,
    content: &[u8],
    last: &[u8],
) -> crate::client::Answer {
    let target = format!("{upload}?digest={}", Digest::of(content));
    send(server, Method::PUT, &target, &[], last.to_vec()).await
}

#[tokio::test]
async fn in_one_piece() {
    let server = TestServer::start().await;
    for content in [noise(2, 2 * 1024 * 1024 + 1), Vec::new()] {
        let upload = open_upload(server.address, "app").await;
        let answer = finish(server.address, &upload, &content, &content)
            .await
            .expect(201);
        let digest = Digest::of(&content);
        assert_eq!(answer.header("location"), format!("/v2/app/blobs/{digest}"));
        assert_eq!(answer.header("docker-content-digest"), digest.as_str());
        assert_eq!(
            get(server.address, answer.header("location"))
                .await
                .expect(200)
                .body,
            content
        );
        get(server.address, &upload)
            .await
            .expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    }
    assert_eq!(count_files(server.directory.path(), "uploads"), 0);
}

#[tokio::test]
async fn in_chunks() {
    let server = TestServer::start().await;
    let content = noise(3, 1_500_000);
    let upload = open_upload(server.address, "app").await;
    assert_eq!(
        get(server.address, &upload)
            .await
            .expect(204)
            .header("range"),
        "0-0"
    );
    let answer = patch(
        server.address,
        &upload,
        &content[..500_000],
        Some("0-499999"),
    )
    .await
    .expect(202);
    assert_eq!(answer.header("range"), "0-499999");
    let answer = patch(server.address, &upload, &content[500_000..1_000_000], None)
        .await
        .expect(202);
    assert_eq!(answer.header("range"), "0-999999");
    assert_eq!(
        get(server.address, &upload)
            .await
            .expect(204)
            .header("range"),
        "0-999999"
    );
    finish(server.address, &upload, &content, &content[1_000_000..])
        .await
        .expect(201);
    assert!(has(&server.store, &Digest::of(&content)));
}

#[tokio::test]
async fn a_chunk_out_of_order_is_refused_and_says_where_to_go_on() {
    let server = TestServer::start().await;
    let content = noise(4, 300);
    let upload = open_upload(server.address, "app").await;
    patch(server.address, &upload, &content[..100], Some("0-99"))
        .await
        .expect(202);
    for range in ["200-299", "0-99"] {
        let answer = patch(server.address, &upload, &content[200..], Some(range)).await;
        let answer = answer.expect_error(416, "BLOB_UPLOAD_INVALID");
        assert_eq!(answer.header("range"), "0-99");
        assert_eq!(answer.header("location"), upload);
    }
    let answer = patch(server.address, &upload, &content[100..], Some("garbage")).await;
    answer.expect_error(400, "BLOB_UPLOAD_INVALID");
    patch(server.address, &upload, &content[100..], Some("100-299"))
        .await
        .expect(202);
    finish(server.address, &upload, &content, b"")
        .await
        .expect(201);
}

#[tokio::test]
async fn a_wrong_digest_ends_the_upload_and_leaves_nothing() {
    let server = TestServer::start().await;
    let upload = open_upload(server.address, "app").await;
    let answer = finish(server.address, &upload, b"expected", b"something else").await;
    answer.expect_error(400, "DIGEST_INVALID");
    get(server.address, &upload)
        .await
        .expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(count_files(server.directory.path(), "uploads"), 0);
    assert_eq!(count_files(server.directory.path(), "blobs/sha256"), 0);

    let upload = open_upload(server.address, "app").await;
    for bad in [
        upload.clone(),
        format!("{upload}?digest=sha256:1"),
        format!("{upload}?digest=md5:00"),
    ] {
        send(server.address, Method::PUT, &bad, &[], "x")
            .await
            .expect_error(400, "DIGEST_INVALID");
    }
    finish(server.address, &upload, b"right", b"right")
        .await
        .expect(201);
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository_and_can_be_cancelled() {
    let server = TestServer::start().await;
    let upload = open_upload(server.address, "app").await;
    let elsewhere = upload.replace("/app/", "/other/");
    get(server.address, &elsewhere)
        .await
        .expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    patch(server.address, &elsewhere, b"x", None)
        .await
        .expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    delete(server.address, &upload).await.expect(204);
    get(server.address, &upload)
        .await
        .expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    get(server.address, "/v2/app/blobs/uploads/..")
        .await
        .expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(count_files(server.directory.path(), "uploads"), 0);
}

/// Sends the head of a chunk and part of its body, and leaves the connection open.
async fn send_part(server: SocketAddr, upload: &str, announced: usize, part: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let head = format!("PATCH {upload} HTTP/1.1\r\nhost: x\r\ncontent-length: {announced}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(part).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

/// Waits until an upload has some bytes on disk.
async fn wait_for_length(server: &TestServer, upload: &str, length: u64) {
    let id = upload.rsplit('/').next().unwrap();
    let data = server
        .directory
        .path()
        .join("uploads")
        .join(id)
        .join("data");
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::fs::metadata(&data).map_or(0, |metadata| metadata.len()) < length {
        assert!(Instant::now() < deadline, "the upload does not grow");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn after_a_break_the_upload_goes_on_where_it_was() {
    let server = TestServer::start().await;
    let content = noise(5, 5 * 1024 * 1024);
    let upload = open_upload(server.address, "app").await;
    let broken = send_part(
        server.address,
        &upload,
        content.len(),
        &content[..3_500_000],
    )
    .await;
    wait_for_length(&server, &upload, 2 * 1024 * 1024).await;
    drop(broken);
    let answer = get(server.address, &upload).await.expect(204);
    let (_, last) = answer.header("range").split_once('-').unwrap();
    let have = last.parse::<usize>().unwrap() + 1;
    assert!((2 * 1024 * 1024..=3_500_000).contains(&have), "{have}");
    let range = format!("{have}-{}", content.len() - 1);
    patch(server.address, &upload, &content[have..], Some(&range))
        .await
        .expect(202);
    finish(server.address, &upload, &content, b"")
        .await
        .expect(201);
}

#[tokio::test]
async fn a_dead_connection_does_not_hold_the_upload() {
    let server = TestServer::start().await;
    let content = noise(6, 3 * 1024 * 1024);
    let upload = open_upload(server.address, "app").await;
    let mut half_open = send_part(
        server.address,
        &upload,
        content.len(),
        &content[..2 * 1024 * 1024],
    )
    .await;
    wait_for_length(&server, &upload, 1024 * 1024).await;
    let answer = timeout(Duration::from_secs(5), get(server.address, &upload))
        .await
        .unwrap()
        .expect(204);
    let (_, last) = answer.header("range").split_once('-').unwrap();
    let have = last.parse::<usize>().unwrap() + 1;
    let mut text = vec![0; 1024];
    let count = timeout(Duration::from_secs(5), half_open.read(&mut text))
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8_lossy(&text[..count]).into_owned();
    assert!(
        text.starts_with("HTTP/1.1 400") && text.contains("continued by another request"),
        "{text}"
    );
    finish(server.address, &upload, &content, &content[have..])
        .await
        .expect(201);
}

#[tokio::test]
async fn a_silent_client_is_given_up() {
    let bounds = RegistryBounds {
        body_idle: Duration::from_millis(100),
        ..test_bounds()
    };
    let server = TestServer::with(TestGate::default(), test_store_bounds(), bounds).await;
    let upload = open_upload(server.address, "app").await;
    let mut silent = send_part(server.address, &upload, 1000, b"half").await;
    let mut text = vec![0; 1024];
    let count = timeout(Duration::from_secs(10), silent.read(&mut text))
        .await
        .unwrap()
        .unwrap();
    assert!(String::from_utf8_lossy(&text[..count]).starts_with("HTTP/1.1 400"));
    assert_eq!(
        get(server.address, &upload)
            .await
            .expect(204)
            .header("range"),
        "0-3"
    );
}

#[tokio::test]
async fn uploads_survive_a_restart_of_the_store() {
    let server = TestServer::start().await;
    let content = noise(7, 2_000_000);
    let upload = open_upload(server.address, "app").await;
    patch(server.address, &upload, &content[..1_200_000], None)
        .await
        .expect(202);

    let store = ContentStore::open_bounded(server.directory.path(), test_store_bounds()).unwrap();
    let (address, task) =
        crate::server::serve(Arc::clone(&store), Arc::clone(&server.gate), test_bounds()).await;
    assert_eq!(
        get(address, &upload).await.expect(204).header("range"),
        "0-1199999"
    );
    finish(address, &upload, &content, &content[1_200_000..])
        .await
        .expect(201);
    head(address, &format!("/v2/app/blobs/{}", Digest::of(&content)))
        .await
        .expect(200);
    task.abort();
}

#[tokio::test]
async fn uploads_are_bounded_in_size_and_number_and_expire() {
    let store = StoreBounds {
        uploads_max: 2,
        upload_age_ms: 60_000,
        ..test_store_bounds()
    };
    let bounds = RegistryBounds {
        blob_bytes_max: 1000,
        ..test_bounds()
    };
    let server = TestServer::with(TestGate::default(), store, bounds).await;
    let first = open_upload(server.address, "app").await;
    patch(server.address, &first, &[0; 900], None)
        .await
        .expect(202);
    patch(server.address, &first, &[0; 101], None)
        .await
        .expect_error(413, "SIZE_INVALID");
    get(server.address, &first)
        .await
        .expect_error(404, "BLOB_UPLOAD_UNKNOWN");

    let (second, third) = (
        open_upload(server.address, "app").await,
        open_upload(server.address, "app").await,
    );
    let refused = crate::client::post(server.address, "/v2/app/blobs/uploads/").await;
    refused.expect_error(429, "TOOMANYREQUESTS");
    let now = now_ms();
    server.store.collect_garbage(now).await.unwrap();
    get(server.address, &second).await.expect(204);
    server.store.collect_garbage(now + 61_000).await.unwrap();
    get(server.address, &second)
        .await
        .expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    get(server.address, &third)
        .await
        .expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    open_upload(server.address, "app").await;
}

#[allow(clippy::disallowed_methods)] // the files of the test have real times
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(since.as_millis()).unwrap()
}
