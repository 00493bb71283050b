//! OpenID Connect: providers in IAM, roles assumed with tokens of this platform and of others.

#[path = "web_identity/issuer.rs"]
mod issuer;
#[path = "web_identity/marks.rs"]
mod marks;
#[path = "web_identity/rotation.rs"]
mod rotation;

use crate::root::Root;
use apron_aws::model;
use apron_testkit::{Answer, Life, World};
use issuer::{Issuer, Reply};
use serde_json::{Value, json};

const OWN: &str = "https://localhost:7400";
const OWN_ARN: &str = "arn:aws:iam::111122223333:oidc-provider/localhost:7400";
const ROLE: &str = "arn:aws:iam::111122223333:role/federated";
const SUBJECT: &str = "account:111122223333:service:demo:role:app";

impl Root<'_> {
    fn provider(&self, url: &str, audience: &str) {
        let input = json!({"Url": url, "ClientIDList": [audience]});
        let _ = self.iam("CreateOpenIDConnectProvider", input).ok();
    }

    /// A role that tokens of a provider may assume on a condition.
    fn federated(&self, provider: &str, condition: Value) {
        let trust = trust(
            "Federated",
            provider,
            "sts:AssumeRoleWithWebIdentity",
            condition,
        );
        let input = json!({"RoleName": "federated", "AssumeRolePolicyDocument": trust});
        let _ = self.iam("CreateRole", input).ok();
    }

    /// Asks for a session as nobody but the bearer of a token.
    fn assume(&self, token: &str) -> Answer {
        let input =
            json!({"RoleArn": ROLE, "RoleSessionName": "session", "WebIdentityToken": token});
        let operation = "AssumeRoleWithWebIdentity";
        self.life
            .wait_for(self.client.call_unsigned(model::sts(), operation, &input))
    }
}

fn trust(kind: &str, who: &str, action: &str, condition: Value) -> String {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {kind: who},
        "Action": action, "Condition": condition}]})
    .to_string()
}

/// A world whose instances get tokens, with an image to run.
fn world_with_instances() -> World {
    let mut world = World::new();
    world.settings.instance_endpoint = Some("https://169.254.170.2".to_owned());
    world.push("app", "v1", "one");
    world
}

/// A world that believes what is published at the address of another issuer.
fn world_that_asks(other: &Issuer) -> World {
    let mut world = World::new();
    world.authorities = vec![other.authority.clone()];
    world.private_issuers = true;
    world
}

#[test]
fn providers_are_kept() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = Root::of(&life);
    let arn = "arn:aws:iam::111122223333:oidc-provider/id.example.com/x";
    let named = json!({ "OpenIDConnectProviderArn": arn });
    let with = |name: &str, value: Value| json!({"OpenIDConnectProviderArn": arn, name: value});
    let print = "0123456789abcdef0123456789ABCDEF01234567";
    let input = json!({"Url": "https://id.example.com/x", "ClientIDList": ["a"], "ThumbprintList": [print],
        "Tags": [{"Key": "team", "Value": "one"}]});
    let made = root.iam("CreateOpenIDConnectProvider", input.clone()).ok();
    assert_eq!(made.text("OpenIDConnectProviderArn"), arn);
    root.iam("CreateOpenIDConnectProvider", input).refused(
        "EntityAlreadyExists",
        "https://id.example.com/x already exists",
    );
    root.iam(
        "CreateOpenIDConnectProvider",
        json!({"Url": "http://id.example.com"}),
    )
    .refused("InvalidInput", "Invalid Open ID Connect Provider URL");
    for _ in 0..2 {
        let _ = root
            .iam(
                "AddClientIDToOpenIDConnectProvider",
                with("ClientID", json!("b")),
            )
            .ok();
    }
    let remove = "RemoveClientIDFromOpenIDConnectProvider";
    let _ = root.iam(remove, with("ClientID", json!("a"))).ok();
    let tags = json!([{"Key": "TEAM", "Value": "two"}]);
    let _ = root
        .iam("TagOpenIDConnectProvider", with("Tags", tags))
        .ok();
    let update = "UpdateOpenIDConnectProviderThumbprint";
    root.iam(update, with("ThumbprintList", json!(["x".repeat(40)])))
        .refused("InvalidInput", "hexadecimal");
    // What is stored outlives the run.
    life.kill();
    let life = Life::begin(&world);
    let root = Root::of(&life);
    let read = root.iam("GetOpenIDConnectProvider", named.clone()).ok();
    assert_eq!(read.text("Url"), "id.example.com/x");
    assert!(
        read.body
            .contains("<ClientIDList><member>b</member></ClientIDList>"),
        "{}",
        read.body
    );
    assert!(read.body.contains(&print.to_lowercase()), "{}", read.body);
    let listed = root
        .iam("ListOpenIDConnectProviderTags", named.clone())
        .ok();
    assert!(
        listed.body.contains("<Key>TEAM</Key><Value>two</Value>") && !listed.body.contains("one")
    );
    let listed = root.iam("ListOpenIDConnectProviders", json!({})).ok();
    assert_eq!(listed.text("Arn"), arn);
    for _ in 0..2 {
        let _ = root.iam("DeleteOpenIDConnectProvider", named.clone()).ok();
    }
    root.iam("GetOpenIDConnectProvider", named)
        .refused("NoSuchEntity", "OpenIDConnect Provider not found for arn");
}

