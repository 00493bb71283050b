//! Content by digest, and which repositories have it.

use super::ContentStore;
use super::disk::{Disk, is_absent};
use crate::digest::RunningDigest;
use crate::reference::check_repository;
use crate::{Digest, OciError};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// How much of a file is read at once when its digest is computed, in bytes.
const READ_BYTES: usize = 1024 * 1024;

impl ContentStore {
    /// The size of content of a repository, `None` when it does not have it. The content is kept for the grace time
    /// from now, for clients leave out what they were told is there.
    pub(crate) async fn layer_size(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<u64>, OciError> {
        check_repository(repository)?;
        let (repository, digest) = (repository.to_owned(), digest.clone());
        self.run(move |disk| disk.layer_size(&repository, &digest))
            .await
    }

    /// Opens content of a repository.
    pub(crate) async fn layer_open(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<(File, u64)>, OciError> {
        check_repository(repository)?;
        let (repository, digest) = (repository.to_owned(), digest.clone());
        let open = move |disk: &Arc<Disk>| match disk.is_linked(&repository, &digest)? {
            true => disk.blob_open(&digest),
            false => Ok(None),
        };
        self.run(open).await
    }

    /// Makes content of one repository part of another; false when the first does not have it.
    pub(crate) async fn layer_mount(
        &self,
        from: &str,
        to: &str,
        digest: &Digest,
    ) -> Result<bool, OciError> {
        check_repository(from)?;
        check_repository(to)?;
        let (from, to, digest) = (from.to_owned(), to.to_owned(), digest.clone());
        let mount = move |disk: &Arc<Disk>| {
            let _kept = disk.rely();
            if !disk.is_linked(&from, &digest)? || !disk.refresh(&digest)? {
                return Ok(false);
            }
            disk.link_layer(&to, &digest).map(|()| true)
        };
        self.run(mount).await
    }

    /// Takes content out of a repository; false when it does not have it. The bytes go with the next collection.
    pub(crate) async fn layer_delete(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool, OciError> {
        check_repository(repository)?;
        let (repository, digest) = (repository.to_owned(), digest.clone());
        self.run(move |disk| disk.remove_durable(&disk.layer_link(&repository, &digest)))
            .await
    }

    /// Opens content for reading, whichever repository has it.
    pub(crate) fn blob_open(&self, digest: &Digest) -> Result<Option<(File, u64)>, OciError> {
        self.disk.blob_open(digest)
    }

    /// Reads content of bounded size, whichever repository has it.
    pub(crate) async fn small_blob(
        &self,
        digest: &Digest,
        bound: u64,
    ) -> Result<Vec<u8>, OciError> {
        let digest = digest.clone();
        self.run(move |disk| {
            disk.blob_read(&digest, bound)?
                .ok_or(OciError::BlobUnknown(digest))
        })
        .await
    }

    /// Reads content again and removes it when it is not what its digest says; tells whether it was.
    pub(crate) async fn blob_removed_if_damaged(&self, digest: &Digest) -> Result<bool, OciError> {
        let digest = digest.clone();
        let check = move |disk: &Arc<Disk>| {
            let Some((file, _)) = disk.blob_open(&digest)? else {
                return Ok(false);
            };
            let failed = |e| OciError::io(format!("read blob {digest}"), e);
            if digest_of(file).map_err(failed)? == digest {
                return Ok(false);
            }
            tracing::error!(%digest, "stored content is damaged and was removed");
            disk.remove_durable(&disk.blob(&digest)).map(|_| true)
        };
        self.run(check).await
    }

    /// Starts writing content that does not come through an upload.
    pub(crate) fn ingest(&self) -> Result<Ingest, OciError> {
        Ingest::start(&self.disk)
    }

    /// Whether content is stored; if so it is kept for the grace time from now.
    pub(crate) fn blob_refresh(&self, digest: &Digest) -> Result<bool, OciError> {
        let _kept = self.disk.rely();
        self.disk.refresh(digest)
    }
}

impl Disk {
    pub(super) fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, OciError> {
        match fs::metadata(self.blob(digest)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(OciError::io(format!("look for blob {digest}"), e)),
        }
    }

    pub(super) fn blob_open(&self, digest: &Digest) -> Result<Option<(File, u64)>, OciError> {
        let opened = match File::open(self.blob(digest)) {
            Ok(file) => file.metadata().map(|metadata| Some((file, metadata.len()))),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(e),
        };
        opened.map_err(|e| OciError::io(format!("open blob {digest}"), e))
    }

    /// Reads content of bounded size; `None` when it is not stored.
    pub(super) fn blob_read(
        &self,
        digest: &Digest,
        bound: u64,
    ) -> Result<Option<Vec<u8>>, OciError> {
        let Some((file, size)) = self.blob_open(digest)? else {
            return Ok(None);
        };
        if size > bound {
            return Err(OciError::TooLarge {
                what: format!("blob {digest}"),
                bound,
            });
        }
        let mut bytes = Vec::new();
        file.take(bound)
            .read_to_end(&mut bytes)
            .map_err(|e| OciError::io(format!("read blob {digest}"), e))?;
        Ok(Some(bytes))
    }

    pub(super) fn layer_link(&self, repository: &str, digest: &Digest) -> PathBuf {
        self.repository(repository, "_layers").join(digest.hex())
    }

    pub(super) fn is_linked(&self, repository: &str, digest: &Digest) -> Result<bool, OciError> {
        let link = self.layer_link(repository, digest);
        link.try_exists().or_else(|e| match is_absent(&e) {
            true => Ok(false),
            false => Err(OciError::io(format!("look for blob {digest}"), e)),
        })
    }

    pub(super) fn link_layer(&self, repository: &str, digest: &Digest) -> Result<(), OciError> {
        match self.is_linked(repository, digest)? {
            true => Ok(()),
            false => self.write_durable(&self.layer_link(repository, digest), b""),
        }
    }

    fn layer_size(&self, repository: &str, digest: &Digest) -> Result<Option<u64>, OciError> {
        let _kept = self.rely();
        match self.is_linked(repository, digest)? && self.refresh(digest)? {
            true => self.blob_size(digest),
            false => Ok(None),
        }
    }

    /// Stores a small blob that is in memory.
    pub(super) fn blob_write(&self, digest: &Digest, bytes: &[u8]) -> Result<(), OciError> {
        match self.refresh(digest)? {
            true => Ok(()),
            false => {
                self.check_space(bytes.len() as u64, &format!("store blob {digest}"))?;
                self.write_durable(&self.blob(digest), bytes)?;
                self.refresh(digest).map(|_| ())
            }
        }
    }
}

/// The digest of what a file has from where it stands.
pub(super) fn digest_of(mut file: impl Read) -> io::Result<Digest> {
    let mut running = RunningDigest::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(running.finish()),
            count => running.update(&buffer[..count]),
        }
    }
}

/// Content being written, with its digest running along. Dropped before [`Ingest::commit`], it leaves nothing.
pub(crate) struct Ingest {
    disk: Arc<Disk>,
    path: PathBuf,
    file: File,
    running: RunningDigest,
}

impl Ingest {
    fn start(disk: &Arc<Disk>) -> Result<Ingest, OciError> {
        let path = disk.tmp_file()?;
        let file = File::create_new(&path)
            .map_err(|e| OciError::io(format!("create {}", disk.shown(&path)), e))?;
        Ok(Ingest {
            disk: Arc::clone(disk),
            path,
            file,
            running: RunningDigest::new(),
        })
    }

