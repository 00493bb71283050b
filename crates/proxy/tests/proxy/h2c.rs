//! Applications that speak HTTP/2 without TLS, behind clients of either version.

use crate::http2::{connect, read, request, status, test, upload, whole};
use crate::rig::h2c::{H2Origin, h2c_route, serving_h2c};
use crate::rig::{HOST, at_a_stand, eventually};
use apron_link::proxy::FromProxy;
use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

fn trailers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (http::HeaderName::from_static(name), value.parse().unwrap())
    };
    pairs.iter().map(pair).collect()
}

/// Answers with the request's head, body and trailers, and trailers of its own.
async fn mirror(mut request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut head = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        head += &format!("{name}: {}\n", value.to_str().unwrap());
    }
    let Ok(body) = read(request.body_mut()).await else {
        return;
    };
    let got = request.body_mut().trailers().await.unwrap();
    for (name, value) in got.iter().flatten() {
        head += &format!("trailer {name}: {}\n", value.to_str().unwrap());
    }
    let response = Response::builder().header("x-body-bytes", body.len());
    let Ok(sending) = respond.send_response(response.body(()).unwrap(), false) else {
        return;
    };
    let sum = trailers(&[("x-sum", "9"), ("grpc-status", "0")]);
    upload(sending, Bytes::from(head), Some(sum)).await;
}

/// Answers with this text.
async fn say(text: &'static str, mut respond: SendResponse<Bytes>) {
    if let Ok(mut sending) = respond.send_response(Response::new(()), false) {
        let _ = sending.send_data(Bytes::from_static(text.as_bytes()), true);
    }
}

/// Answers when it has read the request.
async fn read_and_say(mut request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    if read(request.body_mut()).await.is_ok() {
        say("v", respond).await;
    }
}

#[test]
fn requests_of_both_versions_reach_the_application_with_their_fields() {
    let origin = H2Origin::new(mirror);
    let rig = serving_h2c(origin.address);
    let mut wire = rig.tls(HOST);
    for _ in 0..2 {
        wire.send(format!(
            "POST /p?q HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-Proto: gopher\r\nConnection: x-secret\r\nX-Secret: 1\r\nTE: trailers\r\n\
             Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-mine: 1\r\nhost: evil\r\n\r\n"
        ));
        let response = wire.response();
        assert_eq!(response.status, 200);
        assert_eq!(response.header("x-body-bytes"), Some("3"));
        assert_eq!(response.trailers, "x-sum=9;grpc-status=0;");
        let head = response.text();
        assert!(
            head.starts_with(&format!("POST http://{HOST}/p?q\n")),
            "{head}"
        );
        for field in [
            "x-forwarded-proto: https\n",
            "x-forwarded-for: 127.0.0.1\n",
            "te: trailers\n",
            "trailer x-mine: 1\n",
        ] {
            assert!(head.contains(field), "{field} in {head}");
        }
        for field in [
            "gopher",
            "secret",
            "evil",
            "transfer-encoding",
            "connection",
        ] {
            assert!(!head.contains(field), "{field} in {head}");
        }
    }
    test(async {
        let mut connection = connect(&rig).await;
        let asked = request("POST", "/h2").header("te", "trailers");
        let (response, sending) = connection.send(asked, false).await;
        upload(
            sending,
            Bytes::from_static(b"12345"),
            Some(trailers(&[("x-mine", "2"), ("host", "evil")])),
        )
        .await;
        let (mut response, body) = whole(response.await.unwrap()).await;
        let head = String::from_utf8(body).unwrap();
        assert_eq!(response.headers()["x-body-bytes"], "5");
        assert!(
            head.contains("te: trailers\n") && head.contains("trailer x-mine: 2\n"),
            "{head}"
        );
        assert!(
            head.contains("x-request-id: ") && !head.contains("evil"),
            "{head}"
        );
        let got = response.body_mut().trailers().await.unwrap().unwrap();
        assert_eq!(got, trailers(&[("x-sum", "9"), ("grpc-status", "0")]));
    });
}

