//! Deployments: the table changes under load and nobody notices.

use crate::rig::origin::{Origin, receive, respond};
use crate::rig::{HOST, Rig, be_slow, eventually, route};
use apron_link::proxy::{Draining, FromProxy, ToProxy};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// An application whose requests take as long as they say, and which ends abruptly once it is told to.
fn version(text: &'static str) -> Origin {
    Origin::raw(move |mut stream| {
        let mut read = Vec::new();
        while let Ok(Some(request)) = receive(&mut stream, &mut read) {
            if let Some(pause) = request.header("x-pause-ms") {
                be_slow(Duration::from_millis(pause.parse().unwrap()));
            }
            if respond(&mut stream, text.as_bytes()).is_err() {
                return;
            }
        }
    })
}

fn drained(rig: &mut Rig, draining: &[Draining]) {
    for left in draining {
        rig.control
            .expect("the end of the drain", |message| match message {
                FromProxy::Drained { instance } => (*instance == left.instance).then_some(()),
                _ => None,
            });
    }
}

#[test]
fn swaps_under_load_fail_no_request() {
    let mut rig = Rig::start();
    let mut versions = vec![version("v0")];
    let table = rig.table(1, vec![route(&[("i0", versions[0].address)])]);
    rig.publish(table);
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let dial = rig.dial();
    std::thread::scope(|scope| {
        for index in 0..8 {
            let (done, answered, dial) = (&done, &answered, &dial);
            scope.spawn(move || {
                let connect = || if index % 2 == 0 { dial.tls(HOST) } else { dial.plain() };
                let mut wire = connect();
                let upload = vec![b'x'; 300_000];
                while !done.load(SeqCst) {
                    match index / 2 {
                        0 => wire.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n")),
                        1 => wire.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nx-pause-ms: 150\r\n\r\n")),
                        2 => {
                            let length = upload.len();
                            wire.send(format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {length}\r\n\r\n"));
                            for piece in upload.chunks(60_000) {
                                wire.send(piece);
                                be_slow(Duration::from_millis(10));
                            }
                        }
                        _ => {
                            wire = connect();
                            wire.send(format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1\r\n\r\nx"));
                        }
                    }
                    let response = wire.try_response(false).unwrap();
                    assert_eq!(response.status, 200, "{response:?}");
                    assert!(response.text().starts_with('v'));
                    answered.fetch_add(1, SeqCst);
                }
            });
        }
        for generation in 2..12u64 {
            let before = answered.load(SeqCst);
            eventually("there is load", || answered.load(SeqCst) > before + 20);
            let next = version("v1");
            let id = format!("i{generation}");
            let table = rig.table(generation, vec![route(&[(&id, next.address)])]);
            let draining = rig.publish(table);
            drained(&mut rig, &draining);
            // Only now the old version may go, with its listener and its connections.
            versions.push(next);
            drop(versions.remove(0));
        }
        done.store(true, SeqCst);
    });
    assert!(
        answered.load(SeqCst) > 200,
        "only {} answered",
        answered.load(SeqCst)
    );
}

#[test]
fn a_drain_ends_with_the_last_byte_of_the_last_request() {
    let mut rig = Rig::start();
    let old = Origin::raw(|mut stream| {
        let mut read = Vec::new();
        while let Ok(Some(_)) = receive(&mut stream, &mut read) {
            respond(&mut stream, b"old").unwrap();
        }
    });
    let new = Origin::saying("new");
    let table = rig.table(1, vec![route(&[("old", old.address)])]);
    rig.publish(table);
    // An upload that is not finished, and an idle connection.
    let mut upload = rig.tls(HOST);
    upload.send(format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 10\r\n\r\nhalf."
    ));
    let mut idle = rig.plain();
    assert_eq!(idle.get(HOST, "/").text(), "old");
    eventually("both reached the application", || {
        old.connections.load(SeqCst) >= 2
    });
    let table = rig.table(2, vec![route(&[("new", new.address)])]);
    assert_eq!(
        rig.publish(table),
        [Draining {
            instance: "old".into(),
            outstanding: 1
        }]
    );
    assert_eq!(idle.get(HOST, "/").text(), "new");
    let is_drained = |message: &FromProxy| matches!(message, FromProxy::Drained { .. });
    assert!(
        !rig.control
            .comes_within(Duration::from_millis(300), is_drained)
    );
    upload.send("whole");
    assert_eq!(upload.response().text(), "old");
    drained(
        &mut rig,
        &[Draining {
            instance: "old".into(),
            outstanding: 1,
        }],
    );
    // The same table again: nothing is draining any more.
    let table = rig.table(3, vec![route(&[("new", new.address)])]);
    assert_eq!(rig.publish(table), []);
}

#[test]
fn idle_connections_to_an_instance_end_when_it_leaves_the_table() {
    let ended = std::sync::Arc::new(AtomicBool::new(false));
    let seen = std::sync::Arc::clone(&ended);
    let old = Origin::raw(move |mut stream| {
        let mut bytes = [0; 4096];
        let _ = stream.read(&mut bytes).unwrap();
        respond(&mut stream, b"old").unwrap();
        assert_eq!(stream.read(&mut bytes).unwrap(), 0);
        seen.store(true, SeqCst);
    });
    let mut rig = Rig::serving(old.address);
    assert_eq!(rig.plain().get(HOST, "/").text(), "old");
    let table = rig.table(2, vec![route(&[])]);
    assert_eq!(rig.publish(table), []);
    eventually("the connection ends", || ended.load(SeqCst));
}

#[test]
fn a_retiring_proxy_finishes_what_is_under_way() {
    let origin = Origin::http(|request, stream| {
        if request.path() == "/slow" {
            be_slow(Duration::from_millis(500));
        }
        respond(stream, b"ok")
    });
    let mut rig = Rig::serving(origin.address);
    let mut slow = rig.tls(HOST);
    slow.send(format!("GET /slow HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    let mut idle = rig.tls(HOST);
    assert_eq!(idle.get(HOST, "/").text(), "ok");
    eventually("the slow request is under way", || {
        origin.busy.load(SeqCst) == 1
    });
    rig.control.send(&ToProxy::Retire { within_ms: 10_000 });
    let response = slow.response();
    assert_eq!(
        (response.text(), response.header("connection")),
        ("ok", Some("close"))
    );
    assert!(rig.process().wait().unwrap().success());
    // Who connects meanwhile waits in the listener for the next process.
    let mut late = rig.plain();
    late.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    rig.start_another();
    assert_eq!(late.response().text(), "ok");
}

#[test]
fn what_does_not_end_in_time_is_cut_and_the_process_leaves() {
    let origin = Origin::raw(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            .unwrap();
        let _ = stream.read(&mut [0]);
    });
    let mut rig = Rig::serving(origin.address);
    let mut wire = rig.tls(HOST);
    wire.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    assert_eq!(wire.line().unwrap(), "HTTP/1.1 200 OK");
    rig.control.send(&ToProxy::Retire { within_ms: 300 });
    assert!(rig.process().wait().unwrap().success());
    while !wire.line().unwrap().is_empty() {}
    assert!(wire.exactly(10).is_err());
}

/// A listener whose queue is full: connections to it neither come about nor fail, until it is closed.
fn deaf() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        waiting.push(stream);
    }
    (listener, waiting)
}

