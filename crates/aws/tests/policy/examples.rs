//! Situations that the documentation of IAM describes, with names and numbers of our own.

use crate::world::{
    ACCOUNT, OTHER, Question, ask, explicit_in, identity, managed, missing, on_resource, root,
    session, trust, user, with_resource, with_trust,
};
use apron_aws::policy::{Caller, Layer, Layers};
use serde_json::json;

fn ann(action: &str, resource: &str) -> Question {
    ask(&user(ACCOUNT, "ann"), action, resource)
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html>
#[test]
fn a_star_in_a_resource_takes_slashes_too() {
    let policy = managed(
        json!({"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::store/*/test/*"}),
    );
    for (key, expect) in [
        ("1/test/a.jpg", true),
        ("1/2/test/a.jpg", true),
        ("1/2/test/3/a.jpg", true),
        ("1///test///a.jpg", true),
        ("1/test/.jpg", true),
        ("/test/a.jpg", true),
        ("1/test/", true),
        ("1-test/a.jpg", false),
        ("test/a.jpg", false),
        ("1/2/test.jpg", false),
    ] {
        let asked = ann("s3:GetObject", &format!("arn:aws:s3:::store/{key}"));
        assert_eq!(asked.allowed_by(&policy), expect, "{key}");
    }
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html>
#[test]
fn a_home_directory_for_each_user() {
    let policy = managed(json!([
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::store",
         "Condition": {"StringLike": {"s3:prefix": ["", "home/", "home/${aws:username}/"]}}},
        {"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::store/home/${aws:username}", "arn:aws:s3:::store/home/${aws:username}/*"]}]));
    let list = |prefix: &str| {
        ann("s3:ListBucket", "arn:aws:s3:::store")
            .with("s3:prefix", prefix)
            .allowed_by(&policy)
    };
    assert!(list("") && list("home/") && list("home/ann/"));
    assert!(!list("home") && !list("home/bob/") && !list("home/ann/x"));
    assert!(!ann("s3:ListBucket", "arn:aws:s3:::store").allowed_by(&policy));
    let put =
        |key: &str| ann("s3:PutObject", &format!("arn:aws:s3:::store/{key}")).allowed_by(&policy);
    assert!(put("home/ann") && put("home/ann/a/b"));
    assert!(!put("home/anna") && !put("home/bob/a") && !put("home/"));
}

/// The same page, default values.
#[test]
fn a_bucket_for_each_team_and_one_for_the_rest() {
    let policy = managed(json!({"Effect": "Allow", "Action": "s3:*",
        "Resource": "arn:aws:s3:::store-${aws:PrincipalTag/team, 'everybody'}"}));
    let asked = |bucket: &str| ann("s3:ListBucket", &format!("arn:aws:s3:::store-{bucket}"));
    assert!(asked("everybody").allowed_by(&policy));
    assert!(!asked("yellow").allowed_by(&policy));
    assert!(
        asked("yellow")
            .with("aws:PrincipalTag/team", "yellow")
            .allowed_by(&policy)
    );
    assert!(
        !asked("everybody")
            .with("aws:PrincipalTag/team", "yellow")
            .allowed_by(&policy)
    );
    assert!(
        !asked("red")
            .with("aws:PrincipalTag/team", "*")
            .allowed_by(&policy)
    );
}

