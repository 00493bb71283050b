//! Unpacking: what well-made layers become, and what hostile ones cannot do. Needs root, for owners, capabilities and
//! whiteouts.

use crate::images::{gzip, noise, store_layer, tar_of};
use crate::server::TestServer;
use apron_oci::{Digest, Layer, UnpackBounds, UnpackError, UnpackReport, unpack};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tar::{EntryType, Header};
use tempfile::TempDir;

/// An archive written entry by entry, with names that the `tar` crate would refuse to write.
#[derive(Default)]
struct Raw(Vec<u8>);

impl Raw {
    fn header(kind: EntryType, path: &str, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(if kind == EntryType::Directory {
            0o755
        } else {
            0o644
        });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header
    }

    fn push(mut self, mut header: Header, content: &[u8]) -> Raw {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn entry(self, kind: EntryType, path: &str, content: &[u8]) -> Raw {
        let header = Raw::header(kind, path, content.len() as u64);
        self.push(header, content)
    }

    fn file(self, path: &str, content: &str) -> Raw {
        self.entry(EntryType::Regular, path, content.as_bytes())
    }

    fn directory(self, path: &str) -> Raw {
        self.entry(EntryType::Directory, path, b"")
    }

    fn link(self, kind: EntryType, path: &str, to: &str) -> Raw {
        let mut header = Raw::header(kind, path, 0);
        header.as_gnu_mut().unwrap().linkname[..to.len()].copy_from_slice(to.as_bytes());
        self.push(header, b"")
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Raw {
        let mut content = Vec::new();
        for (key, value) in records {
            let body = key.len() + value.len() + 3;
            let length = (1..)
                .map(|digits| body + digits)
                .find(|n| n.to_string().len() + body == *n)
                .unwrap();
            content.extend_from_slice(format!("{length} {key}=").as_bytes());
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        self.entry(EntryType::XHeader, "pax", &content)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

struct Unpacked {
    directory: TempDir,
    result: Result<UnpackReport, UnpackError>,
}

impl Unpacked {
    fn path(&self) -> PathBuf {
        self.directory.path().join("layers/layer")
    }

    #[track_caller]
    fn good(&self) -> PathBuf {
        if let Err(error) = &self.result {
            panic!("{error}");
        }
        self.path()
    }

    /// Checks that it failed with some text, and that nothing is left.
    #[track_caller]
    fn refused(&self, text: &str) {
        let error = self.result.as_ref().unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        assert_eq!(
            fs::read_dir(self.directory.path().join("layers"))
                .unwrap()
                .count(),
            0
        );
    }
}

async fn unpack_stored(stored: &[u8], archive: &[u8], bounds: &UnpackBounds) -> Unpacked {
    let server = TestServer::start().await;
    let layer = store_layer(&server, stored, archive).await;
    let directory = tempfile::tempdir().unwrap();
    // Something that a hostile layer would like to reach.
    fs::write(directory.path().join("outside"), "untouched").unwrap();
    let destination = directory.path().join("layers/layer");
    let result = unpack(&server.store, &layer, &destination, bounds).await;
    assert_eq!(
        fs::read_to_string(directory.path().join("outside")).unwrap(),
        "untouched"
    );
    let names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(names.len() <= 2, "{names:?}");
    Unpacked { directory, result }
}

async fn unpack_raw(archive: Vec<u8>) -> Unpacked {
    unpack_stored(&archive, &archive, &UnpackBounds::default()).await
}

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

#[derive(Clone, Debug)]
enum Node {
    File(Vec<u8>),
    Directory,
    Symlink(String),
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 0..2000).prop_map(Node::File),
        1 => Just(Node::Directory),
        1 => "[a-z/.]{1,150}".prop_map(Node::Symlink),
    ]
}

/// What GNU tar packs comes out as it was.
fn round_trip(tree: &BTreeMap<String, Node>, format: &str) {
    let source = tempfile::tempdir().unwrap();
    for (path, node) in tree {
        let path = source.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match node {
            Node::File(content) => fs::write(path, content).unwrap(),
            Node::Directory => fs::create_dir_all(path).unwrap(),
            Node::Symlink(to) => std::os::unix::fs::symlink(to, path).unwrap(),
        }
    }
    let output = std::process::Command::new("tar")
        .args([
            "--create",
            "--file=-",
            "--format",
            format,
            "-C",
            source.path().to_str().unwrap(),
            ".",
        ])
        .output()
        .unwrap();
    assert!(output.status.success());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let done = runtime.block_on(unpack_raw(output.stdout));
    let same = std::process::Command::new("diff")
        .args(["--recursive", "--no-dereference"])
        .args([source.path(), &done.good()])
        .output()
        .unwrap();
    assert!(
        same.status.success(),
        "{}",
        String::from_utf8_lossy(&same.stdout)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn what_tar_packs_comes_out_as_it_was(
        entries in proptest::collection::vec(("[a-c]{1,3}(/[d-f]{1,120}){0,2}", node()), 0..12),
        format in prop_oneof![Just("gnu"), Just("posix")],
    ) {
        // A path that is a file cannot be a directory too: give each its own place.
        let tree = entries.into_iter().enumerate().map(|(n, (path, node))| (format!("{n}/{path}"), node)).collect();
        round_trip(&tree, format);
    }

    #[test]
    fn any_bytes_are_unpacked_or_refused(
        paths in proptest::collection::vec("[./a]{1,12}", 1..10),
        kinds in proptest::collection::vec(prop_oneof![Just(b'0'), Just(b'1'), Just(b'2'), Just(b'5'), Just(b'6'), Just(b'S'), any::<u8>()], 10),
        links in proptest::collection::vec("[./a]{0,12}", 10),
    ) {
        let mut raw = Raw::default();
        for (n, path) in paths.iter().enumerate() {
            raw = raw.link(EntryType::new(kinds[n]), path, &links[n]);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // What matters is checked inside: nothing outside of the layer changes.
        runtime.block_on(unpack_raw(raw.end()));
    }
}
