//! Secrets in variables, instance roles and their credentials, and the keys of services.

use crate::root::Root;
use apron_aws::model;
use apron_compute::InstanceSpec;
use apron_control::instance_credentials::InstanceCredentials;
use apron_domain::InstanceId;
use apron_testkit::{Life, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const IMAGE: &str = "localhost:7400/app:v1";
const ROLE: &str = "arn:aws:iam::111122223333:role/app";
const MARKER: &str = "hush-of-the-database";
const ALLOWED: [&str; 3] = [
    "secretsmanager:GetSecretValue",
    "ssm:GetParameters",
    "kms:Decrypt",
];

impl Root<'_> {
    fn ok(&self, model: &apron_aws::Model, operation: &str, input: Value) -> Value {
        let body = self.call(model, operation, input).ok().body;
        serde_json::from_str(&body).unwrap_or(Value::Null)
    }

    /// The role of the application, with these actions on everything.
    fn role(&self, actions: &[&str]) {
        let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
            "Principal": {"Service": "tasks.apprunner.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
        let role = json!({"RoleName": "app", "AssumeRolePolicyDocument": trust.to_string()});
        self.ok(model::iam(), "CreateRole", role);
        self.permit(actions);
    }

    fn permit(&self, actions: &[&str]) {
        let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]});
        let policy =
            json!({"RoleName": "app", "PolicyName": "p", "PolicyDocument": policy.to_string()});
        self.ok(model::iam(), "PutRolePolicy", policy);
    }

    fn secret(&self, name: &str, value: &str) -> String {
        let input = json!({"Name": name, "SecretString": value});
        let made = self.ok(model::secretsmanager(), "CreateSecret", input);
        made["ARN"].as_str().unwrap().to_owned()
    }

    fn put_secret(&self, name: &str, value: &str) {
        let input = json!({"SecretId": name, "SecretString": value});
        self.ok(model::secretsmanager(), "PutSecretValue", input);
    }
}

fn service(secrets: Value, role: Option<&str>) -> Value {
    let mut input = json!({
        "ServiceName": "demo",
        "SourceConfiguration": {"ImageRepository": {
            "ImageIdentifier": IMAGE,
            "ImageRepositoryType": "ECR",
            "ImageConfiguration": {
                "RuntimeEnvironmentVariables": {"PLAIN": "seen"},
                "RuntimeEnvironmentSecrets": secrets,
            },
        }},
        "AutoScalingConfigurationArn": "arn:aws:apprunner:us-east-1:111122223333:autoscalingconfiguration/DefaultConfiguration",
    });
    if let Some(role) = role {
        input["InstanceConfiguration"] = json!({ "InstanceRoleArn": role });
    }
    input
}

fn create(life: &Life, input: Value) -> Result<String, (String, String)> {
    let made = life.call("CreateService", input)?;
    Ok(made["Service"]["ServiceArn"].as_str().unwrap().to_owned())
}

fn world() -> World {
    let world = World::new();
    world.push("app", "v1", "one");
    world
}

fn only_spec(world: &World, life: &Life) -> InstanceSpec {
    let stored = life.stored_instances();
    assert_eq!(stored.len(), 1);
    world.instances.spec(&stored[0].id).unwrap()
}

fn shows(world: &World, text: &str) -> bool {
    let files = std::fs::read_dir(world.store_dir()).unwrap();
    files.filter_map(Result::ok).any(|file| {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        bytes.windows(text.len()).any(|w| w == text.as_bytes())
    })
}

fn events(world: &World, life: &Life, arn: &str) -> String {
    let id = life.describe(arn)["ServiceId"].as_str().unwrap().to_owned();
    let group = format!("/aws/apprunner/demo/{id}/service");
    world.messages(&group, "events").join("\n")
}

