//! The codec alone, against arbitrary input and against hyper.

use apron_proxy::h1::body::{Decoder, Encoder};
use apron_proxy::h1::field::Room;
use apron_proxy::h1::head::{Search, find_end};
use apron_proxy::h1::request;
use apron_proxy::h1::rewrite::{Forwarding, connection, request_head};
use apron_proxy::h1::{Framing, response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use proptest::collection::vec;
use proptest::prelude::*;
use std::convert::Infallible;
use tokio::io::AsyncWriteExt;

/// What a message means.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Meaning {
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// A body that was decoded: data, trailers, bytes read, and whether it has ended.
type Decoded = Result<(Vec<u8>, Vec<u8>, usize, bool), String>;

fn decode(framing: Framing, input: &[u8], cuts: &[usize]) -> Decoded {
    let (mut decoder, mut data, mut consumed) = (Decoder::new(framing), Vec::new(), 0);
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    ends.push(input.len());
    ends.sort_unstable();
    for end in ends {
        while consumed < end && !decoder.ended() {
            let (read, range) = decoder
                .decode(&input[consumed..end])
                .map_err(|error| error.to_string())?;
            data.extend_from_slice(&input[consumed..end][range]);
            consumed += read;
        }
    }
    let trailers = if decoder.ended() {
        decoder.trailers().to_vec()
    } else {
        Vec::new()
    };
    Ok((data, trailers, consumed, decoder.ended()))
}

/// Text that is nearly a chunked body.
fn nearly_chunked() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => vec(any::<u8>(), 1..40).prop_map(|data| {
            let mut out = Vec::new();
            Encoder::Chunked.data(&data, &mut out);
            out
        }),
        1 => Just(b"3;a=b\r\nabc\r\n".to_vec()),
        1 => Just(b"0\r\nx-sum: 1\r\nhost: evil\r\n\r\n".to_vec()),
        1 => Just(b"0\r\n\r\n".to_vec()),
        1 => vec(any::<u8>(), 0..6),
        1 => "[0-9a-f; \r\n]{0,8}".prop_map(String::into_bytes),
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// Text that is nearly a request.
fn nearly_a_request() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => "x-[a-z]{1,8}: [ -~]{0,20}",
        1 => "[!-~]{1,12}:[ -~\\t]{0,12}",
        1 => Just("content-length: 5".to_owned()),
        1 => Just("transfer-encoding: chunked".to_owned()),
        1 => "(content-length|transfer-encoding|host|connection) ?:[ \\t]?[a-z0-9, ]{0,9}",
        1 => "[ \\t]?[ -~]{0,10}",
    ];
    let start = "(GET|POST|OPTIONS|[A-Z]{1,3}) (/[a-zA-Z0-9/?&=._~-]{0,12}|\\*|http://a.test/x) HTTP/1.[01]";
    let end = prop_oneof![20 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\n ")];
    let body = prop_oneof![Just("hello"), Just("5\r\nhello\r\n0\r\n\r\n"), Just("")];
    (start, vec((line, end), 0..5), body).prop_map(|(start, lines, body)| {
        let lines: String = lines.into_iter().map(|(line, end)| line + end).collect();
        format!("{start}\r\nhost: a.test\r\n{lines}\r\n{body}").into_bytes()
    })
}

/// What our codec makes of a whole request and its body; `None` if it refuses it or it is not whole.
fn ours(bytes: &[u8]) -> Option<Meaning> {
    let Search::Complete(length) = find_end(bytes, 0) else {
        return None;
    };
    let mut room = Room::new();
    let request = request::parse(&bytes[..length], &mut room).ok()?;
    let (body, _, _, ended) = decode(request.framing, &bytes[length..], &[]).ok()?;
    let lower = |name: &[u8]| String::from_utf8_lossy(name).to_ascii_lowercase();
    let headers = request
        .headers
        .iter()
        .map(|header| (lower(header.name), header.value.to_vec()));
    let whole = ended || request.framing == Framing::None;
    whole.then(|| Meaning {
        method: request.method.into(),
        target: request.target.into(),
        headers: headers.collect(),
        body,
    })
}

