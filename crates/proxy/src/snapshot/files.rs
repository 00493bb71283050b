//! The files a route table is kept in: how they are read, written and merged.

use apron_link::frame::{Decoder, encode};
use apron_link::proxy::{Certificate, Route, RouteChange, RouteTable};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Extension of the journal, beside the snapshot.
pub const JOURNAL: &str = "journal";

/// Extension of a journal that is being made part of the snapshot.
pub const JOURNAL_ASIDE: &str = "journal-aside";

/// What the files say.
#[derive(Debug)]
pub struct Loaded {
    /// The table.
    pub table: RouteTable,
    /// Length of the snapshot.
    pub snapshot_bytes: u64,
    /// Length of the part of the journal that counts.
    pub journal_bytes: u64,
}

/// A table by its parts, so that a change costs what is in it.
#[derive(Debug, Default)]
struct Parts {
    generation: u64,
    certificates: BTreeMap<String, Certificate>,
    routes: BTreeMap<String, Route>,
}

impl Parts {
    fn new(table: RouteTable) -> Parts {
        let certificates = table.certificates.into_iter();
        let routes = table.routes.into_iter();
        Parts {
            generation: table.generation,
            certificates: certificates.map(|it| (it.id.clone(), it)).collect(),
            routes: routes.map(|it| (it.service.clone(), it)).collect(),
        }
    }

    /// Answers whether the change counts: it is the next one, or in the table already.
    fn apply(&mut self, change: RouteChange) -> bool {
        if change.generation <= self.generation {
            return true;
        }
        if change.base != self.generation {
            return false;
        }
        self.generation = change.generation;
        for id in &change.removed {
            self.routes.remove(id);
        }
        for id in &change.removed_certificates {
            self.certificates.remove(id);
        }
        let routes = change.routes.into_iter();
        self.routes
            .extend(routes.map(|it| (it.service.clone(), it)));
        let certificates = change.certificates.into_iter();
        self.certificates
            .extend(certificates.map(|it| (it.id.clone(), it)));
        true
    }

    fn table(self) -> RouteTable {
        RouteTable {
            generation: self.generation,
            certificates: self.certificates.into_values().collect(),
            routes: self.routes.into_values().collect(),
        }
    }
}

/// Reads snapshot and journals; `None` if there is no snapshot.
pub fn load(path: &Path) -> io::Result<Option<Loaded>> {
    let Some(snapshot) = read(path)? else {
        return Ok(None);
    };
    let (table, _) = message::<RouteTable>(&snapshot)
        .ok_or_else(|| io::Error::other("the snapshot is damaged or cut short"))?;
    let mut parts = Parts::new(table);
    let aside = read(&path.with_extension(JOURNAL_ASIDE))?.unwrap_or_default();
    replay(&mut parts, &aside);
    let journal = read(&path.with_extension(JOURNAL))?.unwrap_or_default();
    let journal_bytes = replay(&mut parts, &journal);
    Ok(Some(Loaded {
        table: parts.table(),
        snapshot_bytes: snapshot.len() as u64,
        journal_bytes,
    }))
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The message that `bytes` begin with, and its length.
fn message<T: DeserializeOwned>(bytes: &[u8]) -> Option<(T, usize)> {
    let (prefix, _) = bytes.split_first_chunk::<4>()?;
    let length = 4 + u32::from_be_bytes(*prefix) as usize;
    let mut decoder = Decoder::default();
    decoder.push(bytes.get(..length)?);
    Some((decoder.next().ok()??, length))
}

/// Applies the changes of a journal up to the first piece that is not the next change; answers the length up to there.
fn replay(parts: &mut Parts, journal: &[u8]) -> u64 {
    let mut at = 0;
    while let Some((change, length)) = message(journal.get(at..).unwrap_or_default()) {
        if !parts.apply(change) {
            break;
        }
        at += length;
    }
    at as u64
}

/// Opens the journal for appending after its first `length` bytes; what stands there is cut off.
pub fn open_journal(path: &Path, length: u64) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path.with_extension(JOURNAL))?;
    file.set_len(length)?;
    Ok(file)
}

/// Replaces the snapshot: after a crash at any moment the file has the old or the new one. Answers its length.
pub fn write_snapshot(path: &Path, table: &RouteTable) -> io::Result<u64> {
    let bytes = encode(table).map_err(io::Error::other)?;
    let temporary = path.with_extension("new");
    // A file left over from a crash may have been made with other permissions.
    remove(&temporary)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()?;
    Ok(bytes.len() as u64)
}

/// Makes the journal that was put aside part of the snapshot; answers the snapshot's length.
pub fn compact(path: &Path) -> io::Result<u64> {
    let aside = path.with_extension(JOURNAL_ASIDE);
    let snapshot = std::fs::read(path)?;
    let (table, _) = message::<RouteTable>(&snapshot)
        .ok_or_else(|| io::Error::other("the snapshot is damaged or cut short"))?;
    let mut parts = Parts::new(table);
    replay(&mut parts, &std::fs::read(&aside)?);
    let bytes = write_snapshot(path, &parts.table())?;
    remove(&aside)?;
    Ok(bytes)
}

/// Removes a file, if it is there.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
