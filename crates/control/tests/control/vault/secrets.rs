//! Secrets Manager.

use super::{Bench, refused};
use serde_json::{Value, json};

fn call(bench: &Bench, operation: &str, input: Value) -> Result<Value, (String, String)> {
    bench.call("secretsmanager", operation, input)
}

fn ok(bench: &Bench, operation: &str, input: Value) -> Value {
    call(bench, operation, input).unwrap()
}

fn value(bench: &Bench, input: Value) -> String {
    let found = ok(bench, "GetSecretValue", input);
    found["SecretString"].as_str().unwrap().to_owned()
}

const TOKEN: &str = "11111111-1111-4111-8111-111111111111";
const MARKER: &str = "marker-of-a-secret-value";

#[test]
fn a_secret_is_found_by_its_name_its_arn_and_a_part_of_its_arn() {
    let mut bench = Bench::new();
    let made = ok(
        &bench,
        "CreateSecret",
        json!({"Name": "app/db-secret", "SecretString": MARKER, "Description": "d", "Tags": [{"Key": "a", "Value": "b"}]}),
    );
    let arn = made["ARN"].as_str().unwrap().to_owned();
    let prefix = "arn:aws:secretsmanager:us-east-1:111122223333:secret:app/db-secret";
    assert_eq!(arn.len(), prefix.len() + 7);
    bench.restart();
    for id in ["app/db-secret", &arn, prefix] {
        assert_eq!(value(&bench, json!({"SecretId": id})), MARKER);
    }
    let other = arn.replace("111122223333", "999999999999");
    let wrong_end = format!("{prefix}-000000");
    for id in [
        "app/db",
        "app/db-secret-",
        &other,
        &wrong_end,
        "arn:aws:s3:::x",
    ] {
        refused(
            call(&bench, "GetSecretValue", json!({"SecretId": id})),
            "ResourceNotFoundException",
            "can't find the specified secret",
        );
    }
    assert!(!bench.shows(MARKER));
    let described = ok(&bench, "DescribeSecret", json!({"SecretId": arn}));
    assert_eq!(described["Description"], "d");
    assert_eq!(described["Tags"], json!([{"Key": "a", "Value": "b"}]));
    let version = made["VersionId"].as_str().unwrap();
    assert_eq!(
        described["VersionIdsToStages"],
        json!({version: ["AWSCURRENT"]})
    );
    assert!(!described.to_string().contains(MARKER));
}

#[test]
fn a_request_that_comes_twice_is_one() {
    let bench = Bench::new();
    let input = json!({"Name": "a", "SecretString": "one", "ClientRequestToken": TOKEN});
    let first = ok(&bench, "CreateSecret", input.clone());
    assert_eq!(ok(&bench, "CreateSecret", input), first);
    let other = json!({"Name": "a", "SecretString": "two", "ClientRequestToken": TOKEN});
    refused(
        call(&bench, "CreateSecret", other),
        "ResourceExistsException",
        "a already exists",
    );
    let token = "22222222-2222-4222-8222-222222222222";
    let put = json!({"SecretId": "a", "SecretString": "two", "ClientRequestToken": token});
    let second = ok(&bench, "PutSecretValue", put.clone());
    assert_eq!(ok(&bench, "PutSecretValue", put), second);
    let other = json!({"SecretId": "a", "SecretString": "three", "ClientRequestToken": token});
    refused(
        call(&bench, "PutSecretValue", other),
        "ResourceExistsException",
        "already in use",
    );
    assert_eq!(value(&bench, json!({"SecretId": "a"})), "two");
    assert_eq!(
        value(
            &bench,
            json!({"SecretId": "a", "VersionStage": "AWSPREVIOUS"})
        ),
        "one"
    );
    assert_eq!(
        value(&bench, json!({"SecretId": "a", "VersionId": TOKEN})),
        "one"
    );
}

