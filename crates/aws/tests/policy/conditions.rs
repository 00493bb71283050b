//! Conditions, operator by operator.

use crate::world::parse;
use apron_aws::policy::{Context, Effect, Kind, Operator};
use serde_json::{Value, json};

fn holds_for(effect: &str, condition: &Value, context: &Context) -> bool {
    let policy = parse(
        Kind::Managed,
        &json!({"Version": "2012-10-17", "Statement": [
        {"Effect": effect, "Action": "*", "Resource": "*", "Condition": condition}]}),
    );
    let statement = &policy.statements[0];
    let effect = if effect == "Allow" {
        Effect::Allow
    } else {
        Effect::Deny
    };
    assert_eq!(statement.effect, effect);
    statement
        .conditions
        .iter()
        .all(|condition| condition.holds(effect, context))
}

fn holds(condition: &Value, context: &Context) -> bool {
    let (allow, deny) = (
        holds_for("Allow", condition, context),
        holds_for("Deny", condition, context),
    );
    assert_eq!(allow, deny, "the effect made a difference to {condition}");
    allow
}

/// One value in the request against some in the policy.
fn check(operator: &str, wanted: Value, value: &str, expect: bool) {
    let context = Context::new().with("test:key", value);
    let condition = json!({operator: {"Test:Key": wanted}});
    assert_eq!(holds(&condition, &context), expect, "{condition} {value}");
}

#[test]
fn strings() {
    check("StringEquals", json!("Ann"), "Ann", true);
    check("StringEquals", json!("Ann"), "ann", false);
    check("StringEquals", json!("A*"), "Ann", false);
    check("StringEquals", json!("A*"), "A*", true);
    check("StringEquals", json!(["Bob", "Ann"]), "Ann", true);
    check("StringNotEquals", json!(["Bob", "Ann"]), "Ann", false);
    check("StringNotEquals", json!(["Bob", "Cid"]), "Ann", true);
    check("StringEqualsIgnoreCase", json!("ANN"), "ann", true);
    check("StringEqualsIgnoreCase", json!("É"), "é", true);
    check("StringNotEqualsIgnoreCase", json!("ANN"), "ann", false);
    check("StringLike", json!("A*"), "Ann", true);
    check("StringLike", json!("a*"), "Ann", false);
    check("StringLike", json!(["", "home/"]), "", true);
    check("StringLike", json!("?nn"), "Ann", true);
    check("StringLike", json!("${*}nn"), "Ann", false);
    check("StringNotLike", json!("A*"), "Ann", false);
    check("StringNotLike", json!("B*"), "Ann", true);
}

#[test]
fn numbers() {
    check("NumericEquals", json!(10), "10.0", true);
    check("NumericEquals", json!("10"), "010", true);
    check(
        "NumericEquals",
        json!("18446744073709551617"),
        "18446744073709551616",
        false,
    );
    check("NumericNotEquals", json!("0.1"), "0.10", false);
    check("NumericLessThan", json!("10"), "9", true);
    check("NumericLessThan", json!("10"), "10", false);
    check("NumericLessThan", json!("-1"), "-2", true);
    check("NumericLessThanEquals", json!("10"), "10", true);
    check("NumericGreaterThan", json!("2"), "10", true);
    check("NumericGreaterThan", json!("0"), "-0", false);
    check("NumericGreaterThanEquals", json!("-0.5"), "-0.5", true);
    check("NumericGreaterThan", json!("0"), "many", false);
    check("NumericNotEquals", json!("0"), "many", true);
}

