//! HTTP/2 clients in front of HTTP/1 applications.

use crate::rig::client::tls_config;
use crate::rig::origin::{Origin, receive, respond};
use crate::rig::{HOST, PATIENCE, Rig, eventually, route};
use apron_link::proxy::{FromProxy, ToProxy};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::pki_types::ServerName;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use tokio::net::TcpStream;

/// A connection; the task that drives it tells how it ended.
pub struct Connection {
    pub requests: SendRequest<Bytes>,
    pub driver: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

pub async fn connect(rig: &Rig) -> Connection {
    let mut config = tls_config(&rig.authority.root_pem);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(rig.https).await.unwrap();
    let name = ServerName::try_from(HOST).unwrap();
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap();
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (requests, connection) = h2::client::handshake(tls).await.unwrap();
    Connection {
        requests,
        driver: tokio::spawn(connection),
    }
}

pub fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("https://{HOST}{path}"))
}

type Sent = (h2::client::ResponseFuture, SendStream<Bytes>);

impl Connection {
    pub async fn send(&mut self, request: http::request::Builder, ends: bool) -> Sent {
        self.requests = self.requests.clone().ready().await.unwrap();
        self.requests
            .send_request(request.body(()).unwrap(), ends)
            .unwrap()
    }

    pub async fn get(&mut self, path: &str) -> (Response<RecvStream>, Vec<u8>) {
        let (response, _) = self.send(request("GET", path), true).await;
        whole(response.await.unwrap()).await
    }
}

/// Reads a response's body to its end.
pub async fn whole(mut response: Response<RecvStream>) -> (Response<RecvStream>, Vec<u8>) {
    let body = read(response.body_mut()).await.unwrap();
    (response, body)
}

pub async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok(all)
}

pub async fn upload(mut sending: SendStream<Bytes>, mut body: Bytes, trailers: Option<HeaderMap>) {
    while !body.is_empty() {
        sending.reserve_capacity(body.len());
        let capacity = std::future::poll_fn(|context| sending.poll_capacity(context)).await;
        let Some(capacity) = capacity else {
            // The answer was there before the body was sent, and the stream is over.
            return;
        };
        let capacity = capacity.unwrap();
        let ends = capacity >= body.len() && trailers.is_none();
        sending
            .send_data(body.split_to(capacity.min(body.len())), ends)
            .unwrap();
    }
    if let Some(trailers) = trailers {
        sending.send_trailers(trailers).unwrap();
    }
}

pub fn test(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, future)
            .await
            .expect("the test ends in time")
    });
}

pub fn status(response: &Response<RecvStream>) -> (u16, &str) {
    let reason = response
        .headers()
        .get("x-apron-reason")
        .map_or("", |reason| reason.to_str().unwrap());
    (response.status().as_u16(), reason)
}

