//! Tags and source identities of sessions, from the claims of a token.

use super::issuer::Issuer;
use super::world_that_asks;
use crate::root::Root;
use apron_aws::model;
use apron_testkit::Life;
use serde_json::{Value, json};

/// Replaces the trust policy: the provider may do this, on a condition for the tags.
fn trust(root: &Root<'_>, provider: &str, actions: &[&str], condition: Value) {
    let document = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Federated": provider}, "Action": actions, "Condition": condition}]});
    let input = json!({"RoleName": "federated", "PolicyDocument": document.to_string()});
    let _ = root.iam("UpdateAssumeRolePolicy", input).ok();
}

/// Lets the role list services, on a condition.
fn allow(root: &Root<'_>, condition: Value) {
    let document = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "apprunner:ListServices", "Resource": "*", "Condition": condition}]});
    let input =
        json!({"RoleName": "federated", "PolicyName": "p", "PolicyDocument": document.to_string()});
    let _ = root.iam("PutRolePolicy", input).ok();
}

/// Whether the session of a token may list services.
fn lists(root: &Root<'_>, token: &str) -> bool {
    let assumed = root.assume(token).ok();
    let (key, secret) = (assumed.text("AccessKeyId"), assumed.text("SecretAccessKey"));
    let session = root
        .client
        .with_keys(&key, &secret, Some(&assumed.text("SessionToken")));
    let input = json!({});
    let list = session.call(model::apprunner(), "ListServices", &input);
    let answer = root.life.wait_for(list);
    assert!(
        answer.status == 200 || answer.is_denied(),
        "{}",
        answer.body
    );
    answer.status == 200
}

#[test]
fn tags_and_a_source_identity_come_from_claims() {
    const ASSUME: &str = "sts:AssumeRoleWithWebIdentity";
    let other = Issuer::begin();
    let world = world_that_asks(&other);
    let life = Life::begin(&world);
    let root = Root::of(&life);
    root.provider(&other.url, "apron");
    let name = other.url.trim_start_matches("https://");
    let arn = format!("arn:aws:iam::111122223333:oidc-provider/{name}");
    root.federated(&arn, json!({}));
    let now = other.now();
    let token = |more: Value| {
        let mut claims =
            json!({"iss": other.url, "sub": "s", "aud": "apron", "iat": now, "exp": now + 600});
        let all = claims.as_object_mut().unwrap();
        all.extend(more.as_object().unwrap().clone());
        other.sign(&claims)
    };
    let tagged = |team: &str| {
        let tags = json!({"principal_tags": {"team": [team]}, "transitive_tag_keys": ["team"]});
        token(json!({ "https://aws.amazon.com/tags": tags }))
    };
    let named = token(json!({"https://aws.amazon.com/source_identity": "ann"}));

    // Who may assume the role may not set anything yet.
    let _ = root.assume(&token(json!({}))).ok();
    root.assume(&tagged("red"))
        .refused("AccessDenied", "Not authorized to perform sts:TagSession");
    root.assume(&named).refused(
        "AccessDenied",
        "Not authorized to perform sts:SetSourceIdentity",
    );

    let only_red = json!({"StringEqualsIfExists": {"aws:RequestTag/team": "red"},
        "ForAllValues:StringEquals": {"sts:TransitiveTagKeys": ["team"]}});
    trust(&root, &arn, &[ASSUME, "sts:TagSession"], only_red);
    allow(
        &root,
        json!({"StringEquals": {"aws:PrincipalTag/team": "red"}}),
    );
    assert!(lists(&root, &tagged("red")));
    assert!(!lists(&root, &token(json!({}))));
    root.assume(&tagged("blue"))
        .refused("AccessDenied", "Not authorized");

    let condition = json!({"StringLike": {"sts:SourceIdentity": "a*"}});
    let actions = [ASSUME, "sts:SetSourceIdentity"];
    trust(&root, &arn, &actions, condition);
    allow(
        &root,
        json!({"StringEquals": {"aws:SourceIdentity": "ann"}}),
    );
    assert_eq!(root.assume(&named).ok().text("SourceIdentity"), "ann");
    assert!(lists(&root, &named));
    let bob = token(json!({"https://aws.amazon.com/source_identity": "bob"}));
    root.assume(&bob).refused("AccessDenied", "Not authorized");

    refusals(&root, &token);
    // The keys were read once.
    assert_eq!(other.asked(), 2);
}

/// Claims that no session can be marked with.
fn refusals(root: &Root<'_>, token: &dyn Fn(Value) -> String) {
    for odd in [
        json!({"https://aws.amazon.com/tags": "red"}),
        json!({"https://aws.amazon.com/tags": {"principal_tags": {"aws:team": ["red"]}}}),
        json!({"https://aws.amazon.com/tags": {"principal_tags": {"team": ["red"], "TEAM": ["red"]}}}),
        json!({"https://aws.amazon.com/tags": {"principal_tags": {"team": ["r".repeat(257)]}}}),
        json!({"https://aws.amazon.com/tags": {"transitive_tag_keys": ["team"]}}),
        json!({"https://aws.amazon.com/source_identity": "a b"}),
    ] {
        let refused = root.assume(&token(odd.clone()));
        assert_eq!(refused.status, 400, "{odd}");
        refused.refused("InvalidIdentityToken", "");
    }
}
