//! Parameter Store.

use super::{Bench, refused};
use serde_json::{Value, json};

fn call(bench: &Bench, operation: &str, input: Value) -> Result<Value, (String, String)> {
    bench.call("ssm", operation, input)
}

fn ok(bench: &Bench, operation: &str, input: Value) -> Value {
    call(bench, operation, input).unwrap()
}

fn put(bench: &Bench, name: &str, kind: &str, value: &str) -> Value {
    ok(
        bench,
        "PutParameter",
        json!({"Name": name, "Type": kind, "Value": value}),
    )
}

fn names(answer: &Value) -> Vec<String> {
    let list = answer["Parameters"].as_array().unwrap();
    list.iter()
        .map(|p| p["Name"].as_str().unwrap().to_owned())
        .collect()
}

const MARKER: &str = "marker-of-a-parameter";

#[test]
fn values_come_back_by_name_version_label_and_arn() {
    let mut bench = Bench::new();
    assert_eq!(
        put(&bench, "/app/key", "SecureString", MARKER),
        json!({"Version": 1, "Tier": "Standard"})
    );
    let again = json!({"Name": "/app/key", "Value": "two"});
    refused(
        call(&bench, "PutParameter", again.clone()),
        "ParameterAlreadyExists",
        "already exists",
    );
    let mut over = again;
    over["Overwrite"] = json!(true);
    assert_eq!(ok(&bench, "PutParameter", over)["Version"], 2);
    ok(
        &bench,
        "LabelParameterVersion",
        json!({"Name": "/app/key", "ParameterVersion": 1, "Labels": ["live", "1bad", "aws-x"]}),
    );
    bench.restart();
    let read = |name: &str| {
        ok(
            &bench,
            "GetParameter",
            json!({"Name": name, "WithDecryption": true}),
        )["Parameter"]
            .clone()
    };
    let arn = "arn:aws:ssm:us-east-1:111122223333:parameter/app/key";
    for (name, value, version) in [
        ("/app/key", "two", 2),
        ("/app/key:1", MARKER, 1),
        ("/app/key:live", MARKER, 1),
        (arn, "two", 2),
        (
            "arn:aws:ssm:us-east-1:111122223333:parameter/app/key:1",
            MARKER,
            1,
        ),
    ] {
        let found = read(name);
        assert_eq!(
            (&found["Value"], &found["Version"]),
            (&json!(value), &json!(version)),
            "{name}"
        );
        assert_eq!(found["ARN"], arn);
    }
}

#[test]
fn what_is_not_there_or_not_decrypted_is_told_apart() {
    let bench = Bench::new();
    put(&bench, "/app/key", "SecureString", MARKER);
    let closed = ok(&bench, "GetParameter", json!({"Name": "/app/key:1"}));
    assert_ne!(closed["Parameter"]["Value"], MARKER);
    for (name, code) in [
        ("/app/none", "ParameterNotFound"),
        ("/app/key:9", "ParameterVersionNotFound"),
        ("/app/key:none", "ParameterVersionNotFound"),
        (
            "arn:aws:ssm:us-east-1:999999999999:parameter/app/key",
            "ParameterNotFound",
        ),
    ] {
        refused(
            call(&bench, "GetParameter", json!({"Name": name})),
            code,
            "",
        );
    }
    let several = json!({"Names": ["/app/key", "/app/none", "/app/key:7"], "WithDecryption": true});
    let several = ok(&bench, "GetParameters", several);
    assert_eq!(names(&several), ["/app/key"]);
    assert_eq!(
        several["InvalidParameters"],
        json!(["/app/none", "/app/key:7"])
    );
    assert!(!bench.shows(MARKER));
    put(&bench, "plain", "String", "also sealed at rest");
    assert!(!bench.shows("also sealed at rest"));
    let read = |name: &str| ok(&bench, "GetParameter", json!({"Name": name}))["Parameter"].clone();
    assert_eq!(
        read("arn:aws:ssm:us-east-1:111122223333:parameter/plain")["Value"],
        "also sealed at rest"
    );
}

