//! KMS.

use super::{Bench, refused};
use serde_json::{Value, json};

fn call(bench: &Bench, operation: &str, input: Value) -> Result<Value, (String, String)> {
    bench.call("kms", operation, input)
}

fn ok(bench: &Bench, operation: &str, input: Value) -> Value {
    call(bench, operation, input).unwrap()
}

fn make(bench: &Bench) -> (String, String) {
    let made = ok(
        bench,
        "CreateKey",
        json!({"Description": "d", "Tags": [{"TagKey": "a", "TagValue": "b"}]}),
    );
    let part = |name: &str| made["KeyMetadata"][name].as_str().unwrap().to_owned();
    (part("KeyId"), part("Arn"))
}

#[test]
fn what_a_key_encrypts_it_decrypts_with_the_same_context() {
    let mut bench = Bench::new();
    let (id, arn) = make(&bench);
    assert_eq!(arn, format!("arn:aws:kms:us-east-1:111122223333:key/{id}"));
    ok(
        &bench,
        "CreateAlias",
        json!({"AliasName": "alias/app", "TargetKeyId": id}),
    );
    let alias_arn = "arn:aws:kms:us-east-1:111122223333:alias/app";
    let mut texts = Vec::new();
    for key in [&id, &arn, "alias/app", alias_arn] {
        let input = json!({"KeyId": key, "Plaintext": "aHVzaA==", "EncryptionContext": {"a": "b"}});
        let sealed = ok(&bench, "Encrypt", input);
        assert_eq!(sealed["KeyId"], json!(arn));
        texts.push(sealed["CiphertextBlob"].clone());
    }
    bench.restart();
    for text in &texts {
        let input = json!({"CiphertextBlob": text, "EncryptionContext": {"a": "b"}});
        let opened = ok(&bench, "Decrypt", input);
        assert_eq!(
            (&opened["Plaintext"], &opened["KeyId"]),
            (&json!("aHVzaA=="), &json!(arn))
        );
    }
    for context in [json!({}), json!({"a": "c"}), json!({"a": "b", "c": "d"})] {
        let input = json!({"CiphertextBlob": texts[0], "EncryptionContext": context});
        refused(
            call(&bench, "Decrypt", input),
            "InvalidCiphertextException",
            "",
        );
    }
    let (other, _) = make(&bench);
    let wrong =
        json!({"CiphertextBlob": texts[0], "EncryptionContext": {"a": "b"}, "KeyId": other});
    refused(
        call(&bench, "Decrypt", wrong),
        "IncorrectKeyException",
        "does not identify",
    );
    for garbage in ["AA==", "AwAA", "////"] {
        let input = json!({"CiphertextBlob": garbage});
        refused(
            call(&bench, "Decrypt", input),
            "InvalidCiphertextException",
            "",
        );
    }
    let again = ok(
        &bench,
        "ReEncrypt",
        json!({"CiphertextBlob": texts[0], "SourceEncryptionContext": {"a": "b"}, "DestinationKeyId": other}),
    );
    assert_eq!(again["SourceKeyId"], json!(arn));
    let opened = ok(
        &bench,
        "Decrypt",
        json!({"CiphertextBlob": again["CiphertextBlob"]}),
    );
    assert_eq!(opened["Plaintext"], "aHVzaA==");
    let dry = json!({"KeyId": id, "Plaintext": "aHVzaA==", "DryRun": true});
    refused(
        call(&bench, "Encrypt", dry),
        "DryRunOperationException",
        "would have succeeded",
    );
}

