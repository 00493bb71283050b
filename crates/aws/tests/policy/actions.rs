//! The tables of actions, and the checks that operations need.

use crate::world::{ACCOUNT, parse};
use apron_aws::model::{self, Model, Shape};
use apron_aws::policy::actions::{self, Access, Check, CheckError, Scope, checks};
use apron_aws::policy::{Condition, Kind};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SCOPE: Scope<'_> = Scope {
    partition: "aws",
    region: "us-east-1",
    account: ACCOUNT,
    user: Some("ann"),
};

fn models() -> [&'static Model; 10] {
    [
        model::apprunner(),
        model::cloudtrail(),
        model::apron(),
        model::ecr(),
        model::iam(),
        model::kms(),
        model::logs(),
        model::secretsmanager(),
        model::ssm(),
        model::sts(),
    ]
}

/// An input with every member of a shape.
fn full(model: &Model, shape: &str, depth: usize) -> Value {
    if depth > 6 {
        return Value::Null;
    }
    match model.shape(shape) {
        Shape::Structure(structure) => {
            let members = structure.members.iter();
            let filled =
                members.map(|(name, member)| (name.clone(), full(model, &member.shape, depth + 1)));
            Value::Object(filled.collect())
        }
        Shape::List { member, .. } => json!([full(model, &member.shape, depth + 1)]),
        Shape::Map { value, .. } => json!({"key": full(model, &value.shape, depth + 1)}),
        Shape::Boolean {} => json!(true),
        Shape::Integer(_)
        | Shape::Long(_)
        | Shape::Double(_)
        | Shape::Float(_)
        | Shape::Timestamp { .. } => json!(1),
        Shape::String(_) | Shape::Blob(_) => json!("text"),
    }
}

/// The same with required members only.
fn least(model: &Model, shape: &str) -> Value {
    let Shape::Structure(structure) = model.shape(shape) else {
        panic!("{shape} is no structure");
    };
    let required = structure.required.iter();
    let filled =
        required.map(|name| (name.clone(), full(model, &structure.members[name].shape, 1)));
    Value::Object(filled.collect())
}

/// Inputs with everything, and with what is required.
fn inputs(model: &Model, shape: &str) -> Vec<Value> {
    let mut inputs = vec![full(model, shape, 0)];
    let Shape::Structure(structure) = model.shape(shape) else {
        panic!("{shape} is no structure");
    };
    // A log group can be named in two ways, so the model requires neither. What a cipher text was made with stands in it; the
    // model does not require one because of dry runs.
    let either = ["logGroupIdentifier", "CiphertextBlob"];
    if !either
        .iter()
        .any(|member| structure.members.contains_key(*member))
    {
        inputs.push(least(model, shape));
    }
    inputs
}

