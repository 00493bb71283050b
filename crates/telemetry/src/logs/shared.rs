//! What all calls share: the directory, the index, the groups that are loaded, the segments that are open.

use crate::error::TelemetryError;
use crate::logs::group::Group;
use crate::logs::index::Index;
use crate::logs::segment::{FrameFile, SegmentRow, row_of, sync_dir};
use crate::logs::tail::{Tail, first_seq_of};
use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// Groups kept loaded (with an open tail) when nobody uses them.
const GROUPS_LOADED_MAX: usize = 256;
/// Segments kept open.
const SEGMENTS_OPEN_MAX: usize = 64;
/// How long an opening waits for another process to let the directory go.
const LOCK_WAIT: Duration = Duration::from_secs(3);
/// How often it looks.
const LOCK_RETRY: Duration = Duration::from_millis(50);
/// Prefix of a directory whose group is being deleted.
const DELETED_PREFIX: &str = "deleted-";

#[derive(Debug)]
pub(crate) struct Shared {
    pub dir: PathBuf,
    pub index: Index,
    groups: RwLock<HashMap<String, Arc<Group>>>,
    /// Held while a group is loaded, made or deleted.
    loading: tokio::sync::Mutex<()>,
    open_segments: Mutex<VecDeque<Arc<FrameFile>>>,
    /// Bytes of events that wait in memory.
    pub waiting: Arc<AtomicUsize>,
    /// Locked as long as the process has the directory open.
    _lock: File,
}