#[test]
fn requests_are_translated() {
    let origin = Origin::mirror();
    let rig = Rig::serving(origin.address);
    test(async {
        let mut connection = connect(&rig).await;
        let asked = request("GET", "/p?q")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("te", "trailers");
        let (response, _) = connection
            .send(asked.header("x-forwarded-proto", "gopher"), true)
            .await;
        let (response, body) = whole(response.await.unwrap()).await;
        assert_eq!(status(&response), (200, ""));
        let head = String::from_utf8(body).unwrap();
        assert!(
            head.starts_with(&format!(
                "GET /p?q HTTP/1.1\r\nhost: {HOST}\r\ncookie: a=1; b=2\r\nx-forwarded-for:"
            )),
            "{head}"
        );
        assert!(
            head.contains("x-forwarded-proto: https\r\n") && !head.contains("gopher"),
            "{head}"
        );
        let (response, _) = connection.send(request("HEAD", "/"), true).await;
        assert_eq!(response.await.unwrap().status(), 200);
        let elsewhere = Request::builder().uri("https://other.apron.test/");
        let (response, _) = connection.send(elsewhere, true).await;
        assert_eq!(status(&response.await.unwrap()), (421, "misdirected"));
        let mismatch = request("GET", "/").header("host", "other.apron.test");
        let (response, _) = connection.send(mismatch, true).await;
        assert_eq!(status(&response.await.unwrap()), (400, "host-mismatch"));
        let (many, _) = connection.get("/").await;
        assert_eq!(status(&many), (200, ""));
    });
    assert_eq!(
        origin.connections.load(SeqCst),
        2,
        "connections are reused, but not after a response to HEAD with a body"
    );
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let origin = Origin::raw(|mut stream| {
        let mut read = Vec::new();
        while let Ok(Some(request)) = receive(&mut stream, &mut read) {
            let framing = request
                .header("content-length")
                .unwrap_or("chunked")
                .to_owned();
            let head = format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-framing: {framing}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            for piece in request.body.chunks(50_000) {
                stream
                    .write_all(format!("{:x}\r\n", piece.len()).as_bytes())
                    .unwrap();
                stream.write_all(&[piece, b"\r\n"].concat()).unwrap();
            }
            stream
                .write_all(format!("0\r\nx-echo: 1\r\n{}\r\n", request.trailers).as_bytes())
                .unwrap();
        }
    });
    let rig = Rig::serving(origin.address);
    let body: Bytes = (0..5 << 20)
        .map(|index| (index % 251) as u8)
        .collect::<Vec<_>>()
        .into();
    test(async {
        let mut connection = connect(&rig).await;
        for length in [None, Some(body.len())] {
            let mut asked = request("POST", "/");
            if let Some(length) = length {
                asked = asked.header("content-length", length);
            }
            let (response, sending) = connection.send(asked, false).await;
            let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "7".parse().unwrap())]);
            let uploaded = tokio::spawn(upload(sending, body.clone(), Some(trailers)));
            let mut response = response.await.unwrap();
            let framing = length.map_or("chunked".to_owned(), |length| length.to_string());
            assert_eq!(response.headers()["x-framing"], framing);
            assert!(read(response.body_mut()).await.unwrap() == body);
            let trailers = response.body_mut().trailers().await.unwrap().unwrap();
            assert_eq!(trailers["x-echo"], "1");
            // A body whose length was announced has no trailers in HTTP/1.
            assert_eq!(trailers.get("x-sum").is_some(), length.is_none());
            uploaded.await.unwrap();
        }
    });
}

#[test]
fn a_client_that_does_not_read_one_response_gets_the_others() {
    let origin = Origin::http(|_, stream| respond(stream, &[b'y'; 300_000]));
    let mut rig = Rig::start();
    let endless = Origin::raw(|mut stream| {
        let mut read = Vec::new();
        let _ = receive(&mut stream, &mut read).unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 65_536]).is_ok() {}
    });
    let table = rig.table(1, vec![route(&[("endless", endless.address)])]);
    rig.publish(table);
    test(async {
        let mut connection = connect(&rig).await;
        let mut unread = Vec::new();
        for _ in 0..10 {
            let (response, _) = connection.send(request("GET", "/endless"), true).await;
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            unread.push(response);
        }
        let before = rig.resident_kib();
        let table = rig.table(3, vec![route(&[("one", origin.address)])]);
        rig.publish(table);
        let mut other = connect(&rig).await;
        for _ in 0..20 {
            assert_eq!(other.get("/").await.1.len(), 300_000);
        }
        // On the same connection, the unread responses had taken its window; abandoning them gives it back.
        unread.clear();
        assert_eq!(connection.get("/").await.1.len(), 300_000);
        let held = rig.resident_kib().saturating_sub(before);
        assert!(held < 8 << 10, "{held} KiB held");
    });
}

#[test]
fn a_stream_that_waits_for_its_application_does_not_hold_the_window() {
    let waiting = Origin::raw(|mut stream| {
        let mut read = Vec::new();
        let request = receive(&mut stream, &mut read).unwrap().unwrap();
        if request.path() == "/events" {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
                .unwrap();
            let _ = stream.read(&mut [0]);
            return;
        }
        respond(&mut stream, &[b'z'; 1 << 20]).unwrap();
    });
    let rig = Rig::serving(waiting.address);
    test(async {
        let mut connection = connect(&rig).await;
        let mut open = Vec::new();
        for _ in 0..20 {
            let (response, _) = connection.send(request("GET", "/events"), true).await;
            let mut response = response.await.unwrap();
            assert_eq!(response.body_mut().data().await.unwrap().unwrap(), "hi");
            open.push(response);
        }
        assert_eq!(connection.get("/large").await.1.len(), 1 << 20);
    });
}