#[test]
fn every_operation_of_every_model_has_its_row() {
    let mut seen = 0;
    for model in models() {
        let service = actions::service(&model.service)
            .unwrap_or_else(|| panic!("no table of {}", model.service));
        for (name, operation) in &model.operations {
            let actions = service.actions_of(name);
            assert!(
                actions
                    .iter()
                    .all(|action| service.actions.contains_key(*action)),
                "{} {name} is no action",
                model.service
            );
            let inputs = match operation.input.as_deref() {
                Some(shape) => inputs(model, shape),
                None => vec![json!({})],
            };
            for input in inputs {
                let found = checks(&model.service, name, &input, &SCOPE);
                let found = found
                    .unwrap_or_else(|error| panic!("{} {name} {input}: {error}", model.service));
                let action = format!("{}:{name}", model.service);
                let free = matches!(
                    action.as_str(),
                    "sts:GetCallerIdentity"
                        | "sts:GetSessionToken"
                        // Its token says who asks; the role's trust policy is asked with what it says.
                        | "sts:AssumeRoleWithWebIdentity"
                );
                assert_eq!(found.is_empty(), free, "{action}");
                let own = actions
                    .iter()
                    .map(|name| format!("{}:{name}", model.service));
                assert!(free || own.into_iter().any(|own| own == found[0].action));
                assert!(
                    found
                        .iter()
                        .all(|check| !check.resource.contains(['{', '}'])),
                    "{found:?}"
                );
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 37 + 9 + 1 + 15 + 89 + 24 + 11 + 17 + 13 + 5);
}

#[test]
fn tables_are_closed_and_policies_can_name_what_is_in_them() {
    let mut count = 0;
    for service in actions::services() {
        for operation in service.operations() {
            let actions = service.actions_of(operation);
            assert!(
                actions
                    .iter()
                    .all(|action| service.actions.contains_key(*action)),
                "{} {operation}",
                service.service
            );
        }
        for (name, action) in &service.actions {
            for resource in &action.resources {
                let resource = resource.trim_end_matches('*');
                assert!(
                    service.resources.contains_key(resource),
                    "{} {name} {resource}",
                    service.service
                );
            }
            let global = |key: &String| key.starts_with("aws:");
            for key in action.conditions.iter().filter(|key| !global(key)) {
                assert!(
                    service.condition_keys.contains_key(key),
                    "{} {name} {key}",
                    service.service
                );
            }
            parse(
                Kind::Managed,
                &json!({"Statement": {"Effect": "Allow", "Action": format!("{}:{name}", service.service), "Resource": "*"}}),
            );
            count += 1;
        }
        for resource in service.resources.values() {
            let arn = placeholders_as_stars(&resource.arn);
            parse(
                Kind::Managed,
                &json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": arn}}),
            );
        }
    }
    assert!(count > 250, "{count}");
}

fn placeholders_as_stars(arn: &str) -> String {
    let mut out = String::new();
    let mut rest = arn;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        out.push('*');
        rest = after.split_once('}').unwrap().1;
    }
    out + rest
}

#[test]
fn actions_are_found_without_case() {
    assert_eq!(
        actions::action("apprunner:CreateService").unwrap().access,
        Access::Write
    );
    assert_eq!(
        actions::action("APPRUNNER:createservice").unwrap().access,
        Access::Write
    );
    assert_eq!(
        actions::action("iam:PutUserPolicy").unwrap().access,
        Access::PermissionsManagement
    );
    assert_eq!(
        actions::action("ecr:ListImages").unwrap().access,
        Access::List
    );
    assert!(
        actions::action("apprunner:AssociateWebAcl")
            .unwrap()
            .permission_only
    );
    assert!(actions::action("apprunner:Explode").is_none());
    assert!(actions::action("apprunner").is_none());
    assert_eq!(actions::service("apprunner").unwrap().actions.len(), 42);
}

fn found(service: &str, operation: &str, input: &Value) -> Vec<Check> {
    checks(service, operation, input, &SCOPE).unwrap()
}

fn resources(service: &str, operation: &str, input: &Value) -> Vec<String> {
    found(service, operation, input)
        .into_iter()
        .map(|check| check.resource)
        .collect()
}

fn check_resources(cases: &[(&str, &str, Value, &str)]) {
    for (service, operation, input, expect) in cases {
        assert_eq!(
            resources(service, operation, input),
            [*expect],
            "{operation} {input}"
        );
    }
}

#[test]
fn inputs_give_resources() {
    check_resources(&[
        ("apprunner", "ListServices", json!({}), "*"),
        (
            "apprunner",
            "CreateConnection",
            json!({"ConnectionName": "git"}),
            "arn:aws:apprunner:us-east-1:111122223333:connection/git/*",
        ),
        (
            "apprunner",
            "DeleteService",
            json!({"ServiceArn": "arn:aws:apprunner:us-east-1:444455556666:service/a/1"}),
            "arn:aws:apprunner:us-east-1:444455556666:service/a/1",
        ),
        (
            "ecr",
            "PutImage",
            json!({"repositoryName": "team/web"}),
            "arn:aws:ecr:us-east-1:111122223333:repository/team/web",
        ),
        (
            "ecr",
            "PutImage",
            json!({"repositoryName": "web", "registryId": "444455556666"}),
            "arn:aws:ecr:us-east-1:444455556666:repository/web",
        ),
        (
            "ecr",
            "DescribeRepositories",
            json!({"repositoryNames": []}),
            "arn:aws:ecr:us-east-1:111122223333:repository/*",
        ),
        (
            "logs",
            "PutLogEvents",
            json!({"logGroupName": "/a", "logStreamName": "b"}),
            "arn:aws:logs:us-east-1:111122223333:log-group:/a:log-stream:b",
        ),
        (
            "logs",
            "FilterLogEvents",
            json!({"logGroupName": "/a"}),
            "arn:aws:logs:us-east-1:111122223333:log-group:/a:log-stream:",
        ),
        (
            "logs",
            "FilterLogEvents",
            json!({"logGroupIdentifier": "arn:aws:logs:us-east-1:444455556666:log-group:/a:*"}),
            "arn:aws:logs:us-east-1:444455556666:log-group:/a:log-stream:",
        ),
        (
            "logs",
            "DescribeLogGroups",
            json!({}),
            "arn:aws:logs:us-east-1:111122223333:log-group::log-stream:",
        ),
    ]);
}

#[test]
fn inputs_give_resources_of_identities_and_secrets() {
    check_resources(&[
        (
            "iam",
            "GetUser",
            json!({}),
            "arn:aws:iam::111122223333:user/ann",
        ),
        (
            "iam",
            "CreateRole",
            json!({"RoleName": "jobs", "Path": "/team/"}),
            "arn:aws:iam::111122223333:role/team/jobs",
        ),
        (
            "iam",
            "CreateRole",
            json!({"RoleName": "jobs"}),
            "arn:aws:iam::111122223333:role/jobs",
        ),
        (
            "secretsmanager",
            "CreateSecret",
            json!({"Name": "db"}),
            "arn:aws:secretsmanager:us-east-1:111122223333:secret:db-*",
        ),
        (
            "secretsmanager",
            "GetSecretValue",
            json!({"SecretId": "arn:aws:secretsmanager:us-east-1:111122223333:secret:db-AbCdEf"}),
            "arn:aws:secretsmanager:us-east-1:111122223333:secret:db-AbCdEf",
        ),
        (
            "ssm",
            "GetParameter",
            json!({"Name": "/app/key"}),
            "arn:aws:ssm:us-east-1:111122223333:parameter/app/key",
        ),
        (
            "ssm",
            "GetParameter",
            json!({"Name": "key"}),
            "arn:aws:ssm:us-east-1:111122223333:parameter/key",
        ),
        (
            "sts",
            "AssumeRole",
            json!({"RoleArn": "arn:aws:iam::444455556666:role/jobs"}),
            "arn:aws:iam::444455556666:role/jobs",
        ),
    ]);
    let names = json!({"Names": ["a", "/b"]});
    assert_eq!(resources("ssm", "GetParameters", &names).len(), 2);
    assert!(
        found(
            "secretsmanager",
            "GetSecretValue",
            &json!({"SecretId": "db"})
        )[0]
        .provisional
    );
}

#[test]
fn a_service_is_checked_with_all_it_uses() {
    let connection = "arn:aws:apprunner:us-east-1:111122223333:connection/git/1";
    let role = "arn:aws:iam::111122223333:role/jobs";
    let input = json!({
        "ServiceName": "web",
        "SourceConfiguration": {"AuthenticationConfiguration": {"ConnectionArn": connection}},
        "InstanceConfiguration": {"InstanceRoleArn": role},
        "Tags": [{"Key": "team", "Value": "web"}, {"Key": "cost"}],
    });
    let found = found("apprunner", "CreateService", &input);
    let asked: Vec<(&str, &str)> = found
        .iter()
        .map(|it| (it.action.as_str(), it.resource.as_str()))
        .collect();
    assert_eq!(
        asked,
        [
            (
                "apprunner:CreateService",
                "arn:aws:apprunner:us-east-1:111122223333:service/web/*"
            ),
            ("apprunner:CreateService", connection),
            ("iam:PassRole", role),
        ]
    );
    assert_eq!(
        found[0].context.get("aws:TagKeys").unwrap(),
        ["team", "cost"]
    );
    assert_eq!(
        found[0].context.get("aws:RequestTag/team").unwrap(),
        ["web"]
    );
    assert_eq!(
        found[0].context.get("apprunner:ConnectionArn").unwrap(),
        [connection]
    );
    assert_eq!(found[0].context.get("apprunner:VpcConnectorArn"), None);
    assert_eq!(
        found[2].context.get("iam:PassedToService").unwrap(),
        ["apprunner.amazonaws.com"]
    );
    let policy = parse(
        Kind::Managed,
        &json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*",
        "Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": ["team", "cost"]}}}}),
    );
    let condition: &Condition = &policy.statements[0].conditions[0];
    assert!(condition.holds(policy.statements[0].effect, &found[0].context));
}

