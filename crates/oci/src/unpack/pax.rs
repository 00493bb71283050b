//! PAX extended headers (POSIX.1-2017, `pax`, extended header): records `<length> <key>=<value>\n`.

use super::Stop;
use super::sparse::SparseRecords;

const XATTR: &[u8] = b"SCHILY.xattr.";

/// The records that matter, of one header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    /// Seconds and nanoseconds since the Unix epoch.
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseRecords,
}

/// Reads all records of a header's content.
pub(super) fn parse(mut bytes: &[u8]) -> Result<Records, Stop> {
    let mut records = Records::default();
    while !bytes.is_empty() {
        let (key, value, rest) = record(bytes).ok_or_else(damaged)?;
        records.take(key, value)?;
        bytes = rest;
    }
    Ok(records)
}

impl Records {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Stop> {
        let owned = || Some(value.to_owned()).filter(|value| !value.is_empty());
        match key {
            b"path" => self.path = owned(),
            b"linkpath" => self.link_path = owned(),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.push((name.to_owned(), value.to_owned()));
                } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.take(name, value)?;
                }
            }
        }
        Ok(())
    }
}

/// Splits the first record off: key, value, rest.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|b| *b == b' ')?;
    let length = usize::try_from(digits(&bytes[..space])?).ok()?;
    if length > bytes.len() || length < space + 3 || bytes[length - 1] != b'\n' {
        return None;
    }
    let body = &bytes[space + 1..length - 1];
    let equals = body.iter().position(|b| *b == b'=')?;
    Some((&body[..equals], &body[equals + 1..], &bytes[length..]))
}

pub(super) fn number(text: &[u8]) -> Result<u64, Stop> {
    digits(text).ok_or_else(damaged)
}

fn digits(text: &[u8]) -> Option<u64> {
    match !text.is_empty() && text.iter().all(u8::is_ascii_digit) {
        true => std::str::from_utf8(text).ok()?.parse().ok(),
        false => None,
    }
}

/// A decimal number of seconds, possibly negative, possibly with a fraction; digits after the ninth are cut.
fn time(text: &[u8]) -> Result<(i64, u32), Stop> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|b| *b == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &text[text.len()..]),
    };
    let seconds = i64::try_from(number(whole)?).map_err(|_| damaged())?;
    let mut nanos = 0u32;
    for place in 0..9 {
        let digit = fraction.get(place).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return Err(damaged());
        }
        nanos = nanos * 10 + u32::from(digit - b'0');
    }
    Ok(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

fn damaged() -> Stop {
    Stop::Invalid("it has a damaged extended header".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_are_read() {
        let records = parse(
            b"10 path=a\n12 size=123\n22 mtime=1700000000.5\n30 SCHILY.xattr.user.k=a=b\0c\n\n",
        )
        .unwrap();
        assert_eq!(records.path.as_deref(), Some(&b"a"[..]));
        assert_eq!(records.size, Some(123));
        assert_eq!(records.mtime, Some((1_700_000_000, 500_000_000)));
        assert_eq!(records.xattrs, [(b"user.k".to_vec(), b"a=b\0c\n".to_vec())]);
    }

    #[test]
    fn times() {
        for (text, expect) in [
            ("0", Some((0, 0))),
            ("-1", Some((-1, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("1.0000000019", Some((1, 1))),
            ("", None),
            ("1e3", None),
            ("1.x", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(time(text.as_bytes()).ok(), expect, "{text}");
        }
    }

    #[test]
    fn damaged_records_are_refused() {
        for bad in [
            "path=a\n",
            "8 path=a\n",
            "11 path=a\n",
            "10 path=aX",
            "5 pat\n",
            "x path=a\n",
            "10 path a\n",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
