//! Segments on disk: their names, their lines, their ends.

use super::Record;
use aws_lc_rs::digest;
use serde_json::Value;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// SHA-256.
pub(super) type Hash = [u8; 32];

const HEADER: &str = "apron audit 1 ";
const SUFFIX: &str = ".audit";
/// Characters of a hash in a line.
const HASH_CHARS: usize = 64;
const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

/// Where the file ends.
pub(super) struct Tail {
    /// The number of the next record.
    pub next: u64,
    /// The hash of the last one.
    pub last: Hash,
    /// The segment to go on with; none: a new one.
    pub file: Option<Open>,
}

/// A segment that is appended to.
pub(super) struct Open {
    pub file: File,
    pub bytes: u64,
    /// The day of its records; none while it has none.
    pub day: Option<u64>,
}

/// A line, taken apart.
pub(super) struct Line<'a> {
    pub hash: Hash,
    pub json: &'a str,
}

/// The day of a time, counted from 1970.
pub(super) fn day(at_ms: u64) -> u64 {
    at_ms / MS_PER_DAY
}

/// Makes the directory, readable by its owner alone.
pub(super) fn prepare(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The JSON of a record.
pub(super) fn line(number: u64, record: Record<'_>) -> String {
    let Record {
        kind,
        id,
        at_ms,
        body,
    } = record;
    let (kind, id) = (kind.word(), Value::from(id));
    format!(r#"{{"n":{number},"at":{at_ms},"kind":"{kind}","id":{id},"body":{body}}}"#)
}

/// The hash of a record behind another one.
pub(super) fn chained(before: &Hash, json: &str) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(before);
    context.update(json.as_bytes());
    let digest = context.finish();
    let mut hash = Hash::default();
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// Appends a line.
pub(super) fn push_line(out: &mut Vec<u8>, hash: &Hash, json: &str) {
    push_hex(out, hash);
    out.push(b' ');
    out.extend_from_slice(json.as_bytes());
    out.push(b'\n');
}

fn push_hex(out: &mut Vec<u8>, hash: &Hash) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in hash {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// A hash in hexadecimal.
pub(super) fn hex(hash: &Hash) -> String {
    let mut out = Vec::with_capacity(HASH_CHARS);
    push_hex(&mut out, hash);
    String::from_utf8(out).expect("hexadecimal digits are ASCII")
}

fn unhex(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if text.len() != HASH_CHARS || !text.is_ascii() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// Takes a line apart; none: it is not one.
pub(super) fn parse(line: &str) -> Option<Line<'_>> {
    let (hash, json) = line.split_at_checked(HASH_CHARS)?;
    Some(Line {
        hash: unhex(hash)?,
        json: json.strip_prefix(' ')?,
    })
}

/// The number of a record.
pub(super) fn number(json: &str) -> Option<u64> {
    let rest = json.strip_prefix(r#"{"n":"#)?;
    rest.split(',').next()?.parse().ok()
}

/// The time of a record, milliseconds since the epoch.
pub(super) fn at_ms(json: &str) -> Option<u64> {
    let (_, rest) = json.split_once(r#","at":"#)?;
    rest.split(',').next()?.parse().ok()
}

/// The hash that a segment begins with.
pub(super) fn begins_with(header: &str) -> Option<Hash> {
    unhex(header.strip_prefix(HEADER)?)
}

/// Begins a segment for a first record.
pub(super) fn begin(dir: &Path, first: u64, before: &Hash, day: u64) -> io::Result<Open> {
    let path = dir.join(format!("{first:020}{SUFFIX}"));
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).mode(0o600).open(&path)?;
    // What a failed attempt left.
    file.set_len(0)?;
    let header = format!("{HEADER}{}\n", hex(before));
    file.write_all(header.as_bytes())?;
    file.sync_all()?;
    File::open(dir)?.sync_all()?;
    Ok(Open {
        file,
        bytes: header.len() as u64,
        day: Some(day),
    })
}

/// The segments, oldest first.
pub(super) fn segments(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.ends_with(SUFFIX)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The text of a segment.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

fn damaged(path: &Path, what: &str) -> io::Error {
    let text = format!("{}: {what}", path.display());
    io::Error::new(ErrorKind::InvalidData, text)
}

/// Finds the end of the file, and cuts off a line that was not written to its end.
pub(super) fn tail(dir: &Path) -> io::Result<Tail> {
    let Some(path) = segments(dir)?.pop() else {
        return Ok(Tail {
            next: 0,
            last: Hash::default(),
            file: None,
        });
    };
    let text = std::fs::read(&path)?;
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let kept = std::str::from_utf8(&text[..whole]).map_err(|_| damaged(&path, "no text"))?;
    let mut lines = kept.lines();
    let Some(header) = lines.next() else {
        // Its beginning was not written to its end; the segment before it has the last record.
        std::fs::remove_file(&path)?;
        return tail(dir);
    };
    let before = begins_with(header).ok_or_else(|| damaged(&path, "no audit file"))?;
    let first = path
        .file_stem()
        .and_then(|stem| stem.to_str()?.parse().ok());
    let first: u64 = first.ok_or_else(|| damaged(&path, "its name is no number"))?;
    let (mut next, mut last, mut day_of_last) = (first, before, None);
    if let Some(line) = lines.next_back() {
        let parsed = parse(line).ok_or_else(|| damaged(&path, "its last line is no record"))?;
        let number = number(parsed.json);
        next = number.ok_or_else(|| damaged(&path, "its last record has no number"))? + 1;
        last = parsed.hash;
        day_of_last = at_ms(parsed.json).map(day);
    }
    let file = OpenOptions::new().append(true).open(&path)?;
    file.set_len(whole as u64)?;
    Ok(Tail {
        next,
        last,
        file: Some(Open {
            file,
            bytes: whole as u64,
            day: day_of_last,
        }),
    })
}

/// Removes segments whose last record is older; the newest stays in any case.
pub(super) fn remove_before(dir: &Path, since_ms: u64) -> io::Result<usize> {
    let segments = segments(dir)?;
    let mut removed = 0;
    // The time of the segment after it bounds a segment's last record.
    for pair in segments.windows(2) {
        let text = read(&pair[1])?;
        let first = text.lines().nth(1).and_then(parse);
        let begins = first.and_then(|line| at_ms(line.json));
        if begins.is_none_or(|at| at >= since_ms) {
            break;
        }
        std::fs::remove_file(&pair[0])?;
        removed += 1;
    }
    Ok(removed)
}