/// A service `demo` with an instance role, whose instances assume this role with tokens; answers its ARN.
fn create(root: &Root<'_>, tag: &str) -> String {
    let condition = json!({});
    let trust = trust(
        "Service",
        "tasks.apprunner.amazonaws.com",
        "sts:AssumeRole",
        condition,
    );
    let role = json!({"RoleName": "app", "AssumeRolePolicyDocument": trust});
    let _ = root.iam("CreateRole", role).ok();
    let input = json!({
        "ServiceName": "demo",
        "SourceConfiguration": {"ImageRepository": {
            "ImageIdentifier": "localhost:7400/app:v1", "ImageRepositoryType": "ECR"}},
        "InstanceConfiguration": {"InstanceRoleArn": "arn:aws:iam::111122223333:role/app"},
        "Tags": [{"Key": "apron:web-identity", "Value": tag}],
    });
    let made = root.life.call("CreateService", input).unwrap();
    let arn = made["Service"]["ServiceArn"].as_str().unwrap().to_owned();
    assert_eq!(root.life.settle(&arn), "RUNNING");
    arn
}

/// The token of the only instance, after a look at what the application is told of it.
fn token_of_the_instance(world: &World, life: &Life) -> String {
    let instance = life.stored_instances()[0].id.clone();
    let spec = world.instances.spec(&instance).unwrap();
    let told = |name: &str| spec.defaults.get(name).map(String::as_str);
    assert_eq!(told("AWS_ROLE_ARN"), Some(ROLE));
    assert_eq!(
        told("AWS_WEB_IDENTITY_TOKEN_FILE"),
        Some("/etc/apron/identity/token")
    );
    assert_eq!(told("AWS_ROLE_SESSION_NAME"), Some(instance.as_str()));
    // The role is in this account, so it is assumed here.
    assert_eq!(told("AWS_ENDPOINT_URL"), Some("https://169.254.170.2"));
    spec.identity_token.unwrap()
}

#[test]
fn an_instance_assumes_a_role_with_its_token() {
    let world = world_with_instances();
    let life = Life::begin(&world);
    let root = Root::of(&life);
    root.federated(
        OWN_ARN,
        json!({"StringEquals": {"localhost:7400:sub": SUBJECT, "localhost:7400:aud": "sts.amazonaws.com"}}),
    );
    create(&root, ROLE);
    let token = token_of_the_instance(&world, &life);

    // Nobody is believed whom IAM does not know.
    root.assume(&token).refused(
        "InvalidIdentityToken",
        "No OpenIDConnect provider found in your account for https://localhost:7400",
    );
    root.provider(OWN, "somebody");
    root.assume(&token)
        .refused("InvalidIdentityToken", "Incorrect token audience");
    let audience = json!({"OpenIDConnectProviderArn": OWN_ARN, "ClientID": "sts.amazonaws.com"});
    let _ = root
        .iam("AddClientIDToOpenIDConnectProvider", audience)
        .ok();
    let assumed = root.assume(&token).ok();
    assert_eq!(assumed.text("SubjectFromWebIdentityToken"), SUBJECT);
    assert_eq!(assumed.text("Provider"), OWN);
    let (key, secret) = (assumed.text("AccessKeyId"), assumed.text("SecretAccessKey"));
    let session = root
        .client
        .with_keys(&key, &secret, Some(&assumed.text("SessionToken")));
    let nothing = json!({});
    let who = life.wait_for(session.call(model::sts(), "GetCallerIdentity", &nothing));
    assert_eq!(
        who.ok().text("Arn"),
        "arn:aws:sts::111122223333:assumed-role/federated/session"
    );

    refusals_and_records(&root, &token);
}

/// What is refused to the bearer of a good token, and what is recorded of it.
fn refusals_and_records(root: &Root<'_>, token: &str) {
    // A changed token is no token, and a token of another service is not this one's.
    let changed = format!("{}AAAA", &token[..token.len() - 4]);
    root.assume(&changed)
        .refused("InvalidIdentityToken", "signature");
    let other = trust(
        "Federated",
        OWN_ARN,
        "sts:AssumeRoleWithWebIdentity",
        json!({"StringLike": {"localhost:7400:sub": "account:*:service:other:*"}}),
    );
    let input = json!({"RoleName": "federated", "PolicyDocument": other});
    let _ = root.iam("UpdateAssumeRolePolicy", input).ok();
    let denied = root.assume(token);
    denied.refused(
        "AccessDenied",
        "Not authorized to perform sts:AssumeRoleWithWebIdentity",
    );
    assert_eq!(denied.status, 403);

    // The records name who asked, and hold no token.
    let look = json!({"LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": "AssumeRoleWithWebIdentity"}]});
    let events = root
        .call(model::cloudtrail(), "LookupEvents", look)
        .ok()
        .body;
    assert!(
        events.contains("WebIdentityUser") && events.contains(SUBJECT),
        "{events}"
    );
    assert!(!events.contains(&token[..40]), "{events}");
}

