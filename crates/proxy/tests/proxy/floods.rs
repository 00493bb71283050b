//! HTTP/2 clients that make work for nothing: each is sent away, and the proxy goes on serving the others with about the
//! memory it had.

use crate::rig::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame, literal, request,
};
use crate::rig::origin::{Origin, receive, respond};
use crate::rig::{HOST, Rig, at_a_stand, eventually};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// HTTP/2's error codes (RFC 9113 section 7).
const ENHANCE_YOUR_CALM: u32 = 11;
const FLOW_CONTROL_ERROR: u32 = 3;

/// Most frames that are sent before somebody should have noticed.
const FRAMES_MAX: usize = 400_000;

/// Frames that are sent at once.
const BATCH: usize = 1_000;

/// What the proxy may hold more after a flood than before, in KiB.
const HELD_KIB_MAX: u64 = 16 << 10;

/// Sends `batch` over and over until the connection ends or everything is sent; answers whether it ended.
fn flood(connection: &mut Frames, mut batch: impl FnMut(usize) -> Vec<u8>) -> bool {
    (0..FRAMES_MAX / BATCH).any(|round| connection.send_raw(&batch(round)).is_err())
}

fn repeated(frame: &[u8]) -> Vec<u8> {
    frame.repeat(BATCH)
}

/// The number of the client's stream number `index`.
fn stream(index: usize) -> u32 {
    u32::try_from(index * 2 + 1).unwrap()
}

/// Floods a proxy and checks that the connection ends, that others are served and that memory stays.
fn sent_away(what: &str, flooding: impl Fn(&mut Frames) -> bool) {
    let origin = Origin::saying("ok");
    let rig = Rig::serving(origin.address);
    assert_eq!(rig.tls(HOST).get(HOST, "/").text(), "ok");
    let before = rig.resident_kib();
    let mut connection = Frames::connect(&rig);
    let ended = flooding(&mut connection);
    assert!(
        ended || connection.farewell().is_some(),
        "{what} is let go on"
    );
    let held = rig.resident_kib().saturating_sub(before);
    assert!(held < HELD_KIB_MAX, "{held} KiB held after {what}");
    assert_eq!(rig.tls(HOST).get(HOST, "/").text(), "ok", "after {what}");
}

#[test]
fn rapid_resets() {
    // CVE-2023-44487.
    let origin = Origin::raw(|mut stream| {
        let mut read = Vec::new();
        while let Ok(Some(_)) = receive(&mut stream, &mut read) {
            if respond(&mut stream, b"ok").is_err() {
                return;
            }
        }
    });
    let rig = Rig::serving(origin.address);
    let mut connection = Frames::connect(&rig);
    let head = request("GET", "/");
    let ended = flood(&mut connection, |round| {
        let mut out = Vec::new();
        for index in round * BATCH..(round + 1) * BATCH {
            out.extend(frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                stream(index),
                &head,
            ));
            out.extend(frame(RST_STREAM, 0, stream(index), &8u32.to_be_bytes()));
        }
        out
    });
    assert!(ended || connection.farewell() == Some(ENHANCE_YOUR_CALM));
    let reached = origin.connections.load(SeqCst);
    assert!(
        reached < 1_000,
        "{reached} requests reached the application"
    );
    eventually("others are served", || {
        rig.tls(HOST).get(HOST, "/").text() == "ok"
    });
}

#[test]
fn resets_that_the_client_provokes() {
    // CVE-2025-8671, "MadeYouReset": the client makes the server reset streams by breaking their rules.
    sent_away("provoked resets", |connection| {
        let head = request("POST", "/");
        let zero = 0u32.to_be_bytes();
        flood(connection, |round| {
            let mut out = Vec::new();
            for index in round * BATCH..(round + 1) * BATCH {
                out.extend(frame(HEADERS, END_HEADERS, stream(index), &head));
                out.extend(frame(WINDOW_UPDATE, 0, stream(index), &zero));
            }
            out
        })
    });
}

#[test]
fn heads_without_end() {
    // CVE-2024-27316.
    sent_away("continuations", |connection| {
        let mut head = request("GET", "/");
        head.extend(literal(b"x", b"y"));
        connection.send(HEADERS, END_STREAM, 1, &head).unwrap();
        let piece = frame(CONTINUATION, 0, 1, &literal(b"x-more", &[b'y'; 1_000]));
        flood(connection, |_| repeated(&piece))
    });
    sent_away("empty continuations", |connection| {
        connection
            .send(HEADERS, END_STREAM, 1, &request("GET", "/"))
            .unwrap();
        flood(connection, |_| repeated(&frame(CONTINUATION, 0, 1, &[])))
    });
}