#[test]
fn versions_are_found_by_their_labels() {
    let bench = Bench::new();
    let one = ok(
        &bench,
        "CreateSecret",
        json!({"Name": "a", "SecretString": "one"}),
    );
    let one = one["VersionId"].as_str().unwrap().to_owned();
    let two = ok(
        &bench,
        "PutSecretValue",
        json!({"SecretId": "a", "SecretBinary": "AAEC", "VersionStages": ["pending"]}),
    );
    assert_eq!(two["VersionStages"], json!(["pending"]));
    assert_eq!(value(&bench, json!({"SecretId": "a"})), "one");
    let binary = ok(
        &bench,
        "GetSecretValue",
        json!({"SecretId": "a", "VersionStage": "pending"}),
    );
    assert_eq!(
        (&binary["SecretBinary"], &binary["SecretString"]),
        (&json!("AAEC"), &Value::Null)
    );
    let not_so = json!({"SecretId": "a", "VersionStage": "pending", "VersionId": one});
    refused(
        call(&bench, "GetSecretValue", not_so),
        "InvalidRequestException",
        "not associated",
    );
    let missing = json!({"SecretId": "a", "VersionStage": "none"});
    refused(
        call(&bench, "GetSecretValue", missing),
        "ResourceNotFoundException",
        "staging label: none",
    );
}

#[test]
fn labels_are_moved_from_one_version_to_another() {
    let bench = Bench::new();
    let put = |operation: &str, input: Value| -> String {
        let made = ok(&bench, operation, input);
        made["VersionId"].as_str().unwrap().to_owned()
    };
    let one = put("CreateSecret", json!({"Name": "a", "SecretString": "one"}));
    let two = json!({"SecretId": "a", "SecretString": "two", "VersionStages": ["pending"]});
    let two = put("PutSecretValue", two);
    let move_to = |from: Option<&str>, to: Option<&str>, stage: &str| json!({"SecretId": "a", "VersionStage": stage, "RemoveFromVersionId": from, "MoveToVersionId": to});
    let update = "UpdateSecretVersionStage";
    let implicit = move_to(None, Some(&two), "AWSCURRENT");
    refused(
        call(&bench, update, implicit),
        "InvalidParameterException",
        "explicitly reference",
    );
    let wrong = move_to(Some(&two), None, "AWSCURRENT");
    refused(
        call(&bench, update, wrong),
        "InvalidParameterException",
        "isn't attached",
    );
    let lost = move_to(Some(&one), None, "AWSCURRENT");
    refused(
        call(&bench, update, lost),
        "InvalidParameterException",
        "without moving it",
    );
    ok(
        &bench,
        update,
        move_to(Some(&one), Some(&two), "AWSCURRENT"),
    );
    ok(&bench, update, move_to(Some(&two), None, "pending"));
    let versions = ok(&bench, "ListSecretVersionIds", json!({"SecretId": "a"}));
    let stages = |id: &str| {
        let all = versions["Versions"].as_array().unwrap();
        let found = all.iter().find(|v| v["VersionId"] == id);
        found.unwrap()["VersionStages"].clone()
    };
    assert_eq!(stages(&one), json!(["AWSPREVIOUS"]));
    assert_eq!(stages(&two), json!(["AWSCURRENT"]));
    ok(
        &bench,
        "UpdateSecret",
        json!({"SecretId": "a", "SecretString": "x", "Description": "new"}),
    );
    assert_eq!(value(&bench, json!({"SecretId": "a"})), "x");
    let all = json!({"SecretId": "a", "IncludeDeprecated": true, "MaxResults": 2});
    let page = ok(&bench, "ListSecretVersionIds", all);
    assert_eq!(page["Versions"].as_array().unwrap().len(), 2);
    let rest = json!({"SecretId": "a", "IncludeDeprecated": true, "NextToken": page["NextToken"]});
    let rest = ok(&bench, "ListSecretVersionIds", rest);
    assert_eq!(rest["Versions"].as_array().unwrap().len(), 1);
}

