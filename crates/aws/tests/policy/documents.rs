//! What is a policy and what is not.

use crate::world::parse;
use apron_aws::policy::{Effect, Kind, Policy, PolicyError, Version};
use serde_json::{Value, json};

fn refused(kind: Kind, text: &str) -> String {
    match Policy::parse(text, kind) {
        Ok(policy) => panic!("{text} was read as {policy}"),
        Err(error) => error.to_string(),
    }
}

/// A document with one statement that is right but for what is given.
fn statement(kind: Kind, changes: &Value) -> Value {
    let mut statement = json!({"Effect": "Allow", "Action": "sts:AssumeRole"});
    if kind != Kind::Trust {
        statement["Resource"] = json!("*");
    }
    if kind.names_principals() {
        statement["Principal"] = json!("*");
    }
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => statement.as_object_mut().unwrap().remove(name),
            value => statement
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), value.clone()),
        };
    }
    json!({"Version": "2012-10-17", "Statement": [statement]})
}

fn refused_statement(kind: Kind, changes: &Value) -> String {
    refused(kind, &statement(kind, changes).to_string())
}

fn accepted_statement(kind: Kind, changes: &Value) {
    parse(kind, &statement(kind, changes));
}

#[test]
fn single_values_and_lists_are_the_same() {
    let one = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Deny", "NotAction": "iam:*", "NotResource": "*",
        "Condition": {"StringEquals": {"aws:username": "ann"}, "Bool": {"aws:SecureTransport": false}, "NumericLessThan": {"s3:max-keys": 10}}}});
    let many = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "NotAction": ["iam:*"], "NotResource": ["*"],
        "Condition": {"StringEquals": {"aws:username": ["ann"]}, "Bool": {"aws:SecureTransport": ["false"]}, "NumericLessThan": {"s3:max-keys": ["10"]}}}]});
    assert_eq!(parse(Kind::Managed, &one), parse(Kind::Managed, &many));
}

