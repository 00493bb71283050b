//! Matching of resources and actions, with the mistakes that other evaluators make.

use crate::world::{ACCOUNT, ask, identity, managed, parse, service_arn, session, user};
use apron_aws::policy::{Kind, Policy};
use serde_json::{Value, json};

fn allowing(resource: &str) -> Policy {
    managed(json!({"Effect": "Allow", "Action": "*", "Resource": resource}))
}

fn check(pattern: &str, arn: &str, expect: bool) {
    let question = ask(&user(ACCOUNT, "ann"), "apprunner:DescribeService", arn);
    assert_eq!(
        question.allowed_by(&allowing(pattern)),
        expect,
        "{pattern} {arn}"
    );
}

#[test]
fn arns_match_part_by_part() {
    let arn = service_arn("app/1");
    check("*", &arn, true);
    check("*", "*", true);
    check(&arn, &arn, true);
    check(
        "arn:aws:apprunner:us-east-1:111122223333:service/*",
        &arn,
        true,
    );
    check(
        "arn:aws:apprunner:us-east-1:111122223333:service/app",
        &arn,
        false,
    );
    check(
        "arn:aws:apprunner:us-east-1:111122223333:service/APP/1",
        &arn,
        false,
    );
    check("arn:aws:apprunner:*:*:service/app/*", &arn, true);
    check("arn:aws:apprunner:us-????-1:*:service/app/?", &arn, true);
    check("arn:aws:apprunner:us-???-1:*:service/app/?", &arn, false);
    check("arn:*:apprunner:*:111122223333:*", &arn, true);
    check("arn:aws:ecr:*:*:*", &arn, false);
    // Only `*` is for actions without a resource.
    check("arn:aws:apprunner:*:*:*", "*", false);
    check("arn:aws:apprunner:*", "*", false);
}

#[test]
fn a_star_spans_colons_after_the_fifth_only() {
    let arn = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/x:log-stream:y";
    check("arn:aws:logs:us-east-1:111122223333:log-group:*", arn, true);
    check("arn:aws:logs:us-east-1:111122223333:*:y", arn, true);
    check(
        "arn:aws:logs:us-east-1:111122223333:log-group:/aws/x",
        arn,
        false,
    );
    check(
        "arn:aws:logs:us-east-1:111122223333:log-group:/aws/x:*",
        arn,
        true,
    );
    // A `*` for the region is no `*` for region and account.
    check("arn:aws:logs:us-*:*:log-group:/aws/x:*", arn, true);
    let other = "arn:aws:logs:us-east-1:444455556666:a:111122223333:x";
    check("arn:aws:logs:*:111122223333:x", other, false);
}

#[test]
fn a_star_spans_every_colon_where_access_is_taken_away() {
    let secret = "arn:aws:secretsmanager:us-east-1:111122223333:secret:prod-AbCdEf";
    let decide = |statements: Value| {
        let mut all = vec![json!({"Effect": "Allow", "Action": "ecr:*", "Resource": "*"})];
        all.push(statements);
        let asked = ask(
            &user(ACCOUNT, "ann"),
            "secretsmanager:GetSecretValue",
            secret,
        );
        asked.decide(&identity(&managed(json!(all)))).simulated()
    };
    let pattern = "arn:aws:secretsmanager:us-east-1:*:prod-*";
    let statement =
        |effect: &str, element: &str| json!({"Effect": effect, "Action": "*", element: pattern});
    assert_eq!(decide(statement("Allow", "Resource")), "implicitDeny");
    assert_eq!(decide(statement("Deny", "Resource")), "explicitDeny");
    assert_eq!(decide(statement("Allow", "NotResource")), "implicitDeny");
    assert_eq!(decide(statement("Deny", "NotResource")), "explicitDeny");
}

#[test]
fn a_pattern_of_fewer_parts_stands_for_all_that_follows() {
    let arn = service_arn("app/1");
    check("arn:aws:apprunner:*", &arn, true);
    check("arn:aws:apprunner:us-*", &arn, true);
    check("arn:aws:apprunner:us-east-1:1111*", &arn, true);
    check("arn:aws:apprunner:eu-*", &arn, false);
    check("arn:aws:apprunner:us-east-1:4*", &arn, false);
}