/// The same page, variables without a value.
#[test]
fn who_has_no_team_is_denied() {
    let policy = managed(json!([
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::store/*",
         "Condition": {"StringNotEquals": {"s3:ExistingObjectTag/team": "${aws:PrincipalTag/team}"}}}]));
    let asked =
        || ann("s3:GetObject", "arn:aws:s3:::store/a").with("s3:ExistingObjectTag/team", "red");
    assert!(!asked().allowed_by(&policy));
    assert!(
        !asked()
            .with("aws:PrincipalTag/team", "blue")
            .allowed_by(&policy)
    );
    assert!(
        asked()
            .with("aws:PrincipalTag/team", "red")
            .allowed_by(&policy)
    );
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-basics.html>
#[test]
fn one_account_with_a_bucket_policy() {
    let own = managed(json!([
        {"Sid": "List", "Effect": "Allow", "Action": ["s3:ListAllMyBuckets", "s3:GetBucketLocation"], "Resource": "arn:aws:s3:::*"},
        {"Sid": "Own", "Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::ann/*", "arn:aws:s3:::ann"]},
        {"Sid": "NoLogs", "Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::*log*"}]));
    let bucket = on_resource(
        json!({"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:user/ann"},
        "Action": "s3:*", "Resource": ["arn:aws:s3:::ann/*", "arn:aws:s3:::ann"]}),
    );
    let logs = ann("s3:PutObject", "arn:aws:s3:::ann-logs/a").decide(&identity(&own));
    assert_eq!(explicit_in(&logs), Some(Layer::Identity));
    let put = ann("s3:PutObject", "arn:aws:s3:::ann/a");
    assert!(
        put.decide(&with_resource(identity(&own), &bucket))
            .is_allowed()
    );
    assert!(put.decide(&identity(&own)).is_allowed());
    assert!(
        put.decide(&with_resource(Layers::default(), &bucket))
            .is_allowed()
    );
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic-cross-account.html>
#[test]
fn two_accounts_with_a_bucket_policy() {
    let own = managed(json!([
        {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"},
        {"Effect": "Allow", "Action": "s3:*Object*", "Resource": "arn:aws:s3:::prod/*"},
        {"Effect": "Deny", "Action": "s3:*", "Resource": ["arn:aws:s3:::*log*", "arn:aws:s3:::*log*/*"]}]));
    let bucket = on_resource(
        json!({"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::444455556666:user/ann"},
        "Action": ["s3:GetObject*", "s3:PutObject*"], "Resource": "arn:aws:s3:::prod/*"}),
    );
    let foreign = user(OTHER, "ann");
    let layers = with_resource(identity(&own), &bucket);
    assert!(
        ask(&foreign, "s3:PutObject", "arn:aws:s3:::prod/a")
            .decide(&layers)
            .is_allowed()
    );
    let delete = ask(&foreign, "s3:DeleteObject", "arn:aws:s3:::prod/a");
    assert_eq!(delete.decide(&layers), missing(Layer::Resource));
    let logs = ask(&foreign, "s3:PutObject", "arn:aws:s3:::prod-logs/a");
    assert_eq!(
        explicit_in(&logs.decide(&identity(&own))),
        Some(Layer::Identity)
    );
}

/// The difference between explicit and implicit denials, same pages.
#[test]
fn reports_are_denied_and_writing_is_not_allowed() {
    let policy = managed(json!([
        {"Effect": "Allow", "Action": ["iam:Get*", "iam:List*"], "Resource": "*"},
        {"Effect": "Deny", "Action": "iam:*Report", "Resource": "*"}]));
    let word = |action: &str| ann(action, "*").decide(&identity(&policy)).simulated();
    assert_eq!(word("iam:GetUser"), "allowed");
    assert_eq!(word("iam:CreatePolicy"), "implicitDeny");
    assert_eq!(word("iam:GetOrganizationsAccessReport"), "explicitDeny");
    assert_eq!(word("iam:GenerateCredentialReport"), "explicitDeny");
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_multi-value-conditions.html>
#[test]
fn attributes_of_a_table() {
    let table = "arn:aws:dynamodb:us-east-1:111122223333:table/Thread";
    let only = managed(
        json!({"Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": "arn:aws:dynamodb:*:*:table/Thread",
        "Condition": {"ForAllValues:StringEquals": {"dynamodb:Attributes": ["Id", "Text", "Tags"]}}}),
    );
    let asked = |action: &str, attributes: &[&str]| {
        let mut asked = ann(action, table);
        asked
            .context
            .set_all("dynamodb:Attributes", attributes.iter().copied());
        asked
    };
    assert!(asked("dynamodb:GetItem", &["Id", "Tags"]).allowed_by(&only));
    assert!(!asked("dynamodb:GetItem", &["Id", "Author"]).allowed_by(&only));
    assert!(asked("dynamodb:GetItem", &[]).allowed_by(&only));
    let none = managed(json!([{"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "dynamodb:PutItem", "Resource": "*",
         "Condition": {"ForAnyValue:StringEquals": {"dynamodb:Attributes": ["Id", "Posted"]}}}]));
    assert!(!asked("dynamodb:PutItem", &["Author", "Text", "Posted"]).allowed_by(&none));
    assert!(asked("dynamodb:PutItem", &["Author"]).allowed_by(&none));
    assert!(asked("dynamodb:PutItem", &[]).allowed_by(&none));
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html>
#[test]
fn conditions_on_keys_that_only_some_resources_have() {
    let run = |operator: &str, resource: &str, kind: Option<&str>| {
        let policy = managed(
            json!({"Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "*",
            "Condition": {operator: {"ec2:InstanceType": ["t1.*", "t2.*"]}}}),
        );
        let mut asked = ann("ec2:RunInstances", resource);
        if let Some(kind) = kind {
            asked = asked.with("ec2:InstanceType", kind);
        }
        asked.allowed_by(&policy)
    };
    let (instance, image) = (
        "arn:aws:ec2:us-east-1:111122223333:instance/*",
        "arn:aws:ec2:us-east-1::image/ami-1",
    );
    assert!(run("StringLike", instance, Some("t2.micro")));
    assert!(!run("StringLike", image, None));
    assert!(run("StringLikeIfExists", image, None));
    assert!(!run("StringLikeIfExists", instance, Some("m5.large")));
}

/// The same page: temporary credentials, transport, addresses.
#[test]
fn who_how_and_from_where() {
    let policy = managed(json!([
        {"Effect": "Allow", "Action": "ec2:*", "Resource": "*", "Condition": {"Null": {"aws:TokenIssueTime": "true"}}},
        {"Effect": "Allow", "Action": "iam:*AccessKey*", "Resource": "arn:aws:iam::111122223333:user/*",
         "Condition": {"DateGreaterThan": {"aws:TokenIssueTime": "2026-01-01T00:00:01Z"}}},
        {"Effect": "Allow", "Action": "sns:*", "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "2001:DB8:1234:5678::/64"]}}},
        {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]));
    let asked = |action: &str| ann(action, "arn:aws:iam::111122223333:user/ann");
    assert!(asked("ec2:RunInstances").allowed_by(&policy));
    let issued = |action: &str, at: &str| asked(action).with("aws:TokenIssueTime", at);
    assert!(!issued("ec2:RunInstances", "2026-02-01T00:00:00Z").allowed_by(&policy));
    assert!(issued("iam:CreateAccessKey", "2026-02-01T00:00:00Z").allowed_by(&policy));
    assert!(!issued("iam:CreateAccessKey", "2025-02-01T00:00:00Z").allowed_by(&policy));
    assert!(!asked("iam:CreateAccessKey").allowed_by(&policy));
    let from = |address: &str| asked("sns:Publish").with("aws:SourceIp", address);
    assert!(
        from("203.0.113.9").allowed_by(&policy)
            && from("2001:db8:1234:5678::1").allowed_by(&policy)
    );
    assert!(!from("203.0.114.9").allowed_by(&policy) && !asked("sns:Publish").allowed_by(&policy));
    assert!(
        !from("203.0.113.9")
            .with("aws:SecureTransport", "false")
            .allowed_by(&policy)
    );
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_examples_aws_deny-requested-region.html> and
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_examples_aws_my-sec-creds-self-manage-mfa-only.html>
#[test]
fn denials_with_exceptions() {
    let policy = managed(json!([
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "NotAction": ["iam:*", "sts:*"], "Resource": "*",
         "Condition": {"StringNotEquals": {"aws:RequestedRegion": ["eu-central-1", "eu-west-1"]}}},
        {"Effect": "Deny", "NotAction": ["iam:ListMFADevices", "sts:GetSessionToken"], "Resource": "*",
         "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}}]));
    let asked = |action: &str, region: &str, factor: &str| {
        let asked = ann(action, "*").with("aws:RequestedRegion", region);
        asked
            .with("aws:MultiFactorAuthPresent", factor)
            .allowed_by(&policy)
    };
    assert!(asked("apprunner:ListServices", "eu-west-1", "true"));
    assert!(!asked("apprunner:ListServices", "us-east-1", "true"));
    assert!(asked("iam:ListUsers", "us-east-1", "true"));
    assert!(!asked("apprunner:ListServices", "eu-west-1", "false"));
    assert!(asked("sts:GetSessionToken", "us-east-1", "false"));
    // Long-term keys have no such key at all, and `IfExists` takes that for a match.
    assert!(
        !ann("apprunner:ListServices", "*")
            .with("aws:RequestedRegion", "eu-west-1")
            .allowed_by(&policy)
    );
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notresource.html>
#[test]
fn one_folder_is_not_denied() {
    let policy = managed(
        json!([{"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "s3:*", "NotResource": ["arn:aws:s3:::people/pay", "arn:aws:s3:::people/pay/*"]}]),
    );
    assert!(ann("s3:GetObject", "arn:aws:s3:::people/pay/1").allowed_by(&policy));
    assert!(!ann("s3:GetObject", "arn:aws:s3:::people/cv/1").allowed_by(&policy));
    assert!(!ann("s3:ListAllMyBuckets", "*").allowed_by(&policy));
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/access_tags.html>
#[test]
fn tags_decide() {
    let policy = managed(json!([
        {"Effect": "Allow", "Action": "apprunner:CreateService", "Resource": "*",
         "Condition": {"StringEquals": {"aws:RequestTag/stage": ["dev", "test"]}, "ForAllValues:StringEquals": {"aws:TagKeys": ["stage", "team"]}, "Null": {"aws:TagKeys": "false"}}},
        {"Effect": "Allow", "Action": "apprunner:DeleteService", "Resource": "*",
         "Condition": {"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}}}]));
    let create = |tags: &[(&str, &str)]| {
        let mut asked = ann(
            "apprunner:CreateService",
            "arn:aws:apprunner:us-east-1:111122223333:service/a/*",
        );
        asked.context.set_request_tags(tags.iter().copied());
        asked.allowed_by(&policy)
    };
    assert!(create(&[("stage", "dev")]) && create(&[("stage", "test"), ("team", "x")]));
    assert!(
        !create(&[])
            && !create(&[("stage", "prod")])
            && !create(&[("stage", "dev"), ("admin", "1")])
            && !create(&[("team", "x")])
    );
    let delete = |own: &[(&str, &str)], tags: &[(&str, &str)]| {
        let mut asked = ann(
            "apprunner:DeleteService",
            "arn:aws:apprunner:us-east-1:111122223333:service/a/1",
        );
        asked
            .context
            .set_tags("aws:PrincipalTag", own.iter().copied());
        asked
            .context
            .set_tags("aws:ResourceTag", tags.iter().copied());
        asked.allowed_by(&policy)
    };
    assert!(delete(&[("Team", "red")], &[("team", "red")]));
    assert!(!delete(&[("team", "red")], &[("team", "blue")]));
    assert!(
        !delete(&[], &[]) && !delete(&[("team", "red")], &[]) && !delete(&[], &[("team", "red")])
    );
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html> and App Runner's guide on its roles.
#[test]
fn a_role_for_app_runner() {
    let role = "arn:aws:iam::111122223333:role/registry";
    let policy = managed(json!([
        {"Effect": "Allow", "Action": "apprunner:*", "Resource": "*"},
        {"Effect": "Allow", "Action": "iam:PassRole", "Resource": "arn:aws:iam::111122223333:role/*",
         "Condition": {"StringLike": {"iam:PassedToService": "apprunner.amazonaws.com"}}}]));
    assert!(
        ann("iam:PassRole", role)
            .with("iam:PassedToService", "apprunner.amazonaws.com")
            .allowed_by(&policy)
    );
    assert!(
        !ann("iam:PassRole", role)
            .with("iam:PassedToService", "ec2.amazonaws.com")
            .allowed_by(&policy)
    );
    assert!(!ann("iam:PassRole", role).allowed_by(&policy));
    let trusted = trust(
        json!({"Sid": "", "Effect": "Allow", "Principal": {"Service": "build.apprunner.amazonaws.com"}, "Action": "sts:AssumeRole"}),
    );
    let assume = |name: &str| {
        let caller = Caller::Service {
            name: name.to_owned(),
        };
        ask(&caller, "sts:AssumeRole", role)
            .decide(&with_trust(Layers::default(), &trusted))
            .is_allowed()
    };
    assert!(assume("build.apprunner.amazonaws.com"));
    assert!(!assume("tasks.apprunner.amazonaws.com"));
    assert!(
        !ask(&root(ACCOUNT), "sts:AssumeRole", role)
            .decide(&with_trust(Layers::default(), &trusted))
            .is_allowed()
    );
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html>: an external id.
#[test]
fn a_role_for_somebody_elses_account() {
    let trusted = trust(
        json!({"Effect": "Allow", "Principal": {"AWS": OTHER}, "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": "42"}}}),
    );
    let all = managed(json!({"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}));
    let asked = || {
        ask(
            &user(OTHER, "bob"),
            "sts:AssumeRole",
            "arn:aws:iam::111122223333:role/jobs",
        )
    };
    let layers = with_trust(identity(&all), &trusted);
    assert_eq!(asked().decide(&layers), missing(Layer::Trust));
    assert_eq!(
        asked().with("sts:ExternalId", "*").decide(&layers),
        missing(Layer::Trust)
    );
    assert!(
        asked()
            .with("sts:ExternalId", "42")
            .decide(&layers)
            .is_allowed()
    );
}

/// <https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-policy-examples.html>: another account pulls.
#[test]
fn a_repository_for_another_account() {
    let policy = crate::world::parse(
        apron_aws::policy::Kind::Repository,
        &json!({"Version": "2008-10-17", "Statement": [{"Sid": "pull for others", "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::444455556666:root"}, "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]}]}),
    );
    let own = managed(json!({"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}));
    let pull = |action: &str, caller: &Caller, layers: Layers<'_>| {
        let asked = ask(
            caller,
            action,
            "arn:aws:ecr:us-east-1:111122223333:repository/web",
        );
        asked.decide(&with_resource(layers, &policy)).is_allowed()
    };
    let foreign = session(OTHER, "access", "apprunner");
    assert!(pull("ecr:BatchGetImage", &foreign, identity(&own)));
    assert!(!pull("ecr:PutImage", &foreign, identity(&own)));
    assert!(!pull("ecr:BatchGetImage", &foreign, Layers::default()));
    assert!(!pull(
        "ecr:BatchGetImage",
        &session("777788889999", "access", "x"),
        identity(&own)
    ));
}
