//! The route table on disk, so that a proxy serves before, and without, the control plane. The files hold private keys:
//! only their owner may read them.
//!
//! A table is kept in two parts: a snapshot, and a journal of the changes after it. A change is appended to the journal,
//! which costs what the change is long; when the journal has outgrown the snapshot, it is put aside, a thread writes the
//! two into a new snapshot, and the part that was put aside is removed. After a crash at any moment the files make the
//! table of the last whole change: changes that are in the snapshot already are passed over by their numbers, and what
//! comes after a piece that cannot be understood does not count.
//!
//! While one process takes over from another, both know these files. The next one makes a journal of its own with its first
//! whole table, and what the former one still appends goes to a file that has no name any more; once it is told to
//! retire it writes nothing.

pub mod files;

use apron_link::frame::encode;
use apron_link::proxy::{RouteChange, RouteTable};
use files::{JOURNAL, JOURNAL_ASIDE, Loaded};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use tokio::task::JoinHandle;

/// Length from which a journal is worth compacting, in bytes.
const JOURNAL_BYTES_MIN: u64 = 1 << 20;

/// Most bytes of changes that are kept in memory while the disk does not take them.
const UNWRITTEN_BYTES_MAX: usize = 4 << 20;

/// Keeps the table on disk.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    journal: Option<File>,
    journal_bytes: u64,
    snapshot_bytes: u64,
    /// Changes that the disk has not taken yet; they go to the journal's end.
    unwritten: Vec<u8>,
    /// Changes are missing in the journal: nothing more is appended until there is another snapshot.
    broken: bool,
    retired: bool,
    compaction: Option<JoinHandle<io::Result<u64>>>,
}

impl Keeper {
    /// Reads what a former process kept at `path`. Files that cannot be understood count as none: the control plane sends
    /// the table anew.
    pub fn open(path: PathBuf) -> (Keeper, Option<RouteTable>) {
        let mut keeper = Keeper {
            path,
            journal: None,
            journal_bytes: 0,
            snapshot_bytes: 0,
            unwritten: Vec::new(),
            broken: true,
            retired: false,
            compaction: None,
        };
        let Loaded {
            table,
            snapshot_bytes,
            journal_bytes,
        } = match files::load(&keeper.path) {
            Ok(Some(loaded)) => loaded,
            Ok(None) => return (keeper, None),
            Err(error) => {
                tracing::error!(path = %keeper.path.display(), %error, "the route table on disk is not understood");
                return (keeper, None);
            }
        };
        keeper.snapshot_bytes = snapshot_bytes;
        match files::open_journal(&keeper.path, journal_bytes) {
            Ok(journal) => {
                (keeper.journal, keeper.journal_bytes) = (Some(journal), journal_bytes);
                keeper.broken = false;
            }
            Err(error) => keeper.complain(&error),
        }
        (keeper, Some(table))
    }

    /// Where the snapshot is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps a whole table in the place of everything before it. When this is over, the table is on the disk itself.
    pub async fn replace(&mut self, table: RouteTable) {
        self.compacted().await;
        if self.retired {
            return;
        }
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || {
            let bytes = files::write_snapshot(&path, &table)?;
            files::remove(&path.with_extension(JOURNAL_ASIDE))?;
            files::remove(&path.with_extension(JOURNAL))?;
            Ok((bytes, files::open_journal(&path, 0)?))
        });
        self.unwritten = Vec::new();
        match written
            .await
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
        {
            Ok((bytes, journal)) => {
                (self.snapshot_bytes, self.journal_bytes) = (bytes, 0);
                (self.journal, self.broken) = (Some(journal), false);
            }
            Err(error) => {
                self.broken = true;
                self.complain(&error);
            }
        }
    }

    /// Keeps a change. When this is over, the system has it, and it survives the end of this process; it need not be on
    /// the disk itself yet. That is enough: a machine that lost its power has no instance left that a table could name,
    /// and the control plane, whose rows do survive, sends the table it makes of them.
    pub fn append(&mut self, change: &RouteChange) {
        if self.broken {
            return;
        }
        let appended = encode(change).map_err(io::Error::other).and_then(|bytes| {
            self.unwritten.extend_from_slice(&bytes);
            self.write_unwritten()
        });
        if let Err(error) = appended {
            self.complain(&error);
            if self.unwritten.len() > UNWRITTEN_BYTES_MAX {
                tracing::error!(path = %self.path.display(), "changes of the route table are lost on disk: a process that starts now would serve by an older one");
                (self.unwritten, self.broken) = (Vec::new(), true);
            }
        }
    }

    /// What an earlier attempt left half written is written over.
    fn write_unwritten(&mut self) -> io::Result<()> {
        let journal = self.journal.as_ref().ok_or(io::ErrorKind::NotFound)?;
        journal.write_all_at(&self.unwritten, self.journal_bytes)?;
        self.journal_bytes += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }

    /// Has a thread write a new snapshot if the journal has become long.
    pub async fn compact_if_long(&mut self) {
        if self.compaction.as_ref().is_some_and(|it| !it.is_finished()) {
            return;
        }
        self.compacted().await;
        let left_over = self.path.with_extension(JOURNAL_ASIDE).exists();
        let long = self.journal_bytes > JOURNAL_BYTES_MIN.max(self.snapshot_bytes);
        if self.broken || !(long || left_over) {
            return;
        }
        if !left_over && let Err(error) = self.put_journal_aside() {
            return self.complain(&error);
        }
        let path = self.path.clone();
        self.compaction = Some(tokio::task::spawn_blocking(move || files::compact(&path)));
    }

    /// Keeps nothing any more: another process does.
    pub fn retire(&mut self) {
        self.retired = true;
        self.stop();
    }

    /// Keeps no changes until there is another whole table.
    fn stop(&mut self) {
        (self.journal, self.broken, self.unwritten) = (None, true, Vec::new());
    }

    /// Whether another process has put its own journal in the place of this one's.
    fn is_superseded(&self) -> io::Result<bool> {
        let identity = |it: std::fs::Metadata| (it.dev(), it.ino());
        let ours = self.journal.as_ref().map(File::metadata).transpose()?;
        let named = std::fs::metadata(self.path.with_extension(JOURNAL))?;
        Ok(ours.map(identity) != Some(identity(named)))
    }

    fn put_journal_aside(&mut self) -> io::Result<()> {
        if self.is_superseded()? {
            self.stop();
            return Err(io::Error::other("another process keeps it now"));
        }
        std::fs::rename(
            self.path.with_extension(JOURNAL),
            self.path.with_extension(JOURNAL_ASIDE),
        )?;
        // From here on the old file must not be appended to: what stands aside is about to be read.
        (self.journal, self.journal_bytes) = (None, 0);
        self.journal = Some(files::open_journal(&self.path, 0)?);
        Ok(())
    }

    /// Waits for the end of a compaction.
    async fn compacted(&mut self) {
        if let Some(compaction) = self.compaction.take() {
            match compaction
                .await
                .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            {
                Ok(bytes) => self.snapshot_bytes = bytes,
                Err(error) => self.complain(&error),
            }
        }
    }

    fn complain(&self, error: &io::Error) {
        tracing::error!(path = %self.path.display(), %error, "the route table cannot be kept on disk");
    }
}

#[cfg(test)]
mod tests;