#[test]
fn a_hierarchy_is_read_by_path() {
    let bench = Bench::new();
    for name in ["/a/b/c", "/a/d", "/a/e", "/z", "top"] {
        put(&bench, name, "String", name);
    }
    put(&bench, "/a/list", "StringList", "x,y");
    let by_path = |input: Value| ok(&bench, "GetParametersByPath", input);
    assert_eq!(
        names(&by_path(json!({"Path": "/a"}))),
        ["/a/d", "/a/e", "/a/list"]
    );
    assert_eq!(
        names(&by_path(json!({"Path": "/a/", "Recursive": true}))).len(),
        4
    );
    assert_eq!(names(&by_path(json!({"Path": "/"}))), ["/z", "top"]);
    let first = by_path(json!({"Path": "/", "Recursive": true, "MaxResults": 4}));
    let rest = by_path(json!({"Path": "/", "Recursive": true, "NextToken": first["NextToken"]}));
    assert_eq!(names(&first).len() + names(&rest).len(), 6);
    refused(
        call(&bench, "GetParametersByPath", json!({"Path": "a"})),
        "ValidationException",
        "forward slash",
    );
}

#[test]
fn parameters_are_described_by_filters_and_have_tags() {
    let bench = Bench::new();
    for name in ["/a/b/c", "/a/d", "/a/e", "/z", "top"] {
        put(&bench, name, "String", name);
    }
    put(&bench, "/a/list", "StringList", "x,y");
    ok(
        &bench,
        "AddTagsToResource",
        json!({"ResourceType": "Parameter", "ResourceId": "/z", "Tags": [{"Key": "k", "Value": "v"}]}),
    );
    let filtered = |filter: Value| {
        names(&ok(
            &bench,
            "DescribeParameters",
            json!({"ParameterFilters": [filter]}),
        ))
    };
    assert_eq!(
        filtered(json!({"Key": "Name", "Option": "BeginsWith", "Values": ["/a/"]})).len(),
        4
    );
    assert_eq!(filtered(json!({"Key": "Name", "Values": ["/z"]})), ["/z"]);
    assert_eq!(
        filtered(json!({"Key": "Type", "Values": ["StringList"]})),
        ["/a/list"]
    );
    assert_eq!(
        filtered(json!({"Key": "Path", "Option": "OneLevel", "Values": ["/a"]})).len(),
        3
    );
    assert_eq!(filtered(json!({"Key": "tag:k", "Values": ["v"]})), ["/z"]);
    let older = json!({"Filters": [{"Key": "Name", "Values": ["to"]}]});
    assert_eq!(names(&ok(&bench, "DescribeParameters", older)), ["top"]);
    for (filter, code) in [
        (
            json!({"Key": "Color", "Values": ["x"]}),
            "ValidationException",
        ),
        (
            json!({"Key": "Type", "Option": "Contains", "Values": ["x"]}),
            "InvalidFilterOption",
        ),
        (json!({"Key": "Type"}), "InvalidFilterValue"),
    ] {
        let input = json!({"ParameterFilters": [filter]});
        refused(call(&bench, "DescribeParameters", input), code, "");
    }
    let by_tier = json!({"Path": "/", "ParameterFilters": [{"Key": "Tier", "Values": ["x"]}]});
    let by_tier = call(&bench, "GetParametersByPath", by_tier);
    refused(by_tier, "InvalidFilterKey", "Tier is not one of");
    let listed = ok(
        &bench,
        "ListTagsForResource",
        json!({"ResourceType": "Parameter", "ResourceId": "/z"}),
    );
    assert_eq!(listed["TagList"], json!([{"Key": "k", "Value": "v"}]));
    ok(
        &bench,
        "RemoveTagsFromResource",
        json!({"ResourceType": "Parameter", "ResourceId": "/z", "TagKeys": ["k"]}),
    );
    let other = json!({"ResourceType": "Document", "ResourceId": "/z", "TagKeys": ["k"]});
    refused(
        call(&bench, "RemoveTagsFromResource", other),
        "InvalidResourceType",
        "parameters",
    );
}

