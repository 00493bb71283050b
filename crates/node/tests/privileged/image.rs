//! Images made on the spot, put into a content store as a pushed image would be.

use apron_domain::Digest;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Where a static busybox is: Debian's package busybox-static.
pub fn busybox() -> PathBuf {
    ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("a static busybox; install the package busybox-static")
}

/// A layer under construction.
pub struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Layer {
        Layer(tar::Builder::new(Vec::new()))
    }

    /// A file with its mode.
    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Layer {
        let mut header = header();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_entry_type(tar::EntryType::Regular);
        self.0.append_data(&mut header, path, content).unwrap();
        self
    }

    /// A symbolic link.
    pub fn link(mut self, path: &str, target: &str) -> Layer {
        let mut header = header();
        header.set_size(0);
        header.set_mode(0o777);
        header.set_entry_type(tar::EntryType::Symlink);
        self.0.append_link(&mut header, path, target).unwrap();
        self
    }

    /// An empty directory.
    pub fn directory(mut self, path: &str, mode: u32) -> Layer {
        let mut header = header();
        header.set_size(0);
        header.set_mode(mode);
        header.set_entry_type(tar::EntryType::Directory);
        self.0
            .append_data(&mut header, path, std::io::empty())
            .unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn header() -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// Busybox with its applets and the accounts of a small distribution.
pub fn busybox_layer() -> Layer {
    let program = std::fs::read(busybox()).unwrap();
    let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/srv/web:/bin/sh\n";
    let group = "root:x:0:\nweb:x:102:\nlogs:x:300:web\n";
    let mut layer = Layer::new()
        .file("bin/busybox", 0o755, &program)
        .file("etc/passwd", 0o644, passwd.as_bytes())
        .file("etc/group", 0o644, group.as_bytes())
        .file("www/index.html", 0o644, b"hello from busybox\n")
        .directory("tmp", 0o1777);
    for applet in [
        "sh", "httpd", "cat", "ls", "id", "env", "pwd", "echo", "sleep", "wget", "nc", "mount",
        "umount", "mknod", "dd", "ps", "kill", "hostname", "head", "tail", "grep", "touch", "rm",
        "mkdir", "stat", "ip", "ping", "unshare", "chroot", "su", "seq", "yes", "awk", "test",
        "true", "false", "date", "df", "chown", "chmod", "readlink", "nslookup",
    ] {
        layer = layer.link(&format!("bin/{applet}"), "busybox");
    }
    layer
}

/// Puts an image into the store in `root` and gives its manifest's digest.
pub fn put(root: &Path, layers: Vec<Layer>, config: Value) -> Digest {
    let (mut descriptors, mut diff_ids) = (Vec::new(), Vec::new());
    for layer in layers {
        let bytes = layer.bytes();
        let digest = blob(root, &bytes);
        diff_ids.push(digest.clone());
        descriptors.push(json!({"mediaType": LAYER, "digest": digest, "size": bytes.len()}));
    }
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": blob(root, config.as_bytes()), "size": config.len(),
        },
        "layers": descriptors,
    });
    Digest::parse(&blob(root, manifest.to_string().as_bytes())).unwrap()
}

fn blob(root: &Path, bytes: &[u8]) -> String {
    let digest = apron_oci::Digest::of(bytes).to_string();
    let directory = root.join("blobs/sha256");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(digest.trim_start_matches("sha256:")), bytes).unwrap();
    digest
}