#[test]
fn dates() {
    check(
        "DateEquals",
        json!("2024-02-29T12:00:00Z"),
        "2024-02-29T13:00:00+01:00",
        true,
    );
    check(
        "DateEquals",
        json!("1709208000"),
        "2024-02-29T12:00:00Z",
        true,
    );
    check("DateEquals", json!(1709208000), "2024-02-29T12:00Z", true);
    check("DateEquals", json!("2024"), "2024-01-01", true);
    check(
        "DateNotEquals",
        json!("2024-02"),
        "2024-02-01T00:00:00.000Z",
        false,
    );
    check(
        "DateLessThan",
        json!("2024-02-29T12:00:00Z"),
        "2024-02-29T11:59:59.999999999Z",
        true,
    );
    check(
        "DateLessThan",
        json!("2024-02-29T12:00:00Z"),
        "2024-02-29T12:00:00Z",
        false,
    );
    check(
        "DateLessThanEquals",
        json!("2024-02-29T12:00:00Z"),
        "2024-02-29T12:00:00Z",
        true,
    );
    check(
        "DateGreaterThan",
        json!("2024-02-29T12:00:00-05:00"),
        "2024-02-29T17:00:01Z",
        true,
    );
    check(
        "DateGreaterThanEquals",
        json!("2030-01-01T00:00:00Z"),
        "2029-12-31T23:59:59Z",
        false,
    );
    check("DateGreaterThan", json!("1970"), "soon", false);
    let mut context = Context::new();
    context.set_time(1_709_208_000);
    assert_eq!(
        context.get("aws:currenttime").unwrap(),
        ["2024-02-29T12:00:00Z"]
    );
    assert_eq!(context.get("AWS:EpochTime").unwrap(), ["1709208000"]);
}

#[test]
fn truth_bytes_and_addresses() {
    check("Bool", json!("true"), "true", true);
    check("Bool", json!(true), "True", true);
    check("Bool", json!("false"), "true", false);
    check("Bool", json!("false"), "no", false);
    check("BinaryEquals", json!("QmluYXJ5"), "QmluYXJ5", true);
    check("BinaryEquals", json!("QmluYXJ5"), "qmluyxj5", false);
    check("IpAddress", json!("203.0.113.0/24"), "203.0.113.255", true);
    check("IpAddress", json!("203.0.113.9/24"), "203.0.113.255", true);
    check("IpAddress", json!("203.0.113.0/24"), "203.0.114.0", false);
    check("IpAddress", json!("203.0.113.7"), "203.0.113.7", true);
    check("IpAddress", json!("203.0.113.7"), "203.0.113.8", false);
    check("IpAddress", json!("0.0.0.0/0"), "8.8.8.8", true);
    check("IpAddress", json!("0.0.0.0/0"), "2001:db8::1", false);
    check(
        "IpAddress",
        json!("2001:DB8:1234:5678::/64"),
        "2001:db8:1234:5678::9",
        true,
    );
    check("IpAddress", json!("2001:db8::1"), "2001:db8::2", false);
    check(
        "IpAddress",
        json!(["203.0.113.0/24", "2001:db8::/32"]),
        "2001:db8::9",
        true,
    );
    check(
        "IpAddress",
        json!("203.0.113.0/24"),
        "::ffff:203.0.113.7",
        true,
    );
    check(
        "IpAddress",
        json!("::ffff:203.0.113.0/120"),
        "203.0.113.7",
        true,
    );
    check(
        "IpAddress",
        json!("203.0.113.0/24"),
        "203.0.113.7:80",
        false,
    );
    check(
        "NotIpAddress",
        json!("203.0.113.0/24"),
        "203.0.113.7",
        false,
    );
    check(
        "NotIpAddress",
        json!("203.0.113.0/24"),
        "::ffff:203.0.113.7",
        false,
    );
    check(
        "NotIpAddress",
        json!("203.0.113.0/24"),
        "198.51.100.1",
        true,
    );
}

#[test]
fn arns() {
    let topic = "arn:aws:sns:us-east-1:111122223333:topic";
    for operator in ["ArnEquals", "ArnLike"] {
        check(operator, json!(topic), topic, true);
        check(operator, json!("arn:aws:sns:*:111122223333:*"), topic, true);
        check(operator, json!("arn:aws:sns:*:topic*"), topic, false);
        check(operator, json!("*"), "anything", true);
        check(operator, json!("arn:aws:s*:*:*:*"), topic, true);
        let value = "arn:aws:x:us-east-2:444455556666:store/a:111122223333:finance/d";
        check(
            operator,
            json!("arn:aws:x:*:111122223333:finance/*"),
            value,
            false,
        );
        check(
            "StringLike",
            json!("arn:aws:x:*:111122223333:finance/*"),
            value,
            true,
        );
    }
    for operator in ["ArnNotEquals", "ArnNotLike"] {
        check(
            operator,
            json!("arn:aws:sns:*:111122223333:*"),
            topic,
            false,
        );
        check(operator, json!("arn:aws:sns:*:444455556666:*"), topic, true);
    }
    let context = Context::new()
        .with("test:key", topic)
        .with("test:other", topic)
        .with("test:wild", "arn:aws:*:*:*:*");
    assert!(holds(
        &json!({"ArnEquals": {"test:key": "${test:other}"}}),
        &context
    ));
    assert!(!holds(
        &json!({"ArnEquals": {"test:key": "${test:wild}"}}),
        &context
    ));
}