#[test]
fn a_secret_is_deleted_with_a_time_to_think_of_it() {
    let bench = Bench::new();
    ok(
        &bench,
        "CreateSecret",
        json!({"Name": "a", "SecretString": "one"}),
    );
    for days in [6, 31] {
        let input = json!({"SecretId": "a", "RecoveryWindowInDays": days});
        refused(
            call(&bench, "DeleteSecret", input),
            "InvalidParameterException",
            "between 7 and 30",
        );
    }
    let both =
        json!({"SecretId": "a", "RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": true});
    refused(
        call(&bench, "DeleteSecret", both),
        "InvalidParameterException",
        "in conjunction",
    );
    let deleted = ok(
        &bench,
        "DeleteSecret",
        json!({"SecretId": "a", "RecoveryWindowInDays": 7}),
    );
    assert_eq!(deleted["DeletionDate"], 1_800_000_000.0 + 7.0 * 86_400.0);
    let again = json!({"Name": "a", "SecretString": "two"});
    refused(
        call(&bench, "CreateSecret", again),
        "InvalidRequestException",
        "scheduled for deletion",
    );
    for operation in ["GetSecretValue", "DeleteSecret"] {
        refused(
            call(&bench, operation, json!({"SecretId": "a"})),
            "InvalidRequestException",
            "marked for deletion",
        );
    }
}

#[test]
fn what_is_deleted_is_not_listed_and_goes_when_its_time_comes() {
    let bench = Bench::new();
    ok(
        &bench,
        "CreateSecret",
        json!({"Name": "a", "SecretString": "one"}),
    );
    ok(
        &bench,
        "DeleteSecret",
        json!({"SecretId": "a", "RecoveryWindowInDays": 7}),
    );
    assert_eq!(
        ok(&bench, "ListSecrets", json!({}))["SecretList"],
        json!([])
    );
    let planned = ok(
        &bench,
        "ListSecrets",
        json!({"IncludePlannedDeletion": true}),
    );
    assert!(planned["SecretList"][0]["DeletedDate"].is_number());
    bench.pass(6);
    ok(&bench, "RestoreSecret", json!({"SecretId": "a"}));
    bench.pass(2);
    assert_eq!(value(&bench, json!({"SecretId": "a"})), "one");
    ok(&bench, "DeleteSecret", json!({"SecretId": "a"}));
    bench.pass(30);
    let gone = call(&bench, "RestoreSecret", json!({"SecretId": "a"}));
    refused(gone, "ResourceNotFoundException", "can't find");
    ok(
        &bench,
        "CreateSecret",
        json!({"Name": "a", "SecretString": "three"}),
    );
    ok(
        &bench,
        "DeleteSecret",
        json!({"SecretId": "a", "ForceDeleteWithoutRecovery": true}),
    );
    ok(
        &bench,
        "CreateSecret",
        json!({"Name": "a", "SecretString": "four"}),
    );
}