#[test]
fn history_has_a_hundred_versions_and_deleting_ends_it() {
    let bench = Bench::new();
    put(&bench, "/p", "String", "0");
    for number in 1..102 {
        ok(
            &bench,
            "PutParameter",
            json!({"Name": "/p", "Value": number.to_string(), "Overwrite": true}),
        );
    }
    let page = ok(
        &bench,
        "GetParameterHistory",
        json!({"Name": "/p", "MaxResults": 50}),
    );
    assert_eq!(page["Parameters"][0]["Version"], 3);
    assert_eq!(page["Parameters"][0]["Value"], "2");
    let rest = ok(
        &bench,
        "GetParameterHistory",
        json!({"Name": "/p", "NextToken": page["NextToken"]}),
    );
    assert_eq!(rest["Parameters"].as_array().unwrap().len(), 50);
    assert_eq!(rest["Parameters"][49]["Version"], 102);
    ok(
        &bench,
        "LabelParameterVersion",
        json!({"Name": "/p", "ParameterVersion": 3, "Labels": ["keep"]}),
    );
    let full = json!({"Name": "/p", "Value": "x", "Overwrite": true});
    refused(
        call(&bench, "PutParameter", full),
        "ParameterMaxVersionLimitExceeded",
        "Version 3",
    );
    let unlabel = json!({"Name": "/p", "ParameterVersion": 3, "Labels": ["keep", "other"]});
    let unlabelled = ok(&bench, "UnlabelParameterVersion", unlabel);
    assert_eq!(
        unlabelled,
        json!({"RemovedLabels": ["keep"], "InvalidLabels": ["other"]})
    );
    ok(&bench, "DeleteParameter", json!({"Name": "/p"}));
    refused(
        call(&bench, "DeleteParameter", json!({"Name": "/p"})),
        "ParameterNotFound",
        "",
    );
    put(&bench, "/q", "String", "x");
    let deleted = ok(&bench, "DeleteParameters", json!({"Names": ["/q", "/p"]}));
    assert_eq!(
        deleted,
        json!({"DeletedParameters": ["/q"], "InvalidParameters": ["/p"]})
    );
}

#[test]
fn mistakes_are_refused_and_change_nothing() {
    let bench = Bench::new();
    let with = |name: &str, value: Value| {
        let mut input = json!({"Name": "/p", "Type": "String", "Value": "12"});
        input[name] = value;
        input
    };
    for (input, code) in [
        (with("Value", json!("")), "ValidationException"),
        (
            with("Value", json!("x".repeat(4097))),
            "ValidationException",
        ),
        (with("Type", json!("Number")), "ValidationException"),
        (with("Type", Value::Null), "ValidationException"),
        (with("KeyId", json!("alias/x")), "ValidationException"),
        (
            with("AllowedPattern", json!("[a-z]+")),
            "ParameterPatternMismatchException",
        ),
        (
            with("AllowedPattern", json!("[")),
            "InvalidAllowedPatternException",
        ),
        (
            with("Policies", json!("[{\"Type\":\"Expiration\"}]")),
            "InvalidPolicyTypeException",
        ),
        (with("DataType", json!("number")), "ValidationException"),
        (with("Name", json!("/aws/p")), "AccessDeniedException"),
        (with("Name", json!("a/b")), "ValidationException"),
        (with("Name", json!("/p:1")), "ValidationException"),
    ] {
        refused(call(&bench, "PutParameter", input), code, "");
    }
    assert_eq!(
        ok(&bench, "DescribeParameters", json!({}))["Parameters"],
        json!([])
    );
    ok(&bench, "PutParameter", with("Tier", json!("Advanced")));
    let back = json!({"Name": "/p", "Value": "1", "Tier": "Standard", "Overwrite": true});
    refused(
        call(&bench, "PutParameter", back),
        "ValidationException",
        "downgrade",
    );
    let other = json!({"Name": "/p", "Value": "1", "Type": "SecureString", "Overwrite": true});
    refused(
        call(&bench, "PutParameter", other),
        "HierarchyTypeMismatchException",
        "can't be changed",
    );
}

#[test]
fn a_secure_string_of_a_customers_key_needs_the_key() {
    let bench = Bench::new();
    let key = bench.call("kms", "CreateKey", json!({})).unwrap();
    let id = key["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let input = json!({"Name": "/p", "Type": "SecureString", "Value": "x", "KeyId": id});
    ok(&bench, "PutParameter", input);
    let read = json!({"Name": "/p", "WithDecryption": true});
    assert_eq!(
        ok(&bench, "GetParameter", read.clone())["Parameter"]["Value"],
        "x"
    );
    bench
        .call("kms", "DisableKey", json!({"KeyId": id}))
        .unwrap();
    refused(
        call(&bench, "GetParameter", read),
        "InvalidKeyId",
        "is disabled",
    );
    let described = ok(&bench, "DescribeParameters", json!({}));
    assert_eq!(described["Parameters"][0]["KeyId"], json!(id));
}