#[test]
fn requests_share_connections_within_what_the_application_allows() {
    let (now, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, highest) = (Arc::clone(&now), Arc::clone(&peak));
    let mut builder = Builder::new();
    builder.max_concurrent_streams(20);
    let origin = H2Origin::with(builder, move |_, respond| {
        let (counted, highest) = (Arc::clone(&counted), Arc::clone(&highest));
        async move {
            highest.fetch_max(counted.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::task::yield_now().await;
            counted.fetch_sub(1, SeqCst);
            say("ok", respond).await;
        }
    });
    let rig = serving_h2c(origin.address);
    test(async {
        let mut connection = connect(&rig).await;
        for _ in 0..5 {
            let mut waiting = Vec::new();
            for _ in 0..60 {
                waiting.push(connection.send(request("GET", "/"), true).await.0);
            }
            for response in waiting {
                assert_eq!(whole(response.await.unwrap()).await.1, b"ok");
            }
        }
    });
    let made = origin.connections.load(SeqCst);
    assert!(
        (1..=12).contains(&made),
        "{made} connections for 60 requests at a time"
    );
}

#[test]
fn a_slow_reader_holds_up_neither_the_others_nor_the_proxys_memory() {
    let written = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&written);
    let origin = H2Origin::new(move |request, mut respond| {
        let counted = Arc::clone(&counted);
        async move {
            if request.uri().path() != "/endless" {
                return say("ok", respond).await;
            }
            let mut sending = respond.send_response(Response::new(()), false).unwrap();
            loop {
                sending.reserve_capacity(16_384);
                let Some(Ok(capacity)) =
                    std::future::poll_fn(|context| sending.poll_capacity(context)).await
                else {
                    return;
                };
                if sending
                    .send_data(vec![b'x'; capacity].into(), false)
                    .is_err()
                {
                    return;
                }
                counted.fetch_add(capacity as u64, SeqCst);
            }
        }
    });
    let rig = serving_h2c(origin.address);
    let mut slow: Vec<_> = (0..30).map(|_| rig.plain()).collect();
    for wire in &mut slow {
        wire.send(format!("GET /endless HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    }
    let before = rig.resident_kib();
    at_a_stand("the application is held back", || written.load(SeqCst));
    let held = rig.resident_kib().saturating_sub(before);
    assert!(held < 32 << 10, "{held} KiB held");
    let mut wire = rig.tls(HOST);
    for _ in 0..20 {
        assert_eq!(wire.get(HOST, "/").text(), "ok");
    }
    assert!(
        origin.connections.load(SeqCst) <= 2,
        "each worker has one connection"
    );
}

#[test]
fn a_body_that_is_not_taken_holds_up_no_other_client() {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    let origin = H2Origin::new(move |mut request, mut respond| {
        let counted = Arc::clone(&counted);
        async move {
            if request.uri().path() == "/stuck" {
                counted.fetch_add(1, SeqCst);
                // Holds the whole window of its connection and takes nothing of it.
                let _ = std::future::poll_fn(|context| respond.poll_reset(context)).await;
                return;
            }
            if read(request.body_mut()).await.is_ok() {
                say("ok", respond).await;
            }
        }
    });
    let rig = serving_h2c(origin.address);
    let body = vec![b'x'; 200_000];
    let post = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 200000\r\n\r\n")
    };
    let mut stuck: Vec<_> = (0..4).map(|_| rig.plain()).collect();
    for (index, wire) in stuck.iter_mut().enumerate() {
        wire.send(post("/stuck"));
        wire.send(&body);
        eventually("the application has it", || begun.load(SeqCst) == index + 1);
    }
    for _ in 0..10 {
        let mut wire = rig.plain();
        wire.send(post("/"));
        wire.send(&body);
        assert_eq!(wire.response().text(), "ok");
    }
}

#[test]
fn what_an_application_has_not_looked_at_is_sent_again() {
    // The first connection refuses its first stream and then goes away with another under way.
    let origin = H2Origin::raw(|stream, number| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut seen = 0;
        while let Some(Ok((mut request, mut respond))) = connection.accept().await {
            seen += 1;
            if number == 0 && seen == 1 {
                respond.send_reset(Reason::REFUSED_STREAM);
                continue;
            }
            if number == 0 && seen == 2 {
                connection.graceful_shutdown();
            }
            tokio::spawn(async move {
                let body = read(request.body_mut()).await.unwrap();
                let mut sending = respond.send_response(Response::new(()), false).unwrap();
                sending.send_data(body.into(), true).unwrap();
            });
        }
    });
    let rig = serving_h2c(origin.address);
    test(async {
        let mut connection = connect(&rig).await;
        for round in 0..20 {
            let (response, sending) = connection.send(request("POST", "/"), false).await;
            let body = Bytes::from(format!("call {round}"));
            upload(sending, body.clone(), None).await;
            let (response, answer) = whole(response.await.unwrap()).await;
            assert_eq!((status(&response), &answer[..]), ((200, ""), &body[..]));
        }
    });
    assert!(origin.connections.load(SeqCst) >= 2);
}

#[test]
fn what_may_have_been_carried_out_is_not_sent_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let origin = H2Origin::new(move |_, mut respond| {
        counted.fetch_add(1, SeqCst);
        async move { respond.send_reset(Reason::INTERNAL_ERROR) }
    });
    let mut rig = serving_h2c(origin.address);
    let mut wire = rig.tls(HOST);
    wire.send(format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1\r\n\r\nx"
    ));
    let response = wire.response();
    assert_eq!(
        (response.status, response.reason()),
        (502, "instance-closed")
    );
    assert_eq!(count.load(SeqCst), 1);
    rig.control.expect("a report", |message| match message {
        FromProxy::Unreachable { instance, .. } => (instance == "one").then_some(()),
        _ => None,
    });
}

