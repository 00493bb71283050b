//! The archive inside a layer, entry by entry.
//!
//! Headers are decoded by the `tar` crate; the walk from entry to entry is our own, because the crate's iterator reads
//! long names and extended headers of any size into memory and fills the holes of sparse files with zeros.

use super::Stop;
use super::names::shown;
use super::pax::{self, Records};
use super::sparse::{self, Map, Region};
use super::stream::Input;
use bytes::Bytes;
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

const BLOCK: usize = 512;
/// Largest extended header or long name in bytes; extended attributes are in the former.
const EXTENSION_BYTES_MAX: u64 = 1024 * 1024;

/// One file of the archive.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds and nanoseconds since the Unix epoch.
    pub(super) mtime: (i64, u32),
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry is.
#[derive(Debug)]
pub(super) enum Kind {
    File(Map),
    Directory,
    Symlink(Vec<u8>),
    Hardlink(Vec<u8>),
    Fifo,
    Device,
}

/// Reads the archive.
pub(super) struct Archive {
    input: Input,
    /// Bytes of the current entry's content that were not read.
    content: u64,
    /// Padding after the content.
    padding: u64,
    file_bytes_max: u64,
}

/// What headers in front of an entry say about it.
#[derive(Default)]
struct Extensions {
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    records: Option<Records>,
}

impl Archive {
    pub(super) fn new(input: Input, file_bytes_max: u64) -> Archive {
        Archive {
            input,
            content: 0,
            padding: 0,
            file_bytes_max,
        }
    }

