//! A process killed while it writes loses nothing it was told is stored.

use super::sample;
use apron_domain::{Millis, ServiceStatus};
use apron_store::Store;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Names the directory when this test binary runs as the process to be killed.
const CHILD_DIR: &str = "APRON_STORE_CRASH_DIR";

/// Not a test by itself: what the child process of the test below does until it is killed.
#[tokio::test]
async fn crash_child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let store = Store::open(dir.as_ref()).await.unwrap();
    for number in 1.. {
        sample::create(&store, number, &format!("s{number}"), u64::from(number)).await;
        let id = sample::service_id(number);
        store
            .service_update(&id, |service| service.status = ServiceStatus::Paused)
            .await
            .unwrap();
        println!("stored {number}");
    }
}

fn killed_after(dir: &std::path::Path, lines: u32) -> u32 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::crash::crash_child", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = 0;
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in output.by_ref() {
        if let Some((_, number)) = line.unwrap().split_once("stored ") {
            acknowledged = number.parse().unwrap();
            if acknowledged >= lines {
                child.kill().unwrap();
                break;
            }
        }
    }
    child.wait().unwrap();
    for line in output {
        // What it still said before the kill reached it counts too.
        if let Some((_, number)) = line.unwrap().split_once("stored ") {
            acknowledged = number.parse().unwrap_or(acknowledged);
        }
    }
    acknowledged
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_a_kill() {
    for lines in [1, 7, 30] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let acknowledged = tokio::task::spawn_blocking(move || killed_after(&path, lines))
            .await
            .unwrap();
        assert!(acknowledged >= lines);
        let store = Store::open(dir.path()).await.unwrap();
        let services = store.services_live().await.unwrap();
        for number in 1..=acknowledged {
            let service = &services[number as usize - 1];
            assert_eq!(service.id, sample::service_id(number));
            assert_eq!(service.status, ServiceStatus::Paused);
        }
        assert!(
            services.len() <= acknowledged as usize + 1,
            "at most the one being written is more"
        );
        for service in services {
            let operations = store.operations(&service.id, None, 10).await.unwrap();
            assert_eq!(
                operations.len(),
                1,
                "a service and its operation are stored together"
            );
            assert_eq!(operations[0].started_at, Millis(service.created_at.0));
        }
    }
}
