//! What a visitor meets: routing, TLS, redirects, the fields applications get.

use crate::rig::client::Wire;
use crate::rig::origin::{Origin, respond};
use crate::rig::{HOST, Rig, route};
use apron_link::proxy::{RouteState, RouteTable};
use std::io::Write;

#[test]
fn hosts_lead_to_their_services() {
    let (one, two) = (Origin::saying("one"), Origin::saying("two"));
    let mut rig = Rig::start();
    let mut second = route(&[("two", two.address)]);
    second.service = "second".into();
    second.hosts = vec!["b.apron.test".into(), "c.apron.test".into()];
    let table = rig.table(1, vec![route(&[("one", one.address)]), second]);
    rig.publish(table);
    for (host, text) in [
        (HOST, "one"),
        ("b.apron.test", "two"),
        ("c.apron.test", "two"),
    ] {
        assert_eq!(rig.tls(host).get(host, "/").text(), text);
        assert_eq!(rig.plain().get(&host.to_uppercase(), "/").text(), text);
    }
    let unknown = rig.plain().get("other.apron.test", "/");
    assert_eq!((unknown.status, unknown.reason()), (404, "unknown-host"));
    let mut wire = rig.tls(HOST);
    let misdirected = wire.get("b.apron.test", "/");
    assert_eq!(
        (misdirected.status, misdirected.reason()),
        (421, "misdirected")
    );
    assert_eq!(wire.get(HOST, "/").text(), "one", "the connection goes on");
}

#[test]
fn an_unknown_server_name_ends_the_handshake_with_its_alert() {
    let origin = Origin::saying("one");
    let rig = Rig::serving(origin.address);
    let error = Wire::try_tls(rig.https, "elsewhere.test", &rig.authority.root_pem)
        .err()
        .unwrap();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
}

#[test]
fn certificates_follow_the_table() {
    let origin = Origin::saying("one");
    let mut rig = Rig::start();
    rig.publish(RouteTable {
        generation: 1,
        ..RouteTable::default()
    });
    assert!(Wire::try_tls(rig.https, HOST, &rig.authority.root_pem).is_err());
    let mut table = rig.table(2, vec![route(&[("one", origin.address)])]);
    // One that cannot be used does not keep the others from serving.
    let mut broken = rig.authority.certificate(&["broken.apron.test"]);
    broken.key_pem = "none".into();
    table.certificates.insert(0, broken);
    rig.publish(table);
    assert_eq!(rig.tls(HOST).get(HOST, "/").text(), "one");
}

#[test]
fn plain_http_is_redirected() {
    let origin = Origin::saying("one");
    let rig = Rig::serving(origin.address);
    let port = rig.https.port();
    let mut wire = Wire::plain(rig.http);
    let moved = wire.get(&format!("{HOST}:80"), "/a/b?c=d");
    assert_eq!(moved.status, 301);
    assert_eq!(
        moved.header("location"),
        Some(format!("https://{HOST}:{port}/a/b?c=d").as_str())
    );
    wire.send(format!("HEAD /x HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    assert_eq!(wire.try_response(true).unwrap().status, 301);
    wire.send(format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 3\r\n\r\nabc"
    ));
    let moved = wire.response();
    assert_eq!(moved.status, 308);
    assert_eq!(moved.header("connection"), Some("close"));
    assert_eq!(Wire::plain(rig.http).get("unknown.test", "/").status, 404);
    let mut wire = Wire::plain(rig.http);
    wire.send("GET / HTTP/1.1\r\nhost : a\r\n\r\n");
    assert_eq!(wire.response().status, 400);
}

#[test]
fn applications_learn_who_asked() {
    let origin = Origin::mirror();
    let rig = Rig::serving(origin.address);
    let mut wire = rig.tls(HOST);
    wire.send(format!(
        "GET /p?q HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 10.1.1.1\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Port: 1\r\n\
         X-Forwarded-Host: evil\r\nConnection: x-secret\r\nX-Secret: 1\r\nTE: trailers\r\nAccept: */*\r\n\r\n"
    ));
    let response = wire.response();
    let head = response.text();
    let port = rig.https.port();
    assert!(
        head.starts_with(&format!(
            "GET /p?q HTTP/1.1\r\nhost: {HOST}\r\nAccept: */*\r\n"
        )),
        "{head}"
    );
    for field in [
        "x-forwarded-for: 10.1.1.1, 127.0.0.1\r\n".to_owned(),
        "x-forwarded-proto: https\r\n".to_owned(),
        format!("x-forwarded-host: {HOST}\r\n"),
        format!("x-forwarded-port: {port}\r\n"),
    ] {
        assert!(head.contains(&field), "{field} in {head}");
    }
    assert!(
        !head.to_lowercase().contains("x-secret")
            && !head.contains("gopher")
            && !head.contains("evil"),
        "{head}"
    );
    let id = |head: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix("x-request-id: "))
            .unwrap()
            .to_owned()
    };
    let first = id(head);
    assert_eq!(first.len(), 32);
    assert_ne!(first, id(wire.get(HOST, "/").text()));
}

