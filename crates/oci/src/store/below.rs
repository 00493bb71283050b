//! A part of a layer as a layer.

use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use tar::{Archive, Builder, Entry, EntryType};

/// Copies what is below a directory of an archive, as if the directory were its root.
pub fn copy(archive: impl Read, directory: &str, into: impl Write) -> io::Result<()> {
    let directory = Path::new(directory.trim_matches('/'));
    let mut archive = Archive::new(BufReader::new(archive));
    let mut builder = Builder::new(into);
    builder.mode(tar::HeaderMode::Complete);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        match path.strip_prefix(directory) {
            Ok(below) if !below.as_os_str().is_empty() => {
                put(&mut builder, &mut entry, below, directory)?;
            }
            _ => {}
        }
    }
    builder.finish()
}

fn put(
    builder: &mut Builder<impl Write>,
    entry: &mut Entry<'_, impl Read>,
    path: &Path,
    directory: &Path,
) -> io::Result<()> {
    attributes(builder, entry)?;
    let mut header = entry.header().clone();
    let link = entry.link_name()?.map(|name| name.into_owned());
    match (header.entry_type(), link) {
        // A second name of a file is a path in the archive, a symbolic link's target is none.
        (EntryType::Link, Some(first)) => {
            let first = first.strip_prefix(directory).map(Path::to_owned);
            builder.append_link(&mut header, path, first.map_err(io::Error::other)?)
        }
        (EntryType::Symlink, Some(target)) => builder.append_link(&mut header, path, target),
        (EntryType::Directory, _) => {
            let mut name = PathBuf::from(path);
            name.push("");
            builder.append_data(&mut header, name, io::empty())
        }
        _ => builder.append_data(&mut header, path, entry),
    }
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
        let mut bytes = Vec::new();
        copy(
            builder.into_inner().unwrap().as_slice(),
            "/root",
            &mut bytes,
        )
        .unwrap();
        let mut archive = Archive::new(bytes.as_slice());
        let said = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let attributes = entry
                .pax_extensions()
                .unwrap()
                .into_iter()
                .flatten()
                .count();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let (header, link) = (entry.header(), entry.link_name().unwrap());
            let link = link
                .map(|link| link.display().to_string())
                .unwrap_or_default();
            let owner = (
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.mtime().unwrap(),
            );
            assert_eq!((owner, header.mode().unwrap()), ((7, 8, 9), 0o640));
            format!(
                "{} {content}{link} {attributes}",
                entry.path().unwrap().display()
            )
        });
        let said: Vec<String> = said.collect();
        let expected = [
            "etc/  0",
            &format!("{long} long 0"),
            "a one 1",
            "b a 0",
            "c /root/a 0",
        ];
        assert_eq!(said, expected);
    }
}
