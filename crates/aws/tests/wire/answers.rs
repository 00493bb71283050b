use apron_aws::ApiError;
use apron_aws::codec::{encode, encode_error, encode_error_without_service};
use apron_aws::model::{self, Model};
use serde_json::{Value, json};

fn text(body: Vec<u8>) -> String {
    String::from_utf8(body).unwrap()
}

#[test]
fn json_outputs_have_only_what_the_model_knows() {
    let model = model::apprunner();
    let operation = &model.operations["StartDeployment"];
    let output = json!({"OperationId": "0123", "Secret": "x", "Other": null});
    let answer = encode(model, "StartDeployment", operation, output, "id").unwrap();
    assert_eq!(
        (answer.status, answer.content_type),
        (200, "application/x-amz-json-1.0")
    );
    assert_eq!(text(answer.body), r#"{"OperationId":"0123"}"#);
}

#[test]
fn an_output_that_breaks_the_model_is_not_sent() {
    let model = model::apprunner();
    let output = json!({"OperationId": 7});
    assert!(
        encode(
            model,
            "StartDeployment",
            &model.operations["StartDeployment"],
            output,
            "id"
        )
        .is_err()
    );
}

#[test]
fn an_operation_without_output_answers_an_empty_object() {
    let model = model::logs();
    let answer = encode(
        model,
        "CreateLogGroup",
        &model.operations["CreateLogGroup"],
        Value::Null,
        "id",
    )
    .unwrap();
    assert_eq!(text(answer.body), "{}");
}

#[test]
fn caller_identity_is_the_published_example() {
    let model = model::sts();
    let output = json!({"Arn": "arn:aws:iam::123456789012:root", "UserId": "123456789012", "Account": "123456789012"});
    let answer = encode(
        model,
        "GetCallerIdentity",
        &model.operations["GetCallerIdentity"],
        output,
        "01234567",
    )
    .unwrap();
    assert_eq!(answer.content_type, "text/xml");
    assert_eq!(
        text(answer.body),
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Account>123456789012</Account><Arn>arn:aws:iam::123456789012:root</Arn><UserId>123456789012</UserId>\
         </GetCallerIdentityResult><ResponseMetadata><RequestId>01234567</RequestId></ResponseMetadata>\
         </GetCallerIdentityResponse>"
    );
}

fn check(model: &Model, error: &ApiError, status: u16, expect: &str) {
    let answer = encode_error(model, error, "id-9");
    assert_eq!(
        (answer.status, text(answer.body).as_str()),
        (status, expect)
    );
}

#[test]
fn a_message_is_cut_where_the_model_bounds_it() {
    let long = "é".repeat(601);
    let error = model::apprunner().error("ResourceNotFoundException", long.as_str());
    let body = text(encode_error(model::apprunner(), &error, "id-9").body);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let sent = body["Message"].as_str().unwrap();
    assert_eq!(sent.chars().count(), 600);
    assert!(sent.ends_with("é…"), "{sent}");
    let unbounded = model::ecr().error("RepositoryNotFoundException", long.as_str());
    let body = text(encode_error(model::ecr(), &unbounded, "id-9").body);
    assert!(body.contains(&long), "{body}");
}

#[test]
fn errors_look_as_each_service_sends_them() {
    check(
        model::apprunner(),
        &model::apprunner().error("InvalidStateException", "busy"),
        400,
        r##"{"Message":"busy","__type":"com.amazonaws.apprunner#InvalidStateException"}"##,
    );
    check(
        model::apprunner(),
        &ApiError::unknown_operation(),
        404,
        r##"{"__type":"com.amazon.coral.service#UnknownOperationException"}"##,
    );
    check(
        model::ecr(),
        &model::ecr().error("RepositoryNotFoundException", "none"),
        400,
        r#"{"__type":"RepositoryNotFoundException","message":"none"}"#,
    );
    check(
        model::sts(),
        &ApiError::invalid_action("Nope", "2011-06-15"),
        400,
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
         <Code>InvalidAction</Code><Message>Could not find operation Nope for version 2011-06-15</Message></Error>\
         <RequestId>id-9</RequestId></ErrorResponse>",
    );
    let error = ApiError::client("InvalidSequenceTokenException", "x")
        .with_member("expectedSequenceToken", "7");
    let body = text(encode_error_without_service(&error).body);
    assert_eq!(
        body,
        r#"{"__type":"InvalidSequenceTokenException","expectedSequenceToken":"7","message":"x"}"#
    );
}