#[test]
fn question_marks_are_characters_not_bytes() {
    let arn = |tail: &str| service_arn(tail);
    check(&arn("?"), &arn("é"), true);
    check(&arn("?"), &arn("日"), true);
    check(&arn("??"), &arn("é"), false);
    check(&arn("?"), &arn("e\u{301}"), false);
    check(&arn("*é?"), &arn("aéé日"), true);
    check(&arn("caf?"), &arn("café"), true);
    check(&arn("?"), &arn(""), false);
}

#[test]
fn huge_patterns_end() {
    let hostile = format!("{}{}b", service_arn(""), "a*".repeat(2_500));
    let long = service_arn(&"a".repeat(20_000));
    check(&hostile, &long, false);
    check(&format!("{hostile}*"), &format!("{long}b"), true);
    let questions = format!("{}*{}b", service_arn(""), "?".repeat(3_000));
    check(&questions, &long, false);
    let text = format!("{}*{}b", service_arn(""), "a".repeat(5_000));
    check(&text, &long, false);
    check(&text, &format!("{long}b"), true);
    check(&text, &format!("{long}bc"), false);
    let stars = format!("{}{}", service_arn(""), "*".repeat(5_000));
    check(&stars, &long, true);
}

fn home() -> Policy {
    managed(json!({"Effect": "Allow", "Action": "*", "Resource": service_arn("${aws:username}/*")}))
}

#[test]
fn the_value_of_a_variable_is_no_pattern() {
    for (name, tail, expect) in [
        ("ann", "ann/1", true),
        ("ann", "bob/1", false),
        ("*", "ann/1", false),
        ("*", "*/1", true),
        ("a?n", "ann/1", false),
        ("a?n", "a?n/1", true),
        ("${aws:userid}", "${aws:userid}/1", true),
        ("${*}", "ann/1", false),
        ("", "/1", true),
        ("", "ann/1", false),
        ("a:b", "a:b/1", true),
    ] {
        let question = ask(&user(ACCOUNT, "ann"), "apprunner:X", &service_arn(tail))
            .with("aws:username", name);
        assert_eq!(question.allowed_by(&home()), expect, "{name} {tail}");
    }
}

#[test]
fn a_variable_without_a_value_matches_nothing() {
    // A role session has no user name.
    for tail in ["/1", "ann/1", "${aws:username}/1", "*/1", ""] {
        let question = ask(
            &session(ACCOUNT, "jobs", "now"),
            "apprunner:X",
            &service_arn(tail),
        );
        assert!(!question.allowed_by(&home()), "{tail}");
    }
    let mut question = ask(&user(ACCOUNT, "ann"), "apprunner:X", &service_arn("ann/1"));
    question.context.set_all("aws:username", ["ann", "bob"]);
    assert!(
        !question.allowed_by(&home()),
        "a key with several values is no variable"
    );
    question
        .context
        .set_all("aws:username", Vec::<String>::new());
    assert!(!question.allowed_by(&home()));
}

#[test]
fn the_account_can_be_a_variable() {
    let policy = allowing("arn:aws:apprunner:us-east-1:${aws:PrincipalAccount}:service/app/*");
    let question = |account: &str| {
        let asked = ask(&user(ACCOUNT, "ann"), "apprunner:X", &service_arn("app/1"));
        asked.with("aws:PrincipalAccount", account)
    };
    assert!(question(ACCOUNT).allowed_by(&policy));
    assert!(!question("444455556666").allowed_by(&policy));
    assert!(!question("*").allowed_by(&policy));
    assert!(!question("").allowed_by(&policy));
    // A value with a colon does not move the parts.
    let policy = allowing("arn:aws:apprunner:us-east-1:${aws:username}:1");
    let arn = "arn:aws:apprunner:us-east-1:111122223333:x:1";
    let asked = ask(&user(ACCOUNT, "ann"), "apprunner:X", arn);
    assert!(
        !asked
            .with("aws:username", "111122223333:x")
            .allowed_by(&policy)
    );
}

#[test]
fn default_values_are_for_missing_keys_only() {
    let policy = allowing(&service_arn("${aws:PrincipalTag/team, 'company-*'}/*"));
    let question = |tail: &str| ask(&user(ACCOUNT, "ann"), "apprunner:X", &service_arn(tail));
    assert!(question("company-*/1").allowed_by(&policy));
    assert!(!question("company-wide/1").allowed_by(&policy));
    let tagged = |tail: &str| question(tail).with("aws:principaltag/TEAM", "yellow");
    assert!(tagged("yellow/1").allowed_by(&policy));
    assert!(!tagged("company-*/1").allowed_by(&policy));
    let mut several = question("company-*/1");
    several.context.set_all("aws:PrincipalTag/team", ["a", "b"]);
    assert!(!several.allowed_by(&policy));
}

