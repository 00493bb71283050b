//! Bodies move as they come, in both directions at once, and no faster than the slower side.

use crate::rig::origin::{Origin, receive};
use crate::rig::{HOST, PATIENCE, Rig, at_a_stand, be_slow};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// More than the socket buffers of both connections together can hold, in bytes.
const LARGE: usize = 64 << 20;

/// What the proxy may hold more than at rest while a reader is slow, in KiB: a read's worth per direction, TLS's
/// buffers, the allocator's slack.
const HELD_KIB_MAX: u64 = 8 << 10;

fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index % 251) as u8).collect()
}

#[test]
fn large_bodies_arrive_unchanged_in_every_framing() {
    let origin = Origin::raw(|mut stream| {
        let mut read = Vec::new();
        while let Ok(Some(request)) = receive(&mut stream, &mut read) {
            let body = request.body;
            match request.head.split(' ').nth(1).unwrap() {
                "/length" => {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    stream
                        .write_all(&[head.as_bytes(), &body].concat())
                        .unwrap();
                }
                "/chunked" => {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                        .unwrap();
                    for piece in body.chunks(10_007) {
                        stream
                            .write_all(format!("{:x};x=y\r\n", piece.len()).as_bytes())
                            .unwrap();
                        stream.write_all(&[piece, b"\r\n"].concat()).unwrap();
                    }
                    stream.write_all(b"0\r\n\r\n").unwrap();
                }
                _ => {
                    stream
                        .write_all(&[b"HTTP/1.1 200 OK\r\n\r\n", &body[..]].concat())
                        .unwrap();
                    return;
                }
            }
        }
    });
    let rig = Rig::serving(origin.address);
    let body = pattern(5 << 20);
    for path in ["/length", "/chunked", "/close"] {
        for mut wire in [rig.tls(HOST), rig.plain()] {
            wire.send(format!(
                "POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {}\r\n\r\n",
                body.len()
            ));
            wire.send(&body);
            assert!(wire.response().body == body, "{path}");
            wire.send(format!(
                "POST {path} HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n"
            ));
            for piece in body.chunks(100_003) {
                wire.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
            }
            wire.send("0\r\n\r\n");
            assert!(wire.response().body == body, "{path} chunked");
        }
    }
}

#[test]
fn both_directions_move_at_once() {
    // The application echoes each byte before it reads the next.
    let origin = Origin::raw(|mut stream| {
        let mut byte = [0];
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
            .unwrap();
        for _ in 0..5 {
            stream.read_exact(&mut byte).unwrap();
            stream.write_all(&byte).unwrap();
        }
    });
    let rig = Rig::serving(origin.address);
    let mut wire = rig.tls(HOST);
    wire.send(format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 5\r\n\r\n"
    ));
    assert_eq!(wire.line().unwrap(), "HTTP/1.1 200 OK");
    while !wire.line().unwrap().is_empty() {}
    for byte in b"hello" {
        wire.send([*byte]);
        assert_eq!(wire.exactly(1).unwrap(), [*byte]);
    }
}

#[test]
fn a_slow_reader_does_not_fill_the_proxy() {
    let written = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&written);
    let origin = Origin::http(move |_, stream| {
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n").as_bytes())?;
        for piece in pattern(LARGE).chunks(1 << 16) {
            stream.write_all(piece)?;
            counted.fetch_add(piece.len() as u64, SeqCst);
        }
        Ok(())
    });
    let rig = Rig::serving(origin.address);
    for mut wire in [rig.tls(HOST), rig.plain()] {
        written.store(0, SeqCst);
        let before = rig.resident_kib();
        wire.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
        let last = at_a_stand("the application is held back", || written.load(SeqCst));
        assert!(last < LARGE as u64, "nothing was held back");
        let held = rig.resident_kib().saturating_sub(before);
        assert!(held < HELD_KIB_MAX, "{held} KiB held");
        assert!(wire.response().body == pattern(LARGE));
    }
}

#[test]
fn a_slow_application_does_not_fill_the_proxy() {
    let released = Arc::new(AtomicBool::new(false));
    let release = Arc::clone(&released);
    let origin = Origin::raw(move |mut stream| {
        let start = std::time::Instant::now();
        while !release.load(SeqCst) && start.elapsed() < PATIENCE {
            be_slow(std::time::Duration::from_millis(5));
        }
        let mut read = Vec::new();
        let body = receive(&mut stream, &mut read).unwrap().unwrap().body;
        crate::rig::origin::respond(&mut stream, &body[LARGE - 3..]).unwrap();
    });
    let rig = Rig::serving(origin.address);
    let mut wire = rig.plain();
    let before = rig.resident_kib();
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let sending = std::thread::spawn(move || {
        wire.send(format!(
            "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {LARGE}\r\n\r\n"
        ));
        for piece in pattern(LARGE).chunks(1 << 16) {
            wire.send(piece);
            counted.fetch_add(piece.len() as u64, SeqCst);
        }
        wire.response()
    });
    let last = at_a_stand("the client is held back", || sent.load(SeqCst));
    assert!(last < LARGE as u64, "nothing was held back");
    let held = rig.resident_kib().saturating_sub(before);
    assert!(held < HELD_KIB_MAX, "{held} KiB held");
    released.store(true, SeqCst);
    assert_eq!(sending.join().unwrap().body, pattern(LARGE)[LARGE - 3..]);
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let origin = Origin::raw(|mut stream| {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).unwrap();
        stream.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig").unwrap();
    });
    let rig = Rig::serving(origin.address);
    let mut wire = rig.tls(HOST);
    wire.send(format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1000000\r\n\r\n"
    ));
    let mut left = 1_000_000;
    while left > 0 && wire.try_send([0; 1000]).is_ok() {
        left -= 1000;
    }
    let response = wire.response();
    assert_eq!((response.status, response.text()), (413, "big"));
}

#[test]
fn a_large_body_that_is_cut_is_not_taken_for_whole_and_leaves_nothing_behind() {
    let whole = pattern(3 << 20);
    let body = whole.clone();
    let origin = Origin::raw(move |mut stream| {
        let mut read = Vec::new();
        while let Ok(Some(request)) = receive(&mut stream, &mut read) {
            let cut = request.path() == "/cut";
            let sent = if cut { 2 << 20 } else { body.len() };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let bytes = [head.as_bytes(), &body[..sent]].concat();
            // The proxy may end the connection first: its client leaves in the midst of a body.
            if stream.write_all(&bytes).is_err() || cut {
                return;
            }
        }
    });
    let rig = Rig::serving(origin.address);
    for round in 0..3 {
        let mut wire = rig.plain();
        assert!(wire.get(HOST, "/whole").body == whole, "round {round}");
        wire.send(format!("GET /cut HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
        assert!(wire.try_response(false).is_err(), "round {round}");
        // One that leaves in the midst of a body.
        let mut leaving = rig.plain();
        leaving.send(format!("GET /whole HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
        leaving.exactly(1 << 10).unwrap();
        drop(leaving);
        // Another one on the same connection, large and small by turns.
        let mut wire = rig.plain();
        for _ in 0..3 {
            assert!(wire.get(HOST, "/whole").body == whole, "round {round}");
        }
    }
}