#[test]
fn data_keys_come_with_and_without_their_plain_text() {
    let bench = Bench::new();
    let (id, _) = make(&bench);
    let made = ok(
        &bench,
        "GenerateDataKey",
        json!({"KeyId": id, "KeySpec": "AES_256"}),
    );
    let opened = ok(
        &bench,
        "Decrypt",
        json!({"CiphertextBlob": made["CiphertextBlob"]}),
    );
    assert_eq!(opened["Plaintext"], made["Plaintext"]);
    assert_eq!(made["Plaintext"].as_str().unwrap().len(), 44);
    let hidden = ok(
        &bench,
        "GenerateDataKeyWithoutPlaintext",
        json!({"KeyId": id, "NumberOfBytes": 64}),
    );
    assert!(hidden["Plaintext"].is_null());
    let both = json!({"KeyId": id, "KeySpec": "AES_256", "NumberOfBytes": 3});
    refused(
        call(&bench, "GenerateDataKey", both),
        "ValidationException",
        "either",
    );
    let random = ok(&bench, "GenerateRandom", json!({"NumberOfBytes": 6}));
    assert_eq!(random["Plaintext"].as_str().unwrap().len(), 8);
}

#[test]
fn a_key_is_taken_out_of_use_and_back() {
    let bench = Bench::new();
    let (id, arn) = make(&bench);
    let encrypt = json!({"KeyId": id, "Plaintext": "AA=="});
    let sealed = ok(&bench, "Encrypt", encrypt.clone());
    let decrypt = json!({"CiphertextBlob": sealed["CiphertextBlob"]});
    ok(&bench, "DisableKey", json!({"KeyId": id}));
    refused(
        call(&bench, "Encrypt", encrypt.clone()),
        "DisabledException",
        &arn,
    );
    refused(
        call(&bench, "Decrypt", decrypt.clone()),
        "DisabledException",
        &arn,
    );
    ok(&bench, "EnableKey", json!({"KeyId": id}));
    ok(&bench, "Decrypt", decrypt.clone());
}

#[test]
fn a_key_is_deleted_after_a_time_in_which_that_can_be_undone() {
    let bench = Bench::new();
    let (id, _) = make(&bench);
    let sealed = ok(&bench, "Encrypt", json!({"KeyId": id, "Plaintext": "AA=="}));
    let decrypt = json!({"CiphertextBlob": sealed["CiphertextBlob"]});
    refused(
        call(&bench, "CancelKeyDeletion", json!({"KeyId": id})),
        "KMSInvalidStateException",
        "is not pending deletion",
    );
    let soon = json!({"KeyId": id, "PendingWindowInDays": 6});
    refused(
        call(&bench, "ScheduleKeyDeletion", soon),
        "ValidationException",
        "between 7 and 30",
    );
    let planned = ok(
        &bench,
        "ScheduleKeyDeletion",
        json!({"KeyId": id, "PendingWindowInDays": 7}),
    );
    assert_eq!(planned["KeyState"], "PendingDeletion");
    for operation in ["EnableKey", "DisableKey", "Encrypt"] {
        let input = json!({"KeyId": id, "Plaintext": "AA=="});
        refused(
            call(&bench, operation, input),
            "KMSInvalidStateException",
            "pending deletion",
        );
    }
    bench.pass(6);
    ok(&bench, "CancelKeyDeletion", json!({"KeyId": id}));
    let described = ok(&bench, "DescribeKey", json!({"KeyId": id}));
    assert_eq!(described["KeyMetadata"]["KeyState"], "Disabled");
    ok(&bench, "EnableKey", json!({"KeyId": id}));
    ok(
        &bench,
        "CreateAlias",
        json!({"AliasName": "alias/a", "TargetKeyId": id}),
    );
    ok(
        &bench,
        "ScheduleKeyDeletion",
        json!({"KeyId": id, "PendingWindowInDays": 7}),
    );
    bench.pass(7);
    refused(
        call(&bench, "DescribeKey", json!({"KeyId": id})),
        "NotFoundException",
        "does not exist",
    );
    refused(
        call(&bench, "Decrypt", decrypt),
        "InvalidCiphertextException",
        "",
    );
    assert_eq!(ok(&bench, "ListAliases", json!({}))["Aliases"], json!([]));
}

