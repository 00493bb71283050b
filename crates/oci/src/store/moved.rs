//! A part of a layer as a layer, or a layer below a directory.

use crate::unpack::decoder;
use std::fs::File;
use std::io::{self, Read, Take, Write};
use std::path::{Component, Path, PathBuf};
use tar::{Archive, Builder, Entry, EntryType};

/// What marks a file with holes that was archived without them, in the way of POSIX: what follows is no plain content. Neither is
/// that of GNU's own kind; both can say of a few bytes that they are a file of any size.
const SPARSE: &str = "GNU.sparse.";

/// A way from one directory to another, each a path in an archive.
pub struct Move<'a> {
    /// What is moved: all that is below, or the file.
    pub from: &'a Path,
    /// Where it goes.
    pub to: &'a Path,
    /// Most bytes that are read, uncompressed.
    pub bytes_max: u64,
}

/// Whether a stored layer has any of some paths. What is read of it, uncompressed, is taken from `left`; there must be enough.
pub fn has_any(layer: File, paths: &[&str], left: &mut u64) -> io::Result<bool> {
    within(layer, left, |archive| {
        for entry in archive.entries()? {
            let path = cleaned(&entry?.path()?)?;
            if paths.iter().any(|wanted| path == Path::new(wanted)) {
                return Ok(true);
            }
        }
        Ok(false)
    })
}

/// Copies a part of a stored layer to another place of an archive that is not compressed.
pub fn copy(layer: File, way: &Move<'_>, into: impl Write) -> io::Result<()> {
    let mut builder = Builder::new(into);
    builder.mode(tar::HeaderMode::Complete);
    within(layer, &mut way.bytes_max.clone(), |archive| {
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = cleaned(&entry.path()?)?;
            let Ok(below) = path.strip_prefix(way.from) else {
                continue;
            };
            match below.as_os_str().is_empty() {
                false => put(&mut builder, &mut entry, &way.to.join(below), way)?,
                // What is to be moved is a file itself.
                true if !entry.header().entry_type().is_dir() => {
                    put(&mut builder, &mut entry, way.to, way)?
                }
                true => {}
            }
        }
        Ok(())
    })?;
    builder.finish()
}

/// Reads a stored layer as an archive, as far as there is something left of a bound.
fn within<T>(
    layer: File,
    left: &mut u64,
    read: impl FnOnce(&mut Archive<Take<Box<dyn Read>>>) -> io::Result<T>,
) -> io::Result<T> {
    let mut archive = Archive::new(decoder(layer)?.take(*left));
    let result = read(&mut archive);
    *left = archive.into_inner().limit();
    match *left {
        0 => Err(io::Error::other("it is too large when it is unpacked")),
        _ => result,
    }
}

fn put(
    builder: &mut Builder<impl Write>,
    entry: &mut Entry<'_, impl Read>,
    path: &Path,
    way: &Move<'_>,
) -> io::Result<()> {
    attributes(builder, entry)?;
    let mut header = entry.header().clone();
    let link = entry.link_name()?.map(|name| name.into_owned());
    match (header.entry_type(), link) {
        // A second name of a file is a path in the archive, a symbolic link's target is none.
        (EntryType::Link, Some(first)) => {
            let first = cleaned(&first)?;
            let below = first.strip_prefix(way.from).map_err(io::Error::other)?;
            builder.append_link(&mut header, path, way.to.join(below))
        }
        (EntryType::Symlink, Some(target)) => builder.append_link(&mut header, path, target),
        (EntryType::Directory, _) => {
            let mut name = PathBuf::from(path);
            name.push("");
            header.set_size(0);
            builder.append_data(&mut header, name, io::empty())
        }
        (EntryType::GNUSparse, _) => Err(holes()),
        (EntryType::Regular | EntryType::Continuous, _) => {
            header.set_size(entry.size());
            builder.append_data(&mut header, path, entry)
        }
        _ => builder.append_data(&mut header, path, io::empty()),
    }
}

fn holes() -> io::Error {
    io::Error::other("it has a file that was archived with holes, which cannot be moved")
}

