//! The server is killed in the middle of uploads. The test program runs itself as the server's process.

use crate::client::{get, open_upload, send};
use crate::images::{TestImage, noise};
use crate::server::{TestGate, serve, test_bounds, test_store_bounds};
use apron_oci::{ContentStore, Digest};
use http::Method;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const ROOT: &str = "APRON_OCI_TEST_SERVER_ROOT";

/// Not a test of its own: the process that gets killed. Without the variable it has nothing to do.
#[tokio::test]
async fn server_process() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let store = ContentStore::open_bounded(Path::new(&root), test_store_bounds()).unwrap();
    let (address, task) = serve(store, Arc::new(TestGate::default()), test_bounds()).await;
    println!("\nlistening {address}");
    task.await.unwrap();
}

struct ServerProcess {
    child: Child,
    address: SocketAddr,
}

impl ServerProcess {
    fn start(root: &Path) -> ServerProcess {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "kill::server_process",
                "--nocapture",
                "--test-threads",
                "1",
            ])
            .env(ROOT, root)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines
            .map(|line| line.unwrap())
            .find(|line| line.starts_with("listening "));
        let address = line.unwrap()["listening ".len()..].parse().unwrap();
        ServerProcess { child, address }
    }

    /// SIGKILL, and wait until it is gone.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_acknowledged_and_uploads_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let image = TestImage::new("amd64", 1, 100_000);
    let content = noise(9, 6 * 1024 * 1024);
    let server = ServerProcess::start(directory.path());
    image
        .push(server.address, "app", "v1", "")
        .await
        .expect(201);
    let upload = open_upload(server.address, "app").await;
    server.kill();

    let mut have = 0;
    // Each process gets a further part of the content and is killed in the middle of the request.
    for part in 1..=3 {
        let server = ServerProcess::start(directory.path());
        let end = content.len() * part / 4;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let announced = content.len() - have;
        let head =
            format!("PATCH {upload} HTTP/1.1\r\nhost: x\r\ncontent-length: {announced}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&content[have..end]).await.unwrap();
        server.kill();

        let server = ServerProcess::start(directory.path());
        assert_eq!(
            get(server.address, "/v2/app/manifests/v1")
                .await
                .expect(200)
                .body,
            image.manifest
        );
        let answer = get(server.address, &upload).await.expect(204);
        let (_, last) = answer.header("range").split_once('-').unwrap();
        let last: usize = last.parse().unwrap();
        have = if last == 0 { 0 } else { last + 1 };
        assert!(have <= end);
    }
    let server = ServerProcess::start(directory.path());
    let target = format!("{upload}?digest={}", Digest::of(&content));
    send(
        server.address,
        Method::PUT,
        &target,
        &[],
        content[have..].to_vec(),
    )
    .await
    .expect(201);
    server.kill();
    let server = ServerProcess::start(directory.path());
    let path = format!("/v2/app/blobs/{}", Digest::of(&content));
    assert_eq!(get(server.address, &path).await.expect(200).body, content);
    get(server.address, &upload)
        .await
        .expect_error(404, "BLOB_UPLOAD_UNKNOWN");
}

/// How many files there are below a directory. What goes away meanwhile does not count.
fn count_below(path: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    let count = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => count_below(&entry.path()),
        _ => 1,
    };
    entries.filter_map(Result::ok).map(count).sum()
}

/// Kills the server at many moments of whole pushes, told by what is on disk; whatever was acknowledged is whole
/// afterwards, and pushing again works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_killed_anywhere_can_be_repeated() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..14u64 {
        let image = TestImage::new("amd64", round, 300_000);
        let server = ServerProcess::start(directory.path());
        let address = server.address;
        let before = count_below(directory.path());
        let push = tokio::spawn({
            let image = TestImage::new("amd64", round, 300_000);
            async move { image.push(address, "app", "v1", "").await.expect(201) }
        });
        // Each second round waits for one file more; the two rounds between differ by chance.
        let wanted = before + usize::try_from(round / 2).unwrap();
        while count_below(directory.path()) < wanted && !push.is_finished() {
            tokio::task::yield_now().await;
        }
        server.kill();
        let acknowledged = push.await.is_ok();
        let server = ServerProcess::start(directory.path());
        let path = format!("/v2/app/manifests/{}", image.digest());
        let found = get(server.address, &path).await;
        assert!(!acknowledged || found.status == 200);
        if found.status == 200 {
            let layer = format!("/v2/app/blobs/{}", Digest::of(&image.layer));
            assert_eq!(
                get(server.address, &layer).await.expect(200).body,
                image.layer
            );
        }
        image
            .push(server.address, "app", "v1", "")
            .await
            .expect(201);
    }
}
