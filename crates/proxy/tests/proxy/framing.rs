//! Applications that break off or talk nonsense: the client must not take part of a response for a whole one.

use crate::rig::origin::Origin;
use crate::rig::{HOST, Rig, route};
use apron_link::proxy::FromProxy;
use std::io::{Read, Write};

fn breaking_off(sent: &'static str) -> Origin {
    Origin::raw(move |mut stream| {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
    })
}

#[test]
fn a_response_that_is_cut_does_not_look_whole() {
    for sent in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhalf\r\n",
    ] {
        let origin = breaking_off(sent);
        let rig = Rig::serving(origin.address);
        for version in ["1.1", "1.0"] {
            for mut wire in [rig.tls(HOST), rig.plain()] {
                wire.send(format!("GET / HTTP/{version}\r\nhost: {HOST}\r\n\r\n"));
                let response = wire.try_response(false);
                assert!(
                    response.is_err(),
                    "{sent:?} over {version} gave {response:?}"
                );
            }
        }
    }
}

#[test]
fn answers_that_mean_nothing_or_two_things_are_not_passed_on() {
    for sent in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nserver: x\n\nabc",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ] {
        let origin = breaking_off(sent);
        let rig = Rig::serving(origin.address);
        let response = rig.tls(HOST).get(HOST, "/");
        assert_eq!(
            (response.status, response.reason()),
            (502, "instance-answer"),
            "{sent:?}"
        );
    }
}

#[test]
fn an_application_that_closes_without_an_answer_is_reported() {
    let origin = breaking_off("");
    let mut rig = Rig::serving(origin.address);
    let response = rig.tls(HOST).get(HOST, "/");
    assert_eq!(
        (response.status, response.reason()),
        (502, "instance-closed")
    );
    rig.control.expect("a report", |message| match message {
        FromProxy::Unreachable { instance, .. } => (instance == "one").then_some(()),
        _ => None,
    });
}

#[test]
fn a_reused_connection_that_the_application_closed_is_not_the_visitors_problem() {
    // Each connection answers one request, promises to go on, and closes when the next one arrives.
    let origin = Origin::raw(|mut stream| {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .unwrap();
        let _ = stream.read(&mut head);
    });
    let rig = Rig::serving(origin.address);
    let mut wire = rig.tls(HOST);
    for _ in 0..20 {
        assert_eq!(wire.get(HOST, "/").text(), "ok");
    }
    // What may not be repeated is answered with the failure, or on a new connection, but never sent twice.
    wire.send(format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1\r\n\r\nx"
    ));
    let response = wire.response();
    assert!(
        response.text() == "ok" || response.reason() == "instance-closed",
        "{response:?}"
    );
}

#[test]
fn a_request_timeout_is_answered_or_cuts() {
    let origin = Origin::http(|request, stream| {
        if request.path() == "/begun" {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")?;
        }
        // Until the proxy gives up.
        stream
            .read(&mut [0])
            .and_then(|_| Err(std::io::ErrorKind::Other.into()))
    });
    let mut rig = Rig::start();
    let mut bounded = route(&[("one", origin.address)]);
    bounded.request_timeout_ms = 300;
    let table = rig.table(1, vec![bounded]);
    rig.publish(table);
    let response = rig.tls(HOST).get(HOST, "/");
    assert_eq!(
        (response.status, response.reason()),
        (504, "request-timeout")
    );
    let mut wire = rig.tls(HOST);
    wire.send(format!("GET /begun HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    assert!(wire.try_response(false).is_err());
}