/// A value of the policy that each operator takes and a value of the request that satisfies it.
fn satisfying(operator: &str) -> (&'static str, &'static str) {
    match operator {
        "StringNotEquals" | "StringNotEqualsIgnoreCase" | "StringNotLike" => ("x", "a"),
        name if name.starts_with("String") => ("a", "a"),
        "NumericLessThan" => ("1", "0"),
        "NumericGreaterThan" | "NumericNotEquals" => ("1", "2"),
        name if name.starts_with("Numeric") => ("1", "1"),
        "DateLessThan" => ("2024", "2023"),
        "DateGreaterThan" | "DateNotEquals" => ("2024", "2025"),
        name if name.starts_with("Date") => ("2024", "2024"),
        "Bool" => ("true", "true"),
        "BinaryEquals" => ("YQ==", "YQ=="),
        "IpAddress" => ("203.0.113.0/24", "203.0.113.1"),
        "NotIpAddress" => ("203.0.113.0/24", "198.51.100.1"),
        "ArnNotEquals" | "ArnNotLike" => ("arn:aws:s3:::b", "arn:aws:s3:::a"),
        _ => ("arn:aws:s3:::a", "arn:aws:s3:::a"),
    }
}

#[test]
fn a_missing_key_is_documented_for_every_operator() {
    let nothing = Context::new();
    let empty = Context::new().with_all("test:key", Vec::<String>::new());
    for name in Operator::names().filter(|name| *name != "Null") {
        let (wanted, value) = satisfying(name);
        let negated = name.contains("Not");
        for context in [&nothing, &empty] {
            for (operator, expect) in [
                (name.to_owned(), negated),
                (format!("{name}IfExists"), true),
                (format!("ForAllValues:{name}"), true),
                (format!("ForAllValues:{name}IfExists"), true),
                (format!("ForAnyValue:{name}"), false),
                (format!("ForAnyValue:{name}IfExists"), true),
            ] {
                let condition = json!({operator: {"test:key": wanted}});
                assert_eq!(holds(&condition, context), expect, "{condition}");
            }
        }
        for prefix in ["", "ForAllValues:", "ForAnyValue:"] {
            for suffix in ["", "IfExists"] {
                check(
                    &format!("{prefix}{name}{suffix}"),
                    json!(wanted),
                    value,
                    true,
                );
            }
        }
    }
}

#[test]
fn null_asks_whether_the_key_is_there() {
    let there = Context::new().with("test:key", "");
    for (context, absent) in [(Context::new(), true), (there, false)] {
        assert_eq!(
            holds(&json!({"Null": {"Test:key": "true"}}), &context),
            absent
        );
        assert_eq!(
            holds(&json!({"Null": {"test:key": false}}), &context),
            !absent
        );
        assert!(holds(
            &json!({"Null": {"test:key": ["true", "false"]}}),
            &context
        ));
    }
}

