//! Faults that need a file system of their own, so root.

use super::{event, read_all};
use apron_telemetry::{Logs, TelemetryError};
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
            &["-t", "tmpfs", "-o", "size=3m", "tmpfs"],
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

/// Text that does not pack: hexadecimal digits of a linear congruential generator.
fn noise(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::new();
    while text.len() < 10_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{state:016x}"));
    }
    text
}

#[tokio::test]
async fn privileged_a_full_disk_refuses_keeps_and_recovers() {
    let mount = Mount::new();
    let logs = Logs::open(mount.path()).await.unwrap();
    let mut kept = 0;
    let error = loop {
        match logs.append("/g", "a", vec![event(kept, noise(kept))]).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 5_000, "the disk never became full");
    };
    assert!(
        matches!(error, TelemetryError::Backlog { .. }) && error.is_disk_full(),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("No space left on device"),
        "{error}"
    );
    let error = logs.flush().await.unwrap_err();
    assert!(error.is_disk_full(), "{error:?}");
    // What was taken can be read all the time.
    assert_eq!(read_all(&logs, "/g", "a").await.len() as u64, kept);

    run("mount", &["-o", "remount,size=64m"], mount.path());
    logs.flush().await.unwrap();
    logs.append("/g", "a", vec![event(kept, noise(kept))])
        .await
        .unwrap();
    logs.append("/new", "b", vec![event(1, "works")])
        .await
        .unwrap();
    logs.flush().await.unwrap();
    logs.close().await.unwrap();
    drop(logs);
    let logs = Logs::open(mount.path()).await.unwrap();
    let events = read_all(&logs, "/g", "a").await;
    assert_eq!(events.len() as u64, kept + 1);
    for (number, event) in (0..).zip(&events) {
        assert_eq!(event.timestamp_ms, number);
        assert_eq!(event.message, noise(number));
    }
    assert_eq!(read_all(&logs, "/new", "b").await.len(), 1);
}

#[tokio::test]
async fn privileged_a_full_disk_refuses_new_streams_in_words() {
    let mount = Mount::new();
    let logs = Logs::open(mount.path()).await.unwrap();
    logs.append("/g", "a", vec![event(1, "x")]).await.unwrap();
    logs.flush().await.unwrap();
    assert!(std::fs::write(mount.path().join("filler"), vec![0u8; 4 << 20]).is_err());
    let mut refused = 0;
    for number in 0..200 {
        match logs
            .stream_create("/g", &format!("{number:03}-{}", "n".repeat(400)), 1)
            .await
        {
            Ok(()) => {}
            Err(error) => {
                assert!(error.is_disk_full(), "{error:?}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
    std::fs::remove_file(mount.path().join("filler")).unwrap();
    logs.stream_create("/g", "b", 1).await.unwrap();
    logs.append("/g", "b", vec![event(1, "x")]).await.unwrap();
    logs.flush().await.unwrap();
}

#[tokio::test]
async fn privileged_a_read_only_disk_is_named() {
    let mount = Mount::new();
    Logs::open(mount.path())
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    mount.make_read_only();
    let error = Logs::open(mount.path()).await.unwrap_err();
    let source = std::error::Error::source(&error)
        .map(ToString::to_string)
        .unwrap_or_default();
    assert!(source.contains("Read-only"), "{error:?}");
}
