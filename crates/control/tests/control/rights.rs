//! Rights that are asked besides those of the caller's own action: of roles, of keys, of those whom a role is passed to.

use crate::source;
use apron_aws::{Model, model};
use apron_control::clock::{Clock, Machine};
use apron_control::iam::{Session, SessionHolder, Tags};
use apron_testkit::{Answer, Client, Life, World};
use serde_json::{Value, json};

const ROLE: &str = "arn:aws:iam::111122223333:role/app";

/// The API as somebody sees it, without waiting.
struct As<'a> {
    life: &'a Life,
    client: Client,
}

impl<'a> As<'a> {
    fn root(life: &'a Life) -> As<'a> {
        let client = life.root();
        As { life, client }
    }

    fn call(&self, model: &Model, operation: &str, input: Value) -> Answer {
        let call = self.client.call(model, operation, &input);
        self.life.wait_for(call)
    }

    fn ok(&self, model: &Model, operation: &str, input: Value) -> Answer {
        self.call(model, operation, input).ok()
    }

    /// A user with these statements.
    fn user(&self, name: &str, statements: Value) -> As<'a> {
        let _ = self.ok(model::iam(), "CreateUser", json!({"UserName": name}));
        let policy =
            json!({"UserName": name, "PolicyName": "p", "PolicyDocument": document(statements)});
        let _ = self.ok(model::iam(), "PutUserPolicy", policy);
        let made = self.ok(model::iam(), "CreateAccessKey", json!({"UserName": name}));
        let (key, secret) = (made.text("AccessKeyId"), made.text("SecretAccessKey"));
        As {
            life: self.life,
            client: self.client.with_keys(&key, &secret, None),
        }
    }

