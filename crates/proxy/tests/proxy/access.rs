//! The access log and the statistics.

use crate::http2;
use crate::rig::origin::{Origin, respond};
use crate::rig::{HOST, Rig, be_slow, route};
use apron_link::proxy::{FromProxy, Route, ServiceStatistics};
use std::io::Write;
use std::time::Duration;

/// The first line that has this text in it.
fn line(rig: &mut Rig, text: &str) -> String {
    rig.control
        .expect("a line of the access log", |message| match message {
            FromProxy::AccessLog(log) => {
                let lines = log.services.iter().filter(|it| it.service == "service");
                let mut lines = lines.flat_map(|it| &it.lines);
                let found = lines.find(|(_, line)| line.contains(text));
                found.map(|(_, line)| line.clone())
            }
            _ => None,
        })
}

fn check(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

fn number(line: &str, field: &str) -> u64 {
    let (_, rest) = line.split_once(&format!("\"{field}\":")).unwrap();
    let end = rest.find(|char: char| !char.is_ascii_digit()).unwrap();
    rest[..end].parse().unwrap()
}

fn logging(instances: &[(&str, std::net::SocketAddr)]) -> Route {
    Route {
        access_log: true,
        ..route(instances)
    }
}

fn start(route: Route) -> Rig {
    let mut rig = Rig::start();
    let table = rig.table(1, vec![route]);
    rig.publish(table);
    rig
}

#[test]
fn each_request_has_its_line() {
    let origin = Origin::http(|request, stream| {
        be_slow(Duration::from_millis(20));
        match request.path() {
            "/cut" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")?;
                Err(std::io::ErrorKind::Other.into())
            }
            _ => respond(stream, b"hello"),
        }
    });
    let mut rig = start(logging(&[("one", origin.address)]));
    rig.tls(HOST).send(format!(
        "POST /a/b?token=secret HTTP/1.1\r\nhost: {HOST}\r\nuser-agent: \"q\" \\é\r\nx-request-id: mine\r\ncontent-length: 3\r\n\r\nabc"
    ));
    // The client has left before it was answered.
    let left = line(&mut rig, "\"path\":\"/a/b\"");
    check(
        &left,
        &[
            "\"method\":\"POST\"",
            "\"user_agent\":\"\\\"q\\\" \\\\é\"",
            "\"request_id\":\"mine\"",
            "\"protocol\":\"HTTP/1.1\"",
            "\"client\":\"127.0.0.1\"",
            &format!("\"host\":\"{HOST}\""),
            "\"failed\":\"client\",\"reason\":\"client-closed\"",
        ],
    );
    assert!(!left.contains("secret"), "{left}");
    assert_eq!(rig.plain().get(HOST, "/whole").text(), "hello");
    let whole = line(&mut rig, "/whole");
    check(
        &whole,
        &[
            "\"status\":200",
            "\"bytes_in\":0,\"bytes_out\":5,\"queue_us\":0",
            "\"instance\":\"one\"",
            "\"failed\":\"\",\"reason\":\"\"",
        ],
    );
    assert!(number(&whole, "first_byte_us") >= 20_000);
    assert!(number(&whole, "total_us") >= number(&whole, "first_byte_us"));
    rig.plain()
        .send(format!("GET /cut HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    let mut wire = rig.plain();
    wire.send(format!("GET /cut HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    assert!(wire.try_response(false).is_err());
    let cut = line(&mut rig, "instance-cut");
    check(
        &cut,
        &[
            "\"status\":200",
            "\"bytes_out\":4",
            "\"failed\":\"instance\"",
        ],
    );
}

#[test]
fn what_the_platform_refuses_has_its_line_and_its_counter() {
    let paused = Route {
        state: apron_link::proxy::RouteState::Paused,
        ..logging(&[])
    };
    let mut rig = start(paused);
    assert_eq!(rig.plain().get(HOST, "/").reason(), "paused");
    let refused = line(&mut rig, "paused");
    check(
        &refused,
        &[
            "\"status\":503",
            "\"failed\":\"platform\"",
            "\"instance\":\"\"",
        ],
    );
    let slow = Origin::http(|_, stream| {
        be_slow(Duration::from_millis(1_500));
        respond(stream, b"late")
    });
    let bounded = Route {
        request_timeout_ms: 300,
        ..logging(&[("slow", slow.address)])
    };
    rig.change(1, vec![bounded]);
    assert_eq!(rig.plain().get(HOST, "/").reason(), "request-timeout");
    check(
        &line(&mut rig, "request-timeout"),
        &["\"failed\":\"instance\""],
    );
    let total = totals(&mut rig, |total| total.answered[5] == 2);
    assert_eq!((total.refused, total.answered[5]), (2, 2));
}

/// Statistics, added up until `enough`.
fn totals(rig: &mut Rig, enough: impl Fn(&ServiceStatistics) -> bool) -> ServiceStatistics {
    let mut total = ServiceStatistics::default();
    while !enough(&total) {
        let next = rig.control.expect("statistics", |message| match message {
            FromProxy::Statistics(all) => all.first().cloned(),
            _ => None,
        });
        for (sum, add) in total.answered.iter_mut().zip(next.answered) {
            *sum += add;
        }
        for (sum, add) in total.latency.iter_mut().zip(next.latency) {
            *sum += add;
        }
        total.refused += next.refused;
        total.peak = total.peak.max(next.peak);
        total.active_instances = total.active_instances.max(next.active_instances);
    }
    total
}

#[test]
fn statistics_tell_times_peaks_and_active_instances() {
    let slow = || {
        Origin::http(|_, stream| {
            be_slow(Duration::from_millis(30));
            respond(stream, b"ok")
        })
    };
    let origins = [slow(), slow(), slow()];
    let instances: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .zip(origins.iter().map(|it| it.address))
        .collect();
    let mut rig = start(route(&instances));
    let mut wires = [rig.plain(), rig.plain(), rig.plain(), rig.plain()];
    for wire in &mut wires {
        wire.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    }
    for wire in &mut wires {
        assert_eq!(wire.response().text(), "ok");
    }
    let total = totals(&mut rig, |total| total.answered[2] == 4);
    assert_eq!(total.latency.iter().sum::<u64>(), 4);
    // None was faster than 20 ms.
    assert_eq!(total.latency[..5], [0; 5]);
    assert_eq!((total.peak, total.active_instances), (4, 3));
}

#[test]
fn lines_wait_for_a_control_plane_that_is_away() {
    let origin = Origin::saying("ok");
    let mut rig = start(logging(&[("one", origin.address)]));
    rig.control.unlink();
    assert_eq!(rig.plain().get(HOST, "/meanwhile").text(), "ok");
    rig.control.link();
    line(&mut rig, "/meanwhile");
}

#[test]
fn requests_of_http2_have_lines_and_cookies_too() {
    let origin = Origin::saying("ok");
    let mut rig = Rig::start();
    let sticky = Route {
        sticky: true,
        ..logging(&[("one", origin.address)])
    };
    let table = rig.table(1, vec![sticky]);
    rig.publish(table);
    http2::test(async {
        let mut connection = http2::connect(&rig).await;
        let (response, body) = connection.get("/two").await;
        assert_eq!(body, b"ok");
        let cookie = response.headers()["set-cookie"].to_str().unwrap();
        assert!(cookie.starts_with("apron-instance="), "{cookie}");
    });
    let whole = line(&mut rig, "/two");
    check(
        &whole,
        &[
            "\"protocol\":\"HTTP/2.0\"",
            "\"status\":200",
            "\"bytes_out\":2",
        ],
    );
}