#[test]
fn a_request_whose_instances_are_replaced_while_it_connects_goes_to_a_new_one() {
    let mut rig = Rig::start();
    let asked = Arc::new(AtomicBool::new(false));
    let is_asked = Arc::clone(&asked);
    let old = Origin::http(move |_, stream| {
        is_asked.store(true, SeqCst);
        be_slow(Duration::from_secs(4));
        respond(stream, b"old")
    });
    let new = version("new");
    let (listener, waiting) = deaf();
    let table = rig.table(1, vec![route(&[("i0", old.address)])]);
    rig.publish(table);
    let mut busy = rig.plain();
    busy.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    eventually("it has a request", || asked.load(SeqCst));
    // The one that has no request is asked, and says nothing.
    let deaf = listener.local_addr().unwrap();
    let table = rig.table(2, vec![route(&[("i0", old.address), ("i1", deaf)])]);
    rig.publish(table);
    let mut wire = rig.plain();
    wire.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    be_slow(Duration::from_millis(300));
    let table = rig.table(3, vec![route(&[("i2", new.address)])]);
    rig.publish(table);
    // The kernel asks again within a second or so, and is refused.
    drop((listener, waiting));
    let response = wire.response();
    assert_eq!((response.status, response.text()), (200, "new"));
    assert_eq!(busy.response().text(), "old");
}
