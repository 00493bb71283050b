//! What was done is recorded before it is done, and can be looked up.

use apron_aws::model;
use apron_testkit::{Client, Life, World};
use serde_json::{Value, json};

fn lookup(life: &Life, client: &Client, input: Value) -> Vec<Value> {
    let answer = client.call(model::cloudtrail(), "LookupEvents", &input);
    let answer = life.wait_for(answer).ok().json();
    answer["Events"].as_array().unwrap().clone()
}

fn by(key: &str, value: &str) -> Value {
    json!({"LookupAttributes": [{"AttributeKey": key, "AttributeValue": value}]})
}

#[test]
fn who_did_what_by_which_permission() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = life.root();
    let iam = |operation: &str, input: Value| {
        life.wait_for(root.call(model::iam(), operation, &input))
            .ok()
    };
    let _ = iam("CreateUser", json!({"UserName": "ann"}));
    let key = iam("CreateAccessKey", json!({"UserName": "ann"}));
    let (id, secret) = (key.text("AccessKeyId"), key.text("SecretAccessKey"));
    let document = json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "Repositories", "Effect": "Allow", "Action": "ecr:CreateRepository", "Resource": "*"}]});
    let policy =
        json!({"UserName": "ann", "PolicyName": "p", "PolicyDocument": document.to_string()});
    let _ = iam("PutUserPolicy", policy);
    let ann = root.with_keys(&id, &secret, None);
    let create = json!({"repositoryName": "app"});
    let made = ann.call(model::ecr(), "CreateRepository", &create);
    let _ = life.wait_for(made).ok();
    let nothing = json!({});
    let listed = ann.call(model::ecr(), "DescribeRepositories", &nothing);
    life.wait_for(listed).refused("AccessDeniedException", "");

    let events = lookup(&life, &root, by("Username", "ann"));
    let names: Vec<&str> = events
        .iter()
        .map(|it| it["EventName"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["DescribeRepositories", "CreateRepository"]);
    let record = |event: &Value| -> Value {
        serde_json::from_str(event["CloudTrailEvent"].as_str().unwrap()).unwrap()
    };
    let (denied, made) = (record(&events[0]), record(&events[1]));
    assert_eq!(
        (denied["errorCode"].as_str(), denied["readOnly"].as_bool()),
        (Some("AccessDeniedException"), Some(true))
    );
    assert_eq!(made["requestParameters"]["repositoryName"], "app");
    assert_eq!(
        made["responseElements"]["repository"]["repositoryName"],
        "app"
    );
    assert_eq!(made["userIdentity"]["accessKeyId"], json!(id));
    let by_statement = made["additionalEventData"]["authorization"][0]["decision"]
        .as_str()
        .unwrap();
    assert_eq!(
        by_statement,
        "allowed: Allow of identity-based policy inline policy of user ann: p, Statement[0] (Repositories)"
    );
    assert_eq!(lookup(&life, &root, by("ResourceName", "app")).len(), 1);
    assert_eq!(
        lookup(&life, &root, by("EventSource", "iam.amazonaws.com")).len(),
        3
    );

    let key_made = lookup(&life, &root, by("EventName", "CreateAccessKey")).remove(0);
    assert!(!key_made.to_string().contains(&secret) && key_made.to_string().contains(&id));
    let checked = apron_telemetry::verify_audit(life.audit_dir()).unwrap();
    assert!(checked.records > 8);
}
