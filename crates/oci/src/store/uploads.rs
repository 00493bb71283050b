//! Open uploads: content on its way in, which may stop and go on.
//!
//! The length of the file is the truth. The running digest is in memory only; after a restart the file is read again
//! when the upload is finished. A chunk that could not be written whole is cut off again.

use super::ContentStore;
use super::blobs::digest_of;
use super::disk::{Disk, is_absent, lock, random_id};
use crate::digest::RunningDigest;
use crate::reference::check_repository;
use crate::{Digest, OciError, clock};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

/// Length of an upload's id in hexadecimal digits.
const ID_DIGITS: usize = 32;

/// An open upload.
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) repository: String,
    directory: PathBuf,
    state: Arc<tokio::sync::Mutex<State>>,
    /// Cancelled when a newer request wants to write: the older one's connection is dead without knowing.
    turn: Mutex<CancellationToken>,
}

struct State {
    file: File,
    running: RunningDigest,
    length: u64,
    finished: bool,
}

/// The right to write to an upload; there is one at a time.
pub(crate) struct Writer {
    session: Arc<Session>,
    state: OwnedMutexGuard<State>,
    superseded: CancellationToken,
}

impl ContentStore {
    /// Opens an upload for a repository.
    pub(crate) async fn upload_begin(&self, repository: &str) -> Result<Arc<Session>, OciError> {
        check_repository(repository)?;
        let repository = repository.to_owned();
        self.run(move |disk| disk.upload_begin(&repository)).await
    }

    /// Finds an open upload, also one that a former process left.
    pub(crate) async fn upload_find(
        &self,
        repository: &str,
        id: &str,
    ) -> Result<Arc<Session>, OciError> {
        check_repository(repository)?;
        let (repository, id) = (repository.to_owned(), id.to_owned());
        self.run(move |disk| disk.upload_find(&repository, &id))
            .await
    }

    /// Writes bytes to the end of an upload.
    pub(crate) async fn upload_append(
        &self,
        mut writer: Writer,
        bytes: Vec<u8>,
    ) -> Result<Writer, OciError> {
        self.run(move |disk| {
            let written = writer.append(disk, &bytes);
            if let Err(OciError::DiskFull { .. }) = written {
                // What is there cannot grow: give the space back, the client starts again once there is room.
                writer.discard(disk)?;
            }
            written.map(|()| writer)
        })
        .await
    }

    /// Makes an upload's content part of its repository when its digest is the expected one; the upload is over
    /// either way, unless writing to the disk failed.
    pub(crate) async fn upload_finish(
        &self,
        mut writer: Writer,
        expected: &Digest,
    ) -> Result<(), OciError> {
        let expected = expected.clone();
        self.run(move |disk| writer.finish(disk, &expected)).await
    }

    /// Gives an upload up.
    pub(crate) async fn upload_cancel(&self, mut writer: Writer) -> Result<(), OciError> {
        self.run(move |disk| writer.discard(disk)).await
    }
}

impl Session {
    /// Waits for the right to write. Whoever has it is told to stop: a client that asks again has given its earlier
    /// request up, even when that connection still looks alive.
    pub(crate) async fn writer(self: Arc<Session>) -> Result<Writer, OciError> {
        let superseded = CancellationToken::new();
        let former = std::mem::replace(&mut *lock(&self.turn), superseded.clone());
        former.cancel();
        let state = Arc::clone(&self.state).lock_owned().await;
        if state.finished {
            return Err(OciError::UploadUnknown(self.id.clone()));
        }
        Ok(Writer {
            session: self,
            state,
            superseded,
        })
    }
}

impl Writer {
    /// Bytes the upload has.
    pub(crate) fn length(&self) -> u64 {
        self.state.length
    }

    /// Cancelled when a newer request wants to write.
    pub(crate) fn superseded(&self) -> CancellationToken {
        self.superseded.clone()
    }

    fn append(&mut self, disk: &Disk, bytes: &[u8]) -> Result<(), OciError> {
        let what = || format!("store an upload for {}", self.session.repository);
        disk.check_space(bytes.len() as u64, &what())?;
        let start = self.state.length;
        if let Err(error) = self.state.file.write_all_at(bytes, start) {
            // Should cutting fail too, the length in memory still is what counts for this process, and the digest
            // check at the end for a later one.
            let _ = self.state.file.set_len(start);
            return Err(OciError::io(what(), error));
        }
        if self.state.running.length() == start {
            self.state.running.update(bytes);
        }
        self.state.length += bytes.len() as u64;
        Ok(())
    }

    fn finish(&mut self, disk: &Disk, expected: &Digest) -> Result<(), OciError> {
        let failed = |e| OciError::io(format!("store blob {expected}"), e);
        let actual = self.digest().map_err(failed)?;
        if actual != *expected {
            self.discard(disk)?;
            return Err(OciError::DigestMismatch {
                expected: expected.clone(),
                actual,
            });
        }
        self.state.file.sync_all().map_err(failed)?;
        let _kept = disk.rely();
        // A rename, not a link: the upload must not be able to grow the blob after a crash between two steps.
        disk.publish(&self.session.directory.join("data"), &disk.blob(expected))
            .map_err(failed)?;
        disk.refresh(expected)?;
        disk.link_layer(&self.session.repository, expected)?;
        self.discard(disk)
    }

