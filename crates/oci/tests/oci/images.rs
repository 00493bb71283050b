//! Images made for tests.

use crate::client::{Answer, send};
use apron_oci::{ContentStore, Digest, Layer, OCI_MANIFEST};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Method;
use serde_json::{Value, json};
use std::io::Write;
use std::net::SocketAddr;

pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Bytes that look random and are the same every time.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar archive of plain files owned by whoever runs the test.
pub fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(u64::from(rustix::process::geteuid().as_raw()));
        header.set_gid(u64::from(rustix::process::getegid().as_raw()));
        header.set_mtime(1_700_000_000);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn config_of(architecture: &str, diff_ids: &[Digest]) -> Vec<u8> {
    let ids: Vec<&str> = diff_ids.iter().map(Digest::as_str).collect();
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": { "Cmd": ["/bin/app"], "Env": ["A=b"], "ExposedPorts": { "8080/tcp": {} }, "StopSignal": "SIGINT" },
        "rootfs": { "type": "layers", "diff_ids": ids },
    });
    serde_json::to_vec(&config).unwrap()
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::of(bytes).as_str(), "size": bytes.len() })
}

pub fn manifest_of(config: &[u8], layers: &[(&str, &[u8])]) -> Vec<u8> {
    let layers: Vec<Value> = layers
        .iter()
        .map(|(kind, bytes)| descriptor(kind, bytes))
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(CONFIG, config), "layers": layers,
    });
    serde_json::to_vec(&manifest).unwrap()
}

/// An image with one gzip layer.
pub struct TestImage {
    pub layer: Vec<u8>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

impl TestImage {
    pub fn new(architecture: &str, seed: u64, layer_bytes: usize) -> TestImage {
        let archive = tar_of(&[("bin/app", &noise(seed, layer_bytes))]);
        let layer = gzip(&archive);
        let config = config_of(architecture, &[Digest::of(&archive)]);
        let manifest = manifest_of(&config, &[(&format!("{LAYER}+gzip"), &layer)]);
        TestImage {
            layer,
            config,
            manifest,
        }
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    pub async fn push(&self, server: SocketAddr, name: &str, tag: &str, auth: &str) -> Answer {
        push_blob(server, name, &self.layer, auth).await;
        push_blob(server, name, &self.config, auth).await;
        put_manifest(server, name, tag, OCI_MANIFEST, &self.manifest, auth).await
    }
}

/// Pushes content in one request; `auth` may be empty.
pub async fn push_blob(server: SocketAddr, name: &str, bytes: &[u8], auth: &str) {
    let target = format!("/v2/{name}/blobs/uploads/?digest={}", Digest::of(bytes));
    let headers = [("authorization", auth)];
    let headers = if auth.is_empty() {
        &[][..]
    } else {
        &headers[..]
    };
    send(server, Method::POST, &target, headers, bytes.to_vec())
        .await
        .expect(201);
}

pub async fn put_manifest(
    server: SocketAddr,
    name: &str,
    reference: &str,
    media_type: &str,
    bytes: &[u8],
    auth: &str,
) -> Answer {
    let target = format!("/v2/{name}/manifests/{reference}");
    let mut headers = vec![("content-type", media_type)];
    if !auth.is_empty() {
        headers.push(("authorization", auth));
    }
    send(
        server,
        Method::PUT,
        &target,
        &headers,
        Bytes::copy_from_slice(bytes),
    )
    .await
}

/// Stores a layer without a server and describes it; its diff id is that of `archive`.
pub async fn store_layer(
    server: &crate::server::TestServer,
    stored: &[u8],
    archive: &[u8],
) -> Layer {
    push_blob(server.address, "layers", stored, "").await;
    Layer {
        digest: Digest::of(stored),
        diff_id: Digest::of(archive),
        media_type: LAYER.to_owned(),
        size: stored.len() as u64,
    }
}

/// How many files there are under a directory of the store.
pub fn count_files(store: &std::path::Path, part: &str) -> usize {
    std::fs::read_dir(store.join(part)).unwrap().count()
}

/// Whether the store has some content.
pub fn has(store: &ContentStore, digest: &Digest) -> bool {
    store.blob_size(digest).unwrap().is_some()
}
