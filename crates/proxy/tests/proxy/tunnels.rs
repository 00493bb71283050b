//! Connections that become something else than HTTP: WebSockets of clients of both versions, and other upgrades.

use crate::http2::{connect, read, request, status, test};
use crate::rig::client::Wire;
use crate::rig::origin::{Origin, receive};
use crate::rig::{HOST, Rig, eventually, route};
use apron_link::proxy::ToProxy;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::ext::Protocol;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering::SeqCst;

/// A text frame of a server that says "hi".
const HI: [u8; 4] = [0x81, 0x02, b'h', b'i'];

/// A Close frame of a server: going away.
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

/// Agrees to whatever is asked for, then hands the connection to `after`.
fn agreeing(after: impl Fn(TcpStream) + Send + Sync + 'static) -> Origin {
    Origin::raw(move |mut stream| {
        let mut read = Vec::new();
        let Ok(Some(request)) = receive(&mut stream, &mut read) else {
            return;
        };
        let protocol = request.header("upgrade").unwrap_or("nothing");
        let key = request.header("sec-websocket-key").unwrap_or("");
        let hash = digest(
            &SHA1_FOR_LEGACY_USE_ONLY,
            format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
        );
        let accept = STANDARD.encode(hash);
        let switch = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
        );
        stream.write_all(switch.as_bytes()).unwrap();
        stream.write_all(&read).unwrap();
        after(stream);
    })
}

fn echo(mut stream: TcpStream) {
    let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
}

fn wait_for_end(mut stream: TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

fn ask(wire: &mut Wire, method: &str, protocol: &str) {
    wire.send(format!(
        "{method} /ws HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
    ));
}

#[test]
fn any_one_protocol_can_be_agreed_on() {
    let origin = agreeing(echo);
    let rig = Rig::serving(origin.address);
    for (method, protocol) in [("GET", "websocket"), ("POST", "tcp"), ("GET", "IRC/6.9")] {
        for mut wire in [rig.tls(HOST), rig.plain()] {
            ask(&mut wire, method, protocol);
            let switched = wire.response();
            assert_eq!(switched.status, 101, "{protocol}");
            assert_eq!(switched.header("upgrade"), Some(protocol));
            assert_eq!(switched.header("connection"), Some("upgrade"));
            let large = vec![7; 3 << 20];
            wire.send("GET / HTTP/1.1\r\n\r\n");
            assert_eq!(wire.exactly(18).unwrap(), b"GET / HTTP/1.1\r\n\r\n");
            for piece in large.chunks(64 << 10) {
                wire.send(piece);
                assert_eq!(wire.exactly(piece.len()).unwrap(), piece);
            }
        }
    }
}

#[test]
fn what_was_not_asked_for_is_not_agreed_on() {
    let origin = Origin::raw(|mut stream| {
        let _ = receive(&mut stream, &mut Vec::new());
        let _ = stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: tcp\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        );
    });
    let rig = Rig::serving(origin.address);
    for protocol in ["websocket", "h2c", "HTTP/2.0", "tcp, websocket"] {
        let mut wire = rig.tls(HOST);
        ask(&mut wire, "GET", protocol);
        let response = wire.response();
        assert_eq!(
            (response.status, response.reason()),
            (502, "instance-answer"),
            "{protocol}"
        );
    }
}

fn open(path: &str) -> http::request::Builder {
    request("CONNECT", path)
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
}

