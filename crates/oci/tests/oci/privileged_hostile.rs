//! What hostile and damaged layers cannot do. Needs root, as unpacking does.

use crate::archives::{Raw, unpack_raw, unpack_stored};
use crate::client::head;
use crate::images::{gzip, noise, store_layer, tar_of};
use crate::server::TestServer;
use apron_oci::{UnpackBounds, UnpackError, unpack};
use std::fs;
use std::os::unix::fs::MetadataExt;
use tar::EntryType;

#[tokio::test]
async fn nothing_leads_out_of_the_layer() {
    let escapes = [
        Raw::default().file("../outside", "hacked"),
        Raw::default().file("a/../../outside", "hacked"),
        Raw::default().file("/../outside", "hacked"),
        Raw::default()
            .pax(&[("path", b"../../outside")])
            .file("x", "hacked"),
        Raw::default().link(EntryType::Link, "x", "../outside"),
        Raw::default().link(EntryType::Link, "x", "/etc/hostname"),
        Raw::default().link(EntryType::Symlink, "d", "../..").link(
            EntryType::Link,
            "x",
            "d/outside",
        ),
        Raw::default()
            .link(EntryType::Symlink, "a", "b")
            .link(EntryType::Symlink, "b", "a")
            .file("a/x", "loop"),
        Raw::default()
            .link(EntryType::Symlink, "p", "/proc/self/fd")
            .file("p/x/y", "magic"),
    ];
    for (number, archive) in escapes.into_iter().enumerate() {
        let done = unpack_raw(archive.end()).await;
        let error = done.result.as_ref().err().map(ToString::to_string);
        assert!(
            matches!(done.result, Err(UnpackError::Invalid { .. })),
            "{number}: {error:?}"
        );
        assert_eq!(
            fs::read_dir(done.directory.path().join("layers"))
                .unwrap()
                .count(),
            0,
            "{number}"
        );
    }
}

