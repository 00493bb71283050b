//! What `SimulatePrincipalPolicy` is answered from.

use crate::world::{ACCOUNT, ask, identity, managed, named, service_arn, user};
use apron_aws::policy::{Kind, Layer, Policy, simulate};
use serde_json::json;

#[test]
fn every_statement_that_applies_is_told() {
    let policy = managed(json!([
        {"Sid": "A", "Effect": "Allow", "Action": "apprunner:*", "Resource": "*"},
        {"Sid": "B", "Effect": "Allow", "Action": "ecr:*", "Resource": "*"},
        {"Sid": "C", "Effect": "Deny", "Action": "apprunner:Delete*", "Resource": service_arn("${aws:PrincipalTag/team}/*"),
         "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "false"}}}]));
    let boundary = managed(
        json!({"Sid": "D", "Effect": "Allow", "Action": "*", "Resource": "*",
        "Condition": {"StringEqualsIfExists": {"AWS:RequestedRegion": "${test:region, 'x'}", "aws:requestedregion": "us-east-1"}}}),
    );
    let mut layers = identity(&policy);
    layers.boundary = Some(named("boundary", &boundary));
    let mut asked = ask(
        &user(ACCOUNT, "ann"),
        "apprunner:DeleteService",
        &service_arn("web/1"),
    );
    let simulation = simulate(&asked.request(), &layers);
    assert_eq!(simulation.decision.simulated(), "allowed");
    assert_eq!(
        simulation.missing_context,
        [
            "aws:MultiFactorAuthPresent",
            "aws:principaltag/team",
            "AWS:RequestedRegion",
            "test:region"
        ]
    );
    let sids = |simulation: &apron_aws::policy::Simulation| {
        let sids = simulation
            .matched
            .iter()
            .map(|it| it.name.sid.clone().unwrap());
        sids.collect::<Vec<_>>().join("")
    };
    assert_eq!(sids(&simulation), "AD");
    asked = asked
        .with("aws:PrincipalTag/Team", "web")
        .with("aws:multifactorauthpresent", "false");
    let simulation = simulate(&asked.request(), &layers);
    assert_eq!(simulation.decision.simulated(), "explicitDeny");
    assert_eq!(sids(&simulation), "ACD");
    assert_eq!(
        simulation.missing_context,
        ["AWS:RequestedRegion", "test:region"]
    );
    assert_eq!(simulation.matched[2].name.layer, Layer::Boundary);
    let asked = ask(&user(ACCOUNT, "ann"), "iam:GetUser", "*");
    assert_eq!(
        simulate(&asked.request(), &layers).decision.simulated(),
        "implicitDeny"
    );
}

#[test]
fn statements_know_where_they_stand() {
    let text = "{\"Statement\": [\n  {\"Effect\": \"Allow\",\n   \"Action\": \"*\", \"Resource\": \"*\"},\n  {\"Effect\": \"Deny\", \"Action\": \"é:*\", \"Resource\": \"*\"}]}";
    let text = text.replace('é', "s3");
    let policy = Policy::parse(&text, Kind::Managed).unwrap();
    let spans: Vec<_> = policy.statements.iter().map(|it| it.span).collect();
    let places = |at: usize| {
        let span = spans[at];
        (
            span.start.line,
            span.start.column,
            span.end.line,
            span.end.column,
        )
    };
    assert_eq!(places(0), (2, 3, 3, 35));
    assert_eq!(places(1), (4, 3, 4, 56));
}

#[test]
fn the_keys_of_a_document_are_listed_once() {
    let policy = managed(json!([
        {"Effect": "Allow", "Action": "*", "Resource": [service_arn("${aws:username}"), service_arn("${AWS:UserName}")],
         "Condition": {"StringEquals": {"aws:SourceIp": "x", "aws:sourceip": "x", "aws:UserName": "${aws:userid}"}, "ArnLike": {"aws:SourceArn": "${test:arn}"}}}]));
    assert_eq!(
        policy.context_keys(),
        [
            "aws:SourceArn",
            "aws:SourceIp",
            "aws:userid",
            "aws:UserName",
            "test:arn"
        ]
    );
}
