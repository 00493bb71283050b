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
        let caller = Caller {
            account: ACCOUNT.to_owned(),
            access_key_id: String::new(),
            arn: String::new(),
            user_id: String::new(),
        };
        let (request_id, now) = ("id".to_owned(), Millis(NOW));
        let call = Call {
            operation: operation.to_owned(),
            input,
            caller,
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

#[tokio::test]
async fn groups_and_streams_come_in_pages() {
    let bench = Bench::with(&["c", "a", "b"]).await;
    for name in ["x1", "x2", "x3"] {
        bench
            .ok("CreateLogGroup", json!({"logGroupName": name}))
            .await;
    }
    let all = async |operation: &str, list: &str, name: &str, input: Value| {
        let (mut names, mut token) = (Vec::new(), Value::Null);
        loop {
            let mut input = input.clone();
            input["nextToken"] = token;
            let page = bench.ok(operation, input).await;
            names.extend(
                page[list]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|entry| entry[name].as_str().unwrap().to_owned()),
            );
            token = page["nextToken"].clone();
            if token.is_null() {
                return names;
            }
        }
    };
    let groups = json!({"limit": 2, "logGroupNamePrefix": "x"});
    assert_eq!(
        all("DescribeLogGroups", "logGroups", "logGroupName", groups).await,
        ["x1", "x2", "x3"]
    );
    let streams = |more: Value| {
        all(
            "DescribeLogStreams",
            "logStreams",
            "logStreamName",
            in_group(&more),
        )
    };
    assert_eq!(streams(json!({"limit": 1})).await, ["a", "b", "c"]);
    assert_eq!(
        streams(json!({"limit": 2, "descending": true})).await,
        ["c", "b", "a"]
    );
    bench.put("b", &["x"]).await;
    bench.put("c", &["x", "y", "z"]).await;
    let first = json!({"limit": 1, "orderBy": "LastEventTime", "descending": true});
    assert_eq!(
        streams(first).await[2],
        "a",
        "a stream without events is the oldest"
    );
    let both = in_group(&json!({"orderBy": "LastEventTime", "logStreamNamePrefix": "a"}));
    bench
        .refused(
            "DescribeLogStreams",
            both,
            "InvalidParameterException",
            "Cannot order by LastEventTime",
        )
        .await;
    for token in ["x", "bm90"] {
        let input = in_group(&json!({"nextToken": token}));
        bench
            .refused(
                "DescribeLogStreams",
                input,
                "InvalidParameterException",
                "nextToken is invalid",
            )
            .await;
    }
    let neither = json!({"limit": 1});
    bench
        .refused(
            "DescribeLogStreams",
            neither,
            "InvalidParameterException",
            "Exactly one of",
        )
        .await;
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

#[tokio::test]
async fn batches_keep_the_rules() {
    let bench = Bench::with(&["s"]).await;
    let put = |events: Value| in_stream("s", &json!({"logEvents": events}));
    let at = |timestamp: u64, message: &str| json!({"timestamp": timestamp, "message": message});
    let refused = async |events: Value, text: &str| {
        bench
            .refused(
                "PutLogEvents",
                put(events),
                "InvalidParameterException",
                text,
            )
            .await;
    };
    refused(
        json!([at(NOW, "b"), at(NOW - 1, "a")]),
        "chronological order",
    )
    .await;
    refused(
        json!([at(NOW - 86_400_001, "a"), at(NOW, "b")]),
        "more than 24 hours",
    )
    .await;
    refused(json!([]), "'logEvents'").await;
    refused(json!([at(NOW, "")]), "'logEvents.1.member.message'").await;
    let large = "x".repeat(apron_telemetry::MESSAGE_BYTES_MAX);
    refused(
        json!([at(NOW, &format!("{large}x"))]),
        "Log event too large: 262145 bytes",
    )
    .await;
    refused(
        json!([
            at(NOW, &large),
            at(NOW, &large),
            at(NOW, &large),
            at(NOW, &large)
        ]),
        "Upload too large",
    )
    .await;
    let other =
        json!({"logGroupName": GROUP, "logStreamName": "other", "logEvents": [at(NOW, "x")]});
    bench
        .refused(
            "PutLogEvents",
            other,
            "ResourceNotFoundException",
            "log stream does not exist",
        )
        .await;
    let other = json!({"logGroupName": "other", "logStreamName": "s", "logEvents": [at(NOW, "x")]});
    bench
        .refused(
            "PutLogEvents",
            other,
            "ResourceNotFoundException",
            "log group does not exist",
        )
        .await;

    let hour = 3_600_000;
    let answer = bench
        .ok(
            "PutLogEvents",
            put(json!([at(NOW, "now"), at(NOW + 3 * hour, "soon")])),
        )
        .await;
    assert_eq!(
        answer["rejectedLogEventsInfo"],
        json!({"tooNewLogEventStartIndex": 1})
    );
    let old = NOW - 14 * 24 * hour;
    let answer = bench
        .ok(
            "PutLogEvents",
            put(json!([at(old - 1, "old"), at(old, "edge")])),
        )
        .await;
    assert_eq!(
        answer["rejectedLogEventsInfo"],
        json!({"tooOldLogEventEndIndex": 1})
    );
    bench
        .ok(
            "PutRetentionPolicy",
            in_group(&json!({"retentionInDays": 1})),
        )
        .await;
    let answer = bench
        .ok(
            "PutLogEvents",
            put(json!([
                at(NOW - 25 * hour, "gone"),
                at(NOW - 2 * hour, "kept")
            ])),
        )
        .await;
    assert_eq!(
        answer["rejectedLogEventsInfo"],
        json!({"expiredLogEventEndIndex": 1})
    );
    let answer = bench
        .ok("PutLogEvents", put(json!([at(NOW, "last")])))
        .await;
    assert_eq!(answer.get("rejectedLogEventsInfo"), None);
    let page = bench
        .ok(
            "GetLogEvents",
            in_stream("s", &json!({"startFromHead": true})),
        )
        .await;
    assert_eq!(messages(&page), ["now", "edge", "kept", "last"]);
}

#[tokio::test]
async fn filtering_interleaves_streams() {
    let bench = Bench::with(&["one", "two"]).await;
    bench.put("one", &["a ERROR", "b", "c ERROR"]).await;
    bench.put("two", &["d", "e ERROR"]).await;
    let mut found: Vec<Value> = Vec::new();
    let mut token = Value::Null;
    loop {
        let input = in_group(&json!({"filterPattern": "ERROR", "limit": 1, "nextToken": token}));
        let page = bench.ok("FilterLogEvents", input).await;
        found.extend(page["events"].as_array().unwrap().clone());
        token = page["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    let order: Vec<(&str, &str)> = found
        .iter()
        .map(|e| {
            (
                e["logStreamName"].as_str().unwrap(),
                e["message"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        order,
        [("one", "a ERROR"), ("one", "c ERROR"), ("two", "e ERROR")]
    );
    let ids: Vec<&str> = found
        .iter()
        .map(|event| event["eventId"].as_str().unwrap())
        .collect();
    assert!(
        ids.is_sorted_by(|a, b| a < b) && ids.iter().all(|id| id.len() == 56),
        "{ids:?}"
    );

    let filter = async |more: Value| bench.ok("FilterLogEvents", in_group(&more)).await;
    let page = filter(json!({"logStreamNames": ["two", "none"]})).await;
    assert_eq!(
        (messages(&page), &page["searchedLogStreams"]),
        (vec!["d", "e ERROR"], &json!([]))
    );
    assert_eq!(
        messages(&filter(json!({"logStreamNamePrefix": "t", "filterPattern": "-ERROR"})).await),
        ["d"]
    );
    assert_eq!(
        messages(&filter(json!({"startTime": NOW - 1, "interleaved": true})).await),
        ["c ERROR", "e ERROR"]
    );

    let refused = async |more: Value, text: &str| {
        bench
            .refused(
                "FilterLogEvents",
                in_group(&more),
                "InvalidParameterException",
                text,
            )
            .await;
    };
    refused(
        json!({"filterPattern": "[a, b]"}),
        "space-delimited columns are not supported",
    )
    .await;
    refused(
        json!({"logStreamNames": ["a"], "logStreamNamePrefix": "b"}),
        "together",
    )
    .await;
    refused(json!({"startFromHead": false}), "not available").await;
    refused(json!({"nextToken": "x"}), "nextToken is invalid").await;
}