#[test]
fn values_come_from_every_kind_of_reference_and_stay_with_their_revision() {
    let world = world();
    let life = Life::begin(&world);
    let root = Root::of(&life);
    root.role(&ALLOWED);
    let secret = root.secret(
        "app/db",
        &json!({"user": "ann", "password": MARKER}).to_string(),
    );
    let put = json!({"Name": "/app/token", "Type": "SecureString", "Value": "t0ken"});
    root.ok(model::ssm(), "PutParameter", put);
    let secrets = json!({
        "WHOLE": secret,
        "USER": format!("{secret}:user::"),
        "PASSWORD": format!("{secret}:password:AWSCURRENT:"),
        "TOKEN": "/app/token",
        "TOKEN_BY_ARN": "arn:aws:ssm:us-east-1:111122223333:parameter/app/token",
    });
    let arn = create(&life, service(secrets.clone(), Some(ROLE))).unwrap();
    assert_eq!(
        life.settle(&arn),
        "RUNNING",
        "{}",
        events(&world, &life, &arn)
    );
    let env = only_spec(&world, &life).env;
    for (name, value) in [
        ("USER", "ann"),
        ("PASSWORD", MARKER),
        ("TOKEN", "t0ken"),
        ("TOKEN_BY_ARN", "t0ken"),
        ("PLAIN", "seen"),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
    assert!(env["WHOLE"].contains(MARKER));
    let described = life.describe(&arn);
    let configuration = &described["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"];
    assert_eq!(configuration["RuntimeEnvironmentSecrets"], secrets);
    assert!(!described.to_string().contains(MARKER));
    assert!(!events(&world, &life, &arn).contains(MARKER));
    assert!(!shows(&world, MARKER));

    // The secret is gone, the control plane starts anew, an instance ends: its successor has the same values.
    let gone = json!({"SecretId": "app/db", "ForceDeleteWithoutRecovery": true});
    root.ok(model::secretsmanager(), "DeleteSecret", gone);
    let before = life.stored_instances()[0].id.clone();
    drop(root);
    life.kill();
    let life = Life::begin(&world);
    world.instances.kill(&before, 1);
    let replaced = life.eventually("another instance", || {
        let stored = life.stored_instances();
        let found = stored.into_iter().find(|i| i.id != before)?;
        world.instances.spec(&found.id)
    });
    assert_eq!(replaced.env["PASSWORD"], MARKER);
}

#[test]
fn what_cannot_be_read_fails_the_deployment_with_the_reason_and_an_update_repairs_it() {
    let world = world();
    let life = Life::begin(&world);
    let root = Root::of(&life);
    let secret = root.secret("app/db", r#"{"user": "ann"}"#);
    let without_role = create(&life, service(json!({"A": secret}), None)).unwrap_err();
    assert_eq!(without_role.0, "InvalidRequestException");
    assert!(
        without_role.1.contains("InstanceRoleArn is required"),
        "{}",
        without_role.1
    );
    root.role(&["s3:GetObject"]);
    for (name, text, part) in [
        ("A", "no reference", "neither the ARN of a secret"),
        (
            "A",
            "arn:aws:s3:::bucket",
            "neither a secret nor a parameter",
        ),
        ("PORT", "/app/x", "reserved"),
        ("PLAIN", "/app/x", "in RuntimeEnvironmentVariables and in"),
    ] {
        let refused = create(&life, service(json!({name: text}), Some(ROLE))).unwrap_err();
        assert_eq!(refused.0, "InvalidRequestException");
        assert!(refused.1.contains(part), "{}", refused.1);
    }
    let arn = create(
        &life,
        service(json!({"A": format!("{secret}:user::")}), Some(ROLE)),
    )
    .unwrap();
    assert_eq!(life.settle(&arn), "CREATE_FAILED");
    let story = events(&world, &life, &arn);
    for part in [
        "Failed to read the secrets of the service",
        "variable `A`",
        "is not authorized to perform: secretsmanager:GetSecretValue",
    ] {
        assert!(story.contains(part), "{part}: {story}");
    }
    root.permit(&ALLOWED);
    let tries = [
        (format!("{secret}:none::"), "has no key `none`"),
        (
            secret.replace("app/db", "app/none"),
            "can't find the specified secret",
        ),
        (format!("{secret}::OLD:"), "staging label: OLD"),
        ("/app/none".to_owned(), "there is no such parameter"),
    ];
    let update = |reference: &str| {
        let mut input = service(json!({ "A": reference }), Some(ROLE));
        input.as_object_mut().unwrap().remove("ServiceName");
        input["ServiceArn"] = json!(arn);
        life.call("UpdateService", input).unwrap();
        life.settle(&arn)
    };
    for (reference, part) in tries {
        assert_eq!(update(&reference), "CREATE_FAILED", "{reference}");
        let story = events(&world, &life, &arn);
        assert!(story.contains(part), "{part}: {story}");
    }
    assert_eq!(update(&format!("{secret}:user::")), "RUNNING");
    assert_eq!(only_spec(&world, &life).env["A"], "ann");
}

#[test]
fn a_changed_secret_rolls_the_services_that_want_that() {
    let world = world();
    let life = Life::begin(&world);
    let root = Root::of(&life);
    root.role(&ALLOWED);
    let secret = root.secret("one", "first");
    let mut input = service(json!({ "A": secret }), Some(ROLE));
    input["Tags"] = json!([{"Key": "apron:secret-refresh", "Value": "redeploy"}]);
    let arn = create(&life, input).unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    root.put_secret("one", "second");
    life.eventually("the new value", || {
        let stored = life.stored_instances();
        let specs = stored.iter().filter_map(|i| world.instances.spec(&i.id));
        specs
            .map(|spec| spec.env["A"].clone())
            .find(|value| value == "second")
    });
    life.eventually("the end of the deployment", || {
        (life.describe(&arn)["Status"] == "RUNNING" && life.stored_instances().len() == 1)
            .then_some(())
    });
    let story = events(&world, &life, &arn);
    assert!(story.contains("SERVICE_AUTO_DEPLOY"), "{story}");
    // Without the tag nothing happens by itself, and a deployment by hand brings the new value.
    let untag = json!({"ResourceArn": arn, "TagKeys": ["apron:secret-refresh"]});
    life.call("UntagResource", untag).unwrap();
    root.put_secret("one", "third");
    life.call("StartDeployment", json!({"ServiceArn": arn}))
        .unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    assert_eq!(only_spec(&world, &life).env["A"], "third");
}

/// Asks the endpoint for credentials from this address.
fn ask(endpoint: SocketAddr, from: IpAddr, path: &str) -> (u16, Value) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&endpoint.into()).unwrap();
    let mut stream = std::net::TcpStream::from(socket);
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: 169.254.170.2\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

/// A control plane whose instances may ask for credentials, and where.
fn with_door(world: &mut World) -> (Life, SocketAddr) {
    world.settings.instance_endpoint = Some("https://169.254.170.2".to_owned());
    let life = Life::begin(world);
    let credentials = InstanceCredentials::new(life.engine().clone());
    let listener = life.wait_for(tokio::net::TcpListener::bind("127.0.0.1:0"));
    let listener = listener.unwrap();
    let endpoint = listener.local_addr().unwrap();
    life.spawn(credentials.serve(listener));
    (life, endpoint)
}

fn address_of(life: &Life, id: &InstanceId) -> IpAddr {
    let status = life.engine().fleet.status(id).unwrap();
    status.address.unwrap().ip()
}

const CREDENTIALS: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";

#[test]
fn an_instance_with_a_role_is_told_where_the_platform_is() {
    let mut world = world();
    let (life, _) = with_door(&mut world);
    Root::of(&life).role(&ALLOWED);
    let arn = create(&life, service(json!({}), Some(ROLE))).unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    let spec = only_spec(&world, &life);
    let expected: BTreeMap<String, String> = [
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", "https://169.254.170.2"),
        ("AWS_CA_BUNDLE", apron_compute::TRUST_PATH),
        ("NODE_EXTRA_CA_CERTS", apron_compute::TRUST_PATH),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    assert_eq!((spec.defaults, spec.trusts_platform), (expected, true));
    assert!(spec.env.contains_key(CREDENTIALS));
    // A service that brings credentials of its own means another AWS, and one without a role is told of none.
    let mut own = service(json!({}), Some(ROLE));
    own["ServiceName"] = json!("own");
    own["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"]["RuntimeEnvironmentVariables"] =
        json!({ "AWS_ACCESS_KEY_ID": "AKIA" });
    let mut plain = service(json!({}), None);
    plain["ServiceName"] = json!("plain");
    let mut seen = vec![spec.id];
    for input in [own, plain] {
        let arn = create(&life, input).unwrap();
        assert_eq!(life.settle(&arn), "RUNNING");
        let stored = life.stored_instances().into_iter();
        let id = stored.map(|i| i.id).find(|id| !seen.contains(id)).unwrap();
        let spec = world.instances.spec(&id).unwrap();
        assert!(!spec.trusts_platform && !spec.defaults.contains_key("AWS_ENDPOINT_URL"));
        seen.push(id);
    }
}

#[test]
fn an_instance_gets_credentials_of_its_own_role() {
    let mut world = world();
    let (life, endpoint) = with_door(&mut world);
    let root = Root::of(&life);
    root.role(&["secretsmanager:GetSecretValue"]);
    let secret = root.secret("one", "first");
    let arn = create(&life, service(json!({}), Some(ROLE))).unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    let spec = only_spec(&world, &life);
    let (own, path) = (address_of(&life, &spec.id), &spec.env[CREDENTIALS]);
    let (status, given) = ask(endpoint, own, path);
    assert_eq!(status, 200, "{given}");
    let text = |name: &str| given[name].as_str().unwrap();
    assert!(text("AccessKeyId").starts_with("ASIA"));
    assert_eq!(text("RoleArn"), ROLE);
    assert!(text("Expiration").ends_with('Z'));
    assert_eq!(ask(endpoint, own, path).1, given, "the same for a while");
    let (key, secret_key) = (text("AccessKeyId"), text("SecretAccessKey"));
    let client = root.client.with_keys(key, secret_key, Some(text("Token")));
    let who = life.wait_for(client.call(model::sts(), "GetCallerIdentity", &json!({})));
    let session = format!("arn:aws:sts::111122223333:assumed-role/app/{}", spec.id);
    assert_eq!(who.ok().text("Arn"), session);
    let read = json!({ "SecretId": secret });
    let read = life.wait_for(client.call(model::secretsmanager(), "GetSecretValue", &read));
    assert!(read.ok().body.contains("first"));
    let denied = life.wait_for(client.call(model::secretsmanager(), "ListSecrets", &json!({})));
    assert!(denied.is_denied(), "{}", denied.body);
}

#[test]
fn nobody_gets_the_credentials_of_another_instance() {
    let mut world = world();
    let (life, endpoint) = with_door(&mut world);
    Root::of(&life).role(&ALLOWED);
    let arn = create(&life, service(json!({}), Some(ROLE))).unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    let one = only_spec(&world, &life).id;
    let mut plain = service(json!({}), None);
    plain["ServiceName"] = json!("plain");
    let plain = create(&life, plain).unwrap();
    assert_eq!(life.settle(&plain), "RUNNING");
    let stored = life.stored_instances().into_iter();
    let two = stored.map(|i| i.id).find(|id| *id != one).unwrap();
    let paths = &life.engine().credential_paths;
    let (at_one, at_two) = (address_of(&life, &one), address_of(&life, &two));
    let elsewhere = IpAddr::from(Ipv4Addr::new(127, 1, 99, 99));
    for (from, path, status) in [
        (at_one, paths.of(&one), 200),
        (elsewhere, paths.of(&one), 403),
        (at_two, paths.of(&one), 403),
        (at_one, paths.of(&two), 403),
        (at_one, "/v2/credentials/00".to_owned(), 403),
        (at_one, "/".to_owned(), 403),
        // It is who it says, and its service has no role.
        (at_two, paths.of(&two), 404),
    ] {
        assert_eq!(ask(endpoint, from, &path).0, status, "{from} {path}");
    }
}

#[test]
fn the_key_of_a_service_has_to_be_in_use_to_deploy_it() {
    let world = world();
    let life = Life::begin(&world);
    let root = Root::of(&life);
    root.role(&ALLOWED);
    let key = root.ok(model::kms(), "CreateKey", json!({}));
    let key = key["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    let mut input = service(json!({"A": root.secret("one", "first")}), Some(ROLE));
    input["EncryptionConfiguration"] = json!({"KmsKey": "arn:aws:kms:us-east-1:111122223333:key/00000000-0000-4000-8000-000000000000"});
    let refused = create(&life, input.clone()).unwrap_err();
    assert!(refused.1.contains("does not exist"), "{}", refused.1);
    input["EncryptionConfiguration"] = json!({ "KmsKey": key });
    let arn = create(&life, input).unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    assert_eq!(
        life.describe(&arn)["EncryptionConfiguration"]["KmsKey"],
        json!(key)
    );
    root.ok(model::kms(), "DisableKey", json!({ "KeyId": key }));
    life.call("StartDeployment", json!({ "ServiceArn": arn }))
        .unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    let story = events(&world, &life, &arn);
    assert!(
        story.contains("the key of the service's EncryptionConfiguration cannot be used"),
        "{story}"
    );
    assert_eq!(only_spec(&world, &life).env["A"], "first");
}