#[test]
fn sets_of_values() {
    let check = |operator: &str, values: &[&str], expect: (bool, bool)| {
        let context = Context::new().with_all("aws:TagKeys", values.iter().copied());
        let condition = json!({operator: {"aws:TagKeys": ["team", "cost*"]}});
        let found = (
            holds_for("Allow", &condition, &context),
            holds_for("Deny", &condition, &context),
        );
        assert_eq!(found, expect, "{operator} {values:?}");
    };
    let both = |is: bool| (is, is);
    check("ForAllValues:StringLike", &["team", "costs"], both(true));
    check("ForAllValues:StringLike", &["team", "x"], both(false));
    check("ForAllValues:StringLike", &[], both(true));
    check("ForAllValues:StringLike", &["", ""], both(true));
    check("ForAllValues:StringLike", &["", "team"], both(false));
    check("ForAnyValue:StringLike", &["x", "team"], both(true));
    check("ForAnyValue:StringLike", &["x", "y"], both(false));
    check("ForAnyValue:StringLike", &[], both(false));
    check("ForAllValues:StringNotLike", &["x", "y"], both(true));
    check("ForAllValues:StringNotLike", &["x", "team"], both(false));
    check("ForAnyValue:StringNotLike", &["x", "team"], both(true));
    check("ForAnyValue:StringNotLike", &["costs", "team"], both(false));
    // Without a prefix: all for what is allowed, one for what is denied.
    check("StringLike", &["team", "x"], (false, true));
    check("StringLike", &["team", "costs"], both(true));
    check("StringLike", &["x", "y"], both(false));
    check("StringNotLike", &["team", "x"], (false, true));
    check("StringNotLike", &["x", "y"], both(true));
}

#[test]
fn every_test_must_hold() {
    let condition = json!({"StringEquals": {"aws:username": "ann", "test:a": ["1", "2"]}, "Bool": {"test:b": "true"}});
    let context = Context::new()
        .with("aws:username", "ann")
        .with("test:a", "2")
        .with("test:b", "true");
    assert!(holds(&condition, &context));
    for key in ["aws:username", "test:a", "test:b"] {
        assert!(
            !holds(&condition, &context.clone().with(key, "false")),
            "{key}"
        );
    }
}

#[test]
fn variables_in_conditions() {
    let context = Context::new()
        .with("test:key", "*")
        .with("test:other", "ann")
        .with("test:star", "*");
    let compare =
        |operator: &str, wanted: &str| holds(&json!({operator: {"test:key": wanted}}), &context);
    assert!(compare("StringEquals", "${test:star}"));
    assert!(compare("StringLike", "${test:star}"));
    let compare =
        |operator: &str, wanted: &str| holds(&json!({operator: {"test:other": wanted}}), &context);
    assert!(
        !compare("StringLike", "${test:star}"),
        "a value is no pattern"
    );
    assert!(compare("StringNotLike", "${test:star}"));
    // There is nothing to be equal to, so it is not equal.
    assert!(!compare("StringEquals", "${test:gone}"));
    assert!(!compare("StringLike", "${test:gone}*"));
    assert!(!compare("StringEqualsIgnoreCase", "${test:gone}"));
    assert!(compare("StringNotEquals", "${test:gone}"));
    assert!(compare("StringEquals", "${test:gone, 'ann'}"));
    let empty = Context::new().with("test:other", "");
    assert!(
        !holds(
            &json!({"StringEquals": {"test:other": "${test:gone}"}}),
            &empty
        ),
        "missing is not empty"
    );
    let flag = Context::new()
        .with("test:key", "true")
        .with("test:flag", "TRUE");
    assert!(holds(&json!({"Bool": {"test:key": "${test:flag}"}}), &flag));
}

#[test]
fn tags_have_names_without_case() {
    let mut context = Context::new();
    context.set_tags("aws:ResourceTag", [("Team", "web"), ("cost", "1")]);
    assert!(holds(
        &json!({"StringEquals": {"aws:resourcetag/team": "web", "aws:ResourceTag/Cost": "1"}}),
        &context
    ));
    context.set_request_tags([("Team", "web"), ("team", "ops")]);
    assert_eq!(context.get("aws:TagKeys").unwrap(), ["Team", "team"]);
    let condition = json!({"StringEquals": {"aws:RequestTag/team": "web"}});
    assert!(
        !holds_for("Allow", &condition, &context),
        "one of two tags is another team's"
    );
    assert!(holds_for("Deny", &condition, &context));
    context.set_tags("aws:ResourceTag", []);
    assert_eq!(context.get("aws:ResourceTag/team"), None);
}
