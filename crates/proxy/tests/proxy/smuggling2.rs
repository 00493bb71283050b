//! The same for HTTP/2 clients in front of applications that speak HTTP/1, and HTTP/2.

use crate::rig::frames::{
    DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RST_STREAM, STATUS_200, literal,
};
use crate::rig::h2c::{H2Origin, serving_h2c};
use crate::rig::{HOST, Rig};
use crate::smuggling::{Case, Recorder, Verdict, bytes, cases, summary};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// What every request has that says nothing else.
const USUAL: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "@"),
    (":path", "/"),
];

/// The cases where all that was announced is there before the last frame: the request may be on its way, and answered, before
/// that frame comes. What was announced of the body stands beside each.
const ANNOUNCED_AND_MORE: [(&str, &str); 2] = [
    ("H2.CL: less than the body", "POST / "),
    ("H2.CL: less than the body, in two frames", "POST / hello"),
];

fn is_announced_before_more(case: &Case) -> bool {
    let mut names = ANNOUNCED_AND_MORE.iter();
    names.any(|(name, _)| case.name == *name)
}

/// Frames of a case: kind and payload.
fn frames(case: &Case) -> Vec<(u8, Vec<u8>)> {
    let (mut fields, mut data, mut trailers) = (Vec::new(), Vec::new(), Vec::new());
    for line in &case.lines {
        let rest = line[2..].replace('@', HOST);
        match line.as_bytes()[0] {
            b'd' => data.push((DATA, bytes(&rest))),
            b'h' => fields.push(rest),
            b't' => trailers.push(rest),
            _ => panic!("{}: {line}", case.name),
        }
    }
    let field = |text: &String| {
        let (name, value) = text.split_once('=').unwrap();
        literal(&bytes(name), &bytes(value))
    };
    let said = |name: &str| {
        fields
            .iter()
            .any(|it| it.starts_with(&format!("{name}=")) || *it == format!("-{name}"))
    };
    let mut head = Vec::new();
    for (name, value) in USUAL.iter().filter(|(name, _)| !said(name)) {
        head.extend(literal(
            name.as_bytes(),
            value.replace('@', HOST).as_bytes(),
        ));
    }
    let present = fields.iter().filter(|text| !text.starts_with("-:"));
    head.extend(present.flat_map(field));
    let mut all = vec![(HEADERS, head)];
    all.extend(data);
    if !trailers.is_empty() {
        all.push((HEADERS, trailers.iter().flat_map(field).collect()));
    }
    all
}

/// Sends a case; answers whether the answer was 200.
fn send(case: &Case, rig: &Rig) -> bool {
    let mut connection = Frames::connect(rig);
    let frames = frames(case);
    let last = frames.len() - 1;
    for (index, (kind, payload)) in frames.iter().enumerate() {
        let ends = if index == last { END_STREAM } else { 0 };
        let whole = if *kind == HEADERS { END_HEADERS } else { 0 };
        // The proxy may have ended the connection already.
        let _ = connection.send(*kind, ends | whole, 1, payload);
    }
    let answer = connection.until(|frame| matches!(frame.kind, HEADERS | RST_STREAM | GOAWAY));
    answer.is_some_and(|frame| frame.kind == HEADERS && frame.payload[0] == STATUS_200)
}

fn check(case: &Case, rig: &Rig, recorder: &Recorder) {
    let name = &case.name;
    let accepted = send(case, rig);
    let expected: Vec<String> = case
        .verdicts
        .iter()
        .filter_map(|verdict| match verdict {
            Verdict::Passed(request) => Some(request.clone()),
            Verdict::Refused(_) => None,
        })
        .collect();
    assert_eq!(case.verdicts.len(), 1, "{name}");
    assert_eq!(accepted, !expected.is_empty(), "{name}");
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
fn known_techniques_smuggle_nothing_over_http_2() {
    let recorder = Recorder::start();
    let rig = Rig::serving(recorder.origin.address);
    let cases = cases(include_str!("corpus/smuggling-http2.txt"));
    assert!(cases.len() > 60, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases.iter().filter(|case| !is_announced_before_more(case)) {
        let checked = AssertUnwindSafe(|| check(case, &rig, &recorder));
        if std::panic::catch_unwind(checked).is_err() {
            wrong.push(&case.name);
            recorder.take();
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_exceeds_the_announced_length_reaches_nobody() {
    let recorder = Recorder::start();
    let rig = Rig::serving(recorder.origin.address);
    let cases = cases(include_str!("corpus/smuggling-http2.txt"));
    // A request that passes comes after everything that was sent before it.
    let passes = |case: &&Case| matches!(case.verdicts[0], Verdict::Passed(_));
    let passing = cases.iter().find(passes).expect("a case that passes");
    let Verdict::Passed(last) = &passing.verdicts[0] else {
        panic!("no case passes");
    };
    for (name, announced) in ANNOUNCED_AND_MORE {
        let more = cases.iter().find(|case| case.name == name);
        let accepted = send(more.expect(name), &rig);
        assert!(send(passing, &rig));
        let mut got: Vec<String> = recorder.take().iter().map(summary).collect();
        let place = got.iter().position(|it| it == last);
        got.remove(place.expect("the request that passes was passed on"));
        assert!(
            got == [announced] || (got.is_empty() && !accepted),
            "{name}: nothing, or what was announced: {got:?}"
        );
    }
}

#[test]
fn what_is_refused_reaches_no_http_2_application_either() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let (got, ended) = (Arc::clone(&heads), Arc::new(AtomicUsize::new(0)));
    let whole = Arc::clone(&ended);
    let origin = H2Origin::new(move |mut request, mut respond| {
        got.lock().unwrap().push(format!("{:?}", request.headers()));
        let whole = Arc::clone(&whole);
        async move {
            if crate::http2::read(request.body_mut()).await.is_ok() {
                whole.fetch_add(1, SeqCst);
            }
            let _ = respond.send_response(http::Response::new(()), true);
        }
    });
    let rig = serving_h2c(origin.address);
    let cases = cases(include_str!("corpus/smuggling-http2.txt"));
    for case in cases.iter().filter(|case| !is_announced_before_more(case)) {
        let accepted = send(case, &rig);
        let passes = matches!(case.verdicts[0], Verdict::Passed(_));
        let whole = ended.swap(0, SeqCst);
        assert_eq!(accepted, passes, "{}", case.name);
        assert_eq!(whole, usize::from(passes), "{}", case.name);
        for fields in heads.lock().unwrap().drain(..) {
            for absent in &case.absent {
                assert!(!fields.contains(absent.as_str()), "{}: {fields}", case.name);
            }
        }
    }
}