    /// The next entry; `None` at the archive's end. The content of the one before has to be read or skipped.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, Stop> {
        let mut extensions = Extensions::default();
        loop {
            self.skip(self.content + self.padding)?;
            (self.content, self.padding) = (0, 0);
            let Some(block) = self.header_block()? else {
                return Ok(None);
            };
            let header = Header::from_byte_slice(&block);
            check_sum(header)?;
            let size = header.entry_size().map_err(|e| damaged(&e))?;
            match header.entry_type() {
                EntryType::GNULongName => extensions.long_path = Some(self.long_name(size)?),
                EntryType::GNULongLink => extensions.long_link = Some(self.long_name(size)?),
                EntryType::XHeader => {
                    let bytes = self.extension(size)?;
                    extensions.records = Some(pax::parse(&bytes)?);
                }
                EntryType::XGlobalHeader => self.set_content(size)?,
                _ => return self.entry(header, size, extensions).map(Some),
            }
        }
    }

    /// The next bytes of the current entry's content, at most `bound`; `None` when all was read.
    pub(super) fn content(&mut self, bound: u64) -> Result<Option<Bytes>, Stop> {
        if self.content == 0 || bound == 0 {
            return Ok(None);
        }
        let piece = self
            .input
            .next(bound.min(self.content))?
            .ok_or_else(cut_off)?;
        self.content -= piece.len() as u64;
        Ok(Some(piece))
    }

    /// Passes over what was not read of an entry's content.
    pub(super) fn skip_content(&mut self, _entry: &Entry) -> Result<(), Stop> {
        let content = std::mem::take(&mut self.content);
        self.skip(content)
    }

    /// Reads everything after the archive's end, for the digest is of all bytes.
    pub(super) fn drain(&mut self) -> Result<(), Stop> {
        while self.input.next(u64::MAX)?.is_some() {}
        Ok(())
    }

    /// The next header; `None` at a block of zeros or at the end of the stream.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, Stop> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.next((BLOCK - filled) as u64)? {
                Some(piece) => {
                    block[filled..filled + piece.len()].copy_from_slice(&piece);
                    filled += piece.len();
                }
                None if filled == 0 => return Ok(None),
                None => return Err(cut_off()),
            }
        }
        Ok(Some(block).filter(|block| block.iter().any(|b| *b != 0)))
    }

    fn entry(&mut self, header: &Header, size: u64, extensions: Extensions) -> Result<Entry, Stop> {
        let records = extensions.records.unwrap_or_default();
        let path = records
            .sparse
            .name
            .clone()
            .or(records.path.clone())
            .or(extensions.long_path)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = records
            .link_path
            .clone()
            .or(extensions.long_link)
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        let kind = self.kind(header, records.size.unwrap_or(size), &records, &path, link)?;
        let uid = records
            .uid
            .map_or_else(|| number(&header.as_old().uid, header.uid()), Ok)
            .map_err(|e| damaged(&e))?;
        let gid = records
            .gid
            .map_or_else(|| number(&header.as_old().gid, header.gid()), Ok)
            .map_err(|e| damaged(&e))?;
        Ok(Entry {
            kind,
            mode: number(&header.as_old().mode, header.mode()).map_err(|e| damaged(&e))? & 0o7777,
            uid: id(uid, &path)?,
            gid: id(gid, &path)?,
            // A time that cannot be read is no reason to refuse a layer: some tools write negative ones.
            mtime: records.mtime.unwrap_or_else(|| {
                (
                    header
                        .mtime()
                        .ok()
                        .and_then(|s| i64::try_from(s).ok())
                        .unwrap_or(0),
                    0,
                )
            }),
            xattrs: records.xattrs,
            path,
        })
    }

    /// What the entry is. Only files have content, whatever the header says about the size of others.
    fn kind(
        &mut self,
        header: &Header,
        size: u64,
        records: &Records,
        path: &[u8],
        link: Option<Vec<u8>>,
    ) -> Result<Kind, Stop> {
        let link = || match link {
            Some(link) if !link.is_empty() => Ok(link),
            _ => Err(Stop::Invalid(format!(
                "`{}` is a link to nothing",
                shown(path)
            ))),
        };
        match header.entry_type() {
            // The oldest archives have no type for directories.
            EntryType::Regular if path.ends_with(b"/") => Ok(Kind::Directory),
            EntryType::Regular | EntryType::Continuous => {
                self.set_content(size)?;
                self.pax_map(size, records).map(Kind::File)
            }
            EntryType::GNUSparse => {
                let map = self.gnu_map(header, size)?;
                self.set_content(size)?;
                Ok(Kind::File(map))
            }
            EntryType::Link => link().map(Kind::Hardlink),
            EntryType::Symlink => link().map(Kind::Symlink),
            EntryType::Directory => Ok(Kind::Directory),
            EntryType::Fifo => Ok(Kind::Fifo),
            EntryType::Char | EntryType::Block => Ok(Kind::Device),
            other => {
                let (path, byte) = (shown(path), other.as_byte());
                Err(Stop::Invalid(format!(
                    "`{path}` is of unknown type {byte:#04x}"
                )))
            }
        }
    }

    fn pax_map(&mut self, size: u64, records: &Records) -> Result<Map, Stop> {
        let real = records.sparse.real_size();
        match (records.sparse.map_in_data(), real) {
            (true, Some(real)) => sparse::map_from_data(real, size, || self.content_block()),
            _ => Ok(records
                .sparse
                .map(size)?
                .unwrap_or_else(|| Map::whole(size))),
        }
    }

    fn content_block(&mut self) -> Result<[u8; BLOCK], Stop> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let piece = self
                .content((BLOCK - filled) as u64)?
                .ok_or_else(sparse::damaged)?;
            block[filled..filled + piece.len()].copy_from_slice(&piece);
            filled += piece.len();
        }
        Ok(block)
    }

    /// The map in a GNU header and in the blocks that follow it.
    fn gnu_map(&mut self, header: &Header, size: u64) -> Result<Map, Stop> {
        let gnu = header.as_gnu().ok_or_else(sparse::damaged)?;
        let mut regions = Vec::new();
        add_regions(&mut regions, &gnu.sparse)?;
        let mut extended = gnu.is_extended();
        while extended {
            let block = self.header_block()?.ok_or_else(sparse::damaged)?;
            let mut more = GnuExtSparseHeader::new();
            more.as_mut_bytes().copy_from_slice(&block);
            add_regions(&mut regions, &more.sparse)?;
            extended = more.is_extended();
        }
        Map::new(gnu.real_size().map_err(|e| damaged(&e))?, regions, size)
    }

    fn set_content(&mut self, size: u64) -> Result<(), Stop> {
        if size > self.file_bytes_max {
            return Err(Stop::TooLarge(format!(
                "{} bytes of files",
                self.file_bytes_max
            )));
        }
        self.content = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    fn skip(&mut self, mut count: u64) -> Result<(), Stop> {
        while count > 0 {
            let piece = self.input.next(count)?.ok_or_else(cut_off)?;
            count -= piece.len() as u64;
        }
        Ok(())
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Stop> {
        if size > EXTENSION_BYTES_MAX {
            let bound = format!("{EXTENSION_BYTES_MAX} bytes in one extended header");
            return Err(Stop::TooLarge(bound));
        }
        self.set_content(size)?;
        let mut bytes = Vec::new();
        while let Some(piece) = self.content(u64::MAX)? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// A name in an entry of its own, which ends with a zero byte.
    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, Stop> {
        let mut name = self.extension(size)?;
        if let Some(end) = name.iter().position(|b| *b == 0) {
            name.truncate(end);
        }
        Ok(name)
    }
}

fn add_regions(regions: &mut Vec<Region>, headers: &[GnuSparseHeader]) -> Result<(), Stop> {
    for header in headers.iter().filter(|header| !header.is_empty()) {
        sparse::check_count(regions)?;
        regions.push(Region {
            offset: header.offset().map_err(|e| damaged(&e))?,
            length: header.length().map_err(|e| damaged(&e))?,
        });
    }
    Ok(())
}

fn check_sum(header: &Header) -> Result<(), Stop> {
    let bytes = header.as_bytes();
    let sum: u32 = bytes[..148]
        .iter()
        .chain(&bytes[156..])
        .map(|b| u32::from(*b))
        .sum();
    match header.cksum() {
        Ok(expected) if expected == sum + 8 * u32::from(b' ') => Ok(()),
        _ => Err(Stop::Invalid(
            "it is not a tar archive or is damaged: bad checksum".to_owned(),
        )),
    }
}

fn id(value: u64, path: &[u8]) -> Result<u32, Stop> {
    // The highest value means "leave as it is" to the kernel.
    u32::try_from(value)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| Stop::Invalid(format!("`{}` has owner {value}", shown(path))))
}

/// A number of a header; a field that was left empty is zero, as GNU tar and Go read it.
fn number<T: Default>(field: &[u8], read: std::io::Result<T>) -> std::io::Result<T> {
    match field.iter().all(|byte| matches!(byte, 0 | b' ')) {
        true => Ok(T::default()),
        false => read,
    }
}

fn damaged(error: &std::io::Error) -> Stop {
    Stop::Invalid(format!("it has a damaged header: {error}"))
}

fn cut_off() -> Stop {
    Stop::Invalid("it ends in the middle of an entry".to_owned())
}
