//! Pushing a tiny image the way clients do: through the distribution server.

use apron_domain::Digest;
use apron_oci::{Action, ContentStore, Gate, Refusal, RegistryBounds, Visitor, registry};
use async_trait::async_trait;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::json;
use std::sync::Arc;
use tower::ServiceExt;

/// Lets everybody do everything.
struct Open;

#[async_trait]
impl Gate for Open {
    async fn authorize(&self, _: Visitor<'_>, _: Option<&str>, _: Action) -> Result<(), Refusal> {
        Ok(())
    }

    async fn may_overwrite_tag(&self, _: &str, _: &str) -> Result<(), Refusal> {
        Ok(())
    }

    async fn pushed(&self, _: &str, _: Option<&str>, _: &str) {}
}

fn digest(bytes: &[u8]) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    format!("sha256:{}", hex::encode(hash.as_ref()))
}

async fn request(
    store: &Arc<ContentStore>,
    method: Method,
    path: String,
    kind: &str,
    body: Vec<u8>,
) {
    let router = registry(store.clone(), Arc::new(Open), RegistryBounds::default());
    let request = Request::builder()
        .method(method)
        .uri(&path)
        .header("content-type", kind)
        .header("content-length", body.len())
        .body(Body::from(body))
        .unwrap();
    let answer = router.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED, "{path}");
}

/// Pushes an image whose content is this text; answers its manifest's digest.
pub async fn push(
    store: &Arc<ContentStore>,
    repository: &str,
    tag: &str,
    content: &str,
    machine: &str,
) -> Digest {
    let layer = content.as_bytes().to_vec();
    let config = json!({
        "architecture": machine,
        "os": "linux",
        "config": { "Cmd": ["/app"] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let config = config.to_string().into_bytes();
    for blob in [&layer, &config] {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={}", digest(blob));
        request(
            store,
            Method::POST,
            path,
            "application/octet-stream",
            blob.clone(),
        )
        .await;
    }
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": digest(&config), "size": config.len() },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar",
                     "digest": digest(&layer), "size": layer.len() }],
    });
    let manifest = manifest.to_string().into_bytes();
    let found = Digest::parse(&digest(&manifest)).unwrap();
    request(
        store,
        Method::PUT,
        format!("/v2/{repository}/manifests/{tag}"),
        kind,
        manifest,
    )
    .await;
    found
}