#[test]
fn a_document_without_a_version_is_of_2008() {
    let policy = parse(
        Kind::Managed,
        &json!({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::${x"}]}),
    );
    assert_eq!(policy.version, None);
    assert_eq!(policy.statements[0].effect, Effect::Allow);
    let policy = statement(Kind::Managed, &json!({}));
    assert_eq!(parse(Kind::Managed, &policy).version, Some(Version::V2012));
    assert!(
        refused(
            Kind::Managed,
            r#"{"Version": "2013-10-17", "Statement": []}"#
        )
        .starts_with("Invalid version: 2013-10-17")
    );
}

#[test]
fn errors_say_where() {
    let text = "{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [\n    {\"Effect\": \"Allow\", \"Action\": [\"s3:Get*\", \"Get\"], \"Resource\": \"*\"}\n  ]\n}";
    let Err(PolicyError::Malformed(error)) = Policy::parse(text, Kind::Managed) else {
        panic!("accepted");
    };
    assert_eq!(error.path(), "Statement[0].Action[1]");
    assert_eq!((error.position.line, error.position.column), (4, 47));
    assert_eq!(
        error.to_string(),
        "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.: Get (Statement[0].Action[1], line 4, column 47)"
    );
    let policy = parse(Kind::Managed, &statement(Kind::Managed, &json!({})));
    assert_eq!(policy.statements[0].span.start.column, 15);
}

#[test]
fn texts_that_are_no_json_are_refused() {
    for (text, problem) in [
        ("", "expected a value"),
        ("{", "expected `\"`"),
        ("[]", "expected an object"),
        ("{} {}", "text after the end"),
        ("{\"Version\": \"2012-10-17\",}", "expected `\"`"),
        ("{'Version': 1}", "expected `\"`"),
        ("{\"a\": \"\u{1}\"}", "control characters"),
        ("{\"a\": \"\\x\"}", "unknown escape"),
        ("{\"a\": \"\\ud800\"}", "expected `\\`"),
        ("{\"a\": \"\\udc00\"}", "surrogate"),
        ("{\"a\": 01}", "expected `,`"),
        ("{\"a\": .1}", "expected a value"),
        ("{\"a\": nul}", "expected a value"),
        ("{\"a\": \"", "has no end"),
    ] {
        let message = refused(Kind::Managed, text);
        assert!(message.contains(problem), "{text:?}: {message}");
    }
    let deep = format!("{{\"Statement\": {}1{}}}", "[".repeat(40), "]".repeat(40));
    assert!(refused(Kind::Managed, &deep).contains("more than 16 levels"));
}

#[test]
fn repeated_keys_are_refused_at_every_level() {
    for text in [
        r#"{"Version": "2012-10-17", "Version": "2012-10-17", "Statement": []}"#,
        r#"{"Statement": [{"Effect": "Deny", "Effect": "Allow", "Action": "*", "Resource": "*"}]}"#,
        r#"{"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"Null": {"a:b": "true"}, "Null": {"a:b": "false"}}}]}"#,
        r#"{"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"Null": {"a:b": "true", "\u0061:b": "false"}}}]}"#,
    ] {
        let message = refused(Kind::Managed, text);
        assert!(message.contains("is given twice"), "{message}");
    }
}

#[test]
fn elements_are_known_and_complete() {
    let kind = Kind::Managed;
    for (changes, problem) in [
        (json!({"Efect": "Allow"}), "Unknown field Efect"),
        (json!({"Effect": null}), "Missing required field Effect"),
        (json!({"Effect": "allow"}), "Invalid effect: allow"),
        (json!({"Effect": ["Allow"]}), "expected a string"),
        (json!({"Action": null}), "Missing required field Action"),
        (json!({"Action": []}), "the list is empty"),
        (json!({"Action": [["s3:Get"]]}), "expected a string"),
        (json!({"Action": 1}), "expected a string"),
        (
            json!({"NotAction": "s3:*"}),
            "Action and NotAction cannot both",
        ),
        (json!({"Resource": null}), "must contain resources"),
        (json!({"Resource": []}), "the list is empty"),
        (
            json!({"NotResource": "*"}),
            "Resource and NotResource cannot both",
        ),
        (json!({"Sid": "a-b"}), "must be alpha-numeric"),
        (json!({"Sid": 1}), "expected a string"),
        (json!({"Principal": "*"}), "should not specify a principal"),
        (
            json!({"NotPrincipal": "*"}),
            "should not specify a principal",
        ),
    ] {
        let message = refused_statement(kind, &changes);
        assert!(message.contains(problem), "{changes}: {message}");
    }
    let twice = json!({"Statement": [
        {"Sid": "One", "Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Sid": "One", "Effect": "Allow", "Action": "*", "Resource": "*"}]});
    assert!(refused(kind, &twice.to_string()).contains("must be unique"));
    assert!(refused(kind, r#"{"Statement": []}"#).contains("the list is empty"));
    assert!(
        refused(kind, r#"{"Version": "2012-10-17"}"#).contains("Missing required field Statement")
    );
    assert!(refused(kind, r#"{"Id": "x", "Statement": []}"#).contains("prohibited field Id"));
}

#[test]
fn conditions_are_known_and_complete() {
    for (condition, problem) in [
        (json!([]), "expected an object"),
        (json!({"StringEquals": "x"}), "expected an object"),
        (json!({"StringEquals": {"aws:x": []}}), "the list is empty"),
        (
            json!({"StringEquals": {"aws:x": null}}),
            "expected a string",
        ),
        (
            json!({"StringEquals": {"x": "y"}}),
            "must be prefaced by a vendor",
        ),
        (
            json!({"StringEquals": {"aws:*": "y"}}),
            "must be prefaced by a vendor",
        ),
        (
            json!({"stringEquals": {"aws:x": "y"}}),
            "Invalid Condition type : stringEquals.",
        ),
        (
            json!({"NullIfExists": {"aws:x": "true"}}),
            "Invalid Condition type",
        ),
        (
            json!({"ForSomeValues:StringEquals": {"aws:x": "y"}}),
            "Invalid Condition type",
        ),
        (json!({"NumericEquals": {"aws:x": "ten"}}), "not a number"),
        (
            json!({"NumericEquals": {"aws:x": "${aws:y}"}}),
            "not a number",
        ),
        (json!({"DateEquals": {"aws:x": "2024-02-30"}}), "not a date"),
        (
            json!({"IpAddress": {"aws:x": "203.0.113.0/33"}}),
            "not an IP address",
        ),
        (json!({"BinaryEquals": {"aws:x": "%%"}}), "not binary data"),
        (json!({"Bool": {"aws:x": "yes"}}), "not true or false"),
        (json!({"ArnLike": {"aws:x": "bucket"}}), "not an ARN"),
        (json!({"StringLike": {"aws:x": "${aws:y"}}), "has no end"),
        (
            json!({"StringLike": {"aws:x": "${y}"}}),
            "not the name of a variable",
        ),
        (
            json!({"StringLike": {"aws:x": "${}"}}),
            "not the name of a variable",
        ),
        (
            json!({"StringLike": {"aws:x": "${aws:y, default}"}}),
            "needs single quotes",
        ),
    ] {
        let message = refused_statement(Kind::Managed, &json!({"Condition": condition}));
        assert!(message.contains(problem), "{condition}: {message}");
    }
}

#[test]
fn actions_have_a_service() {
    for action in [
        "*",
        "*:*",
        "s3:*",
        "S3:Get*",
        "ec2:?un*",
        "iam:*AccessKey*",
        "execute-api:Invoke",
    ] {
        accepted_statement(Kind::Managed, &json!({"Action": action}));
    }
    for action in [
        "",
        "s3",
        "s3:",
        ":Get",
        "s*:Get",
        "?3:*",
        "s3:Get:x",
        "s3:${aws:username}",
        "s3:G t",
        "s3 :Get",
    ] {
        refused_statement(Kind::Managed, &json!({"Action": action}));
    }
}

#[test]
fn resources_are_arns() {
    for arn in [
        "*",
        "arn:aws:s3:::*",
        "arn:aws:s3:::bucket/${aws:username}/*",
        "arn:aws:logs:*:*:*",
        "arn:*:kms:${aws:RequestedRegion}:${aws:PrincipalAccount}:key/*",
        "arn:aws:apprunner:*",
        "arn:aws:apprunner:us-*:1111*",
        "arn:*:iam::aws:policy/x",
        "arn:aws-cn:iam::111122223333:user/a:b",
    ] {
        accepted_statement(Kind::Managed, &json!({"Resource": arn}));
    }
    for (arn, problem) in [
        ("", "ARN format"),
        ("**", "ARN format"),
        ("bucket", "ARN format"),
        ("${aws:PrincipalArn}", "ARN format"),
        ("arn:aws:s3:::", "ARN format"),
        ("arn:aws:s3", "ARN format"),
        ("arn:aws:s3::bucket", "ARN format"),
        ("urn:aws:s3:::bucket", "ARN format"),
        ("arn:aws:*", "vendor"),
        ("arn:aws:*:us-east-1:111122223333:x", "vendor"),
        ("arn:aws:s?:::x", "vendor"),
        ("arn:aws:::::x", "vendor"),
        ("arn:gcp:s3:::x", "Partition"),
        ("arn:aws:s3:US:111122223333:x", "Region"),
        ("arn:aws:s3:::b:${aws:username", "has no end"),
        ("arn:${aws:username}:s3:::x", "Partition"),
        ("arn:aws:${aws:username}:::x", "vendor"),
        ("arn:aws:logs:*:log-group:x", "Account"),
        ("arn:aws:logs:*:log-group:x*", "Account"),
        ("arn:aws:s3::1111:x", "Account"),
    ] {
        let message = refused_statement(Kind::Managed, &json!({"Resource": arn}));
        assert!(message.contains(problem), "{arn}: {message}");
    }
}

#[test]
fn policies_of_resources_name_principals() {
    for kind in Kind::ALL {
        let with = statement(kind, &json!({"Principal": {"AWS": "111122223333"}})).to_string();
        let without = statement(kind, &json!({"Principal": null})).to_string();
        assert_eq!(
            Policy::parse(&with, kind).is_ok(),
            kind.names_principals(),
            "{kind:?}"
        );
        assert_eq!(
            Policy::parse(&without, kind).is_ok(),
            !kind.names_principals(),
            "{kind:?}"
        );
    }
    for principal in [
        json!("*"),
        json!({"AWS": "*"}),
        json!({"AWS": ["111122223333", "arn:aws:iam::111122223333:root"]}),
        json!({"AWS": "arn:aws:iam::111122223333:user/team/ann"}),
        json!({"AWS": "arn:aws:iam::111122223333:role/jobs"}),
        json!({"AWS": "arn:aws:sts::111122223333:assumed-role/jobs/now"}),
        json!({"AWS": "arn:aws:sts::111122223333:federated-user/ann"}),
        json!({"AWS": "AROAEXAMPLE000000001"}),
        json!({"Service": ["build.apprunner.amazonaws.com", "tasks.apprunner.amazonaws.com"]}),
        json!({"Federated": "arn:aws:iam::111122223333:oidc-provider/login.example/realm"}),
        json!({"Federated": "accounts.google.com", "AWS": "111122223333"}),
    ] {
        accepted_statement(Kind::Trust, &json!({"Principal": principal}));
    }
    for principal in [
        json!("ann"),
        json!([]),
        json!({}),
        json!({"AWS": []}),
        json!({"AWS": "1111"}),
        json!({"AWS": "arn:aws:iam::111122223333:user/*"}),
        json!({"AWS": "arn:aws:iam::*:root"}),
        json!({"AWS": "arn:aws:iam::111122223333:group/team"}),
        json!({"AWS": "arn:aws:sts::111122223333:assumed-role/jobs"}),
        json!({"AWS": "arn:aws:iam::111122223333:user/${aws:username}"}),
        json!({"Service": "*"}),
        json!({"Service": "apprunner"}),
        json!({"Federated": "*"}),
        json!({"CanonicalUser": "79a59df9"}),
        json!({"*": "*"}),
    ] {
        let message = refused_statement(Kind::Trust, &json!({"Principal": principal}));
        assert!(
            message.contains("nvalid principal") || message.contains("list is empty"),
            "{message}"
        );
    }
}

#[test]
fn kinds_have_rules_of_their_own() {
    let check = |kind, changes: Value, problem: &str| {
        let message = refused_statement(kind, &changes);
        assert!(message.contains(problem), "{message}");
    };
    check(
        Kind::Trust,
        json!({"Resource": "*"}),
        "prohibited field Resource",
    );
    check(
        Kind::Trust,
        json!({"Action": "s3:*"}),
        "may only specify STS",
    );
    check(Kind::Trust, json!({"Action": "*"}), "may only specify STS");
    check(
        Kind::Trust,
        json!({"Effect": "Deny", "Principal": null, "NotPrincipal": "*"}),
        "prohibited field NotPrincipal",
    );
    check(
        Kind::Key,
        json!({"Principal": null, "NotPrincipal": "*"}),
        "not allowed with the effect Allow",
    );
    check(Kind::Trust, json!({"Sid": "with space"}), "alpha-numeric");
    accepted_statement(
        Kind::Trust,
        &json!({"Sid": "", "Action": ["sts:AssumeRole", "sts:TagSession"]}),
    );
    accepted_statement(
        Kind::Repository,
        &json!({"Sid": "with space", "Resource": null}),
    );
    accepted_statement(
        Kind::Secret,
        &json!({"Effect": "Deny", "Principal": null, "NotPrincipal": {"AWS": "111122223333"}}),
    );
    parse(
        Kind::Secret,
        &json!({"Id": "x", "Statement": statement(Kind::Secret, &json!({}))["Statement"]}),
    );
}

#[test]
fn length_is_counted_as_the_kind_counts() {
    for kind in Kind::ALL {
        let document = statement(kind, &json!({})).to_string();
        let spaced = document.replacen('{', &format!("{{{}", " ".repeat(kind.chars_max())), 1);
        let spaced = Policy::parse(&spaced, kind);
        assert_eq!(spaced.is_ok(), !kind.counts_space(), "{kind:?}");
        let sid = "a".repeat(kind.chars_max() - document.len() - r#""Sid":"","#.len());
        let full = statement(kind, &json!({"Sid": sid}));
        assert_eq!(parse(kind, &full).chars, kind.chars_max(), "{kind:?}");
        let over = statement(kind, &json!({"Sid": format!("{sid}a")})).to_string();
        let error = Policy::parse(&over, kind).unwrap_err();
        assert!(matches!(error, PolicyError::TooLong { chars, max } if chars == max + 1));
    }
}

#[test]
fn white_space_has_a_bound_too() {
    let document = statement(Kind::Managed, &json!({})).to_string();
    let spaced = document.replacen('{', &format!("{{{}", " ".repeat(131_072)), 1);
    let error = Policy::parse(&spaced, Kind::Managed).unwrap_err();
    assert!(matches!(error, PolicyError::TooLong { max: 131_072, .. }));
}

#[test]
fn printing_keeps_what_is_said() {
    let text = r#"{"Statement":[{"Effect":"Deny","NotAction":["iam:*"],"NotPrincipal":{"AWS":["*"],"Service":["a.example"]},"Resource":["arn:aws:s3:::a/${*}"],"Sid":"x"}],"Version":"2012-10-17"}"#;
    let policy = Policy::parse(text, Kind::Key).unwrap();
    assert_eq!(policy.to_string(), text);
}