#[test]
fn an_http_2_client_opens_websockets() {
    let origin = agreeing(echo);
    let rig = Rig::serving(origin.address);
    test(async {
        let mut connection = connect(&rig).await;
        assert_eq!(connection.get("/").await.0.status(), 502);
        assert!(connection.requests.is_extended_connect_protocol_enabled());
        let mut sockets = Vec::new();
        for _ in 0..5 {
            let (response, sending) = connection.send(open("/ws?a=b"), false).await;
            let response = response.await.unwrap();
            assert_eq!(status(&response), (200, ""));
            assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
            assert!(!response.headers().contains_key("sec-websocket-accept"));
            sockets.push((response.into_body(), sending));
        }
        let large = Bytes::from(vec![7; 1 << 20]);
        for (body, sending) in &mut sockets {
            for piece in [Bytes::from_static(b"hello"), large.clone()] {
                let mut echoed = 0;
                let mut left = piece.clone();
                while echoed < piece.len() {
                    if !left.is_empty() {
                        sending.reserve_capacity(left.len());
                        let take = sending.capacity().min(left.len());
                        if take > 0 {
                            sending.send_data(left.split_to(take), false).unwrap();
                        }
                    }
                    if echoed < piece.len() - left.len() {
                        let data = body.data().await.unwrap().unwrap();
                        body.flow_control().release_capacity(data.len()).unwrap();
                        echoed += data.len();
                    } else {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
        // The end of one direction is passed on, and that of the other.
        let (mut body, mut sending) = sockets.pop().unwrap();
        sending.send_data(Bytes::new(), true).unwrap();
        // What was said is no frames, so there is no place for a Close frame.
        assert_eq!(read(&mut body).await.unwrap(), b"");
    });
}

#[test]
fn what_is_no_websocket_is_not_taken_for_one() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: tcp\r\nsec-websocket-accept: x\r\n\r\n",
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno",
    ] {
        let origin = Origin::raw(move |mut stream| {
            let _ = receive(&mut stream, &mut Vec::new());
            let _ = stream.write_all(answer.as_bytes());
        });
        let rig = Rig::serving(origin.address);
        test(async {
            let mut connection = connect(&rig).await;
            let (response, _sending) = connection.send(open("/ws"), false).await;
            let response = response.await.unwrap();
            let expected = if answer.contains("403") {
                (403, "")
            } else {
                (502, "instance-answer")
            };
            assert_eq!(status(&response), expected, "{answer}");
        });
    }
}

#[test]
fn other_protocols_over_http_2_are_refused() {
    let origin = agreeing(echo);
    let rig = Rig::serving(origin.address);
    test(async {
        let mut connection = connect(&rig).await;
        let other = request("CONNECT", "/x").extension(Protocol::from_static("connect-udp"));
        let (response, _sending) = connection.send(other, false).await;
        assert_eq!(status(&response.await.unwrap()), (501, "method-connect"));
    });
    assert_eq!(origin.connections.load(SeqCst), 0);
}

#[test]
fn an_idle_tunnel_is_closed_with_a_word() {
    let origin = agreeing(|mut stream| {
        stream.write_all(&HI).unwrap();
        wait_for_end(stream);
    });
    let mut rig = Rig::start();
    let mut bounded = route(&[("one", origin.address)]);
    bounded.idle_timeout_ms = 400;
    let table = rig.table(1, vec![bounded]);
    rig.publish(table);
    let mut wire = rig.tls(HOST);
    ask(&mut wire, "GET", "websocket");
    assert_eq!(wire.response().status, 101);
    assert_eq!(wire.rest().unwrap(), [HI, GOING_AWAY].concat());
    // What is no WebSocket just ends.
    let mut wire = rig.plain();
    ask(&mut wire, "GET", "tcp");
    assert_eq!(wire.response().status, 101);
    assert_eq!(wire.rest().unwrap(), HI);
}

#[test]
fn a_websocket_whose_instance_dies_is_closed_at_the_end_of_a_frame() {
    for (sent, expected) in [
        (&HI[..], [&HI[..], &GOING_AWAY].concat()),
        (&HI[..3], HI[..3].to_vec()),
        (&GOING_AWAY, GOING_AWAY.to_vec()),
        (&[], GOING_AWAY.to_vec()),
    ] {
        let origin = agreeing(move |mut stream| {
            stream.write_all(sent).unwrap();
            stream.shutdown(std::net::Shutdown::Both).unwrap();
        });
        let rig = Rig::serving(origin.address);
        let mut wire = rig.tls(HOST);
        ask(&mut wire, "GET", "websocket");
        assert_eq!(wire.response().status, 101);
        assert_eq!(wire.rest().unwrap(), expected);
    }
}

#[test]
fn a_proxy_whose_time_is_over_closes_websockets_in_order() {
    let origin = agreeing(|mut stream| {
        stream.write_all(&HI).unwrap();
        wait_for_end(stream);
    });
    let mut rig = Rig::serving(origin.address);
    let mut wires: Vec<_> = (0..4).map(|_| rig.tls(HOST)).chain([rig.plain()]).collect();
    for wire in &mut wires {
        ask(wire, "GET", "websocket");
        assert_eq!(wire.response().status, 101);
        assert_eq!(wire.exactly(4).unwrap(), HI);
    }
    test(async {
        let mut connection = connect(&rig).await;
        assert_eq!(connection.get("/").await.0.status(), 502);
        let (response, _sending) = connection.send(open("/ws"), false).await;
        let mut body = response.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), &HI[..]);
        rig.control.send(&ToProxy::Retire { within_ms: 500 });
        assert_eq!(body.data().await.unwrap().unwrap(), &GOING_AWAY[..]);
        assert_eq!(read(&mut body).await.unwrap(), b"");
    });
    for mut wire in wires {
        assert_eq!(wire.rest().unwrap(), GOING_AWAY);
    }
    eventually("the process ends", || {
        rig.process().try_wait().unwrap().is_some()
    });
}