#[tokio::test]
async fn links_out_of_the_layer_lead_to_its_own_root() {
    let absolute = tempfile::tempdir().unwrap();
    let archive = Raw::default()
        .directory("etc")
        .link(EntryType::Symlink, "up", "../../../../..")
        .file("up/etc/passwd", "inside")
        .link(EntryType::Symlink, "abs", "/etc")
        .file("abs/shadow", "inside")
        .link(
            EntryType::Symlink,
            "host",
            absolute.path().to_str().unwrap(),
        )
        .end();
    let done = unpack_raw(archive).await;
    let root = done.good();
    assert_eq!(
        fs::read_to_string(root.join("etc/passwd")).unwrap(),
        "inside"
    );
    assert_eq!(
        fs::read_to_string(root.join("etc/shadow")).unwrap(),
        "inside"
    );
    // Through a link to a path that only exists on the host, nothing is written.
    let archive = Raw::default()
        .link(
            EntryType::Symlink,
            "host",
            absolute.path().to_str().unwrap(),
        )
        .file("host/x", "hacked")
        .end();
    unpack_raw(archive).await.refused("leads nowhere");
    assert_eq!(fs::read_dir(absolute.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn later_entries_replace_earlier_ones_and_links_are_not_written_through() {
    let archive = Raw::default()
        .link(EntryType::Symlink, "file", "../outside")
        .file("file", "plain")
        .link(EntryType::Symlink, "dir", "../..")
        .directory("dir")
        .file("dir/x", "inside")
        .file("tree/a/b", "1")
        .file("tree/a/c", "1")
        .file("tree", "now a file")
        .file("was", "a file")
        .directory("was")
        .file("target", "1")
        .link(EntryType::Symlink, "again", "target")
        .link(EntryType::Link, "again", "target")
        .end();
    let done = unpack_raw(archive).await;
    let root = done.good();
    assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "plain");
    assert!(fs::symlink_metadata(root.join("dir")).unwrap().is_dir());
    assert_eq!(fs::read_to_string(root.join("tree")).unwrap(), "now a file");
    assert!(fs::symlink_metadata(root.join("was")).unwrap().is_dir());
    assert_eq!(fs::metadata(root.join("target")).unwrap().nlink(), 2);
}

#[tokio::test]
async fn devices_are_left_out() {
    let mut disk = Raw::header(EntryType::Block, "dev/sda", 0);
    disk.set_device_major(8).unwrap();
    disk.set_device_minor(0).unwrap();
    let archive = Raw::default()
        .push(disk, b"")
        .entry(EntryType::Char, "dev/null", b"")
        .file("a", "1")
        .end();
    let done = unpack_raw(archive).await;
    assert!(!done.good().join("dev/sda").exists() && !done.path().join("dev/null").exists());
    assert_eq!(done.result.as_ref().unwrap().left_out, 2);
}

#[tokio::test]
async fn bounds_hold() {
    let bounds = UnpackBounds {
        bytes: 1_000_000,
        inodes: 50,
        depth: 5,
    };
    let many = (0..60).fold(Raw::default(), |raw, n| raw.file(&format!("f{n}"), ""));
    let repeated = (0..60).fold(Raw::default(), |raw, _| raw.directory("d"));
    let mut sparse = Raw::header(EntryType::GNUSparse, "s", 0);
    let gnu = sparse.as_gnu_mut().unwrap();
    gnu.realsize.copy_from_slice(b"77777777777\0");
    for (archive, text) in [
        (
            Raw::default().entry(EntryType::Regular, "big", &noise(1, 1_000_001)),
            "1000000 bytes",
        ),
        (
            Raw::default()
                .entry(EntryType::Regular, "a", &noise(1, 600_000))
                .entry(EntryType::Regular, "b", &noise(1, 600_000)),
            "1000000 bytes",
        ),
        (many, "50 files"),
        (repeated, "50 files"),
        (Raw::default().file("1/2/3/4/5/6", ""), "5 components"),
        (Raw::default().push(sparse, b""), "1000000 bytes"),
    ] {
        let archive = archive.end();
        let done = unpack_stored(&gzip(&archive), &archive, &bounds).await;
        assert!(
            matches!(done.result, Err(UnpackError::TooLarge { .. })),
            "{text}"
        );
        done.refused(text);
    }
}

#[tokio::test]
async fn a_compression_bomb_is_stopped() {
    // 300 MB of zeros behind the end of a tiny archive, in 300 kB.
    let mut archive = Raw::default().file("a", "1").end();
    archive.resize(300 * 1024 * 1024, 0);
    let bounds = UnpackBounds {
        bytes: 1_000_000,
        inodes: 10,
        depth: 5,
    };
    let done = unpack_stored(&gzip(&archive), &archive, &bounds).await;
    done.refused("bytes when decompressed");
}

#[tokio::test]
async fn damaged_layers_are_refused() {
    let archive = tar_of(&[("a", &noise(1, 100_000))]);
    let mut flipped = gzip(&archive);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let cut = gzip(&archive)[..50_000].to_vec();
    let bounds = UnpackBounds::default();
    for stored in [flipped, cut, archive[..60_000].to_vec(), noise(3, 5000)] {
        let done = unpack_stored(&stored, &archive, &bounds).await;
        assert!(matches!(done.result, Err(UnpackError::Invalid { .. })));
        done.refused("cannot be unpacked");
    }
    let other = tar_of(&[("a", b"other content")]);
    let done = unpack_stored(&gzip(&other), &archive, &bounds).await;
    assert!(matches!(done.result, Err(UnpackError::DiffId { .. })));
    done.refused("the image says");
}

/// A layer that changed on disk is taken out, so that the client's next push brings it again.
#[tokio::test]
async fn a_layer_that_is_damaged_on_disk_is_removed() {
    let server = TestServer::start().await;
    let archive = tar_of(&[("a", &noise(1, 100_000))]);
    let layer = store_layer(&server, &gzip(&archive), &archive).await;
    let path = server
        .directory
        .path()
        .join("blobs/sha256")
        .join(layer.digest.hex());
    let mut bytes = fs::read(&path).unwrap();
    bytes[5000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let destination = directory.path().join("layer");
    let error = unpack(
        &server.store,
        &layer,
        &destination,
        &UnpackBounds::default(),
    )
    .await
    .unwrap_err();
    assert!(matches!(error, UnpackError::Damaged { .. }), "{error}");
    head(
        server.address,
        &format!("/v2/layers/blobs/{}", layer.digest),
    )
    .await
    .expect(404);
    store_layer(&server, &gzip(&archive), &archive).await;
    unpack(
        &server.store,
        &layer,
        &destination,
        &UnpackBounds::default(),
    )
    .await
    .unwrap();
}
