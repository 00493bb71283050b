//! What is on disk after a push.

use crate::images::{TestImage, count_files};
use crate::server::TestServer;

#[tokio::test]
async fn equal_layers_are_stored_once_and_nothing_is_left_over() {
    let server = TestServer::start().await;
    let image = TestImage::new("amd64", 1, 1000);
    for name in ["a", "b", "c/d"] {
        image.push(server.address, name, "v1", "").await.expect(201);
    }
    assert_eq!(count_files(server.directory.path(), "blobs/sha256"), 3);
    assert_eq!(count_files(server.directory.path(), "uploads"), 0);
    assert_eq!(count_files(server.directory.path(), "tmp"), 0);
}
