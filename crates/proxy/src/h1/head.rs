//! Finding the end of a message head.

use super::{HEAD_BYTES_MAX, Version};
use memchr::memchr;

/// What a search for the end of a head found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// The head is this long, with its empty line.
    Complete(usize),
    /// The empty line has not arrived; searching may go on from this offset.
    Partial(usize),
    /// Over [`HEAD_BYTES_MAX`].
    TooLong,
    /// A line ends in LF alone, which RFC 9112 allows a recipient to accept and which lets two recipients disagree.
    BareLf,
}

/// Searches `bytes` for the empty line that ends a head, from offset `from` (zero, or what an earlier search of the
/// same head returned). Looks at every byte once, however the bytes arrive.
pub fn find_end(bytes: &[u8], from: usize) -> Search {
    let mut line = from;
    while let Some(at) = bytes.get(line..).and_then(|rest| memchr(b'\n', rest)) {
        let lf = line + at;
        if lf == 0 || bytes[lf - 1] != b'\r' {
            return Search::BareLf;
        }
        if lf >= HEAD_BYTES_MAX {
            return Search::TooLong;
        }
        if at == 1 && lf >= 2 {
            return Search::Complete(lf + 1);
        }
        line = lf + 1;
    }
    match bytes.len() >= HEAD_BYTES_MAX {
        true => Search::TooLong,
        false => Search::Partial(line),
    }
}

/// Bytes of empty lines in front of a request line, which RFC 9112 section 2.2 asks a server to ignore.
pub fn leading_empty_lines(bytes: &[u8]) -> usize {
    bytes
        .chunks_exact(2)
        .take_while(|pair| pair == b"\r\n")
        .count()
        * 2
}

/// The version httparse found.
pub(super) fn version(minor: Option<u8>) -> Version {
    match minor {
        Some(0) => Version::Http10,
        _ => Version::Http11,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_however_the_bytes_arrive() {
        let head = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nbody\r\n\r\n";
        let end = 27;
        assert_eq!(find_end(head, 0), Search::Complete(end));
        for cut in 0..end {
            let Search::Partial(from) = find_end(&head[..cut], 0) else {
                panic!("complete at {cut}")
            };
            assert_eq!(find_end(head, from), Search::Complete(end), "cut at {cut}");
        }
    }

    #[test]
    fn a_bare_lf_is_refused_wherever_it_stands() {
        for head in [
            "GET / HTTP/1.1\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\n\r\n",
            "G / HTTP/1.1\r\na: b\r\n\n",
            "\n",
        ] {
            assert_eq!(find_end(head.as_bytes(), 0), Search::BareLf, "{head:?}");
        }
    }

    #[test]
    fn a_head_over_the_bound_is_refused() {
        let mut head = b"GET / HTTP/1.1\r\na: ".to_vec();
        head.resize(HEAD_BYTES_MAX, b'x');
        assert_eq!(find_end(&head, 0), Search::TooLong);
        head.extend_from_slice(b"\r\n\r\n");
        assert_eq!(find_end(&head, 0), Search::TooLong);
    }
}
