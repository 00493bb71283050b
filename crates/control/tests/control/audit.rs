//! What was done is recorded before it is done, and can be looked up.

use apron_aws::model;
use apron_testkit::{ACCESS_KEY_ID, Client, Life, SECRET_ACCESS_KEY, World};
use axum::body::Body;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Request;
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

fn records(life: &Life, client: &Client, key: &str, value: &str) -> Vec<Value> {
    let events = lookup(life, client, by(key, value));
    let record = |it: &Value| serde_json::from_str(it["CloudTrailEvent"].as_str().unwrap());
    events.iter().map(|it| record(it).unwrap()).collect()
}

#[test]
fn what_nobody_signed_is_recorded_once_in_a_second() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = life.root();
    let nothing = json!({});
    for _ in 0..50 {
        let answer = root.call_unsigned(model::iam(), "ListUsers", &nothing);
        life.wait_for(answer)
            .refused("MissingAuthenticationToken", "");
    }
    let unsigned = records(&life, &root, "EventName", "unknown");
    assert!(!unsigned.is_empty() && unsigned.len() < 50, "{unsigned:#?}");
    for record in &unsigned {
        assert_eq!(record["errorCode"], "MissingAuthenticationToken");
        assert_eq!(record["userIdentity"]["type"], "Unknown");
    }
}

#[test]
fn what_a_deployment_reads_for_the_application_is_recorded_as_its_roles() {
    let world = World::new();
    world.push("app", "v1", "one");
    let life = Life::begin(&world);
    let root = life.root();
    let ok = |model: &apron_aws::Model, operation: &str, input: Value| {
        life.wait_for(root.call(model, operation, &input)).ok()
    };
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"Service": "tasks.apprunner.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    let role = json!({"RoleName": "app", "AssumeRolePolicyDocument": trust.to_string()});
    let _ = ok(model::iam(), "CreateRole", role);
    let secret = json!({"Name": "db", "SecretString": "hush-of-the-database"});
    let made = ok(model::secretsmanager(), "CreateSecret", secret).json();
    let secret = made["ARN"].as_str().unwrap();
    let create = |name: &str| {
        let input = json!({
            "ServiceName": name,
            "SourceConfiguration": {"ImageRepository": {
                "ImageIdentifier": "localhost:7400/app:v1", "ImageRepositoryType": "ECR",
                "ImageConfiguration": {"RuntimeEnvironmentSecrets": {"PASSWORD": secret}}}},
            "InstanceConfiguration": {"InstanceRoleArn": "arn:aws:iam::111122223333:role/app"},
        });
        let made = life.call("CreateService", input).unwrap();
        life.settle(made["Service"]["ServiceArn"].as_str().unwrap())
    };
    assert_eq!(create("denied"), "CREATE_FAILED");
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}]});
    let policy =
        json!({"RoleName": "app", "PolicyName": "p", "PolicyDocument": policy.to_string()});
    let _ = ok(model::iam(), "PutRolePolicy", policy);
    assert_eq!(create("allowed"), "RUNNING");
    let read = records(&life, &root, "EventName", "GetSecretValue");
    assert_eq!(read.len(), 2, "{read:#?}");
    let (allowed, denied) = (&read[0], &read[1]);
    assert_eq!(denied["errorCode"], "AccessDeniedException");
    assert_eq!(allowed["errorCode"], Value::Null);
    assert_eq!(allowed["requestParameters"]["secretId"], secret);
    let issuer = &allowed["userIdentity"]["sessionContext"]["sessionIssuer"];
    assert_eq!(issuer["arn"], "arn:aws:iam::111122223333:role/app");
    assert!(!json!(read).to_string().contains("hush-of-the-database"));
}

#[test]
fn the_doors_of_git_and_of_webhooks_are_recorded() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = life.root();
    let fetch = |password: Option<&str>| {
        let uri = "/git/demo.git/info/refs?service=git-upload-pack";
        let mut request = Request::get(uri);
        if let Some(password) = password {
            let basic = BASE64_STANDARD.encode(format!("{ACCESS_KEY_ID}:{password}"));
            request = request.header("authorization", format!("Basic {basic}"));
        }
        let answered = life.git();
        let answered = answered.handle(request.body(Body::empty()).unwrap());
        life.wait_for(answered).status().as_u16()
    };
    // The question how to log in is no log-in.
    assert_eq!((fetch(None), fetch(Some("wrong"))), (401, 401));
    assert_eq!(
        fetch(Some(SECRET_ACCESS_KEY)),
        404,
        "nothing was pushed yet"
    );
    let fetched = records(&life, &root, "EventName", "GitFetch");
    assert_eq!(fetched.len(), 2, "{fetched:#?}");
    assert_eq!(fetched[0]["userIdentity"]["type"], "Root");
    assert_eq!(fetched[1]["errorCode"], "Unauthorized");
    assert_eq!(fetched[1]["requestParameters"]["repositoryName"], "demo");

    let connection = json!({"ConnectionName": "c", "ProviderType": "GITHUB"});
    let made = life.call("CreateConnection", connection).unwrap();
    let complete = json!({"ConnectionArn": made["Connection"]["ConnectionArn"]});
    let told = life.operate("CompleteConnection", complete).unwrap();
    let path = told["WebhookUrl"]
        .as_str()
        .unwrap()
        .trim_start_matches("https://localhost:7400");
    let hook = |token: &str| {
        let request = Request::post(path).header("x-gitlab-token", token);
        let answered = life.hooks();
        let answered = answered.handle(request.body(Body::from("{}")).unwrap());
        life.wait_for(answered).status().as_u16()
    };
    assert_eq!(hook("wrong"), 401);
    assert_eq!(hook(told["WebhookSecret"].as_str().unwrap()), 202);
    let hooked = records(&life, &root, "EventName", "Webhook");
    assert_eq!(hooked.len(), 2, "{hooked:#?}");
    assert_eq!(hooked[0]["userIdentity"]["invokedBy"], "webhook");
    assert_eq!(hooked[1]["errorCode"], "Unauthorized");
    assert!(
        !json!(hooked)
            .to_string()
            .contains(told["WebhookSecret"].as_str().unwrap())
    );
}
