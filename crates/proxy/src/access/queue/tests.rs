use super::*;
use crate::access::line::{self, Asked, Ended};
use crate::clock::timestamp;
use crate::h1::field::Room;
use crate::h1::request::parse;
use crate::service::Service;
use apron_link::frame::Decoder;
use apron_link::proxy::{AccessLog, FromProxy};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

fn log(lines: &mut Lines, service: &Arc<Service>, ended_ms: u64, head: &[u8]) {
    let mut room = Room::new();
    let request = parse(head, &mut room).unwrap();
    let asked = Asked {
        service: &service.logged,
        client: "192.0.2.7",
        protocol: "HTTP/1.1",
        request_id: b"id-1",
    };
    let part = line::request(&request, asked);
    let ended = Ended {
        instance: b"i",
        status: 200,
        bytes_out: u64::MAX,
        total: Duration::from_micros(1_234),
        failed: "instance",
        reason: "instance-cut",
        ..Ended::default()
    };
    line::finish(&timestamp(ended_ms), &part, ended, &mut lines.bytes);
    let (service, end) = (Arc::clone(service), lines.bytes.len());
    lines.entries.push(Entry {
        service,
        ended_ms,
        end,
    });
}

fn sent(queue: &Queue) -> AccessLog {
    let mut decoder = Decoder::default();
    decoder.push(&queue.take().unwrap().frame());
    match decoder.next::<FromProxy>().unwrap() {
        Some(FromProxy::AccessLog(log)) => log,
        other => panic!("{other:?}"),
    }
}

/// The fields of a line, by the decoder of the link: there is no other one at hand.
fn fields(line: &str) -> BTreeMap<String, String> {
    let mut decoder = Decoder::default();
    decoder.push(&(line.len() as u32).to_be_bytes());
    decoder.push(line.as_bytes());
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Value {
        Text(String),
        Number(u64),
    }
    let fields: BTreeMap<String, Value> = decoder.next().unwrap().unwrap();
    let text = |value| match value {
        Value::Text(text) => text,
        Value::Number(number) => number.to_string(),
    };
    fields
        .into_iter()
        .map(|(name, value)| (name, text(value)))
        .collect()
}

