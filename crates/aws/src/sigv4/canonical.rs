//! The canonical form of a request, the thing that is signed.

use http::HeaderMap;
use http::header::HeaderName;
use percent_encoding::percent_decode_str;
use std::fmt::Write as _;

/// The head of a request as it came.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method, for example `POST`.
    pub method: &'a str,
    /// The path as sent, percent-encoded.
    pub path: &'a str,
    /// The query as sent, without the question mark.
    pub query: &'a str,
    /// The headers. `host` must be among them; with HTTP/2 the caller puts the authority there.
    pub headers: &'a HeaderMap,
}

/// A request in canonical form. `signed_headers` are lower-case names in their order; `without` is left out of the
/// query (a presigned request's own signature).
pub(super) fn canonical_request(
    head: Head<'_>,
    signed_headers: &[String],
    without: Option<&str>,
    payload_hash: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(head.method.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(canonical_path(head.path).as_bytes());
    out.push(b'\n');
    out.extend_from_slice(canonical_query(head.query, without).as_bytes());
    out.push(b'\n');
    for name in signed_headers {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        header_value(head.headers, name, &mut out);
        out.push(b'\n');
    }
    out.push(b'\n');
    out.extend_from_slice(signed_headers.join(";").as_bytes());
    out.push(b'\n');
    out.extend_from_slice(payload_hash.as_bytes());
    out
}

/// All values of a header, joined by commas, each trimmed and with inner white space folded to one blank.
fn header_value(headers: &HeaderMap, name: &str, out: &mut Vec<u8>) {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        return;
    };
    for (i, value) in headers.get_all(name).iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let words = value
            .as_bytes()
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        for (j, word) in words.enumerate() {
            if j > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(word);
        }
    }
}

/// The path with dot segments and empty segments removed, then percent-encoded once more. That is the rule of every
/// service except S3, which signs its paths as they are.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut out = String::with_capacity(path.len() + 8);
    for segment in &segments {
        out.push('/');
        encode(segment.as_bytes(), &mut out);
    }
    let directory = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    if out.is_empty() || directory {
        out.push('/');
    }
    out
}

/// The query with every name and value decoded, encoded AWS's way and sorted.
fn canonical_query(query: &str, without: Option<&str>) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (recode(name), recode(value)))
        .filter(|(name, _)| Some(name.as_str()) != without)
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// A plus sign on the wire is a blank, as in every form; a client that means a plus sends `%2B`.
fn recode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let blanks = text.replace('+', "%20");
    let bytes: Vec<u8> = percent_decode_str(&blanks).collect();
    encode(&bytes, &mut out);
    out
}

/// Percent-encodes everything but RFC 3986 unreserved characters, with upper-case digits.
pub(super) fn encode(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(*byte))
            }
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let cases = [
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("/./", "/"),
            ("/a/../b", "/b"),
            ("/../..", "/"),
            ("/a/b/", "/a/b/"),
            ("/a//b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a%20b", "/a%2520b"),
            ("/-._~", "/-._~"),
        ];
        for (path, expect) in cases {
            assert_eq!(canonical_path(path), expect, "{path}");
        }
    }

    #[test]
    fn queries() {
        let cases = [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1", "a=1&a=2"),
            ("a", "a="),
            ("a=b=c", "a=b%3Dc"),
            ("x=%7e%2f+%20", "x=~%2F%20%20"),
            ("a=1&Sig=x", "a=1"),
            ("A=1&a=1&a-=1", "A=1&a=1&a-=1"),
        ];
        for (query, expect) in cases {
            assert_eq!(canonical_query(query, Some("Sig")), expect, "{query}");
        }
    }

    #[test]
    fn headers_are_folded() {
        let mut headers = HeaderMap::new();
        headers.append("my-header", "  a   b ".parse().unwrap());
        headers.append("my-header", "\"c  d\"".parse().unwrap());
        let mut out = Vec::new();
        header_value(&headers, "my-header", &mut out);
        assert_eq!(out, b"a b,\"c d\"");
    }
}