/// A path without what says nothing; one that climbs is refused.
fn cleaned(path: &Path) -> io::Result<PathBuf> {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                let text = format!("the path {} leads out", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(cleaned)
}

/// Extended attributes stand in front of their entry.
fn attributes(
    builder: &mut Builder<impl Write>,
    entry: &mut Entry<'_, impl Read>,
) -> io::Result<()> {
    let mut kept = Vec::new();
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        let name = extension.key().map_err(io::Error::other)?;
        if name.starts_with(SPARSE) {
            return Err(holes());
        }
        if name.starts_with("SCHILY.xattr.") {
            kept.push((name.to_owned(), extension.value_bytes().to_vec()));
        }
    }
    match kept.is_empty() {
        true => Ok(()),
        false => builder.append_pax_extensions(
            kept.iter()
                .map(|(name, value)| (name.as_str(), value.as_slice())),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;
    use tar::Header;

    fn header(kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(9);
        header.set_size(size);
        header
    }

    #[test]
    fn what_is_below_becomes_the_root_with_all_it_has() {
        let long = format!("deep/{}/file", "x".repeat(150));
        let mut builder = Builder::new(Vec::new());
        let mut add = |path: &str, kind, content: &str| {
            let mut header = header(kind, content.len() as u64);
            builder
                .append_data(&mut header, path, content.as_bytes())
                .unwrap();
        };
        add("root/", EntryType::Directory, "");
        add("elsewhere", EntryType::Regular, "no");
        add("rooted", EntryType::Regular, "no");
        add("root/etc/", EntryType::Directory, "");
        add(&format!("root/{long}"), EntryType::Regular, "long");
        builder
            .append_pax_extensions([("SCHILY.xattr.security.capability", &b"rights"[..])])
            .unwrap();
        builder
            .append_data(&mut header(EntryType::Regular, 3), "root/a", &b"one"[..])
            .unwrap();
        for (kind, path, target) in [
            (EntryType::Link, "root/b", "root/a"),
            (EntryType::Symlink, "root/c", "/root/a"),
        ] {
            builder
                .append_link(&mut header(kind, 0), path, target)
                .unwrap();
        }
        let stored = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            file.rewind().unwrap();
            file
        };
        let way = |from, to| Move {
            from: Path::new(from),
            to: Path::new(to),
            bytes_max: 1 << 20,
        };
        let original = builder.into_inner().unwrap();
        let mut left = 1 << 20;
        assert!(has_any(stored(&original), &["x", "root/c"], &mut left).unwrap());
        assert!(!has_any(stored(&original), &["x", "c"], &mut left).unwrap());
        assert!(left < 1 << 20, "nothing was counted");
        let too_large = has_any(stored(&original), &["x"], &mut 1000).unwrap_err();
        assert!(too_large.to_string().contains("too large"), "{too_large}");
        let mut bytes = Vec::new();
        copy(stored(&original), &way("root", ""), &mut bytes).unwrap();
        // There and back again is the same.
        let (mut there, mut back) = (Vec::new(), Vec::new());
        copy(stored(&bytes), &way("", "a/b"), &mut there).unwrap();
        assert!(has_any(stored(&there), &["a/b/c"], &mut left).unwrap());
        copy(stored(&there), &way("a/b", ""), &mut back).unwrap();
        let expected = [
            "etc/  0",
            &format!("{long} long 0"),
            "a one 1",
            "b a 0",
            "c /root/a 0",
        ];
        assert_eq!(said(&bytes), expected);
        assert_eq!(said(&back), expected);
    }

    #[test]
    fn few_bytes_that_say_they_are_many_are_refused() {
        let mut builder = Builder::new(Vec::new());
        let mut sparse = header(EntryType::GNUSparse, 0);
        sparse.set_path("hole").unwrap();
        // Four gigabytes of nothing, and then no bytes.
        let gnu = sparse.as_gnu_mut().unwrap();
        gnu.set_real_size(1 << 32);
        gnu.sparse[0].offset = *b"40000000000\0";
        gnu.sparse[0].numbytes = *b"00000000000\0";
        sparse.set_cksum();
        builder.append(&sparse, io::empty()).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&builder.into_inner().unwrap()).unwrap();
        file.rewind().unwrap();
        let way = Move {
            from: Path::new(""),
            to: Path::new("to"),
            bytes_max: 1 << 20,
        };
        let error = copy(file, &way, io::sink()).unwrap_err().to_string();
        assert!(error.contains("with holes"), "{error}");
    }

    /// Path, content, target and number of attributes of each entry, whose owner and time are as they were.
    fn said(bytes: &[u8]) -> Vec<String> {
        let mut archive = Archive::new(bytes);
        let said = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let attributes = entry.pax_extensions().unwrap();
            let attributes = attributes.into_iter().flatten().count();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let (header, link) = (entry.header(), entry.link_name().unwrap());
            let link = link.map(|link| link.display().to_string());
            let owner = (header.uid().unwrap(), header.gid().unwrap());
            assert_eq!((owner, header.mtime().unwrap()), ((7, 8), 9));
            assert_eq!(header.mode().unwrap(), 0o640);
            let path = entry.path().unwrap().display().to_string();
            format!("{path} {content}{} {attributes}", link.unwrap_or_default())
        });
        said.collect()
    }
}