impl Shared {
    pub async fn open(dir: &Path) -> Result<Arc<Shared>, TelemetryError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| TelemetryError::io("make log directory", dir, source))?;
        let lock = lock(dir).await?;
        let index = Index::open(dir).await?;
        finish_deletions(dir, &index).await?;
        Ok(Arc::new(Shared {
            dir: dir.to_owned(),
            index,
            groups: RwLock::default(),
            loading: tokio::sync::Mutex::default(),
            open_segments: Mutex::default(),
            waiting: Arc::default(),
            _lock: lock,
        }))
    }

    pub fn group_dir(&self, id: i64) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// Where the directory of a group goes before the group is deleted.
    pub fn deleted_dir(&self, id: i64) -> PathBuf {
        self.dir.join(format!("{DELETED_PREFIX}{id}"))
    }

    pub async fn loading(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.loading.lock().await
    }

    /// The groups that are loaded now.
    pub fn loaded(&self) -> Vec<Arc<Group>> {
        self.groups
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// A group if it is loaded. One that is being deleted counts as not there; whoever then loads it waits for the deletion.
    pub fn group_if_loaded(&self, name: &str) -> Option<Arc<Group>> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups
            .get(name)
            .filter(|group| !group.live().deleted)
            .cloned()
    }

    /// Lets every file go.
    pub async fn close(&self) {
        self.segments_close(|_| true);
        self.groups
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.index.close().await;
    }

    pub fn forget(&self, name: &str) {
        self.groups
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    /// A group, loaded when it is not; none when it does not exist.
    pub async fn group(&self, name: &str) -> Result<Option<Arc<Group>>, TelemetryError> {
        if let Some(group) = self.group_if_loaded(name) {
            return Ok(Some(group));
        }
        let _loading = self.loading().await;
        self.group_load(name).await
    }

    /// A group, made at `created_ms` when it does not exist.
    pub async fn group_ensure(
        &self,
        name: &str,
        created_ms: u64,
    ) -> Result<Arc<Group>, TelemetryError> {
        match self.group_if_loaded(name) {
            Some(group) => Ok(group),
            None => {
                let _loading = self.loading().await;
                self.group_ensure_in_turn(name, created_ms).await
            }
        }
    }

    /// The same for a caller that holds `loading`, so that the group stays as long as that.
    pub async fn group_ensure_in_turn(
        &self,
        name: &str,
        created_ms: u64,
    ) -> Result<Arc<Group>, TelemetryError> {
        if let Some(group) = self.group_load(name).await? {
            return Ok(group);
        }
        self.group_make(name, created_ms).await?;
        let loaded = self.group_load(name).await?;
        loaded.ok_or_else(|| TelemetryError::GroupNotFound {
            group: name.to_owned(),
        })
    }

    /// Makes a group. False when there is one. The caller holds `loading`.
    pub async fn group_make(&self, name: &str, created_ms: u64) -> Result<bool, TelemetryError> {
        let Some(row) = self.index.group_insert(name, created_ms).await? else {
            return Ok(false);
        };
        let dir = self.group_dir(row.id);
        // Only when the index was lost is there a directory already; its events are another group's.
        if dir.exists() {
            let aside = (0..)
                .map(|n| self.dir.join(format!("lost-{}-{n}", row.id)))
                .find(|path| !path.exists());
            let aside = aside.unwrap_or_else(|| self.dir.join("lost"));
            std::fs::rename(&dir, &aside)
                .map_err(|source| TelemetryError::io("set aside", &dir, source))?;
            tracing::error!(path = %aside.display(), "set aside log segments that the index does not know");
        }
        Ok(true)
    }

    /// The group, or the error that it does not exist.
    pub async fn group_existing(&self, name: &str) -> Result<Arc<Group>, TelemetryError> {
        let group = self.group(name).await?;
        group.ok_or_else(|| TelemetryError::GroupNotFound {
            group: name.to_owned(),
        })
    }

    /// Loads a group from disk. The caller holds `loading`.
    async fn group_load(&self, name: &str) -> Result<Option<Arc<Group>>, TelemetryError> {
        if let Some(group) = self.group_if_loaded(name) {
            return Ok(Some(group));
        }
        let Some(row) = self.index.group_find(name).await? else {
            return Ok(None);
        };
        let dir = self.group_dir(row.id);
        let mut segments = self.index.segments(row.id).await?;
        let known = segments.clone();
        let scan_dir = dir.clone();
        let found = blocking(move || recover(&scan_dir, &known)).await?;
        for (segment, parts) in found.finished {
            self.index
                .segment_replace(row.id, &segment, &[], &parts)
                .await?;
            segments.push(segment);
        }
        let waiting = self.waiting.clone();
        let group = Group::new(
            row.id,
            name,
            &dir,
            waiting,
            segments,
            found.tail,
            row.retention_days,
        );
        let group = Arc::new(group);
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        evict(&mut groups);
        groups.insert(name.to_owned(), group.clone());
        Ok(Some(group))
    }

    /// An open segment of a group. The error of a file that is gone is [`is_gone`].
    pub fn segment(
        &self,
        group: &Group,
        row: &SegmentRow,
    ) -> Result<Arc<FrameFile>, TelemetryError> {
        let path = group.dir.join(&row.file);
        {
            let mut open = self
                .open_segments
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(index) = open.iter().position(|segment| segment.path == path)
                && let Some(segment) = open.remove(index)
            {
                open.push_front(segment.clone());
                return Ok(segment);
            }
        }
        let segment = Arc::new(FrameFile::open(&path)?);
        let mut open = self
            .open_segments
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.push_front(segment.clone());
        open.truncate(SEGMENTS_OPEN_MAX);
        Ok(segment)
    }

    /// Closes the segments of files that are removed.
    pub fn segments_close(&self, gone: impl Fn(&Path) -> bool) {
        self.open_segments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|segment| !gone(&segment.path));
    }
}

/// Whether an error says that a file was removed between the listing and the opening.
pub(crate) fn is_gone(error: &TelemetryError) -> bool {
    matches!(error, TelemetryError::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}

/// Runs file work on the threads for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TelemetryError> + Send + 'static,
) -> Result<T, TelemetryError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| TelemetryError::Stopped)?
}

/// Lets groups go that nobody uses and that have nothing in memory, when too many are loaded.
fn evict(groups: &mut HashMap<String, Arc<Group>>) {
    if groups.len() < GROUPS_LOADED_MAX {
        return;
    }
    let mut surplus = groups.len() - GROUPS_LOADED_MAX / 2;
    groups.retain(|_, group| {
        // Nobody else holds it, and nobody can get it while the map is locked for writing.
        let idle = surplus > 0 && Arc::strong_count(group) == 1 && !group.live().is_dirty();
        surplus -= usize::from(idle);
        !idle
    });
}

