//! A full disk, during a push and during unpacking. Needs root to mount a small file system.

use crate::client::{get, open_upload, send};
use crate::images::{TestImage, noise, tar_of};
use crate::server::{TestGate, serve, test_bounds, test_store_bounds};
use apron_oci::{
    ContentStore, Digest, Layer, OCI_MANIFEST, StoreBounds, UnpackBounds, UnpackError, unpack,
};
use http::Method;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// A file system of some megabytes; unmounted when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new(megabytes: u32) -> SmallDisk {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(directory.path())
            .status();
        assert!(mount.unwrap().success(), "mounting needs root");
        SmallDisk(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .status();
    }
}

#[tokio::test]
async fn a_push_to_a_full_disk_is_refused_and_leaves_nothing() {
    let disk = SmallDisk::new(8);
    let store = ContentStore::open_bounded(disk.path(), test_store_bounds()).unwrap();
    let (address, task) = serve(
        Arc::clone(&store),
        Arc::new(TestGate::default()),
        test_bounds(),
    )
    .await;
    let content = noise(1, 12 * 1024 * 1024);
    let upload = open_upload(address, "app").await;
    let target = format!("{upload}?digest={}", Digest::of(&content));
    let answer = send(address, Method::PUT, &target, &[], content.clone())
        .await
        .expect_error(507, "UNKNOWN");
    let message = answer.json()["errors"][0]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(message.contains("no space left on the disk"), "{message}");
    get(address, &upload)
        .await
        .expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(crate::images::count_files(disk.path(), "uploads"), 0);
    assert_eq!(crate::images::count_files(disk.path(), "tmp"), 0);
    // What fits still goes in.
    crate::images::push_blob(address, "app", &content[..4 * 1024 * 1024], "").await;
    task.abort();
}

/// A client that is in the middle of sending gets the answer, not a broken connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skopeo_is_told_that_the_disk_is_full() {
    let disk = SmallDisk::new(8);
    let store = ContentStore::open_bounded(disk.path(), test_store_bounds()).unwrap();
    let (address, task) = serve(
        Arc::clone(&store),
        Arc::new(TestGate::default()),
        test_bounds(),
    )
    .await;
    let source = tempfile::tempdir().unwrap();
    let image = TestImage::new("amd64", 1, 40 * 1024 * 1024);
    let write = |name: &str, bytes: &[u8]| std::fs::write(source.path().join(name), bytes).unwrap();
    write("version", b"Directory Transport Version: 1.1\n");
    write("manifest.json", &image.manifest);
    write(Digest::of(&image.config).hex(), &image.config);
    write(Digest::of(&image.layer).hex(), &image.layer);
    let (from, to) = (
        format!("dir:{}", source.path().display()),
        format!("docker://{address}/app:v1"),
    );
    let copy = [
        "copy",
        "--insecure-policy",
        "--retry-times",
        "0",
        "--dest-tls-verify=false",
        &from,
        &to,
    ];
    let mut skopeo = Command::new("skopeo");
    skopeo.args(copy);
    let output = tokio::task::spawn_blocking(move || skopeo.output())
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("507"), "{text}");
    assert_eq!(crate::images::count_files(disk.path(), "uploads"), 0);
    task.abort();
}

#[tokio::test]
async fn the_reserve_is_kept_free() {
    let disk = SmallDisk::new(8);
    let bounds = StoreBounds {
        disk_reserve_bytes: 6 * 1024 * 1024,
        ..StoreBounds::default()
    };
    let store = ContentStore::open_bounded(disk.path(), bounds).unwrap();
    let (address, task) = serve(
        Arc::clone(&store),
        Arc::new(TestGate::default()),
        test_bounds(),
    )
    .await;
    crate::images::push_blob(address, "app", &noise(1, 1024 * 1024), "").await;
    let content = noise(2, 2 * 1024 * 1024);
    let target = format!("/v2/app/blobs/uploads/?digest={}", Digest::of(&content));
    send(address, Method::POST, &target, &[], content)
        .await
        .expect(507);
    let manifest = vec![b' '; 1024];
    crate::images::put_manifest(address, "app", "v1", OCI_MANIFEST, &manifest, "")
        .await
        .expect(400);
    task.abort();
}

#[tokio::test]
async fn unpacking_to_a_full_disk_is_refused_and_leaves_nothing() {
    let server = crate::server::TestServer::start().await;
    let archive = tar_of(&[("a", &noise(1, 6_000_000)), ("b", &noise(2, 6_000_000))]);
    let layer: Layer = crate::images::store_layer(&server, &archive, &archive).await;
    let disk = SmallDisk::new(8);
    let destination = disk.path().join("layers/layer");
    let error = unpack(
        &server.store,
        &layer,
        &destination,
        &UnpackBounds::default(),
    )
    .await
    .unwrap_err();
    assert!(matches!(error, UnpackError::DiskFull { .. }), "{error}");
    assert_eq!(
        std::fs::read_dir(disk.path().join("layers"))
            .unwrap()
            .count(),
        0
    );
}
