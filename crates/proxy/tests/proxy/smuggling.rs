//! Requests that two recipients could understand in two ways: refused, and nothing of them reaches an application.

use crate::rig::origin::Origin;
use crate::rig::{HOST, Rig};
use std::sync::atomic::Ordering::SeqCst;

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: app.apron.test\r\n\r\n";

/// Requests with `HOST` in place of `@`, and the status of the answer.
const CORPUS: [(&str, u16); 33] = [
    (
        "POST / HTTP/1.1\r\nhost: @\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nhost: @\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nhost: @\r\ncontent-length: 0\r\ncontent-length: 45\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nhost: @\r\ncontent-length: 0, 45\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nhost: @\r\ncontent-length: -1\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nhost: @\r\ncontent-length: 4 5\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nhost: @\r\ncontent-length: 0x2d\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nhost: @\r\ncontent-length : 45\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nhost: @\r\ncontent-length:\r\n 45\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nhost: @\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nhost: @\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nhost: @\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nhost: @\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nhost: @\r\ntransfer-encoding: identity\r\ncontent-length: 4\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nhost: @\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nhost: @\r\ntransfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nhost: @\r\nx: y\rtransfer-encoding: chunked\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.0\r\nhost: @\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("GET / HTTP/1.1\nhost: @\n\n", 400),
    ("GET / HTTP/1.1\r\nhost: @\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: @\r\nx: a\nb: c\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: @\r\nhost: @\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: @/x\r\n\r\n", 400),
    ("GET http://other.test/ HTTP/1.1\r\nhost: @\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: @\r\nx\0y: z\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: @\r\n: z\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: @\r\nx: a\r\n folded\r\n\r\n", 400),
    ("GET /a b HTTP/1.1\r\nhost: @\r\n\r\n", 505),
    ("GET / HTTP/2.0\r\nhost: @\r\n\r\n", 505),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("CONNECT @:443 HTTP/1.1\r\nhost: @\r\n\r\n", 501),
    ("get\t/ HTTP/1.1\r\nhost: @\r\n\r\n", 400),
];

#[test]
fn ambiguous_requests_end_the_connection() {
    let origin = Origin::mirror();
    let rig = Rig::serving(origin.address);
    for (request, status) in CORPUS {
        for mut wire in [rig.tls(HOST), rig.plain()] {
            wire.send(request.replace('@', HOST) + SMUGGLED);
            let response = wire
                .try_response(false)
                .unwrap_or_else(|error| panic!("{request:?}: {error}"));
            assert_eq!(response.status, status, "{request:?}");
            assert!(!response.reason().is_empty(), "{request:?}");
            assert_eq!(
                wire.rest().unwrap(),
                b"",
                "{request:?} was followed by another answer"
            );
        }
    }
    assert_eq!(
        origin.connections.load(SeqCst),
        0,
        "something reached the application"
    );
}

#[test]
fn a_broken_chunked_body_ends_the_connection() {
    let origin = Origin::mirror();
    let rig = Rig::serving(origin.address);
    for body in [
        "zz\r\n",
        "1\nx\r\n0\r\n\r\n",
        "1\r\nxy\r\n0\r\n\r\n",
        "1 \r\nx\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "0\r\nx y: z\r\n\r\n",
        "0\r\nx: y\n\r\n",
    ] {
        let mut wire = rig.tls(HOST);
        wire.send(format!(
            "POST / HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n{body}{SMUGGLED}"
        ));
        let response = wire.response();
        assert_eq!(
            (response.status, response.reason()),
            (400, "request-body"),
            "{body:?}"
        );
        assert_eq!(wire.rest().unwrap(), b"", "{body:?}");
    }
}

#[test]
fn chunk_extensions_and_framing_trailers_do_not_reach_the_application() {
    let origin = Origin::http(|request, stream| {
        let seen = format!(
            "{}|{}",
            String::from_utf8_lossy(&request.body),
            request.trailers
        );
        crate::rig::origin::respond(stream, seen.as_bytes())
    });
    let rig = Rig::serving(origin.address);
    let mut wire = rig.tls(HOST);
    wire.send(format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0\r\ncontent-length: 5\r\n\
         X-Sum: 1\r\nAuthorization: x\r\n\r\n"
    ));
    assert_eq!(wire.response().text(), "abc|X-Sum: 1\r\n");
}

#[test]
fn heads_over_the_bounds_are_refused() {
    let origin = Origin::mirror();
    let rig = Rig::serving(origin.address);
    let mut wire = rig.tls(HOST);
    wire.send(format!(
        "GET / HTTP/1.1\r\nhost: {HOST}\r\nx: {}\r\n\r\n",
        "y".repeat(70_000)
    ));
    assert_eq!(wire.response().status, 431);
    let mut wire = rig.tls(HOST);
    wire.send(format!(
        "GET / HTTP/1.1\r\nhost: {HOST}\r\n{}\r\n",
        "x: y\r\n".repeat(100)
    ));
    assert_eq!(wire.response().status, 431);
    let mut wire = rig.tls(HOST);
    wire.send(format!(
        "GET / HTTP/1.1\r\nhost: {HOST}\r\n{}\r\n",
        "x: y\r\n".repeat(99)
    ));
    assert_eq!(wire.response().status, 200);
}