/// Takes the directory for this process. Waits a moment for a process that was just killed to let go of it.
async fn lock(dir: &Path) -> Result<File, TelemetryError> {
    let path = dir.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| TelemetryError::io("open", &path, source))?;
    let mut waited = Duration::ZERO;
    loop {
        let source = match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => {
                std::io::Error::new(ErrorKind::ResourceBusy, "another process has the logs open")
            }
            Err(std::fs::TryLockError::Error(source)) => source,
        };
        if source.kind() != ErrorKind::ResourceBusy || waited >= LOCK_WAIT {
            return Err(TelemetryError::io("lock", &path, source));
        }
        tokio::time::sleep(LOCK_RETRY).await;
        waited += LOCK_RETRY;
    }
}

/// A deletion moves the directory aside, drops the rows, removes the directory. Goes on from where a crash left it.
async fn finish_deletions(dir: &Path, index: &Index) -> Result<(), TelemetryError> {
    let entries = names(dir)?;
    let marked = entries.iter().filter_map(|name| {
        name.to_str()?
            .strip_prefix(DELETED_PREFIX)?
            .parse::<i64>()
            .ok()
    });
    let marked: Vec<i64> = marked.collect();
    if marked.is_empty() {
        return Ok(());
    }
    let alive = index.group_ids().await?;
    for id in marked {
        let aside = dir.join(format!("{DELETED_PREFIX}{id}"));
        let done = match alive.contains(&id) {
            true => std::fs::rename(&aside, dir.join(id.to_string())),
            false => std::fs::remove_dir_all(&aside),
        };
        done.map_err(|source| TelemetryError::io("finish deleting", &aside, source))?;
    }
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<OsString>, TelemetryError> {
    let io = |source| TelemetryError::io("list log directory", dir, source);
    std::fs::read_dir(dir)
        .map_err(io)?
        .map(|entry| entry.map(|entry| entry.file_name()).map_err(io))
        .collect()
}

type Parts = std::collections::BTreeMap<u64, crate::logs::block::StreamPart>;

/// What the files of a group are besides its known segments.
struct Recovered {
    tail: Option<Tail>,
    /// Tails that another one follows, made into segments.
    finished: Vec<(SegmentRow, Parts)>,
}

/// Looks through a group's directory: removes what a merge or a sealing left behind, opens the tail.
fn recover(dir: &Path, known: &[SegmentRow]) -> Result<Recovered, TelemetryError> {
    if !dir.exists() {
        std::fs::create_dir_all(dir)
            .map_err(|source| TelemetryError::io("make log directory", dir, source))?;
        sync_dir(dir.parent().unwrap_or(dir))?;
    }
    let sealed_to = known.last().map_or(0, |row| row.last_seq);
    let mut tails = Vec::new();
    for name in names(dir)? {
        let Some(name) = name
            .to_str()
            .filter(|name| known.iter().all(|row| row.file != **name))
        else {
            continue;
        };
        match first_seq_of(name) {
            Some(first) if first > sealed_to => tails.push(name.to_owned()),
            // Only merges make other files, from segments that the index still has, or has no longer because it has the merged one.
            _ if name.ends_with(".seg") || name.ends_with(".draft") || name.ends_with(".log") => {
                let path = dir.join(name);
                std::fs::remove_file(&path)
                    .map_err(|source| TelemetryError::io("remove", &path, source))?;
            }
            _ => {}
        }
    }
    tails.sort();
    let last = tails
        .pop()
        .map(|name| Tail::recover(&dir.join(name)))
        .transpose()?;
    let mut finished = Vec::new();
    for name in tails {
        let tail = Tail::recover(&dir.join(&name))?;
        let length = tail.finish()?;
        let parts = crate::logs::segment::parts_of(tail.frames.iter().map(|frame| &frame.block));
        finished.extend(row_of(&tail.frames, name, length).map(|row| (row, parts)));
    }
    Ok(Recovered {
        tail: last,
        finished,
    })
}