    /// The role `app` for a service of App Runner, without rights.
    fn role(&self, service: &str) {
        let trust = json!([{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]);
        let input = json!({"RoleName": "app", "AssumeRolePolicyDocument": document(trust)});
        let _ = self.ok(model::iam(), "CreateRole", input);
    }

    fn permit(&self, actions: &[&str]) {
        let statements = json!([{"Effect": "Allow", "Action": actions, "Resource": "*"}]);
        let input =
            json!({"RoleName": "app", "PolicyName": "p", "PolicyDocument": document(statements)});
        let _ = self.ok(model::iam(), "PutRolePolicy", input);
    }
}

fn document(statements: Value) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

fn image_service(access: Option<&str>, instance: Option<&str>) -> Value {
    let mut input = json!({
        "ServiceName": "demo",
        "SourceConfiguration": {"AutoDeploymentsEnabled": false, "ImageRepository": {
            "ImageIdentifier": "localhost:7400/app:v1", "ImageRepositoryType": "ECR"}},
    });
    if let Some(role) = access {
        input["SourceConfiguration"]["AuthenticationConfiguration"] =
            json!({"AccessRoleArn": role});
    }
    if let Some(role) = instance {
        input["InstanceConfiguration"] = json!({"InstanceRoleArn": role});
    }
    input
}

#[test]
fn an_access_role_that_loses_its_rights_fails_the_next_pull() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = As::root(&life);
    let _ = root.ok(
        model::ecr(),
        "CreateRepository",
        json!({"repositoryName": "app"}),
    );
    world.push("app", "v1", "one");
    root.role("build.apprunner.amazonaws.com");
    root.permit(&["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]);
    let made = life
        .call("CreateService", image_service(Some(ROLE), None))
        .unwrap();
    let arn = made["Service"]["ServiceArn"].as_str().unwrap().to_owned();
    assert_eq!(life.settle(&arn), "RUNNING");
    root.permit(&["ecr:BatchGetImage"]);
    life.call("StartDeployment", json!({"ServiceArn": arn}))
        .unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    let operation = life.newest_operation(&arn);
    assert_ne!(operation["Status"], "SUCCEEDED", "{operation}");
    let id = life.describe(&arn)["ServiceId"]
        .as_str()
        .unwrap()
        .to_owned();
    let group = format!("/aws/apprunner/demo/{id}/service");
    let events = world.messages(&group, "events").join("\n");
    let reason = "is not authorized to perform: ecr:GetDownloadUrlForLayer on resource: \
                  arn:aws:ecr:us-east-1:111122223333:repository/app";
    assert!(events.contains(reason), "{events}");
    root.permit(&["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]);
    life.call("StartDeployment", json!({"ServiceArn": arn}))
        .unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    assert_eq!(life.newest_operation(&arn)["Status"], "SUCCEEDED");
}

#[test]
fn who_may_not_pass_a_role_may_not_give_it_to_a_service() {
    let world = World::new();
    world.push("app", "v1", "one");
    let life = Life::begin(&world);
    let root = As::root(&life);
    root.role("tasks.apprunner.amazonaws.com");
    let all = json!([{"Effect": "Allow", "Action": "apprunner:*", "Resource": "*"}]);
    let ann = root.user("ann", all);
    let create = || {
        ann.call(
            model::apprunner(),
            "CreateService",
            image_service(None, Some(ROLE)),
        )
    };
    let reason = format!("is not authorized to perform: iam:PassRole on resource: {ROLE}");
    create().refused("AccessDeniedException", &reason);
    let listed = root
        .ok(model::apprunner(), "ListServices", json!({}))
        .json();
    assert_eq!(listed["ServiceSummaryList"], json!([]), "nothing was made");
    let pass = |service: &str| {
        let statements = json!([
            {"Effect": "Allow", "Action": "apprunner:*", "Resource": "*"},
            {"Effect": "Allow", "Action": "iam:PassRole", "Resource": ROLE,
             "Condition": {"StringEquals": {"iam:PassedToService": service}}}]);
        let input =
            json!({"UserName": "ann", "PolicyName": "p", "PolicyDocument": document(statements)});
        let _ = root.ok(model::iam(), "PutUserPolicy", input);
    };
    pass("lambda.amazonaws.com");
    create().refused("AccessDeniedException", &reason);
    pass("apprunner.amazonaws.com");
    let _ = create().ok();
}

#[test]
fn a_session_that_has_ended_is_told_so_in_every_protocol() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = As::root(&life);
    let identities = life.engine().authorizer.identities().clone();
    let now = Machine.now();
    let session = |expires: apron_domain::Millis| Session {
        holder: SessionHolder::Root,
        issued: now,
        expires,
        policy: None,
        policy_arns: Vec::new(),
        tags: Tags::new(),
        transitive: Vec::new(),
        source_identity: None,
    };
    let ask = |expires: apron_domain::Millis, model: &Model, operation: &str| {
        let made = identities.issue(session(expires), &Machine);
        let (secret, token) = (made.secret.reveal(), made.token.reveal());
        let client = root
            .client
            .with_keys(&made.access_key_id, secret, Some(token));
        life.wait_for(client.call(model, operation, &json!({})))
    };
    for (model, operation, code) in [
        (
            model::sts(),
            "GetCallerIdentity",
            "<Code>ExpiredToken</Code>",
        ),
        (model::apprunner(), "ListServices", "ExpiredTokenException"),
        (
            model::ecr(),
            "DescribeRepositories",
            "ExpiredTokenException",
        ),
    ] {
        let _ = ask(now.plus(600_000), model, operation).ok();
        let ended = ask(now, model, operation);
        ended.refused(
            code,
            "The security token included in the request is expired",
        );
        assert_eq!(ended.status, 403, "{operation}");
    }
}

#[test]
fn policies_of_keys_know_the_context_and_the_service_in_between() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = As::root(&life);
    let key = root.ok(model::kms(), "CreateKey", json!({})).json();
    let arn = key["KeyMetadata"]["Arn"].as_str().unwrap();
    let on_context = json!([{"Effect": "Allow", "Action": ["kms:Encrypt", "kms:Decrypt"], "Resource": arn,
        "Condition": {"StringEquals": {"kms:EncryptionContext:app": "one"},
            "ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["app"]}}}]);
    let ann = root.user("ann", on_context);
    let encrypt = |context: Value| {
        let input = json!({"KeyId": arn, "Plaintext": "aHVzaA==", "EncryptionContext": context});
        ann.call(model::kms(), "Encrypt", input)
    };
    let sealed = encrypt(json!({"app": "one"})).ok().json();
    let mut opened =
        json!({"CiphertextBlob": sealed["CiphertextBlob"], "EncryptionContext": {"app": "one"}});
    let _ = ann.ok(model::kms(), "Decrypt", opened.clone());
    opened["EncryptionContext"] = json!({});
    ann.call(model::kms(), "Decrypt", opened)
        .refused("AccessDeniedException", "kms:Decrypt");
    for context in [
        json!({}),
        json!({"app": "two"}),
        json!({"app": "one", "more": "x"}),
    ] {
        encrypt(context).refused("AccessDeniedException", "kms:Encrypt");
    }

    // The key is for Secrets Manager alone, and of its secrets for one.
    let all =
        json!([{"Effect": "Allow", "Action": ["kms:*", "secretsmanager:*"], "Resource": "*"}]);
    let bob = root.user("bob", all);
    let policy = document(json!([
        {"Sid": "Account", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
         "Action": "kms:*", "Resource": "*"},
        {"Effect": "Deny", "Principal": {"AWS": "arn:aws:iam::111122223333:user/bob"},
         "Action": ["kms:GenerateDataKey", "kms:Decrypt"], "Resource": "*",
         "Condition": {"StringNotEquals": {"kms:ViaService": "secretsmanager.us-east-1.amazonaws.com"}}},
        {"Effect": "Deny", "Principal": {"AWS": "arn:aws:iam::111122223333:user/bob"},
         "Action": ["kms:GenerateDataKey", "kms:Decrypt"], "Resource": "*",
         "Condition": {"StringNotLike": {"kms:EncryptionContext:SecretARN": "*:secret:db-*"}}},
    ]));
    let put = json!({"KeyId": arn, "PolicyName": "default", "Policy": policy});
    let _ = root.ok(model::kms(), "PutKeyPolicy", put);
    let direct = json!({"KeyId": arn, "KeySpec": "AES_256"});
    bob.call(model::kms(), "GenerateDataKey", direct)
        .refused("AccessDeniedException", "explicit deny");
    let secret = |name: &str| json!({"Name": name, "SecretString": "v", "KmsKeyId": arn});
    let _ = bob.ok(model::secretsmanager(), "CreateSecret", secret("db"));
    let read = bob.ok(
        model::secretsmanager(),
        "GetSecretValue",
        json!({"SecretId": "db"}),
    );
    assert_eq!(read.json()["SecretString"], "v");
    let other = bob.call(model::secretsmanager(), "CreateSecret", secret("other"));
    assert!(
        other.status == 400 && other.body.contains("kms:GenerateDataKey"),
        "{other:?}"
    );
}

#[test]
fn secrets_that_the_source_code_names_are_read_with_the_instance_role() {
    let world = World::new();
    source::repository(&world, "demo");
    let life = Life::begin(&world);
    let root = As::root(&life);
    root.role("tasks.apprunner.amazonaws.com");
    let input = json!({"Name": "db", "SecretString": json!({"password": "hush"}).to_string()});
    let made = root
        .ok(model::secretsmanager(), "CreateSecret", input)
        .json();
    let secret = made["ARN"].as_str().unwrap();
    life.commit(
        "demo",
        "app/secrets",
        &format!("PASSWORD={secret}:password::"),
    );
    let create = || {
        let arn = source::create_with(
            &life,
            "demo",
            &json!({ "SourceDirectory": "/app" }),
            &json!({"InstanceConfiguration": {"InstanceRoleArn": ROLE}}),
        );
        let status = life.settle(&arn);
        (arn, status)
    };
    let (arn, status) = create();
    assert_eq!(status, "CREATE_FAILED");
    let events = source::log(&world, &life, &arn, "events");
    let reason = "is not authorized to perform: secretsmanager:GetSecretValue";
    assert!(
        events.contains("PASSWORD") && events.contains(reason),
        "{events}"
    );
    assert!(!events.contains("hush"));
    life.call("DeleteService", json!({"ServiceArn": arn}))
        .unwrap();
    life.eventually("the service to go", || {
        let gone = life.describe(&arn)["Status"] == "DELETED";
        gone.then_some(())
    });
    root.permit(&["secretsmanager:GetSecretValue"]);
    let (arn, status) = create();
    assert_eq!(status, "RUNNING");
    let spec = source::spec(&world, &life);
    assert_eq!(spec.env["PASSWORD"], "hush");
    // What the file names is not what the caller configured, and no value is shown.
    assert!(!life.describe(&arn).to_string().contains("hush"));
}
