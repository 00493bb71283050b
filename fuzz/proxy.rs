//! What must hold for any bytes that come from outside. Each function is one fuzz target.

use apron_link::frame;
use apron_link::proxy::{FromProxy, ToProxy};
use apron_proxy::client2::intake;
use apron_proxy::h1::body::{Decoder, Encoder};
use apron_proxy::h1::field::Room;
use apron_proxy::h1::head::{Search, find_end};
use apron_proxy::h1::request::{self, Request};
use apron_proxy::h1::rewrite::{self, Forwarding};
use apron_proxy::h1::{Framing, Version, response};

/// The head at the beginning of `data`, found in the same way however the bytes arrive.
fn head(data: &[u8]) -> Option<&[u8]> {
    let whole = find_end(data, 0);
    let (mut from, mut found) = (0, None);
    let step = 1 + usize::from(data.first().copied().unwrap_or(0) % 7);
    for end in (0..data.len()).step_by(step).chain([data.len()]) {
        match find_end(&data[..end], from) {
            Search::Partial(next) => from = next,
            other => {
                found = Some(other);
                break;
            }
        }
    }
    assert_eq!(found.unwrap_or(Search::Partial(from)), whole);
    match whole {
        Search::Complete(length) => Some(&data[..length]),
        _ => None,
    }
}

/// Lines of a head that was written by the proxy: whole, without anything that could end a line early.
fn lines(out: &[u8]) -> Vec<&[u8]> {
    assert_eq!(find_end(out, 0), Search::Complete(out.len()));
    let text = out
        .strip_suffix(b"\r\n\r\n")
        .expect("a head ends in an empty line");
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let last = lines.len() - 1;
    lines
        .into_iter()
        .enumerate()
        .map(|(index, line)| match index == last {
            true => line,
            false => line.strip_suffix(b"\r").expect("a line ends in CR LF"),
        })
        .inspect(|line| assert!(!line.iter().any(|byte| matches!(byte, 0 | b'\r'))))
        .collect()
}

/// How many of the lines are fields of this name, as applications that make variables of names see it.
fn count(lines: &[&[u8]], name: &str) -> usize {
    let is_it = |line: &&&[u8]| {
        let field = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let plain = field.to_ascii_lowercase();
        let plain: Vec<u8> = plain
            .iter()
            .map(|byte| if *byte == b'_' { b'-' } else { *byte })
            .collect();
        plain == name.as_bytes()
    };
    lines.iter().skip(1).filter(is_it).count()
}

/// Checks that what an application gets means what was received.
fn passed_on(received: &Request<'_, '_>) {
    let mut out = Vec::new();
    let forwarding = Forwarding {
        connection: &rewrite::connection("192.0.2.1", "https", 443),
        request_id: b"id",
    };
    rewrite::request_head(received, forwarding, &mut out);
    let lines = lines(&out);
    let framed = count(&lines, "content-length") + count(&lines, "transfer-encoding");
    assert_eq!(framed, usize::from(received.framing != Framing::None));
    for (name, times) in [
        ("host", 1),
        ("x-forwarded-for", 1),
        ("x-forwarded-proto", 1),
        ("x-request-id", 1),
        ("te", 0),
    ] {
        assert_eq!(count(&lines, name), times, "{name}");
    }
    assert_eq!(
        count(&lines, "upgrade"),
        usize::from(received.upgrade.is_some())
    );
    // What was received has at most as many fields as a head may have; the proxy adds some.
    let mut room = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Request::new(&mut room);
    assert!(
        parsed
            .parse(&out)
            .expect("a head that can be parsed")
            .is_complete()
    );
    assert_eq!(
        (parsed.method, parsed.path),
        (Some(received.method), Some(received.target))
    );
    if parsed.headers.len() <= apron_proxy::h1::HEADERS_MAX {
        let mut room = Room::new();
        let passed = request::parse(&out, &mut room).expect("a head that is accepted");
        assert_eq!(
            (&passed.host, passed.framing),
            (&received.host, received.framing)
        );
    }
}

/// Checks that a head that was understood at once is the one that is found by searching, and means the same.
fn same_as_first<T: std::fmt::Debug>(
    first: Option<(usize, T)>,
    head: Option<&[u8]>,
    again: impl FnOnce(&[u8]) -> String,
) {
    if let Some((length, first)) = first {
        let head = head.expect("a head that is understood is whole and clean");
        assert_eq!(length, head.len());
        assert_eq!(format!("{first:?}"), again(head));
    }
}

/// Heads of requests.
pub fn request_head(data: &[u8]) {
    let head = head(data);
    let mut room = Room::new();
    same_as_first(request::parse_first(data, &mut room), head, |head| {
        format!("{:?}", request::parse(head, &mut Room::new()))
    });
    let Some(head) = head else { return };
    let mut room = Room::new();
    if let Ok(received) = request::parse(head, &mut room) {
        assert!(received.target.starts_with('/') || received.target == "*");
        assert!(!received.host.name.is_empty());
        passed_on(&received);
    }
}

