use super::*;
use crate::ecr::tests::bench::settings;
use crate::endpoint::Caller;
use apron_aws::codec;
use apron_aws::model::Lookup;
use apron_domain::Millis;

const ACCOUNT: &str = "123456789012";
const GROUP: &str = "/aws/apprunner/app/0123456789abcdef0123456789abcdef/application";
const NOW: u64 = 1_800_000_000_000;

/// CloudWatch Logs over a fresh log store.
struct Bench {
    _dir: tempfile::TempDir,
    service: CloudWatchLogs,
}

impl Bench {
    async fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path()).await.unwrap();
        Bench {
            _dir: dir,
            service: CloudWatchLogs::new(Arc::new(settings()), logs),
        }
    }

    /// A bench with the group and these streams.
    async fn with(streams: &[&str]) -> Bench {
        let bench = Bench::new().await;
        bench
            .ok("CreateLogGroup", json!({"logGroupName": GROUP}))
            .await;
        for stream in streams {
            bench
                .ok(
                    "CreateLogStream",
                    json!({"logGroupName": GROUP, "logStreamName": stream}),
                )
                .await;
        }
        bench
    }

    /// Calls an operation as the endpoint does: the input is held against the model, and so is the output.
    async fn call(&self, operation: &str, input: Value) -> Result<Value, ApiError> {
        let model = model::logs();
        let Lookup::Offered(table) = model.operation(operation) else {
            panic!("{operation} is not offered")
        };
        let input = codec::decode(model, table, input.to_string().as_bytes())?;
        let caller = Caller::root(ACCOUNT, "");
        let (request_id, now) = ("id".to_owned(), Millis(NOW));
        let call = Call {
            operation: operation.to_owned(),
            input,
            caller,
            session_token: None,
            request_id,
            now,
        };
        let output = self.service.call(call).await?;
        let encoded = codec::encode(model, operation, table, output, "id").unwrap();
        Ok(serde_json::from_slice(&encoded.body).unwrap())
    }

    async fn ok(&self, operation: &str, input: Value) -> Value {
        self.call(operation, input)
            .await
            .unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    async fn refused(&self, operation: &str, input: Value, code: &str, text: &str) {
        let error = self.call(operation, input).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.status), (code, 400), "{error}");
        assert!(
            error.message.contains(text),
            "{error} does not contain {text}"
        );
    }

    /// Puts messages into a stream, one per millisecond before [`NOW`].
    async fn put(&self, stream: &str, messages: &[&str]) {
        let first = NOW - messages.len() as u64;
        let event = |(i, message): (usize, &&str)| json!({"timestamp": first + i as u64, "message": message});
        let events: Vec<Value> = messages.iter().enumerate().map(event).collect();
        self.ok(
            "PutLogEvents",
            in_stream(stream, &json!({"logEvents": events})),
        )
        .await;
    }
}

fn in_stream(stream: &str, more: &Value) -> Value {
    let mut input = in_group(more);
    input["logStreamName"] = json!(stream);
    input
}

fn in_group(more: &Value) -> Value {
    let mut input = json!({"logGroupName": GROUP});
    input
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    input
}

