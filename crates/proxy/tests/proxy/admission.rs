//! Who gets a request, and what becomes of those nobody gets.

use crate::rig::origin::{Origin, receive, respond};
use crate::rig::{HOST, PATIENCE, Rig, eventually, route};
use apron_link::proxy::{FromProxy, Route};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

/// What the proxy lets wait per service when there can be no more instances.
const WAITING_MAX: usize = 1_000;

fn get() -> String {
    format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n")
}

fn wanted(rig: &mut Rig, at_least: u32) -> u32 {
    rig.control
        .expect("that instances are wanted", |message| match message {
            FromProxy::Wanted { waiting, .. } => Some(*waiting).filter(|it| *it >= at_least),
            _ => None,
        })
}

fn with(rig: &mut Rig, route: Route) {
    let table = rig.table(1, vec![route]);
    rig.publish(table);
}

#[test]
fn while_instances_can_be_started_a_burst_waits_beyond_the_queue() {
    let mut rig = Rig::start();
    let growing = Route {
        can_grow: true,
        ..route(&[])
    };
    with(&mut rig, growing.clone());
    let mut wires: Vec<_> = (0..WAITING_MAX + 20).map(|_| rig.plain()).collect();
    for wire in &mut wires {
        wire.send(get());
    }
    // The news is repeated while it lasts, with the latest number.
    wanted(&mut rig, WAITING_MAX as u32 + 20);
    let origin = Origin::saying("ok");
    let grown = Route {
        can_grow: false,
        ..route(&[("one", origin.address)])
    };
    rig.change(1, vec![grown]);
    for wire in &mut wires {
        assert_eq!(wire.response().text(), "ok");
    }
}

#[test]
fn a_full_queue_says_when_to_come_back_and_still_asks_for_an_instance() {
    let mut rig = Rig::start();
    with(&mut rig, route(&[]));
    let mut wires: Vec<_> = (0..WAITING_MAX).map(|_| rig.plain()).collect();
    for wire in &mut wires {
        wire.send(get());
    }
    wanted(&mut rig, WAITING_MAX as u32);
    let response = rig.plain().get(HOST, "/");
    assert_eq!((response.status, response.reason()), (429, "queue-full"));
    assert_eq!(response.header("retry-after"), Some("1"));
    assert!(
        response
            .header("date")
            .is_some_and(|date| date.ends_with(" GMT"))
    );
    wanted(&mut rig, WAITING_MAX as u32 + 1);
    let refused = rig.control.expect("statistics", |message| match message {
        FromProxy::Statistics(all) => all.iter().map(|it| it.refused).find(|it| *it > 0),
        _ => None,
    });
    assert_eq!(refused, 1);
}

#[test]
fn trouble_is_told_at_once_and_to_those_who_wait() {
    let mut rig = Rig::start();
    with(&mut rig, route(&[]));
    let mut early = rig.plain();
    early.send(get());
    wanted(&mut rig, 1);
    let troubled = Route {
        trouble: Some("the application ended with exit code 3".into()),
        ..route(&[])
    };
    rig.change(1, vec![troubled]);
    let mut late = rig.tls(HOST);
    late.send(get());
    for wire in [&mut early, &mut late] {
        let response = wire.response();
        assert_eq!((response.status, response.reason()), (503, "no-instance"));
        assert_eq!(response.text(), "the application ended with exit code 3\n");
    }
    // Each request still asks for an instance; when there is one, trouble or not, it answers.
    rig.control.forget();
    assert_eq!(rig.plain().get(HOST, "/").status, 503);
    wanted(&mut rig, 1);
    let origin = Origin::saying("ok");
    let one = Route {
        trouble: Some("another one did not start".into()),
        ..route(&[("one", origin.address)])
    };
    rig.change(2, vec![one]);
    assert_eq!(rig.plain().get(HOST, "/").text(), "ok");
}

#[test]
fn an_idle_timeout_starts_again_with_each_byte() {
    let origin = Origin::http(|request, stream| match request.path() {
        "/slow" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n")?;
            for _ in 0..8 {
                crate::rig::be_slow(std::time::Duration::from_millis(150));
                stream.write_all(b"x")?;
            }
            Ok(())
        }
        _ => {
            crate::rig::be_slow(PATIENCE / 4);
            respond(stream, b"late")
        }
    });
    let mut rig = Rig::start();
    let bounded = Route {
        idle_timeout_ms: 600,
        ..route(&[("one", origin.address)])
    };
    with(&mut rig, bounded);
    assert_eq!(rig.plain().get(HOST, "/slow").text(), "xxxxxxxx");
    let begin = Instant::now();
    let response = rig.plain().get(HOST, "/never");
    assert_eq!((response.status, response.reason()), (504, "idle-timeout"));
    assert!(begin.elapsed() < PATIENCE / 4);
}