#[test]
fn secrets_are_listed_by_filters_in_order_and_in_pages() {
    let bench = Bench::new();
    for (name, description, tag) in [
        ("prod/db", "Database of the shop", "blue"),
        ("prod/api", "Key of the API", "green"),
        ("test/db", "database for tests", "blue"),
    ] {
        let tags = json!([{"Key": "team", "Value": tag}]);
        let input =
            json!({"Name": name, "Description": description, "SecretString": "x", "Tags": tags});
        ok(&bench, "CreateSecret", input);
        bench.pass(1);
    }
    let names = |input: Value| -> Vec<String> {
        let answer = ok(&bench, "ListSecrets", input);
        let list = answer["SecretList"].as_array().unwrap().clone();
        list.iter()
            .map(|s| s["Name"].as_str().unwrap().to_owned())
            .collect()
    };
    let by =
        |key: &str, values: &[&str]| names(json!({"Filters": [{"Key": key, "Values": values}]}));
    assert_eq!(by("name", &["prod/"]), ["prod/db", "prod/api"]);
    assert_eq!(by("name", &["!prod/"]), ["test/db"]);
    assert_eq!(by("description", &["DATABASE"]), ["prod/db", "test/db"]);
    assert_eq!(by("tag-value", &["green", "red"]), ["prod/api"]);
    assert_eq!(by("all", &["shop database"]), ["prod/db"]);
    let input = json!({"SortBy": "name", "SortOrder": "desc"});
    assert_eq!(names(input), ["test/db", "prod/db", "prod/api"]);
    let first = ok(
        &bench,
        "ListSecrets",
        json!({"MaxResults": 2, "SortOrder": "desc"}),
    );
    let next = json!({"MaxResults": 2, "SortOrder": "desc", "NextToken": first["NextToken"]});
    assert_eq!(names(next), ["prod/db"]);
    let bad = call(&bench, "ListSecrets", json!({"NextToken": "x"}));
    refused(bad, "InvalidNextTokenException", "invalid");
    let ids = json!({"SecretIdList": ["prod/db", "nothing"]});
    let batch = ok(&bench, "BatchGetSecretValue", ids);
    assert_eq!(batch["SecretValues"][0]["SecretString"], "x");
    assert_eq!(batch["Errors"][0]["ErrorCode"], "ResourceNotFoundException");
    let filter = json!({"Filters": [{"Key": "tag-key", "Values": ["team"]}], "MaxResults": 2});
    let batch = ok(&bench, "BatchGetSecretValue", filter);
    assert_eq!(batch["SecretValues"].as_array().unwrap().len(), 2);
}

#[test]
fn secrets_have_tags_and_policies() {
    let bench = Bench::new();
    ok(&bench, "CreateSecret", json!({"Name": "a"}));
    let none = call(&bench, "GetSecretValue", json!({"SecretId": "a"}));
    refused(
        none,
        "ResourceNotFoundException",
        "staging label: AWSCURRENT",
    );
    ok(
        &bench,
        "TagResource",
        json!({"SecretId": "a", "Tags": [{"Key": "k", "Value": "v"}, {"Key": "l", "Value": "w"}]}),
    );
    ok(
        &bench,
        "UntagResource",
        json!({"SecretId": "a", "TagKeys": ["k"]}),
    );
    let tags = ok(&bench, "DescribeSecret", json!({"SecretId": "a"}))["Tags"].clone();
    assert_eq!(tags, json!([{"Key": "l", "Value": "w"}]));
    let policy =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*",
        "Action": "secretsmanager:GetSecretValue", "Resource": "*"}]})
        .to_string();
    let block = json!({"SecretId": "a", "ResourcePolicy": policy, "BlockPublicPolicy": true});
    refused(
        call(&bench, "PutResourcePolicy", block),
        "PublicPolicyException",
        "public",
    );
    ok(
        &bench,
        "PutResourcePolicy",
        json!({"SecretId": "a", "ResourcePolicy": policy}),
    );
    let found = ok(&bench, "GetResourcePolicy", json!({"SecretId": "a"}));
    assert_eq!(found["ResourcePolicy"], json!(policy));
    ok(&bench, "DeleteResourcePolicy", json!({"SecretId": "a"}));
    let found = ok(&bench, "GetResourcePolicy", json!({"SecretId": "a"}));
    assert!(found["ResourcePolicy"].is_null());
    let bad = json!({"SecretId": "a", "ResourcePolicy": "{}"});
    refused(
        call(&bench, "PutResourcePolicy", bad),
        "MalformedPolicyDocumentException",
        "malformed",
    );
}

