//! Manifests: what is stored, what is refused, tags, indexes, referrers.

use crate::client::{delete, get, head};
use crate::images::{
    CONFIG, LAYER, TestImage, descriptor, manifest_of, noise, push_blob, put_manifest,
};
use crate::server::{TestGate, TestServer};
use apron_oci::{DOCKER_LIST, DOCKER_MANIFEST, Digest, OCI_INDEX, OCI_MANIFEST, Reference};
use serde_json::{Value, json};
use std::net::SocketAddr;

pub async fn put(
    server: SocketAddr,
    name: &str,
    reference: &str,
    value: &Value,
) -> crate::client::Answer {
    let bytes = serde_json::to_vec(value).unwrap();
    let media_type = value["mediaType"].as_str().unwrap_or(OCI_MANIFEST);
    put_manifest(server, name, reference, media_type, &bytes, "").await
}

#[tokio::test]
async fn a_manifest_is_found_by_tag_and_digest() {
    let server = TestServer::start().await;
    let image = TestImage::new("amd64", 1, 1000);
    let answer = image
        .push(server.address, "team/app", "v1", "")
        .await
        .expect(201);
    let digest = image.digest();
    assert_eq!(answer.header("docker-content-digest"), digest.as_str());
    assert_eq!(answer.header("location"), "/v2/team/app/manifests/v1");
    for reference in ["v1", digest.as_str()] {
        let path = format!("/v2/team/app/manifests/{reference}");
        let answer = get(server.address, &path).await.expect(200);
        assert_eq!(answer.body, image.manifest);
        assert_eq!(answer.header("content-type"), OCI_MANIFEST);
        let answer = head(server.address, &path).await.expect(200);
        assert_eq!(
            answer.header("content-length"),
            image.manifest.len().to_string()
        );
        assert_eq!(answer.header("docker-content-digest"), digest.as_str());
    }
    get(server.address, "/v2/team/app/manifests/v2")
        .await
        .expect_error(404, "MANIFEST_UNKNOWN");
    get(server.address, &format!("/v2/other/manifests/{digest}"))
        .await
        .expect_error(404, "MANIFEST_UNKNOWN");
    get(server.address, "/v2/team/app/manifests/bad!tag")
        .await
        .expect_error(400, "TAG_INVALID");
    let pushed = server.gate.pushed.lock().unwrap().clone();
    assert_eq!(
        pushed,
        [(
            "team/app".to_owned(),
            Some("v1".to_owned()),
            digest.to_string()
        )]
    );
}

#[tokio::test]
async fn the_store_tells_sizes_tags_and_times() {
    let server = TestServer::start().await;
    let image = TestImage::new("amd64", 1, 1000);
    let before = crate::uploads::now_ms();
    image
        .push(server.address, "app", "v1", "")
        .await
        .expect(201);
    image
        .push(server.address, "app", "v0", "")
        .await
        .expect(201);
    let entries = server.store.manifests("app").await.unwrap();
    let [entry] = entries.as_slice() else {
        panic!("{entries:?}")
    };
    let parts = [&image.manifest, &image.config, &image.layer];
    assert_eq!(
        entry.size,
        parts.iter().map(|part| part.len() as u64).sum::<u64>()
    );
    assert_eq!(entry.tags, ["v0", "v1"]);
    assert_eq!(entry.digest, image.digest());
    assert_eq!(entry.artifact_type.as_deref(), Some(CONFIG));
    assert!((before..=crate::uploads::now_ms()).contains(&entry.pushed_at_ms));
    let resolved = server
        .store
        .resolve("app", &Reference::parse("v1").unwrap())
        .await
        .unwrap();
    assert_eq!(resolved, Some(image.digest()));
    let stored = server.store.image(image.digest().as_str()).await.unwrap();
    assert_eq!(stored.config.cmd, ["/bin/app"]);
    assert_eq!(stored.config.exposed, ["8080/tcp"]);
    assert_eq!(stored.config.stop_signal.as_deref(), Some("SIGINT"));
    assert_eq!(stored.layers[0].digest, Digest::of(&image.layer));
}