fn messages(page: &Value) -> Vec<&str> {
    page["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["message"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn groups_and_their_retention() {
    let bench = Bench::with(&[]).await;
    let group = json!({"logGroupName": GROUP});
    let arn = format!("arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:{GROUP}");
    let described = json!({
        "logGroupName": GROUP, "creationTime": NOW, "metricFilterCount": 0, "arn": format!("{arn}:*"),
        "logGroupArn": arn, "storedBytes": 0, "logGroupClass": "STANDARD",
    });
    let describe =
        async |input: Value| bench.ok("DescribeLogGroups", input).await["logGroups"].clone();
    for input in [
        json!({}),
        json!({"logGroupNamePrefix": "/aws/apprunner/app"}),
        json!({"logGroupNamePattern": "APPRUNNER"}),
        json!({"logGroupIdentifiers": [arn]}),
    ] {
        assert_eq!(describe(input.clone()).await, json!([described]), "{input}");
    }
    for input in [
        json!({"logGroupNamePrefix": "apprunner"}),
        json!({"logGroupClass": "DELIVERY"}),
    ] {
        assert_eq!(describe(input.clone()).await, json!([]), "{input}");
    }
    let text = "The specified log group already exists";
    bench
        .refused(
            "CreateLogGroup",
            group.clone(),
            "ResourceAlreadyExistsException",
            text,
        )
        .await;

    bench
        .ok(
            "PutRetentionPolicy",
            in_group(&json!({"retentionInDays": 7})),
        )
        .await;
    assert_eq!(describe(json!({})).await[0]["retentionInDays"], 7);
    for days in [8, 0, -1] {
        let input = in_group(&json!({"retentionInDays": days}));
        bench
            .refused(
                "PutRetentionPolicy",
                input,
                "InvalidParameterException",
                "'retentionInDays'",
            )
            .await;
    }
    bench.ok("DeleteRetentionPolicy", group.clone()).await;
    assert_eq!(describe(json!({})).await[0].get("retentionInDays"), None);

    bench.ok("DeleteLogGroup", group.clone()).await;
    let text = "The specified log group does not exist.";
    for operation in [
        "DeleteLogGroup",
        "DescribeLogStreams",
        "DeleteRetentionPolicy",
        "FilterLogEvents",
    ] {
        bench
            .refused(operation, group.clone(), "ResourceNotFoundException", text)
            .await;
    }
}

#[tokio::test]
async fn what_is_not_available_is_refused() {
    let bench = Bench::new().await;
    let text = "is not available in this installation";
    for more in [
        json!({"tags": {"a": "b"}}),
        json!({"logGroupClass": "INFREQUENT_ACCESS"}),
        json!({"kmsKeyId": "arn:aws:kms:eu-west-1:123456789012:key/1"}),
        json!({"deletionProtectionEnabled": true}),
    ] {
        bench
            .refused(
                "CreateLogGroup",
                in_group(&more),
                "InvalidParameterException",
                text,
            )
            .await;
    }
    assert_eq!(
        bench.ok("DescribeLogGroups", json!({})).await["logGroups"],
        json!([])
    );
}

/// All names of a listing, page by page.
async fn names(
    bench: &Bench,
    operation: &str,
    list: &str,
    name: &str,
    input: Value,
) -> Vec<String> {
    let (mut names, mut input) = (Vec::new(), input);
    loop {
        let page = bench.ok(operation, input.clone()).await;
        let entries = page[list].as_array().unwrap().iter();
        names.extend(entries.map(|entry| entry[name].as_str().unwrap().to_owned()));
        input["nextToken"] = page["nextToken"].clone();
        if input["nextToken"].is_null() {
            return names;
        }
    }
}

#[tokio::test]
async fn groups_and_streams_come_in_pages() {
    let bench = Bench::with(&["c", "a", "b"]).await;
    for name in ["x1", "x2", "x3"] {
        bench
            .ok("CreateLogGroup", json!({"logGroupName": name}))
            .await;
    }
    let input = json!({"limit": 2, "logGroupNamePrefix": "x"});
    let groups = names(
        &bench,
        "DescribeLogGroups",
        "logGroups",
        "logGroupName",
        input,
    )
    .await;
    assert_eq!(groups, ["x1", "x2", "x3"]);
    let streams = async |more: Value| {
        names(
            &bench,
            "DescribeLogStreams",
            "logStreams",
            "logStreamName",
            in_group(&more),
        )
        .await
    };
    assert_eq!(streams(json!({"limit": 1})).await, ["a", "b", "c"]);
    assert_eq!(
        streams(json!({"limit": 2, "descending": true})).await,
        ["c", "b", "a"]
    );
    bench.put("b", &["x"]).await;
    bench.put("c", &["x", "y", "z"]).await;
    let newest = json!({"limit": 1, "orderBy": "LastEventTime", "descending": true});
    assert_eq!(
        streams(newest).await[2],
        "a",
        "a stream without events is the oldest"
    );
}

#[tokio::test]
async fn listings_that_make_no_sense_are_refused() {
    let bench = Bench::with(&[]).await;
    let cases = [
        (
            in_group(&json!({"orderBy": "LastEventTime", "logStreamNamePrefix": "a"})),
            "Cannot order by LastEventTime",
        ),
        (in_group(&json!({"nextToken": "x"})), "nextToken is invalid"),
        (
            in_group(&json!({"nextToken": "bm90"})),
            "nextToken is invalid",
        ),
        (json!({"limit": 1}), "Exactly one of"),
    ];
    for (input, text) in cases {
        bench
            .refused(
                "DescribeLogStreams",
                input,
                "InvalidParameterException",
                text,
            )
            .await;
    }
}

#[tokio::test]
async fn events_are_read_forward_to_the_end_and_on() {
    let bench = Bench::with(&["s"]).await;
    bench.put("s", &["1", "2", "3", "4", "5"]).await;
    let get = async |more: Value| bench.ok("GetLogEvents", in_stream("s", &more)).await;
    let page = get(json!({"limit": 2, "startFromHead": true})).await;
    assert_eq!(messages(&page), ["1", "2"]);
    let page = get(json!({"limit": 2, "nextToken": page["nextForwardToken"]})).await;
    assert_eq!(messages(&page), ["3", "4"]);
    let page = get(json!({"limit": 2, "nextToken": page["nextForwardToken"]})).await;
    assert_eq!(messages(&page), ["5"]);
    let end = page["nextForwardToken"].clone();
    let page = get(json!({"nextToken": end})).await;
    assert_eq!(
        (messages(&page), &page["nextForwardToken"]),
        (vec![], &end),
        "the token at the end leads to itself"
    );
    bench.put("s", &["6"]).await;
    assert_eq!(
        messages(&get(json!({"nextToken": end})).await),
        ["6"],
        "and later on to what came"
    );
}

#[tokio::test]
async fn events_are_read_backward_to_the_start() {
    let bench = Bench::with(&["s"]).await;
    bench.put("s", &["1", "2", "3", "4", "5"]).await;
    let get = async |more: Value| bench.ok("GetLogEvents", in_stream("s", &more)).await;
    let tail = get(json!({"limit": 2})).await;
    assert_eq!(messages(&tail), ["4", "5"]);
    let page = get(json!({"limit": 2, "nextToken": tail["nextBackwardToken"]})).await;
    assert_eq!(messages(&page), ["2", "3"]);
    assert_eq!(
        messages(&get(json!({"nextToken": page["nextForwardToken"]})).await),
        ["4", "5"],
        "tokens change direction"
    );
    let page = get(json!({"limit": 2, "nextToken": page["nextBackwardToken"]})).await;
    assert_eq!(messages(&page), ["1"]);
    let start = page["nextBackwardToken"].clone();
    let page = get(json!({"nextToken": start})).await;
    assert_eq!(
        (messages(&page), &page["nextBackwardToken"]),
        (vec![], &start)
    );
}

#[tokio::test]
async fn reading_is_bounded_by_time_and_checked() {
    let bench = Bench::with(&["s"]).await;
    bench.put("s", &["1", "2", "3", "4"]).await;
    let input = in_stream("s", &json!({"startTime": NOW - 3, "endTime": NOW - 1}));
    let page = bench.ok("GetLogEvents", input).await;
    assert_eq!(
        messages(&page),
        ["2", "3"],
        "the start is included, the end is not"
    );
    assert_eq!(
        page["events"][0],
        json!({"timestamp": NOW - 3, "message": "2", "ingestionTime": NOW})
    );
    let arn = format!("arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:{GROUP}");
    let by_arn = json!({"logGroupIdentifier": arn, "logStreamName": "s", "limit": 1});
    assert_eq!(messages(&bench.ok("GetLogEvents", by_arn).await), ["4"]);

    let refused = async |more: Value, code: &str, text: &str| {
        bench
            .refused("GetLogEvents", in_stream("s", &more), code, text)
            .await;
    };
    refused(
        json!({"startTime": 2, "endTime": 1}),
        "InvalidParameterException",
        "startTime",
    )
    .await;
    refused(
        json!({"nextToken": "f/1/s"}),
        "InvalidParameterException",
        "nextToken is invalid",
    )
    .await;
    refused(
        json!({"limit": 10_001}),
        "InvalidParameterException",
        "'limit'",
    )
    .await;
    let text = "log stream does not exist";
    bench
        .refused(
            "GetLogEvents",
            in_stream("none", &json!({})),
            "ResourceNotFoundException",
            text,
        )
        .await;
}

fn at(timestamp: u64, message: &str) -> Value {
    json!({"timestamp": timestamp, "message": message})
}

#[tokio::test]
async fn batches_that_break_the_rules_are_refused() {
    let bench = Bench::with(&["s"]).await;
    let large = "x".repeat(apron_telemetry::MESSAGE_BYTES_MAX);
    let cases = [
        (
            json!([at(NOW, "b"), at(NOW - 1, "a")]),
            "chronological order",
        ),
        (
            json!([at(NOW - 86_400_001, "a"), at(NOW, "b")]),
            "more than 24 hours",
        ),
        (json!([]), "'logEvents'"),
        (json!([at(NOW, "")]), "'logEvents.1.member.message'"),
        (
            json!([at(NOW, &format!("{large}x"))]),
            "Log event too large",
        ),
        (
            json!([
                at(NOW, &large),
                at(NOW, &large),
                at(NOW, &large),
                at(NOW, &large)
            ]),
            "Upload too large",
        ),
    ];
    for (events, text) in cases {
        let input = in_stream("s", &json!({"logEvents": events}));
        bench
            .refused("PutLogEvents", input, "InvalidParameterException", text)
            .await;
    }
    let mut other = in_stream("other", &json!({"logEvents": [at(NOW, "x")]}));
    let text = "log stream does not exist";
    bench
        .refused(
            "PutLogEvents",
            other.clone(),
            "ResourceNotFoundException",
            text,
        )
        .await;
    other["logGroupName"] = json!("other");
    let text = "log group does not exist";
    bench
        .refused("PutLogEvents", other, "ResourceNotFoundException", text)
        .await;
}

#[tokio::test]
async fn events_of_other_times_are_left_out() {
    const HOUR: u64 = 3_600_000;
    let bench = Bench::with(&["s"]).await;
    let put = async |events: Value| {
        let input = in_stream("s", &json!({"logEvents": events}));
        bench.ok("PutLogEvents", input).await["rejectedLogEventsInfo"].clone()
    };
    let left_out = put(json!([at(NOW, "now"), at(NOW + 3 * HOUR, "soon")])).await;
    assert_eq!(left_out, json!({"tooNewLogEventStartIndex": 1}));
    let old = NOW - 14 * 24 * HOUR;
    let left_out = put(json!([at(old - 1, "old"), at(old, "edge")])).await;
    assert_eq!(left_out, json!({"tooOldLogEventEndIndex": 1}));
    bench
        .ok(
            "PutRetentionPolicy",
            in_group(&json!({"retentionInDays": 1})),
        )
        .await;
    let left_out = put(json!([
        at(NOW - 25 * HOUR, "gone"),
        at(NOW - 2 * HOUR, "kept")
    ]))
    .await;
    assert_eq!(left_out, json!({"expiredLogEventEndIndex": 1}));
    assert_eq!(put(json!([at(NOW, "last")])).await, Value::Null);
    bench
        .ok("DeleteRetentionPolicy", in_group(&json!({})))
        .await;
    let page = bench
        .ok(
            "GetLogEvents",
            in_stream("s", &json!({"startFromHead": true})),
        )
        .await;
    assert_eq!(messages(&page), ["now", "edge", "kept", "last"]);
}

/// Two streams with events of the same times.
async fn two_streams() -> Bench {
    let bench = Bench::with(&["one", "two"]).await;
    bench.put("one", &["a ERROR", "b", "c ERROR"]).await;
    bench.put("two", &["d", "e ERROR"]).await;
    bench
}

#[tokio::test]
async fn filtering_interleaves_streams() {
    let bench = two_streams().await;
    let (mut found, mut token) = (Vec::new(), Value::Null);
    loop {
        let input = in_group(&json!({"filterPattern": "ERROR", "limit": 1, "nextToken": token}));
        let page = bench.ok("FilterLogEvents", input).await;
        found.extend(page["events"].as_array().unwrap().clone());
        token = page["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    let text = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
    let order: Vec<String> = found
        .iter()
        .map(|e| format!("{}: {}", text(e, "logStreamName"), text(e, "message")))
        .collect();
    assert_eq!(order, ["one: a ERROR", "one: c ERROR", "two: e ERROR"]);
    let ids: Vec<String> = found.iter().map(|event| text(event, "eventId")).collect();
    assert!(
        ids.is_sorted_by(|a, b| a < b) && ids.iter().all(|id| id.len() == 56),
        "{ids:?}"
    );
}

#[tokio::test]
async fn filtering_takes_streams_times_and_patterns() {
    let bench = two_streams().await;
    let filter = async |more: Value| bench.ok("FilterLogEvents", in_group(&more)).await;
    let page = filter(json!({"logStreamNames": ["two", "none"]})).await;
    assert_eq!(
        (messages(&page), &page["searchedLogStreams"]),
        (vec!["d", "e ERROR"], &json!([]))
    );
    let page = filter(json!({"logStreamNamePrefix": "t", "filterPattern": "-ERROR"})).await;
    assert_eq!(messages(&page), ["d"]);
    let page = filter(json!({"startTime": NOW - 1, "interleaved": true})).await;
    assert_eq!(messages(&page), ["c ERROR", "e ERROR"]);
    let cases = [
        (
            json!({"filterPattern": "[a, b]"}),
            "space-delimited columns are not supported",
        ),
        (
            json!({"logStreamNames": ["a"], "logStreamNamePrefix": "b"}),
            "together",
        ),
        (json!({"startFromHead": false}), "not available"),
        (json!({"nextToken": "x"}), "nextToken is invalid"),
    ];
    for (more, text) in cases {
        bench
            .refused(
                "FilterLogEvents",
                in_group(&more),
                "InvalidParameterException",
                text,
            )
            .await;
    }
}