#[test]
fn special_characters_can_be_meant() {
    check(&service_arn("${*}/1"), &service_arn("*/1"), true);
    check(&service_arn("${*}/1"), &service_arn("a/1"), false);
    check(&service_arn("${?}/1"), &service_arn("?/1"), true);
    check(&service_arn("${?}/1"), &service_arn("a/1"), false);
    check(
        &service_arn("${$}{aws:username}"),
        &service_arn("${aws:username}"),
        true,
    );
    check(&service_arn("$/}{"), &service_arn("$/}{"), true);
}

#[test]
fn there_are_no_variables_before_2012() {
    for version in [json!("2008-10-17"), Value::Null] {
        let mut document = json!({"Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": [service_arn("${aws:username}/1"), service_arn("${*}")]}]});
        if !version.is_null() {
            document["Version"] = version;
        }
        let policy = parse(Kind::Managed, &document);
        let question = |tail: &str| ask(&user(ACCOUNT, "ann"), "apprunner:X", &service_arn(tail));
        assert!(question("${aws:username}/1").allowed_by(&policy));
        assert!(!question("ann/1").allowed_by(&policy));
        // `${*}` is a dollar, a brace, anything, a brace.
        assert!(question("${any}").allowed_by(&policy));
        assert!(!question("*").allowed_by(&policy));
        assert!(policy.context_keys().is_empty());
    }
}

#[test]
fn not_resource_is_everything_else() {
    let check = |effect: &str, not: Value, question: &crate::world::Question, expect: bool| {
        let policy = managed(json!([
            {"Effect": "Allow", "Action": "*", "Resource": if effect == "Deny" { "*" } else { "arn:aws:s3:::none" }},
            {"Effect": effect, "Action": "apprunner:*", "NotResource": not}]));
        assert_eq!(question.allowed_by(&policy), expect, "{effect} {not}");
    };
    let app = ask(
        &user(ACCOUNT, "ann"),
        "apprunner:DeleteService",
        &service_arn("app/1"),
    );
    let both = json!([service_arn("web/*"), service_arn("app/*")]);
    check("Deny", json!(service_arn("app/*")), &app, true);
    check("Deny", json!(service_arn("web/*")), &app, false);
    check("Deny", both.clone(), &app, true);
    check("Allow", json!(service_arn("app/*")), &app, false);
    check("Allow", json!(service_arn("web/*")), &app, true);
    check("Allow", both, &app, false);
    // Without the tag nothing is exempt from the denial, and nothing is allowed.
    let tagged = json!(service_arn("${aws:PrincipalTag/team}/*"));
    check("Deny", tagged.clone(), &app, false);
    check("Allow", tagged, &app, false);
}

#[test]
fn actions_have_no_case_and_not_action_is_everything_else() {
    let check = |element: &str, action: Value, asked: &str, expect: bool| {
        let policy = managed(json!({"Effect": "Allow", element: action, "Resource": "*"}));
        let question = ask(&user(ACCOUNT, "ann"), asked, "*");
        assert_eq!(
            question.allowed_by(&policy),
            expect,
            "{element} {action} {asked}"
        );
    };
    check(
        "Action",
        json!("AppRunner:createservice"),
        "apprunner:CreateService",
        true,
    );
    check(
        "Action",
        json!("apprunner:Create*"),
        "apprunner:createService",
        true,
    );
    check(
        "Action",
        json!("apprunner:Create?ervice"),
        "apprunner:CreateService",
        true,
    );
    check(
        "Action",
        json!("apprunner:Create"),
        "apprunner:CreateService",
        false,
    );
    check(
        "Action",
        json!("apprunner:*Service*"),
        "apprunner:ListServices",
        true,
    );
    check("Action", json!("ecr:*"), "apprunner:CreateService", false);
    check(
        "Action",
        json!(["ecr:*", "*"]),
        "apprunner:CreateService",
        true,
    );
    check("NotAction", json!("iam:*"), "apprunner:CreateService", true);
    check(
        "NotAction",
        json!(["iam:*", "APPRUNNER:*"]),
        "apprunner:CreateService",
        false,
    );
    // The service's name is no pattern, and a colon belongs to no name.
    check(
        "Action",
        json!("apprunner:*"),
        "apprunner-x:CreateService",
        false,
    );
}