#[test]
fn a_request_that_its_client_abandons_is_cancelled() {
    let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (starts, ends) = (Arc::clone(&begun), Arc::clone(&ended));
    let origin = H2Origin::new(move |request, mut respond| {
        let (starts, ends) = (Arc::clone(&starts), Arc::clone(&ends));
        async move {
            let _body = request;
            starts.fetch_add(1, SeqCst);
            let reason = std::future::poll_fn(|context| respond.poll_reset(context)).await;
            assert_eq!(reason.unwrap(), Reason::CANCEL);
            ends.fetch_add(1, SeqCst);
        }
    });
    let rig = serving_h2c(origin.address);
    test(async {
        let mut connection = connect(&rig).await;
        let (response, mut sending) = connection.send(request("POST", "/"), false).await;
        eventually("the request is under way", || begun.load(SeqCst) == 1);
        sending.send_reset(Reason::CANCEL);
        drop(response);
        connection.requests = connection.requests.clone().ready().await.unwrap();
        while ended.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    });
    let mut wire = rig.tls(HOST);
    wire.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    eventually("the second request is under way", || {
        begun.load(SeqCst) == 2
    });
    drop(wire);
    eventually("it is cancelled", || ended.load(SeqCst) == 2);
}

#[test]
fn large_bodies_arrive_unchanged() {
    let origin = H2Origin::new(|mut request, mut respond| async move {
        let mut sending = respond.send_response(Response::new(()), false).unwrap();
        let body = request.body_mut();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            let mut data = data;
            while !data.is_empty() {
                sending.reserve_capacity(data.len());
                let Some(Ok(capacity)) =
                    std::future::poll_fn(|context| sending.poll_capacity(context)).await
                else {
                    return;
                };
                sending
                    .send_data(data.split_to(capacity.min(data.len())), false)
                    .unwrap();
            }
        }
        sending.send_data(Bytes::new(), true).unwrap();
    });
    let rig = serving_h2c(origin.address);
    let body: Vec<u8> = (0..5 << 20).map(|index| (index % 251) as u8).collect();
    for (mut wire, version) in [(rig.tls(HOST), "1.1"), (rig.plain(), "1.0")] {
        wire.send(format!(
            "POST / HTTP/{version}\r\nhost: {HOST}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        ));
        wire.send(&body[..body.len() / 2]);
        wire.send(&body[body.len() / 2..]);
        assert!(wire.response().body == body, "over {version}");
    }
    test(async {
        let mut connection = connect(&rig).await;
        let (response, sending) = connection.send(request("POST", "/"), false).await;
        let sent = tokio::spawn(upload(sending, body.clone().into(), None));
        assert!(whole(response.await.unwrap()).await.1 == body);
        sent.await.unwrap();
    });
}

#[test]
fn a_response_that_is_cut_does_not_look_whole() {
    let origin = H2Origin::new(|_, mut respond| async move {
        let mut sending = respond.send_response(Response::new(()), false).unwrap();
        sending
            .send_data(Bytes::from_static(b"half"), false)
            .unwrap();
        sending.send_reset(Reason::INTERNAL_ERROR);
    });
    let rig = serving_h2c(origin.address);
    let mut wire = rig.tls(HOST);
    wire.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    let response = wire.try_response(false);
    assert!(
        response
            .as_ref()
            .map_or(true, |response| response.status == 502),
        "{response:?}"
    );
    test(async {
        let mut connection = connect(&rig).await;
        let (response, _) = connection.send(request("GET", "/"), true).await;
        match response.await {
            Ok(mut response) if response.status() == 200 => {
                assert!(read(response.body_mut()).await.is_err())
            }
            Ok(response) => assert_eq!(response.status(), 502),
            Err(error) => assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR)),
        }
    });
}