/// What a body decodes to: data, trailers, bytes read, whether it has ended.
type Decoded = Result<(Vec<u8>, Vec<u8>, usize, bool), ()>;

fn decoded(data: &[u8], step: usize) -> Decoded {
    let mut decoder = Decoder::new(Framing::Chunked);
    let (mut out, mut read) = (Vec::new(), 0);
    for end in (0..data.len()).step_by(step).chain([data.len()]) {
        while read < end && !decoder.ended() {
            let (length, range) = decoder.decode(&data[read..end]).map_err(|_| ())?;
            assert!(length <= end - read && range.end <= length);
            out.extend_from_slice(&data[read..end][range]);
            read += length;
        }
    }
    let trailers = if decoder.ended() {
        decoder.trailers().to_vec()
    } else {
        Vec::new()
    };
    Ok((out, trailers, read, decoder.ended()))
}

/// Chunked bodies.
pub fn chunked(data: &[u8]) {
    let whole = decoded(data, data.len().max(1));
    for step in [1, 2, 3, 17] {
        assert_eq!(decoded(data, step), whole, "in steps of {step}");
    }
    if let Ok((body, trailers, _, true)) = whole {
        let mut out = Vec::new();
        Encoder::Chunked.data(&body, &mut out);
        Encoder::Chunked.end(&trailers, &mut out);
        assert_eq!(decoded(&out, 5), Ok((body, trailers, out.len(), true)));
    }
}

/// Heads of responses.
pub fn response_head(data: &[u8]) {
    let head = head(data);
    for to_head in [false, true] {
        let mut room = Room::new();
        same_as_first(
            response::parse_first(data, to_head, &mut room),
            head,
            |head| {
                let mut room = Room::new();
                let parsed = response::parse(head, to_head, &mut room);
                format!("{:?}", parsed.expect("a head that is accepted"))
            },
        );
        let Some(head) = head else { continue };
        let mut room = Room::new();
        let Ok(received) = response::parse(head, to_head, &mut room) else {
            continue;
        };
        let mut out = Vec::new();
        if received.interim() {
            rewrite::interim_head(&received, &mut out);
            lines(&out);
            continue;
        }
        if let Some(protocol) = received.upgrade {
            rewrite::switching_head(&received, protocol, &mut out);
            lines(&out);
            continue;
        }
        for version in [Version::Http10, Version::Http11] {
            out.clear();
            let client = rewrite::Client {
                version,
                persistent: true,
            };
            let delivery = rewrite::response_head(&received, client, &mut out);
            let lines = lines(&out);
            let framed = count(&lines, "content-length") + count(&lines, "transfer-encoding");
            assert!(framed <= 1 && count(&lines, "x-apron-reason") == 0);
            assert_eq!(
                delivery.encoder == Encoder::Chunked,
                count(&lines, "transfer-encoding") == 1
            );
            let mut room = Room::new();
            if let Ok(passed) = response::parse(&out, to_head, &mut room) {
                assert_eq!(passed.status, received.status);
                let open = passed.framing == Framing::UntilClose;
                assert!(
                    !(open && delivery.persistent),
                    "the client cannot know the end"
                );
            }
        }
    }
}

/// Requests of HTTP/2, as lines of names and values after one with method, target and authority.
pub fn h2_intake(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == b'\n');
    let mut start = parts.next().unwrap_or_default().split(|byte| *byte == b' ');
    let mut next = || start.next().unwrap_or_default();
    let (method, path, authority) = (next(), next(), next());
    let uri = http::Uri::builder()
        .scheme("https")
        .authority(authority)
        .path_and_query(path);
    let (Ok(uri), Ok(method)) = (uri.build(), http::Method::from_bytes(method)) else {
        return;
    };
    let mut made = http::Request::new(());
    (*made.uri_mut(), *made.method_mut()) = (uri, method);
    for line in parts {
        let (name, value) = line.split_at(
            line.iter()
                .position(|byte| *byte == b'=')
                .unwrap_or(line.len()),
        );
        let name = http::HeaderName::from_bytes(name);
        let value = http::HeaderValue::from_bytes(value.get(1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            made.headers_mut().append(name, value);
        }
    }
    let (parts, ()) = made.into_parts();
    for bodyless in [false, true] {
        let mut cookies = Vec::new();
        let Ok(fields) = intake::fields(&parts.headers, &mut cookies) else {
            return;
        };
        if let Ok(received) = intake::request(&parts, &fields, bodyless) {
            passed_on(&received);
        }
    }
}

/// Messages between our processes.
pub fn link_frames(data: &[u8]) {
    read_frames::<ToProxy>(data);
    read_frames::<FromProxy>(data);
}

fn read_frames<T: serde::de::DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug>(
    data: &[u8],
) {
    let mut decoder = frame::Decoder::default();
    for piece in data.chunks(13) {
        decoder.push(piece);
        loop {
            match decoder.next::<T>() {
                Ok(Some(message)) => {
                    let bytes = frame::encode(&message).expect("a message that can be written");
                    let mut again = frame::Decoder::default();
                    again.push(&bytes);
                    assert_eq!(again.next::<T>().ok().flatten(), Some(message));
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}