#[tokio::test]
async fn manifests_whose_parts_are_missing_or_differ_are_refused() {
    let server = TestServer::start().await;
    let (config, layer) = (b"{}".to_vec(), noise(1, 50));
    let manifest = manifest_of(&config, &[(LAYER, &layer)]);
    push_blob(server.address, "app", &config, "").await;
    // In another repository it does not count.
    push_blob(server.address, "other", &layer, "").await;
    let answer = put_manifest(server.address, "app", "v1", OCI_MANIFEST, &manifest, "").await;
    let answer = answer.expect_error(400, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(
        answer.json()["errors"][0]["detail"]["digest"],
        Digest::of(&layer).as_str()
    );
    push_blob(server.address, "app", &layer, "").await;
    let mut value: Value = serde_json::from_slice(&manifest).unwrap();
    value["layers"][0]["size"] = json!(51);
    put(server.address, "app", "v1", &value)
        .await
        .expect_error(400, "MANIFEST_INVALID");
    put_manifest(server.address, "app", "v1", OCI_MANIFEST, &manifest, "")
        .await
        .expect(201);
    assert_eq!(server.gate.pushed.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn bad_manifests_are_refused() {
    let server = TestServer::start().await;
    let image = TestImage::new("amd64", 1, 100);
    image
        .push(server.address, "app", "good", "")
        .await
        .expect(201);
    let wrong = format!("sha256:{}", "0".repeat(64));
    let huge = vec![b' '; 4 * 1024 * 1024 + 1];
    let cases: [(&str, &str, &[u8], u16, &str); 7] = [
        ("v1", OCI_MANIFEST, b"no json", 400, "MANIFEST_INVALID"),
        ("v1", OCI_MANIFEST, b"", 400, "MANIFEST_INVALID"),
        (
            "v1",
            OCI_MANIFEST,
            b"{\"schemaVersion\":1}",
            400,
            "MANIFEST_INVALID",
        ),
        (
            "v1",
            DOCKER_MANIFEST,
            &image.manifest,
            400,
            "MANIFEST_INVALID",
        ),
        (&wrong, OCI_MANIFEST, &image.manifest, 400, "DIGEST_INVALID"),
        (
            "sha512:00",
            OCI_MANIFEST,
            &image.manifest,
            400,
            "DIGEST_INVALID",
        ),
        ("v1", OCI_MANIFEST, &huge, 413, "SIZE_INVALID"),
    ];
    for (reference, media_type, bytes, status, code) in cases {
        put_manifest(server.address, "app", reference, media_type, bytes, "")
            .await
            .expect_error(status, code);
    }
    get(server.address, "/v2/app/manifests/v1")
        .await
        .expect(404);
}

#[tokio::test]
async fn docker_manifests_and_foreign_layers_are_taken() {
    let server = TestServer::start().await;
    push_blob(server.address, "app", b"{}", "").await;
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let mut layer = descriptor(foreign, b"elsewhere");
    layer["urls"] = json!(["https://elsewhere.example/layer"]);
    let config = descriptor("application/vnd.docker.container.image.v1+json", b"{}");
    let manifest = json!({ "schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": [layer] });
    put(server.address, "app", "v1", &manifest)
        .await
        .expect(201);
    assert_eq!(
        get(server.address, "/v2/app/manifests/v1")
            .await
            .expect(200)
            .header("content-type"),
        DOCKER_MANIFEST
    );
}

pub fn index(media_type: &str, images: &[(&TestImage, &str)]) -> Value {
    let manifests: Vec<Value> = images
        .iter()
        .map(|(image, architecture)| {
            let mut entry = descriptor(OCI_MANIFEST, &image.manifest);
            entry["platform"] = json!({ "os": "linux", "architecture": architecture });
            entry
        })
        .collect();
    json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests })
}

#[tokio::test]
async fn an_index_needs_its_manifests_and_leads_to_this_platform() {
    let server = TestServer::start().await;
    let (arm, amd) = (
        TestImage::new("arm64", 1, 100),
        TestImage::new("amd64", 2, 100),
    );
    arm.push(server.address, "app", arm.digest().as_str(), "")
        .await
        .expect(201);
    for (tag, media_type) in [("v1", OCI_INDEX), ("v2", DOCKER_LIST)] {
        let both = index(media_type, &[(&arm, "arm64"), (&amd, "amd64")]);
        put(server.address, "app", tag, &both)
            .await
            .expect_error(400, "MANIFEST_BLOB_UNKNOWN");
    }
    amd.push(server.address, "app", amd.digest().as_str(), "")
        .await
        .expect(201);
    for (tag, media_type) in [("v1", OCI_INDEX), ("v2", DOCKER_LIST)] {
        let both = index(media_type, &[(&arm, "arm64"), (&amd, "amd64")]);
        let answer = put(server.address, "app", tag, &both).await.expect(201);
        let digest = answer.header("docker-content-digest").to_owned();
        let image = server.store.image(&digest).await.unwrap();
        assert_eq!(image.manifest_digest, amd.digest());
    }
    let only_arm = index(OCI_INDEX, &[(&arm, "arm64")]);
    let answer = put(server.address, "app", "arm", &only_arm)
        .await
        .expect(201);
    let error = server
        .store
        .image(answer.header("docker-content-digest"))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("linux/arm64"), "{error}");
    let error = server
        .store
        .image(arm.digest().as_str())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("it is for linux/arm64"), "{error}");
}

