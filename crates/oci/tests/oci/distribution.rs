//! The distribution API as clients see it: presence, content, errors.

use crate::client::{delete, get, head, post, send};
use crate::images::{TestImage, noise, push_blob};
use crate::server::{TestGate, TestServer};
use apron_oci::Digest;
use bytes::Bytes;
use http::Method;

const AUTH: &str = "Basic dXNlcjpzZWNyZXQ=";

#[tokio::test]
async fn the_base_says_that_it_is_a_registry() {
    let server = TestServer::start().await;
    for target in ["/v2/", "/v2"] {
        let answer = get(server.address, target).await.expect(200);
        assert_eq!(
            answer.header("docker-distribution-api-version"),
            "registry/2.0"
        );
    }
    get(server.address, "/v2/nothing")
        .await
        .expect_error(404, "UNSUPPORTED");
    post(server.address, "/v2/")
        .await
        .expect_error(405, "UNSUPPORTED");
}

#[tokio::test]
async fn without_credentials_it_asks_for_them() {
    let gate = TestGate {
        credentials: Some("user:secret".to_owned()),
        ..TestGate::default()
    };
    let server = TestServer::with_gate(gate).await;
    for target in ["/v2/", "/v2/a/tags/list", "/v2/a/manifests/latest"] {
        let answer = get(server.address, target)
            .await
            .expect_error(401, "UNAUTHORIZED");
        assert_eq!(
            answer.header("www-authenticate"),
            "Basic realm=\"https://registry.test/\""
        );
    }
    let headers = [("authorization", AUTH)];
    send(server.address, Method::GET, "/v2/", &headers, Bytes::new())
        .await
        .expect(200);
}

#[tokio::test]
async fn unknown_repositories_and_bad_names_are_told_apart() {
    let server = TestServer::start().await;
    server
        .gate
        .unknown
        .lock()
        .unwrap()
        .insert("missing".to_owned());
    get(server.address, "/v2/missing/tags/list")
        .await
        .expect_error(404, "NAME_UNKNOWN");
    post(server.address, "/v2/missing/blobs/uploads/")
        .await
        .expect_error(404, "NAME_UNKNOWN");
    get(server.address, "/v2/UPPER/tags/list")
        .await
        .expect_error(400, "NAME_INVALID");
    get(server.address, "/v2/a/..%2fb/tags/list")
        .await
        .expect_error(400, "NAME_INVALID");
}

#[tokio::test]
async fn content_is_read_whole_and_in_parts() {
    let server = TestServer::start().await;
    let content = noise(1, 3 * 1024 * 1024 + 17);
    push_blob(server.address, "team/app", &content, "").await;
    let digest = Digest::of(&content);
    let path = format!("/v2/team/app/blobs/{digest}");

    let answer = head(server.address, &path).await.expect(200);
    assert_eq!(answer.header("content-length"), content.len().to_string());
    assert_eq!(answer.header("docker-content-digest"), digest.as_str());
    let answer = get(server.address, &path).await.expect(200);
    assert_eq!(answer.body, content);

    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=1000000-2000000", 1_000_000, 2_000_000),
        ("bytes=3145728-", 3_145_728, content.len() - 1),
        ("bytes=-5", content.len() - 5, content.len() - 1),
    ] {
        let answer = send(server.address, Method::GET, &path, &[("range", range)], "")
            .await
            .expect(206);
        assert_eq!(answer.body, content[first..=last], "{range}");
        let size = content.len();
        assert_eq!(
            answer.header("content-range"),
            format!("bytes {first}-{last}/{size}")
        );
    }
    let beyond = format!("bytes={}-", content.len());
    let answer = send(
        server.address,
        Method::GET,
        &path,
        &[("range", &beyond)],
        "",
    )
    .await;
    let answer = answer.expect_error(416, "SIZE_INVALID");
    assert_eq!(
        answer.header("content-range"),
        format!("bytes */{}", content.len())
    );
}

#[tokio::test]
async fn content_of_another_repository_is_not_shown() {
    let server = TestServer::start().await;
    push_blob(server.address, "mine", b"secret", "").await;
    let digest = Digest::of(b"secret");
    head(server.address, &format!("/v2/yours/blobs/{digest}"))
        .await
        .expect(404);
    get(server.address, &format!("/v2/yours/blobs/{digest}"))
        .await
        .expect_error(404, "BLOB_UNKNOWN");
    get(server.address, "/v2/mine/blobs/sha256:12")
        .await
        .expect_error(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn content_is_deleted_from_one_repository() {
    let server = TestServer::start().await;
    push_blob(server.address, "a", b"shared", "").await;
    push_blob(server.address, "b", b"shared", "").await;
    let digest = Digest::of(b"shared");
    delete(server.address, &format!("/v2/a/blobs/{digest}"))
        .await
        .expect(202);
    delete(server.address, &format!("/v2/a/blobs/{digest}"))
        .await
        .expect_error(404, "BLOB_UNKNOWN");
    get(server.address, &format!("/v2/b/blobs/{digest}"))
        .await
        .expect(200);
}

#[tokio::test]
async fn content_is_mounted_from_a_repository_that_may_be_read() {
    let server = TestServer::start().await;
    let image = TestImage::new("amd64", 1, 100);
    image
        .push(server.address, "from", "v1", "")
        .await
        .expect(201);
    let digest = Digest::of(&image.layer);
    let target = |from: &str| format!("/v2/to/blobs/uploads/?mount={digest}&from={from}");

    let answer = post(server.address, &target("from")).await.expect(201);
    assert_eq!(answer.header("location"), format!("/v2/to/blobs/{digest}"));
    get(server.address, &format!("/v2/to/blobs/{digest}"))
        .await
        .expect(200);

    let other = Digest::of(&image.config);
    server.gate.secret.lock().unwrap().insert("from".to_owned());
    let mount = format!("/v2/to/blobs/uploads/?mount={other}&from=from");
    let answer = post(server.address, &mount).await.expect(202);
    assert!(
        answer
            .header("location")
            .starts_with("/v2/to/blobs/uploads/")
    );
    get(server.address, &format!("/v2/to/blobs/{other}"))
        .await
        .expect(404);
    for from in ["elsewhere", "../from", ""] {
        post(server.address, &target(from)).await.expect(202);
    }
}
