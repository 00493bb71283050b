//! The fuzz targets of the data plane on a stable compiler.

#[path = "../../../../fuzz/mutations.rs"]
mod mutations;
#[path = "../../../../fuzz/proxy.rs"]
mod proxy;

use std::path::Path;

/// Pieces that mean something to parsers of HTTP.
const WORDS: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b"\0",
    b";",
    b",",
    b"0\r\n\r\n",
    b"content-length: 5\r\n",
    b"transfer-encoding: chunked\r\n",
    b"chunked",
    b"host: a\r\n",
    b"connection: close, x\r\n",
    b"upgrade: websocket\r\n",
    b"expect: 100-continue\r\n",
    b"ffff",
    b"HTTP/1.1",
    b"\xff",
    b"x_forwarded_for: y\r\n",
    b"te: trailers\r\n",
    b"=",
];

fn run_on(target: &str, check: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    mutations::run(&fuzz, target, &WORDS, check);
}

#[test]
fn request_heads() {
    run_on("request_head", proxy::request_head);
}

#[test]
fn chunked_bodies() {
    run_on("chunked", proxy::chunked);
}

#[test]
fn response_heads() {
    run_on("response_head", proxy::response_head);
}

#[test]
fn http_2_requests() {
    run_on("h2_intake", proxy::h2_intake);
}

#[test]
fn frames_of_the_link() {
    run_on("link_frames", proxy::link_frames);
}
