//! Requests wait, within bounds, for an instance or for room at one.

use crate::rig::origin::{Origin, respond};
use crate::rig::{HOST, PATIENCE, Rig, be_slow, eventually, route};
use apron_link::proxy::{FromProxy, RouteState};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// What the proxy lets wait per service.
const WAITING_MAX: usize = 1_000;

fn waiting(rig: &mut Rig, count: u32) {
    rig.control.expect(
        "statistics with that many waiting",
        |message| match message {
            FromProxy::Statistics(all) => all
                .iter()
                .any(|service| service.waiting == count)
                .then_some(()),
            _ => None,
        },
    );
}

#[test]
fn a_request_waits_until_there_is_an_instance() {
    let mut rig = Rig::start();
    let table = rig.table(1, vec![route(&[])]);
    rig.publish(table);
    let mut wires: Vec<_> = (0..3).map(|_| rig.tls(HOST)).collect();
    for wire in &mut wires {
        wire.send(format!(
            "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 2\r\n\r\nhi"
        ));
    }
    rig.control
        .expect("a wanted instance", |message| match message {
            FromProxy::Wanted {
                service,
                waiting: 1..,
                ..
            } => (service == "service").then_some(()),
            _ => None,
        });
    waiting(&mut rig, 3);
    let origin = Origin::mirror();
    let start = Instant::now();
    let table = rig.table(2, vec![route(&[("one", origin.address)])]);
    rig.publish(table);
    for wire in &mut wires {
        let response = wire.response();
        assert_eq!(
            (response.status, response.header("x-body-bytes")),
            (200, Some("2"))
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "waking took {:?}",
        start.elapsed()
    );
}

#[test]
fn waiting_requests_learn_that_the_service_was_paused_or_deleted() {
    for delete in [false, true] {
        let mut rig = Rig::start();
        let table = rig.table(1, vec![route(&[])]);
        rig.publish(table);
        let mut wire = rig.tls(HOST);
        wire.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
        waiting(&mut rig, 1);
        let mut paused = route(&[]);
        paused.state = RouteState::Paused;
        let table = rig.table(2, if delete { vec![] } else { vec![paused] });
        rig.publish(table);
        assert_eq!(
            wire.response().reason(),
            if delete { "unknown-host" } else { "paused" }
        );
    }
}

#[test]
fn an_instance_gets_no_more_requests_at_once_than_it_may_have() {
    let most = Arc::new(AtomicUsize::new(0));
    let (now, seen) = (AtomicUsize::new(0), Arc::clone(&most));
    let origin = Origin::http(move |_, stream| {
        seen.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        be_slow(Duration::from_millis(2));
        now.fetch_sub(1, SeqCst);
        respond(stream, b"ok")
    });
    let mut rig = Rig::start();
    let mut narrow = route(&[("one", origin.address)]);
    narrow.max_concurrency = 3;
    let table = rig.table(1, vec![narrow]);
    rig.publish(table);
    let (barrier, dial) = (Barrier::new(16), rig.dial());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut wire = dial.plain();
                barrier.wait();
                for _ in 0..20 {
                    assert_eq!(wire.get(HOST, "/").text(), "ok");
                }
            });
        }
    });
    assert_eq!(most.load(SeqCst), 3);
}

#[test]
fn a_full_queue_refuses() {
    let mut rig = Rig::start();
    let table = rig.table(1, vec![route(&[])]);
    rig.publish(table);
    let mut wires: Vec<_> = (0..WAITING_MAX).map(|_| rig.plain()).collect();
    for wire in &mut wires {
        wire.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    }
    waiting(&mut rig, WAITING_MAX as u32);
    let response = rig.tls(HOST).get(HOST, "/");
    assert_eq!((response.status, response.reason()), (429, "queue-full"));
    // Clients that leave make room.
    wires.truncate(WAITING_MAX / 2);
    waiting(&mut rig, WAITING_MAX as u32 / 2);
    let origin = Origin::saying("ok");
    let table = rig.table(2, vec![route(&[("one", origin.address)])]);
    rig.publish(table);
    for wire in &mut wires {
        assert_eq!(wire.response().text(), "ok");
    }
}