#[test]
fn lines_are_gathered_by_service_in_the_order_in_which_requests_ended() {
    let (queue, a, b) = (
        Queue::default(),
        Arc::new(Service::new("a".into())),
        Arc::new(Service::new("b".into())),
    );
    assert!(queue.take().is_none());
    let head = |path: &str| format!("GET {path}?secret=1 HTTP/1.1\r\nhost: A.test\r\n\r\n");
    let (mut one, mut other) = (Lines::default(), Lines::default());
    log(&mut one, &b, 5, head("/5").as_bytes());
    log(&mut one, &a, 7, head("/7").as_bytes());
    log(&mut other, &a, 6, head("/6").as_bytes());
    queue.push(one, true);
    queue.push(other, true);
    let log = sent(&queue);
    let order: Vec<_> = log
        .services
        .iter()
        .flat_map(|it| {
            it.lines
                .iter()
                .map(|(at, line)| (it.service.as_str(), *at, fields(line)["path"].clone()))
        })
        .collect();
    assert_eq!(
        order,
        [
            ("a", 6, "/6".into()),
            ("a", 7, "/7".into()),
            ("b", 5, "/5".into())
        ]
    );
    let first = fields(&log.services[0].lines[0].1);
    let expected = [
        ("bytes_in", "0"),
        ("bytes_out", "18446744073709551615"),
        ("client", "192.0.2.7"),
        ("connect_us", "0"),
        ("failed", "instance"),
        ("first_byte_us", "0"),
        ("host", "a.test"),
        ("instance", "i"),
        ("method", "GET"),
        ("path", "/6"),
        ("protocol", "HTTP/1.1"),
        ("queue_us", "0"),
        ("reason", "instance-cut"),
        ("request_id", "id-1"),
        ("service", "a"),
        ("status", "200"),
        ("time", "1970-01-01T00:00:00.006Z"),
        ("total_us", "1234"),
        ("user_agent", ""),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(first, BTreeMap::from(expected));
}

#[test]
fn the_oldest_lines_are_dropped_and_counted() {
    let (queue, service) = (Queue::default(), Arc::new(Service::new("a".into())));
    let head = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for at in 0..3 {
        let mut lines = Lines::default();
        log(&mut lines, &service, at, head);
        // As if it were as long as fits.
        lines.bytes.resize(QUEUE_BYTES_MAX / 2, b' ');
        queue.push(lines, true);
    }
    let first = queue.take().unwrap();
    assert_eq!((first.lost, first.parts[0].entries[0].ended_ms), (1, 1));
    queue.lose(&first);
    let second = queue.take().unwrap();
    assert_eq!((second.lost, second.parts[0].entries[0].ended_ms), (2, 2));
}

proptest! {
    #[test]
    fn whatever_a_client_calls_itself_the_line_is_json(agent in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut head = b"GET /\"\\ HTTP/1.1\r\nhost: a\r\nuser-agent: ".to_vec();
        head.extend(&agent);
        head.extend(b"\r\n\r\n");
        let mut room = Room::new();
        if parse(&head, &mut room).is_ok() {
            let (queue, service, mut lines) =
                (Queue::default(), Arc::new(Service::new("a".into())), Lines::default());
            log(&mut lines, &service, 1, &head);
            queue.push(lines, true);
            let line = &sent(&queue).services[0].lines[0].1;
            let fields = fields(line);
            let heard = String::from_utf8_lossy(agent.trim_ascii()).into_owned();
            prop_assert_eq!(fields["user_agent"].trim(), heard.trim());
            prop_assert_eq!(&fields["path"], "/\"\\");
        }
    }
}

#[test]
fn buffers_that_were_sent_are_written_into_again_and_given_back_in_the_end() {
    let (queue, service) = (Queue::default(), Arc::new(Service::new("a".into())));
    let mut lines = queue.buffer();
    let place = lines.bytes.as_ptr();
    log(
        &mut lines,
        &service,
        1,
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    );
    queue.push(lines, true);
    queue.recycle(queue.take().unwrap());
    let again = queue.buffer();
    assert_eq!(again.bytes.as_ptr(), place);
    assert!(again.bytes.is_empty() && again.entries.is_empty());

    // As many as are usually under way are kept, and none of unusual size, although it is the first that comes back.
    let mut large = again;
    large.bytes.reserve(4 * BUFFER_BYTES);
    queue.push(large, false);
    for _ in 0..2 * SPARE_MAX {
        queue.push(queue.buffer(), false);
    }
    queue.recycle(queue.take().unwrap());
    assert_eq!(queue.waiting().spare.len(), SPARE_MAX);
    let usual = |lines: &Lines| lines.bytes.capacity() <= 2 * BUFFER_BYTES;
    assert!(queue.waiting().spare.iter().all(usual));
    queue.trim();
    assert!(queue.waiting().spare.is_empty());
}

#[tokio::test]
async fn lines_are_sent_when_they_are_handed_over_or_fill_a_message() {
    let (queue, service) = (Queue::default(), Arc::new(Service::new("a".into())));
    let ready = async || {
        tokio::time::timeout(Duration::ZERO, queue.ready())
            .await
            .is_ok()
    };
    let full = || {
        let mut lines = queue.buffer();
        log(
            &mut lines,
            &service,
            1,
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        );
        lines.bytes.resize(BUFFER_BYTES, b' ');
        lines
    };
    queue.push(full(), false);
    assert!(!ready().await);
    queue.push(full(), true);
    assert!(ready().await);
    for _ in 2..MESSAGE_BYTES / BUFFER_BYTES {
        assert!(!ready().await);
        queue.push(full(), false);
    }
    assert!(ready().await);
}
