//! Byte ranges: of downloads (RFC 9110, section 14) and of upload chunks.

/// What part of content a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it: there is no range, or one that may be ignored.
    All,
    /// From the first to the last byte, both included.
    Part { first: u64, last: u64 },
    /// A range that is not in the content.
    Nothing,
}

/// Reads a `Range` header for content of `size` bytes. Several ranges in one header are answered with everything,
/// as the RFC allows.
pub(super) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(range) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Wanted::All;
    };
    let Some((first, last)) = range.split_once('-').filter(|_| !range.contains(',')) else {
        return Wanted::All;
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first > last => Wanted::All,
        (Some(first), _) if first >= size => Wanted::Nothing,
        (Some(first), Some(last)) => Wanted::Part {
            first,
            last: last.min(size - 1),
        },
        (Some(first), None) if last.trim().is_empty() => Wanted::Part {
            first,
            last: size - 1,
        },
        (None, Some(count)) if first.trim().is_empty() => match count.min(size) {
            0 => Wanted::Nothing,
            count => Wanted::Part {
                first: size - count,
                last: size - 1,
            },
        },
        _ => Wanted::All,
    }
}

/// Reads the `Content-Range` of an upload chunk: `<first>-<last>` (OCI distribution specification) or the RFC's
/// `bytes <first>-<last>/<size>`. Both ends are included.
pub(super) fn chunk(header: &str) -> Option<(u64, u64)> {
    let text = header.trim();
    let text = text
        .strip_prefix("bytes")
        .map_or(text, |rest| rest.trim_start_matches([' ', '=']));
    let text = text.split('/').next()?;
    let (first, last) = text.split_once('-')?;
    match (number(first)?, number(last)?) {
        (first, last) if first <= last => Some((first, last)),
        _ => None,
    }
}

/// Digits only: `u64::from_str` would take a plus sign.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse().ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn download_ranges() {
        for (header, expect) in [
            (None, Wanted::All),
            (Some("bytes=0-0"), Wanted::Part { first: 0, last: 0 }),
            (Some("bytes=2-"), Wanted::Part { first: 2, last: 9 }),
            (Some("bytes=2-100"), Wanted::Part { first: 2, last: 9 }),
            (Some("bytes=-3"), Wanted::Part { first: 7, last: 9 }),
            (Some("bytes=-30"), Wanted::Part { first: 0, last: 9 }),
            (Some("bytes=10-"), Wanted::Nothing),
            (Some("bytes=-0"), Wanted::Nothing),
            (Some("bytes=5-2"), Wanted::All),
            (Some("bytes=0-1,3-4"), Wanted::All),
            (Some("bytes=x-y"), Wanted::All),
            (Some("bytes=+1-2"), Wanted::All),
            (Some("bytes=-"), Wanted::All),
            (Some("lines=1-2"), Wanted::All),
        ] {
            assert_eq!(wanted(header, 10), expect, "{header:?}");
        }
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Nothing);
        assert_eq!(wanted(Some("bytes=-5"), 0), Wanted::Nothing);
    }

    #[test]
    fn chunk_ranges() {
        for (header, expect) in [
            ("0-9", Some((0, 9))),
            ("bytes 10-19/20", Some((10, 19))),
            ("bytes=10-19", Some((10, 19))),
            ("9-0", None),
            ("5", None),
            ("-5", None),
            ("a-b", None),
        ] {
            assert_eq!(chunk(header), expect, "{header}");
        }
    }
}
