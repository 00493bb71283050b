//! Unpacking: what well-made layers become. Needs root, for owners, capabilities and whiteouts.

use crate::archives::{Raw, unpack_raw, unpack_stored};
use crate::images::{gzip, noise, store_layer, tar_of};
use crate::server::TestServer;
use apron_oci::{Digest, Layer, UnpackBounds, UnpackError, unpack, unpack_unsynced};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use tar::EntryType;

#[tokio::test]
async fn compressions_are_told_by_the_content() {
    let archive = tar_of(&[("a/b", b"content"), ("empty", b"")]);
    let zstd = zstd::encode_all(archive.as_slice(), 3).unwrap();
    let (head, tail) = archive.split_at(700);
    let members = [gzip(head), gzip(tail)].concat();
    for stored in [archive.clone(), gzip(&archive), zstd, members] {
        let done = unpack_stored(&stored, &archive, &UnpackBounds::default()).await;
        assert_eq!(fs::read(done.good().join("a/b")).unwrap(), b"content");
        assert_eq!(fs::metadata(done.path().join("empty")).unwrap().len(), 0);
    }
}

#[tokio::test]
async fn owners_modes_times_and_links_are_the_archives() {
    let mut special = Raw::header(EntryType::Regular, "bin/tool", 3);
    special.set_mode(0o4755);
    special.set_uid(1234);
    special.set_gid(70_000);
    let mut shared = Raw::header(EntryType::Directory, "tmp/", 0);
    shared.set_mode(0o1777);
    let archive = Raw::default()
        .directory("./")
        .directory("bin/")
        .push(special, b"abc")
        .push(shared, b"")
        .link(EntryType::Symlink, "sh", "/bin/tool")
        .link(EntryType::Link, "bin/alias", "bin/tool")
        .entry(EntryType::Fifo, "pipe", b"")
        .file("tmp/late", "x")
        .end();
    let done = unpack_raw(archive).await;
    let root = done.good();
    let tool = fs::metadata(root.join("bin/tool")).unwrap();
    assert_eq!(
        (tool.mode() & 0o7777, tool.uid(), tool.gid(), tool.mtime()),
        (0o4755, 1234, 70_000, 1_700_000_000)
    );
    assert_eq!(tool.nlink(), 2);
    assert_eq!(
        fs::read_link(root.join("sh")).unwrap(),
        Path::new("/bin/tool")
    );
    assert_eq!(
        fs::symlink_metadata(root.join("sh")).unwrap().mtime(),
        1_700_000_000
    );
    assert!(
        fs::metadata(root.join("pipe"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    let tmp = fs::metadata(root.join("tmp")).unwrap();
    assert_eq!((tmp.mode() & 0o7777, tmp.mtime()), (0o1777, 1_700_000_000));
    let report = done.result.as_ref().unwrap();
    assert_eq!((report.bytes, report.present), (4, false));
}

#[tokio::test]
async fn a_layer_that_is_there_is_left_alone_and_leftovers_of_a_kill_go() {
    let server = TestServer::start().await;
    let archive = tar_of(&[("a", b"1")]);
    let layer = store_layer(&server, &archive, &archive).await;
    let directory = tempfile::tempdir().unwrap();
    let stale = directory.path().join(".unpacking-layer-0011223344556677");
    fs::create_dir_all(stale.join("half/full")).unwrap();
    let destination = directory.path().join("layer");
    let bounds = UnpackBounds::default();
    let quick = directory.path().join("quick");
    unpack_unsynced(&server.store, &layer, &quick, &bounds)
        .await
        .unwrap();
    assert_eq!(fs::read(quick.join("a")).unwrap(), b"1");
    assert!(
        !unpack(&server.store, &layer, &destination, &bounds)
            .await
            .unwrap()
            .present
    );
    assert!(!stale.exists());
    fs::write(destination.join("mark"), "").unwrap();
    assert!(
        unpack(&server.store, &layer, &destination, &bounds)
            .await
            .unwrap()
            .present
    );
    assert!(destination.join("mark").exists());
    let missing = Layer {
        digest: Digest::of(b"no"),
        ..layer
    };
    let error = unpack(
        &server.store,
        &missing,
        &directory.path().join("x"),
        &bounds,
    )
    .await
    .unwrap_err();
    assert!(matches!(error, UnpackError::Missing(_)));
}

#[tokio::test]
async fn the_same_layer_unpacked_twice_at_once_is_one() {
    let server = TestServer::start().await;
    let archive = tar_of(&[("a", &noise(1, 2_000_000)), ("b", &noise(2, 2_000_000))]);
    let layer = store_layer(&server, &gzip(&archive), &archive).await;
    let directory = tempfile::tempdir().unwrap();
    let destination = directory.path().join("layer");
    let bounds = UnpackBounds::default();
    let (first, second) = tokio::join!(
        unpack(&server.store, &layer, &destination, &bounds),
        unpack(&server.store, &layer, &destination, &bounds)
    );
    first.unwrap();
    second.unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    assert_eq!(
        fs::read(destination.join("b")).unwrap(),
        noise(2, 2_000_000)
    );
}

fn is_whiteout(path: &Path) -> bool {
    let metadata = fs::symlink_metadata(path).unwrap();
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0u8; 8];
    let found = rustix::fs::getxattr(path, "trusted.overlay.opaque", &mut value);
    found == Ok(1) && value[0] == b'y'
}

#[tokio::test]
async fn whiteouts_become_what_overlayfs_knows() {
    let archive = Raw::default()
        .file("gone/.wh.file", "")
        .file("hidden/.wh..wh..opq", "")
        .file("hidden/new", "1")
        .file(".wh..wh.plnk/1.2", "driver leftovers")
        // A directory that replaces something of a lower layer, marked before and after it is made.
        .file(".wh.before", "")
        .file("before/x", "1")
        .directory("after")
        .file(".wh.after", "")
        .file(".wh.changed", "")
        .file("changed", "now a file")
        .end();
    let done = unpack_raw(archive).await;
    let root = done.good();
    assert!(is_whiteout(&root.join("gone/file")));
    assert!(is_opaque(&root.join("hidden")) && root.join("hidden/new").exists());
    assert!(!root.join(".wh..wh.plnk").exists());
    assert!(is_opaque(&root.join("before")) && root.join("before/x").exists());
    assert!(is_opaque(&root.join("after")));
    assert_eq!(
        fs::read_to_string(root.join("changed")).unwrap(),
        "now a file"
    );
}

/// The kernel's overlayfs agrees with what whiteouts were made into.
#[tokio::test]
async fn an_overlay_of_two_layers_shows_the_image() {
    let lower = Raw::default()
        .file("d/old", "1")
        .file("e/kept", "1")
        .file("f", "1")
        .end();
    let upper = Raw::default()
        .file("d/.wh..wh..opq", "")
        .file("d/new", "2")
        .file(".wh.f", "")
        .end();
    let (lower, upper) = (unpack_raw(lower).await, unpack_raw(upper).await);
    let merged = tempfile::tempdir().unwrap();
    let options = format!(
        "lowerdir={}:{}",
        upper.good().display(),
        lower.good().display()
    );
    let run = |program: &str, arguments: &[&str]| {
        let done = std::process::Command::new(program)
            .args(arguments)
            .status()
            .unwrap();
        assert!(done.success(), "{program} {arguments:?}");
    };
    let target = merged.path().to_str().unwrap();
    run(
        "mount",
        &["-t", "overlay", "overlay", "-o", &options, target],
    );
    let list = |part: &str| {
        let entries = fs::read_dir(merged.path().join(part)).unwrap();
        let mut names: Vec<_> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let (top, d, e) = (list(""), list("d"), list("e"));
    run("umount", &[target]);
    assert_eq!(
        (top, d, e),
        (
            vec!["d".into(), "e".into()],
            vec!["new".to_owned()],
            vec!["kept".to_owned()]
        )
    );
}

#[tokio::test]
async fn attributes_are_taken_except_those_that_speak_to_overlayfs() {
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let archive = Raw::default()
        .pax(&[
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.user.note", b"x=y\n"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.security.selinux", b"a:b:c"),
        ])
        .file("bin", "x")
        .end();
    let done = unpack_raw(archive).await;
    let path = done.good().join("bin");
    let mut names = [0u8; 1024];
    let count = rustix::fs::listxattr(&path, &mut names[..]).unwrap();
    let mut names: Vec<_> = names[..count]
        .split(|b| *b == 0)
        .filter(|n| !n.is_empty())
        .collect();
    names.sort();
    assert_eq!(names, [&b"security.capability"[..], b"user.note"]);
    let mut value = [0u8; 32];
    let count = rustix::fs::getxattr(&path, "user.note", &mut value[..]).unwrap();
    assert_eq!(&value[..count], b"x=y\n");
    assert_eq!(done.result.as_ref().unwrap().left_out, 4);
}

#[tokio::test]
async fn long_names_of_both_kinds_are_read() {
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(200));
    let target = "t".repeat(300);
    let mut named = format!("{long}\0").into_bytes();
    let linked = Raw::default()
        .entry(EntryType::GNULongName, "././@LongLink", &named)
        .file("cut", "gnu")
        .entry(EntryType::GNULongLink, "././@LongLink", target.as_bytes())
        .link(EntryType::Symlink, "link", "cut")
        .pax(&[
            ("path", format!("pax/{long}").as_bytes()),
            ("mtime", b"1600000000.25"),
        ])
        .file("cut", "pax")
        .end();
    let done = unpack_raw(linked).await;
    let root = done.good();
    assert_eq!(fs::read_to_string(root.join(&long)).unwrap(), "gnu");
    assert_eq!(
        fs::read_link(root.join("link")).unwrap(),
        Path::new(&target)
    );
    let pax = root.join("pax").join(&long);
    let metadata = fs::metadata(pax).unwrap();
    assert_eq!(
        (metadata.mtime(), metadata.mtime_nsec()),
        (1_600_000_000, 250_000_000)
    );
    named.resize(2 * 1024 * 1024, b'x');
    let huge = Raw::default()
        .entry(EntryType::GNULongName, "l", &named)
        .file("a", "")
        .end();
    unpack_raw(huge).await.refused("extended header");
}

#[tokio::test]
async fn sparse_files_of_gnu_tar_keep_their_holes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sparse");
    let file = fs::File::create(&path).unwrap();
    use std::os::unix::fs::FileExt;
    for region in 0..30u64 {
        file.write_all_at(&noise(region, 5000), region * 1_000_000 + 4096)
            .unwrap();
    }
    file.set_len(40_000_000).unwrap();
    let expect = fs::read(&path).unwrap();
    for format in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let output = std::process::Command::new("tar")
            .args([
                "--create",
                "--sparse",
                "--file=-",
                "-C",
                directory.path().to_str().unwrap(),
            ])
            .args(format)
            .arg("sparse")
            .output()
            .unwrap();
        assert!(output.status.success());
        assert!(
            output.stdout.len() < 2_000_000,
            "{format:?}: tar made no sparse archive"
        );
        let done = unpack_raw(output.stdout).await;
        let unpacked = done.good().join("sparse");
        assert!(fs::read(&unpacked).unwrap() == expect, "{format:?}");
        assert!(
            fs::metadata(&unpacked).unwrap().blocks() * 512 < 2_000_000,
            "{format:?}"
        );
    }
}

#[tokio::test]
async fn directories_that_are_only_implied_get_usual_modes() {
    let done = unpack_raw(
        Raw::default()
            .file("opt/app/x", "1")
            .file("tmp/x", "1")
            .end(),
    )
    .await;
    let mode = |part: &str| {
        fs::metadata(done.good().join(part))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!(
        (mode("opt/app"), mode("tmp"), mode("")),
        (0o755, 0o1777, 0o755)
    );
}

#[tokio::test]
async fn header_fields_left_empty_are_zero() {
    let mut header = Raw::header(EntryType::Regular, "bare", 1);
    let fields = header.as_gnu_mut().unwrap();
    (fields.uid, fields.gid) = ([0; 8], [b' '; 8]);
    let done = unpack_raw(Raw::default().push(header, b"x").end()).await;
    let bare = fs::metadata(done.good().join("bare")).unwrap();
    assert_eq!((bare.uid(), bare.gid(), bare.len()), (0, 0, 1));
}
