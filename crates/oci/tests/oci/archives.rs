//! Archives made for tests, also such as no tool would write, and unpacking them.

use crate::images::store_layer;
use crate::server::TestServer;
use apron_oci::{UnpackBounds, UnpackError, UnpackReport, unpack};
use std::fs;
use std::path::PathBuf;
use tar::{EntryType, Header};
use tempfile::TempDir;

/// An archive written entry by entry, with names that the `tar` crate would refuse to write.
#[derive(Default)]
pub struct Raw(pub Vec<u8>);

impl Raw {
    pub fn header(kind: EntryType, path: &str, size: u64) -> Header {
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

    pub fn push(mut self, mut header: Header, content: &[u8]) -> Raw {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn entry(self, kind: EntryType, path: &str, content: &[u8]) -> Raw {
        let header = Raw::header(kind, path, content.len() as u64);
        self.push(header, content)
    }

    pub fn file(self, path: &str, content: &str) -> Raw {
        self.entry(EntryType::Regular, path, content.as_bytes())
    }

    pub fn directory(self, path: &str) -> Raw {
        self.entry(EntryType::Directory, path, b"")
    }

    pub fn link(self, kind: EntryType, path: &str, to: &str) -> Raw {
        let mut header = Raw::header(kind, path, 0);
        header.as_gnu_mut().unwrap().linkname[..to.len()].copy_from_slice(to.as_bytes());
        self.push(header, b"")
    }

    pub fn pax(self, records: &[(&str, &[u8])]) -> Raw {
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

    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub struct Unpacked {
    pub directory: TempDir,
    pub result: Result<UnpackReport, UnpackError>,
}

impl Unpacked {
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("layers/layer")
    }

    #[track_caller]
    pub fn good(&self) -> PathBuf {
        if let Err(error) = &self.result {
            panic!("{error}");
        }
        self.path()
    }

    /// Checks that it failed with some text, and that nothing is left.
    #[track_caller]
    pub fn refused(&self, text: &str) {
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

pub async fn unpack_stored(stored: &[u8], archive: &[u8], bounds: &UnpackBounds) -> Unpacked {
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

pub async fn unpack_raw(archive: Vec<u8>) -> Unpacked {
    unpack_stored(&archive, &archive, &UnpackBounds::default()).await
}