#[test]
fn a_role_elsewhere_leads_to_the_real_aws_and_tokens_need_an_instance_role() {
    let world = world_with_instances();
    let life = Life::begin(&world);
    let root = Root::of(&life);
    let elsewhere = "arn:aws:iam::999988887777:role/shop";
    create(&root, elsewhere);
    let spec = world
        .instances
        .spec(&life.stored_instances()[0].id)
        .unwrap();
    assert_eq!(
        spec.defaults.get("AWS_ROLE_ARN").map(String::as_str),
        Some(elsewhere)
    );
    assert!(!spec.defaults.contains_key("AWS_ENDPOINT_URL") && !spec.trusts_platform);
    assert!(
        spec.env
            .contains_key("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    );

    let plain = life.create("plain", "localhost:7400/app:v1");
    let tags = json!([{"Key": "apron:web-identity", "Value": elsewhere}]);
    let input = json!({"ResourceArn": plain, "Tags": tags});
    let (code, message) = life.call("TagResource", input).unwrap_err();
    assert_eq!(code, "InvalidRequestException");
    assert!(message.contains("InstanceRoleArn"), "{message}");
}

#[test]
fn tokens_of_others_are_believed_by_their_published_keys() {
    let other = Issuer::begin();
    let world = world_that_asks(&other);
    let life = Life::begin(&world);
    let root = Root::of(&life);
    root.provider(&other.url, "apron");
    let name = other.url.trim_start_matches("https://");
    let arn = format!("arn:aws:iam::111122223333:oidc-provider/{name}");
    let condition = json!({"StringEquals": {format!("{name}:sub"): "repo:one", format!("{name}:aud"): "apron"}});
    root.federated(&arn, condition);
    let now = other.now();
    let claims = |sub: &str, aud: &str, from: u64, until: u64| json!({"iss": other.url, "sub": sub, "aud": aud, "iat": from, "exp": until});
    let good = claims("repo:one", "apron", now, now + 600);
    let answer = root.assume(&other.sign(&good)).ok();
    assert_eq!(answer.text("Audience"), "apron");
    root.assume(&other.sign(&claims("repo:two", "apron", now, now + 600)))
        .refused("AccessDenied", "Not authorized");
    root.assume(&other.sign(&claims("repo:one", "else", now, now + 600)))
        .refused("InvalidIdentityToken", "audience");
    let expired = root.assume(&other.sign(&claims("repo:one", "apron", now - 700, now - 100)));
    expired.refused("ExpiredTokenException", "Token expired: current date/time");
    assert_eq!(expired.status, 400);
    root.assume(&other.sign(&claims("repo:one", "apron", now + 7_000, now + 9_000)))
        .refused("IDPRejectedClaim", "not valid before");
    root.assume(&other.sign_as("another", &good))
        .refused("InvalidIdentityToken", "retrieve verification key");
    root.assume("not.a.token")
        .refused("InvalidIdentityToken", "not a valid JWT");
    // One look at the issuer was enough for all of them.
    assert_eq!(other.asked(), 2);

    // A signature changes nothing, and nothing else is done unsigned.
    let input = json!({"RoleArn": ROLE, "RoleSessionName": "session", "WebIdentityToken": other.sign(&good)});
    let signed = root
        .call(model::sts(), "AssumeRoleWithWebIdentity", input)
        .ok();
    assert_eq!(signed.text("SubjectFromWebIdentityToken"), "repo:one");
    let nothing = json!({});
    for (model, operation) in [
        (model::sts(), "GetCallerIdentity"),
        (model::iam(), "ListUsers"),
    ] {
        let answer = life.wait_for(root.client.call_unsigned(model, operation, &nothing));
        answer.refused(
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        );
        assert_eq!(answer.status, 403);
    }
}

#[test]
fn issuers_that_cannot_be_asked_are_not_believed() {
    for (reply, private, part) in [
        (Reply::Good, false, "no public address"),
        (Reply::Redirect, true, "302"),
        (Reply::TooMuch, true, "cannot be read"),
        (Reply::OtherIssuer, true, "document of another issuer"),
    ] {
        let mut world = World::new();
        let other = Issuer::replying(reply);
        world.authorities = vec![other.authority.clone()];
        world.private_issuers = private;
        let life = Life::begin(&world);
        let root = Root::of(&life);
        root.provider(&other.url, "apron");
        let now = other.now();
        let claims =
            json!({"iss": other.url, "sub": "s", "aud": "apron", "iat": now, "exp": now + 600});
        for _ in 0..3 {
            root.assume(&other.sign(&claims))
                .refused("IDPCommunicationError", part);
        }
        assert_eq!(other.asked(), usize::from(private), "{part}");
    }
}