#[test]
fn what_makes_no_secret_is_refused() {
    let bench = Bench::new();
    ok(&bench, "CreateSecret", json!({"Name": "a"}));
    let bad = json!({"Name": "with space", "SecretString": "x"});
    refused(
        call(&bench, "CreateSecret", bad),
        "ValidationException",
        "Invalid name",
    );
    let both = json!({"Name": "b", "SecretString": "x", "SecretBinary": "AA=="});
    refused(
        call(&bench, "CreateSecret", both),
        "InvalidParameterException",
        "both",
    );
    refused(
        call(&bench, "PutSecretValue", json!({"SecretId": "a"})),
        "InvalidRequestException",
        "either SecretString or SecretBinary",
    );
    let replica = json!({"Name": "b", "AddReplicaRegions": [{"Region": "eu-west-1"}]});
    refused(
        call(&bench, "CreateSecret", replica),
        "InvalidRequestException",
        "not available",
    );
}

#[test]
fn passwords_have_what_is_asked_for() {
    let bench = Bench::new();
    let make = |input: Value| -> String {
        let made = ok(&bench, "GetRandomPassword", input);
        made["RandomPassword"].as_str().unwrap().to_owned()
    };
    let password = make(json!({}));
    assert_eq!(password.chars().count(), 32);
    assert_ne!(password, make(json!({})));
    for _ in 0..20 {
        let password =
            make(json!({"PasswordLength": 5, "IncludeSpace": true, "ExcludeCharacters": "abc"}));
        assert!(password.contains(' ') && !password.contains(['a', 'b', 'c']));
        assert!(password.chars().any(|c| c.is_ascii_digit()));
    }
    let digits = make(
        json!({"PasswordLength": 64, "ExcludeLowercase": true, "ExcludeUppercase": true, "ExcludePunctuation": true}),
    );
    assert!(digits.chars().all(|c| c.is_ascii_digit()));
    let short = call(&bench, "GetRandomPassword", json!({"PasswordLength": 3}));
    refused(short, "InvalidParameterException", "shorter");
    let nothing = json!({"ExcludeLowercase": true, "ExcludeUppercase": true, "ExcludePunctuation": true, "ExcludeNumbers": true});
    refused(
        call(&bench, "GetRandomPassword", nothing),
        "InvalidParameterException",
        "excluded",
    );
}

#[test]
fn a_secret_of_a_customers_key_lives_and_dies_with_it() {
    let bench = Bench::new();
    let key = bench.call("kms", "CreateKey", json!({})).unwrap();
    let key = key["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    let input = json!({"Name": "a", "SecretString": "one", "KmsKeyId": key});
    ok(&bench, "CreateSecret", input);
    assert_eq!(value(&bench, json!({"SecretId": "a"})), "one");
    bench
        .call("kms", "DisableKey", json!({"KeyId": key}))
        .unwrap();
    let closed = call(&bench, "GetSecretValue", json!({"SecretId": "a"}));
    refused(closed, "DecryptionFailure", "is disabled");
    let put = json!({"SecretId": "a", "SecretString": "two"});
    refused(
        call(&bench, "PutSecretValue", put),
        "EncryptionFailure",
        "is disabled",
    );
    bench
        .call("kms", "EnableKey", json!({"KeyId": key}))
        .unwrap();
    assert_eq!(value(&bench, json!({"SecretId": "a"})), "one");
    bench
        .call(
            "kms",
            "ScheduleKeyDeletion",
            json!({"KeyId": key, "PendingWindowInDays": 7}),
        )
        .unwrap();
    let closed = call(&bench, "GetSecretValue", json!({"SecretId": "a"}));
    refused(closed, "DecryptionFailure", "pending deletion");
    bench.pass(8);
    let closed = call(&bench, "GetSecretValue", json!({"SecretId": "a"}));
    refused(closed, "DecryptionFailure", "does not exist");
    // Back to the platform's own key with a new value.
    ok(
        &bench,
        "UpdateSecret",
        json!({"SecretId": "a", "SecretString": "three", "KmsKeyId": ""}),
    );
    assert_eq!(value(&bench, json!({"SecretId": "a"})), "three");
    let none = json!({"Name": "b", "SecretString": "x", "KmsKeyId": "alias/none"});
    refused(
        call(&bench, "CreateSecret", none),
        "EncryptionFailure",
        "alias/none is not found",
    );
}