#[test]
fn tags_come_in_every_form() {
    let tags = |service: &str, operation: &str, input: Value| {
        let found = found(service, operation, &input);
        let keys = found[0].context.get("aws:TagKeys").map(<[String]>::to_vec);
        (
            found.into_iter().map(|it| it.action).collect::<Vec<_>>(),
            keys.unwrap_or_default(),
        )
    };
    let (actions, keys) = tags(
        "logs",
        "CreateLogGroup",
        json!({"logGroupName": "a", "tags": {"team": "web"}}),
    );
    assert_eq!(
        (actions.len(), actions[1].as_str(), keys.as_slice()),
        (2, "logs:TagResource", &["team".to_owned()][..])
    );
    let (actions, _) = tags("iam", "CreateUser", json!({"UserName": "a"}));
    assert_eq!(actions, ["iam:CreateUser"]);
    let (_, keys) = tags(
        "apprunner",
        "UntagResource",
        json!({"ResourceArn": "arn:aws:apprunner:us-east-1:111122223333:service/a/1", "TagKeys": ["a", "b"]}),
    );
    assert_eq!(keys, ["a", "b"]);
    let (actions, _) = tags(
        "sts",
        "AssumeRole",
        json!({"RoleArn": "arn:aws:iam::111122223333:role/jobs", "Tags": [{"Key": "a", "Value": "b"}], "SourceIdentity": "ann"}),
    );
    let actions: BTreeSet<String> = actions.into_iter().collect();
    assert_eq!(
        actions,
        ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"]
            .map(str::to_owned)
            .into()
    );
}

#[test]
fn what_is_not_in_a_table_is_an_error() {
    let error = |service: &str, operation: &str, input: Value| {
        checks(service, operation, &input, &SCOPE).unwrap_err()
    };
    assert!(matches!(
        error("s3", "GetObject", json!({})),
        CheckError::UnknownService(_)
    ));
    assert!(matches!(
        error("apprunner", "Explode", json!({})),
        CheckError::UnknownOperation(..)
    ));
    assert!(matches!(
        error("apprunner", "DeleteService", json!({})),
        CheckError::Unnamed(..)
    ));
    assert!(matches!(
        error("apprunner", "DeleteService", json!({"ServiceArn": ""})),
        CheckError::Unnamed(..)
    ));
    let many: Vec<String> = (0..1_001).map(|at| at.to_string()).collect();
    assert!(matches!(
        error("ssm", "GetParameters", json!({"Names": many})),
        CheckError::TooMany(_)
    ));
}