#[test]
fn aliases_are_names_that_can_be_given_to_another_key() {
    let bench = Bench::new();
    let (one, _) = make(&bench);
    let (two, _) = make(&bench);
    ok(
        &bench,
        "CreateAlias",
        json!({"AliasName": "alias/a", "TargetKeyId": one}),
    );
    let again = json!({"AliasName": "alias/a", "TargetKeyId": two});
    refused(
        call(&bench, "CreateAlias", again.clone()),
        "AlreadyExistsException",
        "alias/a already exists",
    );
    ok(&bench, "UpdateAlias", again);
    let aliases = ok(&bench, "ListAliases", json!({"KeyId": two}));
    assert_eq!(aliases["Aliases"][0]["AliasName"], "alias/a");
    assert_eq!(
        ok(&bench, "ListAliases", json!({"KeyId": one}))["Aliases"],
        json!([])
    );
    ok(&bench, "DeleteAlias", json!({"AliasName": "alias/a"}));
    let gone = call(&bench, "DeleteAlias", json!({"AliasName": "alias/a"}));
    refused(gone, "NotFoundException", "alias/a is not found");
    for (name, code) in [
        ("app", "ValidationException"),
        ("alias/", "ValidationException"),
        ("alias/aws/app", "InvalidAliasNameException"),
    ] {
        let input = json!({"AliasName": name, "TargetKeyId": one});
        refused(call(&bench, "CreateAlias", input), code, "");
    }
}

#[test]
fn keys_have_pages_policies_and_tags() {
    let bench = Bench::new();
    let (one, _) = make(&bench);
    make(&bench);
    let page = ok(&bench, "ListKeys", json!({"Limit": 1}));
    assert_eq!(page["Truncated"], true);
    let rest = ok(
        &bench,
        "ListKeys",
        json!({"Limit": 1, "Marker": page["NextMarker"]}),
    );
    assert_eq!(rest["Truncated"], false);
    assert_ne!(page["Keys"][0], rest["Keys"][0]);
    let bad = call(&bench, "ListKeys", json!({"Marker": "x"}));
    refused(bad, "InvalidMarkerException", "");
    let policy = ok(&bench, "GetKeyPolicy", json!({"KeyId": one}))["Policy"].clone();
    assert!(
        policy
            .as_str()
            .unwrap()
            .contains("arn:aws:iam::111122223333:root")
    );
    ok(
        &bench,
        "PutKeyPolicy",
        json!({"KeyId": one, "Policy": policy}),
    );
    let bad = json!({"KeyId": one, "Policy": "{}"});
    refused(
        call(&bench, "PutKeyPolicy", bad),
        "MalformedPolicyDocumentException",
        "not valid",
    );
    ok(
        &bench,
        "TagResource",
        json!({"KeyId": one, "Tags": [{"TagKey": "c", "TagValue": "d"}]}),
    );
    ok(
        &bench,
        "UntagResource",
        json!({"KeyId": one, "TagKeys": ["a"]}),
    );
    let tags = ok(&bench, "ListResourceTags", json!({"KeyId": one}));
    assert_eq!(tags["Tags"], json!([{"TagKey": "c", "TagValue": "d"}]));
    ok(
        &bench,
        "UpdateKeyDescription",
        json!({"KeyId": one, "Description": "new"}),
    );
    let described = ok(&bench, "DescribeKey", json!({"KeyId": one}));
    assert_eq!(described["KeyMetadata"]["Description"], "new");
}

#[test]
fn what_is_no_symmetric_key_of_ours_is_refused() {
    let bench = Bench::new();
    for input in [
        json!({"KeySpec": "RSA_2048"}),
        json!({"KeyUsage": "SIGN_VERIFY"}),
        json!({"MultiRegion": true}),
    ] {
        refused(
            call(&bench, "CreateKey", input),
            "UnsupportedOperationException",
            "not available",
        );
    }
    for missing in ["none", "alias/none", "00000000-0000-4000-8000-000000000000"] {
        refused(
            call(&bench, "DescribeKey", json!({"KeyId": missing})),
            "NotFoundException",
            missing,
        );
    }
}