/// An address that refuses connections and that nobody else can take.
fn closed() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[test]
fn a_refused_connection_leads_to_the_next_instance() {
    let (_closed, gone) = closed();
    let origin = Origin::saying("ok");
    let mut rig = Rig::start();
    let table = rig.table(1, vec![route(&[("gone", gone), ("here", origin.address)])]);
    rig.publish(table);
    for _ in 0..20 {
        assert_eq!(rig.plain().get(HOST, "/").text(), "ok");
    }
    rig.control.expect("a report", |message| match message {
        FromProxy::Unreachable { instance, error } => {
            (instance == "gone" && error.contains("refused")).then_some(())
        }
        _ => None,
    });
}

#[test]
fn a_killed_instance_is_not_seen_by_those_who_come_after() {
    let (closed, address) = closed();
    let mut rig = Rig::start();
    let table = rig.table(1, vec![route(&[("killed", address)])]);
    rig.publish(table);
    let done = AtomicBool::new(false);
    let (answered, dial) = (AtomicUsize::new(0), rig.dial());
    let _origin = std::thread::scope(|scope| {
        for index in 0..8 {
            let (dial, done, answered) = (&dial, &done, &answered);
            scope.spawn(move || {
                while !done.load(SeqCst) {
                    let mut wire = if index % 2 == 0 {
                        dial.plain()
                    } else {
                        dial.tls(HOST)
                    };
                    wire.send(format!(
                        "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 3\r\n\r\nabc"
                    ));
                    assert_eq!(wire.response().text(), "ok");
                    answered.fetch_add(1, SeqCst);
                }
            });
        }
        be_slow(Duration::from_millis(700));
        assert_eq!(answered.load(SeqCst), 0);
        closed.listen(128).unwrap();
        // The application comes back where it was: nobody says so, the proxy finds out.
        let origin = Origin::on(TcpListener::from(closed), |mut stream| {
            let mut read = Vec::new();
            while let Ok(Some(_)) = crate::rig::origin::receive(&mut stream, &mut read) {
                respond(&mut stream, b"ok").unwrap();
            }
        });
        eventually("requests are answered again", || answered.load(SeqCst) >= 8);
        done.store(true, SeqCst);
        // It is to outlive the last requests.
        origin
    });
}

#[test]
fn all_who_wait_for_an_instance_that_comes_back_get_it_at_once() {
    const CROWD: usize = 40;
    let (closed, address) = closed();
    let mut rig = Rig::start();
    let table = rig.table(1, vec![route(&[("back", address)])]);
    rig.publish(table);
    let mut wires: Vec<_> = (0..CROWD).map(|_| rig.plain()).collect();
    for wire in &mut wires {
        wire.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    }
    waiting(&mut rig, CROWD as u32);
    closed.listen(128).unwrap();
    // Nobody is answered before all are there.
    let all = Arc::new(Barrier::new(CROWD));
    let _origin = Origin::on(TcpListener::from(closed), move |mut stream| {
        let mut read = Vec::new();
        while let Ok(Some(_)) = crate::rig::origin::receive(&mut stream, &mut read) {
            all.wait();
            respond(&mut stream, b"ok").unwrap();
        }
    });
    for wire in &mut wires {
        assert_eq!(wire.response().text(), "ok");
    }
}

#[test]
fn a_request_timeout_counts_while_waiting() {
    let mut rig = Rig::start();
    let mut bounded = route(&[]);
    bounded.request_timeout_ms = 200;
    let table = rig.table(1, vec![bounded]);
    rig.publish(table);
    let start = Instant::now();
    let response = rig.tls(HOST).get(HOST, "/");
    assert_eq!(
        (response.status, response.reason()),
        (504, "request-timeout")
    );
    assert!(start.elapsed() < PATIENCE / 4);
}
