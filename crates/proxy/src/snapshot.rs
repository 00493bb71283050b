//! The last applied route table on disk, so that a proxy serves before, and without, the control plane. The file holds
//! private keys: only its owner may read it.

use apron_link::proxy::RouteTable;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Reads the table, if there is one. A file that cannot be understood counts as none: the control plane sends another.
pub fn read(path: &Path) -> Option<RouteTable> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "the route table on disk cannot be read");
            return None;
        }
    };
    match decode(&bytes) {
        Ok(table) => Some(table),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "the route table on disk is not understood");
            None
        }
    }
}

fn decode(bytes: &[u8]) -> Result<RouteTable, String> {
    let mut decoder = apron_link::frame::Decoder::default();
    decoder.push(bytes);
    decoder
        .next()
        .map_err(|error| error.to_string())?
        .ok_or_else(|| "the file is cut short".to_owned())
}

/// Replaces the table: after a crash at any moment the file has the old or the new one.
pub fn write(path: &Path, table: &RouteTable) -> io::Result<()> {
    let bytes = apron_link::frame::encode(table).map_err(io::Error::other)?;
    let temporary = path.with_extension("new");
    // A file left over from a crash may have been made with other permissions.
    let _ = std::fs::remove_file(&temporary);
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
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_table_survives_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("routes.json");
        assert_eq!(read(&path), None);
        for generation in [1, 2] {
            let table = RouteTable {
                generation,
                ..RouteTable::default()
            };
            write(&path, &table).unwrap();
            assert_eq!(read(&path), Some(table));
        }
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("routes.json");
        std::fs::write(&path, b"\0\0\0\x05{tru").unwrap();
        assert_eq!(read(&path), None);
    }
}