#[test]
fn a_response_that_is_cut_resets_its_stream() {
    let origin = Origin::raw(|mut stream| {
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            .unwrap();
    });
    let rig = Rig::serving(origin.address);
    test(async {
        let mut connection = connect(&rig).await;
        let (response, _) = connection.send(request("GET", "/"), true).await;
        // The reset may overtake the head.
        let error = match response.await {
            Ok(mut response) => read(response.body_mut()).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{error}");
    });
}

#[test]
fn a_client_that_only_abandons_requests_is_sent_away() {
    let origin = Origin::raw(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let rig = Rig::serving(origin.address);
    test(async {
        let mut connection = connect(&rig).await;
        let calm = loop {
            let Ok(mut ready) = connection.requests.clone().ready().await else {
                break connection.driver.await;
            };
            let Ok((response, mut sending)) =
                ready.send_request(request("POST", "/").body(()).unwrap(), false)
            else {
                break connection.driver.await;
            };
            sending.send_reset(Reason::CANCEL);
            drop(response);
            connection.requests = ready;
            tokio::task::yield_now().await;
        };
        let error = calm.unwrap().unwrap_err();
        // What it still sends may reset the connection before it has read the farewell.
        let sent_away = error.reason() == Some(Reason::ENHANCE_YOUR_CALM) || error.is_io();
        assert!(sent_away, "{error}");
    });
    let reached = origin.connections.load(SeqCst);
    assert!(
        reached < 1_000,
        "{reached} abandoned requests reached the application"
    );
    // What it abandoned holds no place there.
    let mut rig = rig;
    let table = rig.table(2, vec![route(&[])]);
    for left in rig.publish(table) {
        rig.control
            .expect("the end of the drain", |message| match message {
                FromProxy::Drained { instance } => (*instance == left.instance).then_some(()),
                _ => None,
            });
    }
}

#[test]
fn a_retiring_proxy_finishes_streams_and_ends_connections() {
    let origin = Origin::http(|request, stream| {
        if request.path() == "/slow" {
            crate::rig::be_slow(std::time::Duration::from_millis(500));
        }
        respond(stream, b"ok")
    });
    let mut rig = Rig::serving(origin.address);
    let busy = Arc::clone(&origin.busy);
    test(async {
        let mut connection = connect(&rig).await;
        let (slow, _) = connection.send(request("GET", "/slow"), true).await;
        eventually("the slow request is under way", || busy.load(SeqCst) == 1);
        rig.control.send(&ToProxy::Retire { within_ms: 10_000 });
        assert_eq!(whole(slow.await.unwrap()).await.1, b"ok");
        // Whatever the client says last may find the connection closed.
        let _ = connection.driver.await.unwrap();
        assert!(rig.process().wait().unwrap().success());
    });
}

#[test]
fn swaps_fail_no_stream() {
    let mut versions = vec![Origin::saying("v")];
    let mut rig = Rig::serving(versions[0].address);
    test(async {
        let connection = connect(&rig).await;
        let load = |mut requests: SendRequest<Bytes>| async move {
            for _ in 0..300 {
                requests = requests.ready().await.unwrap();
                let (response, sending) = requests
                    .send_request(request("POST", "/").body(()).unwrap(), false)
                    .unwrap();
                upload(sending, Bytes::from_static(&[b'x'; 5_000]), None).await;
                let (response, body) = whole(response.await.unwrap()).await;
                assert_eq!((response.status().as_u16(), &body[..]), (200, &b"v"[..]));
            }
        };
        let loads: Vec<_> = (0..8)
            .map(|_| tokio::spawn(load(connection.requests.clone())))
            .collect();
        let mut generation = 2;
        while !loads.iter().all(tokio::task::JoinHandle::is_finished) {
            versions.push(Origin::saying("v"));
            let id = format!("i{generation}");
            let table = rig.table(generation, vec![route(&[(&id, versions[1].address)])]);
            for left in rig.publish(table) {
                rig.control
                    .expect("the end of the drain", |message| match message {
                        FromProxy::Drained { instance } => {
                            (*instance == left.instance).then_some(())
                        }
                        _ => None,
                    });
            }
            drop(versions.remove(0));
            generation += 1;
        }
        assert!(generation > 3, "there was no swap under load");
        for load in loads {
            load.await.unwrap();
        }
    });
}
