//! Faults that need a file system of their own, so root.

use super::sample;
use apron_domain::OperationKind;
use apron_store::{Store, StoreError};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A small file system in memory, gone with the value.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new() -> Mount {
        let mount = Mount(tempfile::tempdir().unwrap());
        run(
            "mount",
            &["-t", "tmpfs", "-o", "size=2m", "tmpfs"],
            mount.path(),
        );
        mount
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A child that another test is just starting holds all descriptors for a moment, so this is tried until it works.
    fn make_read_only(&self) {
        let begun = Instant::now();
        let remount = || {
            Command::new("mount")
                .args(["-o", "remount,ro"])
                .arg(self.path())
                .output()
                .unwrap()
        };
        while !remount().status.success() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "the file system stays busy"
            );
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &["-l"], self.0.path());
    }
}

fn run(program: &str, args: &[&str], path: &Path) {
    let status = Command::new(program).args(args).arg(path).status().unwrap();
    assert!(status.success(), "{program} {args:?}: {status}");
}

#[tokio::test]
async fn privileged_a_full_disk_is_named_loses_nothing_and_recovers() {
    let mount = Mount::new();
    let store = Store::open(mount.path()).await.unwrap();
    let value = vec![7u8; 64 * 1024];
    let mut stored = Vec::new();
    let error = loop {
        let name = format!("{:04}", stored.len());
        match store.secret_put("kind", &name, &value).await {
            Ok(()) => stored.push(name),
            Err(error) => break error,
        }
        assert!(stored.len() < 100, "the disk never became full");
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with("cannot store a secret: the disk of the database is full"),
        "{error}"
    );
    assert_eq!(store.secrets("kind").await.unwrap(), stored);

    run("mount", &["-o", "remount,size=8m"], mount.path());
    store.secret_put("kind", "again", &value).await.unwrap();
    let service = sample::service(1, "web", 1);
    let (operation, service) = sample::begun(1, &service, OperationKind::CreateService, 1);
    store
        .service_create(&service, &operation, u32::MAX)
        .await
        .unwrap();
    store.close().await;
    let store = Store::open(mount.path()).await.unwrap();
    stored.push("again".to_owned());
    assert_eq!(store.secrets("kind").await.unwrap(), stored);
    for name in &stored {
        assert_eq!(
            store.secret_get("kind", name).await.unwrap().as_ref(),
            Some(&value)
        );
    }
    store.close().await;
}

#[tokio::test]
async fn privileged_a_disk_full_from_the_start_is_named() {
    let mount = Mount::new();
    let filler = std::fs::write(mount.path().join("filler"), vec![0u8; 4 << 20]);
    assert!(filler.is_err());
    let error = Store::open(mount.path()).await.unwrap_err();
    assert!(error.to_string().contains("full"), "{error:?}");
}

#[tokio::test]
async fn privileged_a_read_only_disk_is_named() {
    let mount = Mount::new();
    Store::open(mount.path()).await.unwrap().close().await;
    mount.make_read_only();
    let error = Store::open(mount.path()).await.unwrap_err();
    assert!(
        error.to_string().contains("read-only") || error.to_string().contains("readonly"),
        "{error:?}"
    );
}