#[test]
fn heads_without_bodies_end_there() {
    let origin = H2Origin::new(|request, mut respond| async move {
        let status = match request.uri().path() {
            "/204" => 204,
            "/304" => 304,
            _ => 200,
        };
        let response = Response::builder().status(status);
        // The end of the stream comes after the head; for some, data comes that has no business there.
        let mut sending = respond
            .send_response(response.body(()).unwrap(), false)
            .unwrap();
        let _ = sending.send_data(Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\n"), true);
    });
    let rig = serving_h2c(origin.address);
    for path in ["/204", "/304"] {
        let mut wire = rig.plain();
        wire.send(format!(
            "GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\nGET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"
        ));
        assert_eq!(wire.response().status.to_string(), path[1..]);
        assert_eq!(wire.response().text(), "HTTP/1.1 200 OK\r\n\r\n");
    }
}

#[test]
fn an_application_that_speaks_http_1_is_named() {
    let origin = crate::rig::origin::Origin::saying("no");
    let rig = serving_h2c(origin.address);
    let response = rig.tls(HOST).get(HOST, "/");
    assert_eq!(response.status, 502);
    assert!(
        ["instance-answer", "instance-closed"].contains(&response.reason()),
        "{response:?}"
    );
}

#[test]
fn connections_end_when_their_instance_leaves() {
    let origin = H2Origin::new(|request, respond| async move {
        let _body = request;
        say("ok", respond).await;
    });
    let other = H2Origin::new(|_, respond| say("other", respond));
    let mut rig = serving_h2c(origin.address);
    let mut wire = rig.tls(HOST);
    assert_eq!(wire.get(HOST, "/").text(), "ok");
    assert_eq!(origin.open.load(SeqCst), 1);
    let table = rig.table(2, vec![h2c_route(&[("two", other.address)])]);
    rig.publish(table);
    assert_eq!(wire.get(HOST, "/").text(), "other");
    eventually("the connection ends", || origin.open.load(SeqCst) == 0);
}

#[test]
fn swaps_fail_no_request() {
    let mut versions = vec![H2Origin::new(read_and_say)];
    let mut rig = serving_h2c(versions[0].address);
    test(async {
        let connection = connect(&rig).await;
        let load = |mut requests: h2::client::SendRequest<Bytes>| async move {
            for _ in 0..200 {
                requests = requests.ready().await.unwrap();
                let (response, sending) = requests
                    .send_request(request("POST", "/").body(()).unwrap(), false)
                    .unwrap();
                upload(sending, Bytes::from_static(&[b'x'; 5_000]), None).await;
                let (response, body) = whole(response.await.unwrap()).await;
                assert_eq!((status(&response), &body[..]), ((200, ""), &b"v"[..]));
            }
        };
        let loads: Vec<_> = (0..8)
            .map(|_| tokio::spawn(load(connection.requests.clone())))
            .collect();
        let mut generation = 2;
        while !loads.iter().all(tokio::task::JoinHandle::is_finished) {
            versions.push(H2Origin::new(read_and_say));
            let id = format!("i{generation}");
            let table = rig.table(generation, vec![h2c_route(&[(&id, versions[1].address)])]);
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

#[test]
fn grpc_clients_are_told_in_their_own_words() {
    let origin = H2Origin::new(|_, mut respond| async move {
        respond.send_reset(Reason::INTERNAL_ERROR);
    });
    let mut rig = serving_h2c(origin.address);
    for (content_type, told) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc-web", false),
        ("application/json", false),
    ] {
        test(async {
            let mut connection = connect(&rig).await;
            let asked = request("POST", "/s.S/M").header("content-type", content_type);
            let (response, _) = connection.send(asked, true).await;
            let response = response.await.unwrap();
            assert_eq!(response.headers()["x-apron-reason"], "instance-closed");
            let code = response.headers().get("grpc-status");
            assert_eq!(
                code.is_some_and(|code| code == "14"),
                told,
                "{content_type}"
            );
            assert_eq!(response.status(), if told { 200 } else { 502 });
            assert_eq!(response.body().is_end_stream(), told);
        });
    }
    let mut paused = h2c_route(&[]);
    paused.state = apron_link::proxy::RouteState::Paused;
    let table = rig.table(2, vec![paused]);
    rig.publish(table);
    test(async {
        let mut connection = connect(&rig).await;
        let asked = request("POST", "/s.S/M").header("content-type", "application/grpc");
        let (response, _) = connection.send(asked, true).await;
        let response = response.await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-message"], "the service is paused");
    });
}