#[tokio::test]
async fn immutable_tags_stay() {
    let server = TestServer::start().await;
    let (first, second) = (
        TestImage::new("amd64", 1, 100),
        TestImage::new("amd64", 2, 100),
    );
    server
        .gate
        .immutable
        .lock()
        .unwrap()
        .insert("app".to_owned());
    first
        .push(server.address, "app", "v1", "")
        .await
        .expect(201);
    // The same again is a repetition, not a change.
    first
        .push(server.address, "app", "v1", "")
        .await
        .expect(201);
    let answer = second
        .push(server.address, "app", "v1", "")
        .await
        .expect_error(400, "TAG_INVALID");
    assert_eq!(
        answer.json()["errors"][0]["message"],
        "tag v1 of app is immutable"
    );
    second
        .push(server.address, "app", "v2", "")
        .await
        .expect(201);
    assert_eq!(
        get(server.address, "/v2/app/manifests/v1")
            .await
            .expect(200)
            .body,
        first.manifest
    );
}

#[tokio::test]
async fn deleting_a_tag_keeps_the_manifest_and_deleting_the_manifest_takes_its_tags() {
    let server = TestServer::start().await;
    let image = TestImage::new("amd64", 1, 100);
    image
        .push(server.address, "app", "v1", "")
        .await
        .expect(201);
    image
        .push(server.address, "app", "v2", "")
        .await
        .expect(201);
    let by_digest = format!("/v2/app/manifests/{}", image.digest());
    delete(server.address, "/v2/app/manifests/v1")
        .await
        .expect(202);
    get(server.address, "/v2/app/manifests/v1")
        .await
        .expect(404);
    get(server.address, &by_digest).await.expect(200);
    delete(server.address, &by_digest).await.expect(202);
    get(server.address, "/v2/app/manifests/v2")
        .await
        .expect(404);
    get(server.address, &by_digest).await.expect(404);
    delete(server.address, &by_digest)
        .await
        .expect_error(404, "MANIFEST_UNKNOWN");
    delete(server.address, "/v2/app/manifests/v2")
        .await
        .expect_error(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn a_deleted_repository_is_gone_and_those_below_it_stay() {
    let server = TestServer::with_gate(TestGate::default()).await;
    let image = TestImage::new("amd64", 1, 100);
    for name in ["a", "a/b", "c"] {
        image.push(server.address, name, "v1", "").await.expect(201);
    }
    let upload = crate::client::open_upload(server.address, "a").await;
    server.store.delete_repository("a").await.unwrap();
    server.store.delete_repository("a").await.unwrap();
    get(server.address, "/v2/a/manifests/v1").await.expect(404);
    get(server.address, &upload).await.expect(404);
    get(server.address, "/v2/a/b/manifests/v1")
        .await
        .expect(200);
    assert_eq!(server.store.repositories().await.unwrap(), ["a/b", "c"]);
    server.store.delete_repository("a/b").await.unwrap();
    assert!(!server.directory.path().join("repositories/a").exists());
}

#[tokio::test]
async fn referrers_are_listed_by_subject() {
    let server = TestServer::start().await;
    let image = TestImage::new("amd64", 1, 100);
    image
        .push(server.address, "app", "v1", "")
        .await
        .expect(201);
    push_blob(server.address, "app", b"{}", "").await;
    let mut digests = Vec::new();
    for (kind, note) in [("application/a", "first"), ("application/b", "second")] {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": kind,
            "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"), "layers": [],
            "subject": descriptor(OCI_MANIFEST, &image.manifest), "annotations": { "note": note },
        });
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let digest = Digest::of(&bytes);
        let answer = put(server.address, "app", digest.as_str(), &manifest)
            .await
            .expect(201);
        assert_eq!(answer.header("oci-subject"), image.digest().as_str());
        digests.push(digest);
    }
    let path = format!("/v2/app/referrers/{}", image.digest());
    let answer = get(server.address, &path).await.expect(200);
    assert_eq!(answer.header("content-type"), OCI_INDEX);
    assert_eq!(answer.json()["manifests"].as_array().unwrap().len(), 2);
    let answer = get(
        server.address,
        &format!("{path}?artifactType=application/b"),
    )
    .await
    .expect(200);
    assert_eq!(answer.header("oci-filters-applied"), "artifactType");
    let entry = &answer.json()["manifests"][0];
    assert_eq!(entry["digest"], digests[1].as_str());
    assert_eq!(entry["artifactType"], "application/b");
    assert_eq!(entry["annotations"]["note"], "second");
    delete(server.address, &format!("/v2/app/manifests/{}", digests[1]))
        .await
        .expect(202);
    assert_eq!(
        get(server.address, &path).await.expect(200).json()["manifests"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let none = format!("/v2/app/referrers/sha256:{}", "0".repeat(64));
    assert_eq!(
        get(server.address, &none).await.expect(200).json()["manifests"],
        json!([])
    );
}
