//! Requests that two recipients could understand in two ways: refused, and nothing of them reaches an application. The
//! cases are data; the application here records what it gets.

use crate::rig::client::Wire;
use crate::rig::origin::{Origin, Received};
use crate::rig::{HOST, Rig};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

/// One case of a corpus.
#[derive(Debug, Default)]
pub struct Case {
    pub name: String,
    pub verdicts: Vec<Verdict>,
    pub absent: Vec<String>,
    /// Lines that are none of the above.
    pub lines: Vec<String>,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed(String),
    Refused(String),
}

/// Reads a corpus.
pub fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
        if mark == "= " {
            cases.push(Case {
                name: rest.to_owned(),
                ..Case::default()
            });
        }
        let Some(case) = cases.last_mut() else {
            continue;
        };
        match mark {
            "= " | "" => {}
            "> " => case.verdicts.push(Verdict::Passed(rest.to_owned())),
            "! " => case.verdicts.push(Verdict::Refused(rest.to_owned())),
            "- " => case.absent.push(rest.to_owned()),
            _ => case.lines.push(line.to_owned()),
        }
    }
    cases
}

/// Bytes that a line with escapes stands for.
pub fn bytes(line: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = line.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let (escaped, length) = match (byte, after) {
            (b'\\', [b'r', ..]) => (b'\r', 2),
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [b'x', high, low, ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                (u8::from_str_radix(digits, 16).unwrap(), 4)
            }
            _ => (byte, 1),
        };
        out.push(escaped);
        rest = &rest[length..];
    }
    out
}

/// An application that records whole requests.
pub struct Recorder {
    pub origin: Origin,
    requests: Arc<Mutex<Vec<Received>>>,
}

impl Recorder {
    pub fn start() -> Recorder {
        let requests: Arc<Mutex<Vec<Received>>> = Arc::default();
        let recorded = Arc::clone(&requests);
        let origin = Origin::http(move |request, stream| {
            recorded.lock().unwrap().push(Received {
                head: request.head.clone(),
                body: request.body.clone(),
                trailers: request.trailers.clone(),
            });
            crate::rig::origin::respond(stream, b"ok")
        });
        Recorder { origin, requests }
    }

    /// What it got since it was asked last.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

/// A request as verdicts name it.
pub fn summary(request: &Received) -> String {
    let start: Vec<&str> = request.head.splitn(3, ' ').collect();
    let body = String::from_utf8_lossy(&request.body);
    let body = body.replace('\r', "\\r").replace('\n', "\\n");
    format!("{} {} {body}", start[0], start[1])
}

fn check(case: &Case, mut wire: Wire, recorder: &Recorder) {
    let name = &case.name;
    let sent: String = case.lines.concat().replace('@', HOST);
    assert!(!case.verdicts.is_empty() && !sent.is_empty(), "{name}");
    let refused = matches!(case.verdicts.last(), Some(Verdict::Refused(_)));
    let follows = if refused { "smuggled" } else { "sentinel" };
    let mut sent = bytes(&sent);
    sent.extend_from_slice(format!("GET /{follows} HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes());
    wire.send(&sent);
    let mut expected = Vec::new();
    for verdict in &case.verdicts {
        let mut response = wire
            .try_response(false)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        if response.status == 100 {
            response = wire.response();
        }
        match verdict {
            Verdict::Passed(request) => {
                assert_eq!(response.status, 200, "{name}: {}", response.reason());
                expected.push(request.clone());
            }
            Verdict::Refused(answer) => {
                let got = format!("{} {}", response.status, response.reason());
                assert_eq!(&got, answer, "{name}");
            }
        }
    }
    if refused {
        assert_eq!(wire.rest().unwrap(), b"", "{name}: another answer followed");
    } else {
        assert_eq!(wire.response().text(), "ok", "{name}");
        expected.push("GET /sentinel ".to_owned());
    }
    let recorded = recorder.take();
    let got: Vec<String> = recorded.iter().map(summary).collect();
    assert_eq!(got, expected, "{name}: what the application got");
    for request in &recorded {
        let fields = request.head.to_lowercase() + &request.trailers.to_lowercase();
        for absent in &case.absent {
            assert!(!fields.contains(absent), "{name}: {fields}");
        }
        let lengths = fields.matches("content-length").count();
        let codings = fields.matches("transfer-encoding:").count();
        let hosts = fields.matches("\r\nhost: ").count();
        assert!(lengths + codings <= 1 && hosts == 1, "{name}: {fields}");
    }
}

#[test]
fn known_techniques_smuggle_nothing() {
    let recorder = Recorder::start();
    let rig = Rig::serving(recorder.origin.address);
    let cases = cases(include_str!("corpus/smuggling-http1.txt"));
    assert!(cases.len() > 100, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        for wire in [rig.tls(HOST), rig.plain()] {
            let checked = AssertUnwindSafe(|| check(case, wire, &recorder));
            if std::panic::catch_unwind(checked).is_err() {
                wrong.push(&case.name);
                recorder.take();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
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