/// What hyper makes of it; `None` if it refuses it.
fn hypers(bytes: &[u8]) -> Option<Meaning> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(8);
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let sender = sender.clone();
        async move {
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let headers = head
                    .headers
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
                let target = head
                    .uri
                    .path_and_query()
                    .map_or("*", |target| target.as_str())
                    .to_owned();
                let body = body.to_bytes().to_vec();
                let meaning = Meaning {
                    method: head.method.to_string(),
                    target,
                    headers: headers.collect(),
                    body,
                };
                sender.send(meaning).await.unwrap();
            }
            Ok::<_, Infallible>(hyper::Response::new(Full::<Bytes>::default()))
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let connection = hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(server), service);
        // A refusal shows as no request.
        let _ = connection.await;
        receiver.try_recv().ok()
    })
}

fn sorted(mut meaning: Meaning) -> Meaning {
    meaning.headers.sort();
    meaning
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_chunked_body_means_the_same_however_it_is_cut(input in nearly_chunked(), cuts in vec(any::<usize>(), 0..12)) {
        let whole = decode(Framing::Chunked, &input, &[]);
        prop_assert_eq!(&whole, &decode(Framing::Chunked, &input, &cuts));
        let each: Vec<usize> = (0..input.len()).collect();
        prop_assert_eq!(&whole, &decode(Framing::Chunked, &input, &each));
    }

    #[test]
    fn what_is_encoded_is_decoded(pieces in vec(vec(any::<u8>(), 0..300), 0..10), cuts in vec(any::<usize>(), 0..12)) {
        let mut encoded = Vec::new();
        for piece in &pieces {
            Encoder::Chunked.data(piece, &mut encoded);
        }
        Encoder::Chunked.end(b"x-sum: 1\r\n", &mut encoded);
        let length = encoded.len();
        encoded.extend_from_slice(b"GET / HTTP/1.1\r\n");
        let decoded = decode(Framing::Chunked, &encoded, &cuts);
        prop_assert_eq!(decoded, Ok((pieces.concat(), b"x-sum: 1\r\n".to_vec(), length, true)));
    }

    #[test]
    fn no_input_is_too_much(bytes in vec(any::<u8>(), 0..200), request in nearly_a_request(), at in any::<usize>(), with in any::<u8>()) {
        let mut mutated = request;
        let at = at % mutated.len();
        mutated[at] = with;
        for input in [&bytes, &mutated] {
            let whole = find_end(input, 0);
            let mut from = 0;
            let in_parts = (0..=input.len()).find_map(|end| match find_end(&input[..end], from) {
                Search::Partial(next) => { from = next; None }
                found => Some(found),
            });
            prop_assert_eq!(in_parts.unwrap_or(Search::Partial(from)), whole);
            let _ = request::parse(input, &mut Room::new());
            let _ = response::parse(input, false, &mut Room::new());
            let _ = decode(Framing::Chunked, input, &[]);
        }
    }

    #[test]
    fn what_we_accept_hyper_understands_in_the_same_way(bytes in nearly_a_request()) {
        if let Some(ours) = ours(&bytes) {
            let hypers = hypers(&bytes);
            prop_assert!(hypers.is_some(), "hyper refuses what means {ours:?}");
            prop_assert_eq!(hypers.map(sorted), Some(sorted(ours)));
        }
    }

    #[test]
    fn chunked_bodies_we_accept_hyper_reads_in_the_same_way(body in nearly_chunked()) {
        let head = "POST /x HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n";
        let bytes = [head.as_bytes(), &body].concat();
        if let Some(ours) = ours(&bytes) {
            prop_assert_eq!(hypers(&bytes).map(sorted), Some(sorted(ours)));
        }
    }

    #[test]
    fn what_is_passed_on_means_what_was_received(bytes in nearly_a_request()) {
        let Search::Complete(length) = find_end(&bytes, 0) else { return Ok(()) };
        let (mut room, mut out) = (Room::new(), Vec::new());
        let Ok(received) = request::parse(&bytes[..length], &mut room) else { return Ok(()) };
        let forwarding = Forwarding { connection: &connection("192.0.2.1", "https", 443), request_id: b"id" };
        request_head(&received, forwarding, &mut out);
        prop_assert_eq!(find_end(&out, 0), Search::Complete(out.len()));
        let mut room = Room::new();
        let passed = request::parse(&out, &mut room).unwrap();
        prop_assert_eq!((passed.method, passed.target, &passed.host, passed.framing), (received.method, received.target, &received.host, received.framing));
    }
}