#[test]
fn a_connection_serves_many_requests_and_upstream_connections_are_reused() {
    let origin = Origin::saying("one");
    let rig = Rig::serving(origin.address);
    let mut wire = rig.tls(HOST);
    for _ in 0..50 {
        assert_eq!(wire.get(HOST, "/").text(), "one");
    }
    assert_eq!(
        origin.connections.load(std::sync::atomic::Ordering::SeqCst),
        1
    );
    // Pipelined: answered in order.
    wire.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n").repeat(5));
    for _ in 0..5 {
        assert_eq!(wire.response().text(), "one");
    }
}

#[test]
fn old_clients_and_head_get_what_they_understand() {
    let origin = Origin::http(|request, stream| {
        match request.path() {
        "/chunked" => stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n"),
        "/none" => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n"),
        "/unchanged" => stream.write_all(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"),
        "/head" => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
        _ => respond(stream, b"abc"),
    }
    });
    let rig = Rig::serving(origin.address);
    let mut old = rig.plain();
    old.send(format!("GET /chunked HTTP/1.0\r\nhost: {HOST}\r\n\r\n"));
    let response = old.response();
    assert_eq!(
        (response.text(), response.header("transfer-encoding")),
        ("abc", None)
    );
    let mut old = rig.plain();
    for _ in 0..2 {
        old.send(format!(
            "GET / HTTP/1.0\r\nhost: {HOST}\r\nconnection: keep-alive\r\n\r\n"
        ));
        let response = old.response();
        assert_eq!(
            (response.text(), response.header("connection")),
            ("abc", Some("keep-alive"))
        );
    }
    let mut wire = rig.tls(HOST);
    wire.send(format!("HEAD /head HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    let response = wire.try_response(true).unwrap();
    assert_eq!(
        (response.status, response.header("content-length")),
        (200, Some("9"))
    );
    assert_eq!(wire.get(HOST, "/none").status, 204);
    assert_eq!(wire.get(HOST, "/unchanged").status, 304);
    let response = wire.get(HOST, "/chunked");
    assert_eq!(
        (response.text(), response.trailers.as_str()),
        ("abc", "x-sum=6;")
    );
    wire.send(format!(
        "GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n"
    ));
    let response = wire.response();
    assert_eq!(
        (response.text(), response.header("connection")),
        ("abc", Some("close"))
    );
    assert_eq!(wire.rest().unwrap(), b"");
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let origin = Origin::mirror();
    let rig = Rig::serving(origin.address);
    let mut wire = rig.tls(HOST);
    wire.send(format!(
        "PUT / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"
    ));
    assert_eq!(wire.response().status, 100);
    wire.send("hello");
    let response = wire.response();
    assert_eq!(
        (response.status, response.header("x-body-bytes")),
        (200, Some("5"))
    );
    assert!(!response.text().to_lowercase().contains("expect"));
    wire.send(format!(
        "PUT / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 5\r\nexpect: tea\r\n\r\n"
    ));
    assert_eq!(wire.response().status, 417);
}

#[test]
fn interim_responses_are_passed_on() {
    let origin = Origin::http(|_, stream| {
        stream.write_all(
            b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
        )?;
        respond(stream, b"done")
    });
    let rig = Rig::serving(origin.address);
    let mut wire = rig.tls(HOST);
    let hints = wire.get(HOST, "/");
    assert_eq!(
        (hints.status, hints.header("link")),
        (103, Some("</a.css>"))
    );
    assert_eq!(wire.response().text(), "done");
}

#[test]
fn a_paused_service_says_so() {
    let mut rig = Rig::start();
    let mut paused = route(&[]);
    paused.state = RouteState::Paused;
    let table = rig.table(1, vec![paused]);
    rig.publish(table);
    let response = rig.tls(HOST).get(HOST, "/");
    assert_eq!(
        (response.status, response.reason(), response.text()),
        (503, "paused", "the service is paused\n")
    );
}

#[test]
fn a_websocket_is_tunnelled_and_http_2_is_not() {
    let origin = Origin::raw(|mut stream| {
        let mut read = Vec::new();
        while let Ok(Some(request)) = crate::rig::origin::receive(&mut stream, &mut read) {
            if request.header("upgrade") != Some("websocket") {
                respond(&mut stream, b"plain").unwrap();
                continue;
            }
            let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\nfirst";
            stream.write_all(switch.as_bytes()).unwrap();
            let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
            stream.write_all(b"bye").unwrap();
            return;
        }
    });
    let rig = Rig::serving(origin.address);
    let mut wire = rig.tls(HOST);
    let ask = |protocol: &str| {
        format!(
            "GET /ws HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
        )
    };
    wire.send(ask("h2c"));
    assert_eq!(wire.response().text(), "plain");
    // Bytes right behind the request belong to the tunnel.
    wire.send(ask("websocket") + "early");
    let switched = wire.response();
    assert_eq!(
        (switched.status, switched.header("sec-websocket-accept")),
        (101, Some("x"))
    );
    assert_eq!(wire.exactly(10).unwrap(), b"firstearly");
    wire.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(wire.exactly(18).unwrap(), b"GET / HTTP/1.1\r\n\r\n");
    // The end of one direction is passed on, the other goes on until its own.
    let mut plain = rig.plain();
    plain.send(ask("websocket"));
    assert_eq!(plain.response().status, 101);
    plain.end();
    assert_eq!(plain.rest().unwrap(), b"firstbye");
}