    /// How many bytes were written.
    pub(crate) fn length(&self) -> u64 {
        self.running.length()
    }

    /// Starts again from nothing.
    pub(crate) fn restart(&mut self) -> Result<(), OciError> {
        self.running = RunningDigest::new();
        let rewound = self
            .file
            .set_len(0)
            .and_then(|()| io::Seek::rewind(&mut self.file));
        rewound.map_err(|e| OciError::io("start content again", e))
    }

    /// Writes more bytes (blocking).
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), OciError> {
        self.disk
            .check_space(bytes.len() as u64, "store image content")?;
        self.file
            .write_all(bytes)
            .map_err(|e| OciError::io("store image content", e))?;
        self.running.update(bytes);
        Ok(())
    }

    /// Makes the content visible under its digest when it is the expected one (blocking).
    pub(crate) fn commit(self, expected: &Digest) -> Result<(), OciError> {
        let actual = self.running.clone().finish();
        if actual != *expected {
            return Err(OciError::DigestMismatch {
                expected: expected.clone(),
                actual,
            });
        }
        let failed = |e| OciError::io(format!("store blob {expected}"), e);
        // Before anybody is held back: syncing a large layer takes its time.
        self.file.sync_all().map_err(failed)?;
        let _kept = self.disk.rely();
        self.disk
            .publish(&self.path, &self.disk.blob(expected))
            .map_err(failed)?;
        self.disk.refresh(expected).map(|_| ())
    }
}

impl Ingest {
    /// Makes the content visible under the digest that it has (blocking).
    pub(crate) fn finish(self) -> Result<Digest, OciError> {
        let digest = self.running.clone().finish();
        self.commit(&digest).map(|()| digest)
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        // After a commit the name is gone already; otherwise what cannot be removed now goes with a collection.
        let _ = fs::remove_file(&self.path);
    }
}