/// Two applications that say who they are.
fn two() -> [Origin; 2] {
    [Origin::saying("a"), Origin::saying("b")]
}

fn cookie(response: &crate::rig::client::Response) -> Option<&str> {
    response.header("set-cookie")
}

#[test]
fn a_cookie_keeps_a_client_at_its_instance() {
    let [a, b] = two();
    let mut rig = Rig::start();
    let both = [("a", a.address), ("b", b.address)];
    let sticky = |upstreams: &[(&str, SocketAddr)]| Route {
        sticky: true,
        ..route(upstreams)
    };
    with(&mut rig, sticky(&both));
    let mut wire = rig.tls(HOST);
    let first = wire.get(HOST, "/");
    let set = cookie(&first).unwrap().to_owned();
    assert!(
        set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"),
        "{set}"
    );
    let pair = set.split(';').next().unwrap();
    let ask = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\ncookie: x=y; {pair}\r\n\r\n");
    for _ in 0..10 {
        wire.send(&ask);
        let response = wire.response();
        assert_eq!((response.text(), cookie(&response)), (first.text(), None));
    }
    // Its instance leaves: another one takes over, and the client is told.
    let other = both.iter().find(|(id, _)| *id != first.text()).unwrap();
    rig.change(1, vec![sticky(&[*other])]);
    wire.send(&ask);
    let response = wire.response();
    assert_eq!(response.text(), other.0);
    assert_ne!(cookie(&response), Some(set.as_str()));
    let plain = rig.plain().get(HOST, "/");
    assert!(cookie(&plain).unwrap().ends_with("; SameSite=Lax"));
}

/// An application that takes connections and closes them before it answers, until it is mended.
fn breaking() -> (Origin, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (seen, mended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, answers) = (Arc::clone(&seen), Arc::clone(&mended));
    let origin = Origin::raw(move |mut stream| {
        let mut read = Vec::new();
        while let Ok(Some(_)) = receive(&mut stream, &mut read) {
            counted.fetch_add(1, SeqCst);
            if answers.load(SeqCst) == 0 || respond(&mut stream, b"mended").is_err() {
                return;
            }
        }
    });
    (origin, seen, mended)
}

#[test]
fn an_instance_that_breaks_is_passed_over_and_probed_back_in() {
    let (broken, seen, mended) = breaking();
    let sound = Origin::saying("ok");
    let mut rig = Rig::start();
    with(
        &mut rig,
        route(&[("broken", broken.address), ("sound", sound.address)]),
    );
    // Requests that may be repeated are, at the other one.
    let mut wire = rig.plain();
    for _ in 0..100 {
        assert_eq!(wire.get(HOST, "/").text(), "ok");
    }
    let tries = seen.load(SeqCst);
    assert!((3..30).contains(&tries), "{tries}");
    mended.store(1, SeqCst);
    eventually("it gets requests again", || {
        wire.get(HOST, "/").text() == "mended"
    });
}

#[test]
fn a_request_that_may_not_be_repeated_is_sent_once() {
    let (broken, seen, _) = breaking();
    let mut rig = Rig::start();
    with(&mut rig, route(&[("broken", broken.address)]));
    let post = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 2\r\n\r\nhi");
    for sent in 1..=10 {
        let mut wire = rig.plain();
        wire.send(&post);
        let response = wire.response();
        assert_eq!(
            (response.status, response.reason()),
            (502, "instance-closed")
        );
        // It is the only one, so it is tried however often it broke, and each time once.
        assert_eq!(seen.load(SeqCst), sent);
    }
    let mut wire = rig.plain();
    assert_eq!(wire.get(HOST, "/").status, 502);
    assert_eq!(seen.load(SeqCst), 10 + 3);
}

#[test]
fn changes_are_kept_on_disk_and_served_by_the_next_process() {
    let [a, b] = two();
    let mut rig = Rig::start();
    with(&mut rig, route(&[("a", a.address)]));
    rig.change(1, vec![route(&[])]);
    rig.change(2, vec![route(&[("b", b.address)])]);
    rig.control.unlink();
    rig.kill();
    rig.start_another();
    assert_eq!(rig.tls(HOST).get(HOST, "/").text(), "b");
    assert_eq!(rig.control.link(), 3);
    // A change of another table than the one in force is no change: the proxy asks for the whole one.
    rig.control.send(&apron_link::proxy::ToProxy::Change(
        apron_link::proxy::RouteChange {
            base: 7,
            generation: 8,
            ..Default::default()
        },
    ));
    assert_eq!(rig.control.link(), 3);
}
