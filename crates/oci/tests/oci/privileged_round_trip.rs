//! Property tests of unpacking, with GNU tar as the oracle. Needs root, as unpacking does.

use crate::archives::{Raw, unpack_raw};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use tar::EntryType;

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