    /// The digest of all bytes; those that came before a restart are read again.
    fn digest(&self) -> io::Result<Digest> {
        match self.state.running.length() == self.state.length {
            true => Ok(self.state.running.clone().finish()),
            false => {
                let file = File::open(self.session.directory.join("data"))?;
                digest_of(file.take(self.state.length))
            }
        }
    }

    fn discard(&mut self, disk: &Disk) -> Result<(), OciError> {
        self.state.finished = true;
        lock(&disk.sessions).remove(&self.session.id);
        disk.discard_directory(&self.session.directory)
    }
}

impl Disk {
    fn upload_begin(&self, repository: &str) -> Result<Arc<Session>, OciError> {
        self.check_space(0, &format!("open an upload for {repository}"))?;
        if self.entries(&self.uploads())?.len() >= self.bounds.uploads_max {
            self.expire_uploads(clock::now_ms())?;
            if self.entries(&self.uploads())?.len() >= self.bounds.uploads_max {
                return Err(OciError::TooManyUploads(self.bounds.uploads_max));
            }
        }
        let id = random_id()?;
        let directory = self.uploads().join(&id);
        let made = fs::create_dir(&directory)
            .and_then(|()| fs::write(directory.join("repository"), repository))
            .and_then(|()| File::create_new(directory.join("data")))
            .map_err(|e| OciError::io(format!("open an upload for {repository}"), e));
        let file = match made {
            Ok(file) => file,
            Err(e) => {
                self.discard_directory(&directory)?;
                return Err(e);
            }
        };
        let session = Arc::new(session_of(&id, repository, directory, file, 0));
        lock(&self.sessions).insert(id, Arc::clone(&session));
        Ok(session)
    }

    fn upload_find(&self, repository: &str, id: &str) -> Result<Arc<Session>, OciError> {
        let unknown = || OciError::UploadUnknown(crate::reference::excerpt(id));
        if id.len() != ID_DIGITS || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        let mut sessions = lock(&self.sessions);
        let session = match sessions.get(id) {
            Some(session) => Arc::clone(session),
            None => {
                let session = Arc::new(self.upload_load(id)?.ok_or_else(unknown)?);
                sessions.insert(id.to_owned(), Arc::clone(&session));
                session
            }
        };
        match session.repository == repository {
            true => Ok(session),
            false => Err(unknown()),
        }
    }

    fn upload_load(&self, id: &str) -> Result<Option<Session>, OciError> {
        let directory = self.uploads().join(id);
        let Some(repository) = self.read_small(&directory.join("repository"))? else {
            return Ok(None);
        };
        let opened = OpenOptions::new().write(true).open(directory.join("data"));
        let found = match opened {
            Ok(file) => file.metadata().map(|metadata| Some((file, metadata.len()))),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(e),
        };
        let found = found.map_err(|e| OciError::io(format!("open upload {id}"), e))?;
        let repository = String::from_utf8_lossy(&repository);
        Ok(found.map(|(file, length)| session_of(id, &repository, directory, file, length)))
    }

    /// Removes uploads that have rested too long.
    pub(super) fn expire_uploads(&self, now_ms: u64) -> Result<(), OciError> {
        for entry in self.entries(&self.uploads())? {
            let path = entry.path();
            if now_ms.saturating_sub(self.last_change_ms(&path)) >= self.bounds.upload_age_ms {
                self.discard_upload(&path)?;
            }
        }
        Ok(())
    }

    /// Removes the open uploads of a repository.
    pub(super) fn discard_uploads(&self, repository: &str) -> Result<(), OciError> {
        for entry in self.entries(&self.uploads())? {
            let owner = self.read_small(&entry.path().join("repository"))?;
            if owner.as_deref() == Some(repository.as_bytes()) {
                self.discard_upload(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes an upload that nobody writes to at this moment.
    fn discard_upload(&self, directory: &Path) -> Result<(), OciError> {
        let id = directory
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let session = lock(&self.sessions).get(id).cloned();
        let Some(session) = session else {
            return self.discard_directory(directory);
        };
        let Ok(mut state) = session.state.try_lock() else {
            return Ok(());
        };
        state.finished = true;
        lock(&self.sessions).remove(id);
        self.discard_directory(directory)
    }

    fn last_change_ms(&self, directory: &Path) -> u64 {
        let modified = |path: &Path| {
            fs::metadata(path)
                .and_then(|metadata| metadata.modified())
                .ok()
        };
        modified(&directory.join("data"))
            .or_else(|| modified(directory))
            .map_or(0, clock::to_ms)
    }

    /// Removes a directory at once, as seen from its place: it is moved to `tmp/` and removed there.
    pub(super) fn discard_directory(&self, directory: &Path) -> Result<(), OciError> {
        let rubbish = self.tmp_file()?;
        let removed = match fs::rename(directory, &rubbish) {
            Ok(()) => fs::remove_dir_all(&rubbish),
            Err(e) if is_absent(&e) => Ok(()),
            Err(e) => Err(e),
        };
        removed.map_err(|e| OciError::io(format!("remove {}", self.shown(directory)), e))
    }
}

fn session_of(id: &str, repository: &str, directory: PathBuf, file: File, length: u64) -> Session {
    let state = State {
        file,
        running: RunningDigest::new(),
        length,
        finished: false,
    };
    Session {
        id: id.to_owned(),
        repository: repository.to_owned(),
        directory,
        state: Arc::new(tokio::sync::Mutex::new(state)),
        turn: Mutex::new(CancellationToken::new()),
    }
}