#[test]
fn heads_over_the_bounds_are_refused() {
    let origin = Origin::saying("ok");
    let rig = Rig::serving(origin.address);
    let fields = |count: usize, bytes: usize| {
        let mut head = request("GET", "/");
        for _ in 0..count {
            head.extend(literal(b"x", &vec![b'y'; bytes]));
        }
        head
    };
    for head in [fields(2_000, 0), fields(200, 10), fields(7, 10_000)] {
        let mut connection = Frames::connect(&rig);
        let (first, rest) = head.split_at(head.len().min(16_000));
        let whole = if rest.is_empty() { END_HEADERS } else { 0 };
        connection
            .send(HEADERS, END_STREAM | whole, 1, first)
            .unwrap();
        let pieces: Vec<_> = rest.chunks(16_000).collect();
        for (index, piece) in pieces.iter().enumerate() {
            let ends = if index + 1 == pieces.len() {
                END_HEADERS
            } else {
                0
            };
            // The connection may have ended.
            let _ = connection.send(CONTINUATION, ends, 1, piece);
        }
        let answer = connection.until(|it| matches!(it.kind, HEADERS | RST_STREAM | GOAWAY));
        let answer = answer.expect("an answer");
        assert!(
            answer.kind != HEADERS || answer.payload[0] != crate::rig::frames::STATUS_200,
            "{answer:?}"
        );
    }
    assert_eq!(origin.connections.load(SeqCst), 0);
}

#[test]
fn a_head_that_unpacks_to_much_is_refused() {
    // One field goes into the dynamic table, then stands for itself in one byte again and again.
    let origin = Origin::saying("ok");
    let rig = Rig::serving(origin.address);
    let mut head = request("GET", "/");
    let mut entry = literal(b"x", &[b'y'; 3_000]);
    entry[0] = 0x40;
    head.extend(entry);
    head.extend([0x80 | 62; 10_000]);
    let before = rig.resident_kib();
    let mut connection = Frames::connect(&rig);
    connection
        .send(HEADERS, END_HEADERS | END_STREAM, 1, &head)
        .unwrap();
    let answer = connection.until(|it| matches!(it.kind, HEADERS | RST_STREAM | GOAWAY));
    let answer = answer.expect("an answer");
    assert!(
        answer.kind != HEADERS || answer.payload[0] != crate::rig::frames::STATUS_200,
        "{answer:?}"
    );
    assert!(rig.resident_kib().saturating_sub(before) < HELD_KIB_MAX);
    assert_eq!(origin.connections.load(SeqCst), 0);
}

#[test]
fn settings() {
    sent_away("settings", |connection| {
        let table: Vec<u8> = [&1u16.to_be_bytes()[..], &100u32.to_be_bytes()].concat();
        flood(connection, |_| repeated(&frame(SETTINGS, 0, 0, &table)))
    });
}

#[test]
fn pings() {
    sent_away("pings", |connection| {
        flood(connection, |_| repeated(&frame(PING, 0, 0, &[7; 8])))
    });
}

#[test]
fn unasked_acknowledgements() {
    sent_away("acknowledgements", |connection| {
        flood(connection, |_| {
            let mut out = repeated(&frame(PING, ACK, 0, &[7; 8]));
            out.extend(frame(SETTINGS, ACK, 0, &[]));
            out
        })
    });
}

#[test]
fn empty_data() {
    sent_away("empty data", |connection| {
        connection
            .send(HEADERS, END_HEADERS, 1, &request("POST", "/"))
            .unwrap();
        flood(connection, |_| repeated(&frame(DATA, 0, 1, &[])))
    });
}

#[test]
fn window_updates() {
    let one = 1u32.to_be_bytes();
    sent_away("window updates", |connection| {
        flood(connection, |_| repeated(&frame(WINDOW_UPDATE, 0, 0, &one)))
    });
    let origin = Origin::saying("ok");
    let rig = Rig::serving(origin.address);
    let mut connection = Frames::connect(&rig);
    // One is over the bound already. What comes after it would find the connection closed and be answered with a reset, which
    // takes the farewell away from the client.
    let largest = 0x7fff_ffff_u32.to_be_bytes();
    connection.send(WINDOW_UPDATE, 0, 0, &largest).unwrap();
    assert_eq!(connection.farewell(), Some(FLOW_CONTROL_ERROR));
}

#[test]
fn priorities_and_unknown_frames() {
    const PRIORITY: u8 = 2;
    sent_away("priorities", |connection| {
        flood(connection, |_| {
            repeated(&frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]))
        })
    });
    sent_away("unknown frames", |connection| {
        flood(connection, |_| repeated(&frame(0xfa, 0, 0, &[])))
    });
}

#[test]
fn windows_that_stay_closed_hold_little_memory() {
    let written = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&written);
    let origin = Origin::http(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n")?;
        (0..1024).try_for_each(|_| {
            stream.write_all(&[b'x'; 65_536])?;
            counted.fetch_add(65_536, SeqCst);
            Ok(())
        })
    });
    let rig = Rig::serving(origin.address);
    assert_eq!(rig.plain().get("unknown.test", "/").status, 404);
    let before = rig.resident_kib();
    // A window of nothing: not a byte of a body may be sent.
    let mut connections: Vec<_> = (0..4)
        .map(|_| Frames::connect_with(&rig, &[(4, 0)]))
        .collect();
    for connection in &mut connections {
        for index in 0..25 {
            let head = request("GET", "/");
            let ends = END_HEADERS | END_STREAM;
            connection
                .send(HEADERS, ends, stream(index), &head)
                .unwrap();
        }
        for _ in 0..25 {
            connection.until(|frame| frame.kind == HEADERS).unwrap();
        }
    }
    at_a_stand("the application is held back", || written.load(SeqCst));
    let held = rig.resident_kib().saturating_sub(before);
    assert!(
        held < 100 * 128 + HELD_KIB_MAX,
        "{held} KiB held by 100 streams"
    );
    assert_eq!(rig.plain().get("unknown.test", "/").status, 404);
}
