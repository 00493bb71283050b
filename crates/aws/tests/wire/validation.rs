use apron_aws::codec::decode;
use apron_aws::model::{self, Model};
use apron_aws::validate::{check, coerce};
use proptest::prelude::*;
use serde_json::{Value, json};

fn refusal(model: &Model, operation: &str, input: &Value) -> (String, u16, String) {
    let error = decode(
        model,
        &model.operations[operation],
        input.to_string().as_bytes(),
    )
    .unwrap_err();
    (error.code, error.status, error.message)
}

fn create_service(change: impl FnOnce(&mut Value)) -> Value {
    let mut input = json!({
        "ServiceName": "flask-hello",
        "SourceConfiguration": {"ImageRepository": {
            "ImageIdentifier": "localhost:8443/flask:v1", "ImageRepositoryType": "ECR",
            "ImageConfiguration": {"Port": "8080", "RuntimeEnvironmentVariables": {"APP_ENV": "apprunner"}}}},
        "InstanceConfiguration": {"Cpu": "0.25 vCPU", "Memory": "512"},
        "HealthCheckConfiguration": {"Protocol": "HTTP", "Path": "/health", "Interval": 5}
    });
    change(&mut input);
    input
}

fn check_create(change: impl FnOnce(&mut Value), expect: &str) {
    let (code, status, message) =
        refusal(model::apprunner(), "CreateService", &create_service(change));
    assert_eq!((code.as_str(), status), ("InvalidRequestException", 400));
    assert_eq!(message, expect);
}

#[test]
fn a_good_input_passes_unchanged() {
    let input = create_service(|_| {});
    let model = model::apprunner();
    let bytes = input.to_string();
    assert_eq!(
        decode(model, &model.operations["CreateService"], bytes.as_bytes()).unwrap(),
        input
    );
}

#[test]
fn broken_constraints_are_named_with_their_place() {
    let prefix = "1 validation error detected: Value";
    let long = "a".repeat(41);
    check_create(
        |input| input["ServiceName"] = json!(long),
        &format!(
            "2 validation errors detected: Value '{long}' at 'serviceName' failed to satisfy constraint: Member must have \
             length less than or equal to 40; Value '{long}' at 'serviceName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [A-Za-z0-9][A-Za-z0-9-_]{{3,39}}"
        ),
    );
    check_create(
        |input| {
            input.as_object_mut().unwrap().remove("ServiceName");
        },
        &format!(
            "{prefix} null at 'serviceName' failed to satisfy constraint: Member must not be null"
        ),
    );
    check_create(
        |input| input["HealthCheckConfiguration"]["Interval"] = json!(21),
        &format!(
            "{prefix} '21' at 'healthCheckConfiguration.interval' failed to satisfy constraint: Member must have value less \
             than or equal to 20"
        ),
    );
    check_create(
        |input| input["HealthCheckConfiguration"]["Protocol"] = json!("UDP"),
        &format!(
            "{prefix} 'UDP' at 'healthCheckConfiguration.protocol' failed to satisfy constraint: Member must satisfy enum \
             value set: [TCP, HTTP]"
        ),
    );
    check_create(
        |input| input["Tags"] = json!([{"Key": "ok"}, {"Key": "aws:x"}]),
        &format!(
            "{prefix} 'aws:x' at 'tags.2.member.key' failed to satisfy constraint: Member must satisfy regular expression \
             pattern: ^(?!aws:).+"
        ),
    );
}

#[test]
fn sensitive_values_are_not_echoed() {
    let secret = "hunter2\nhunter3";
    let input = create_service(|input| {
        input["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"]["StartCommand"] =
            json!(secret);
    });
    let (_, _, message) = refusal(model::apprunner(), "CreateService", &input);
    assert!(!message.contains("hunter"), "{message}");
    assert!(message.contains("startCommand"), "{message}");
    let redacted = model::apprunner()
        .redacted("CreateServiceRequest", &input)
        .to_string();
    assert!(
        !redacted.contains("hunter") && !redacted.contains("\"apprunner\""),
        "{redacted}"
    );
    assert!(redacted.contains("flask-hello"), "{redacted}");
}

#[test]
fn wrong_types_are_a_serialization_error() {
    let cases = [
        (
            json!({"ServiceName": 5}),
            "NUMBER_VALUE can not be converted to a String at 'serviceName'",
        ),
        (
            json!({"Tags": {}}),
            "START_OBJECT can not be converted to a List at 'tags'",
        ),
        (
            json!({"Tags": ["x"]}),
            "STRING_VALUE can not be converted to a Structure at 'tags.1.member'",
        ),
        (
            json!({"HealthCheckConfiguration": {"Interval": 1.5}}),
            "NUMBER_VALUE can not be converted to an Integer at 'healthCheckConfiguration.interval'",
        ),
        (
            json!({"HealthCheckConfiguration": {"Interval": 3_000_000_000_i64}}),
            "NUMBER_VALUE can not be converted to an Integer at 'healthCheckConfiguration.interval'",
        ),
    ];
    for (input, expect) in cases {
        let (code, status, message) = refusal(model::apprunner(), "CreateService", &input);
        assert_eq!(
            (code.as_str(), status, message.as_str()),
            ("SerializationException", 400, expect)
        );
    }
}

#[test]
fn bytes_that_are_no_object_are_a_serialization_error() {
    let model = model::apprunner();
    let deep = "[".repeat(100_000);
    for body in ["{", "[]", "\"x\"", "{\"a\":}", "\u{0}", "{} {}", &deep] {
        let error = decode(model, &model.operations["ListServices"], body.as_bytes()).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.status),
            ("SerializationException", 400),
            "{body:.20}"
        );
    }
    for body in ["", " \n", "{}", "{\"NextToken\":null,\"Other\":[1]}"] {
        let input = decode(model, &model.operations["ListServices"], body.as_bytes()).unwrap();
        assert_eq!(input, json!({}), "{body}");
    }
}

#[test]
fn many_errors_make_a_bounded_message() {
    let tags: Vec<Value> = (0..1000).map(|_| json!({"Key": "aws:x"})).collect();
    let (_, _, message) = refusal(
        model::apprunner(),
        "CreateService",
        &create_service(|input| input["Tags"] = json!(tags)),
    );
    assert!(
        message.starts_with("1000 validation errors detected: "),
        "{message:.80}"
    );
    assert!(message.ends_with("; and 990 more"));
    assert!(message.len() < 4096);
}

#[test]
fn each_service_has_its_own_exception() {
    let bad = json!({"repositoryName": "UPPER"});
    assert_eq!(
        refusal(model::ecr(), "CreateRepository", &bad).0,
        "InvalidParameterException"
    );
    let bad = json!({"logGroupName": "a b"});
    assert_eq!(
        refusal(model::logs(), "CreateLogGroup", &bad).0,
        "InvalidParameterException"
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,60}".prop_map(Value::from),
    ];
    let names = [
        "ServiceName",
        "Tags",
        "Key",
        "InstanceConfiguration",
        "Cpu",
        "HealthCheckConfiguration",
        "Interval",
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(prop::sample::select(names.to_vec()), inner, 0..5)
                .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_is_taken_or_refused_and_coercion_settles(value in any_json()) {
        let model = model::apprunner();
        if let Ok(input) = coerce(model, "CreateServiceRequest", value) {
            prop_assert_eq!(&coerce(model, "CreateServiceRequest", input.clone()).unwrap(), &input);
            let _ = check(model, "CreateServiceRequest", &input);
        }
    }

    #[test]
    fn any_bytes_are_taken_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for model in [model::apprunner(), model::sts()] {
            for operation in model.operations.values() {
                let _ = decode(model, operation, &body);
            }
        }
    }
}
