//! Decisions from several policies, and what is said about them.

use crate::principals::assume;
use crate::world::{
    ACCOUNT, OTHER, Question, ask, explicit_in, identity, managed, missing, named, on_resource,
    root, service_arn, session, trust, user, with_resource, with_trust,
};
use apron_aws::Arn;
use apron_aws::policy::{Caller, Decision, Grant, Layer, Layers, Policy, owner_of};
use serde_json::{Value, json};

const ACTION: &str = "apprunner:DeleteService";
pub const ANN: &str = "arn:aws:iam::111122223333:user/ann";
pub const WORK: &str = "arn:aws:iam::111122223333:role/jobs";
pub const NOW: &str = "arn:aws:sts::111122223333:assumed-role/jobs/now";

pub fn question(caller: &Caller) -> Question {
    ask(caller, ACTION, &service_arn("app/1"))
}

pub fn allow() -> Policy {
    managed(json!({"Sid": "All", "Effect": "Allow", "Action": "*", "Resource": "*"}))
}

fn deny() -> Policy {
    managed(json!({"Sid": "None", "Effect": "Deny", "Action": "*", "Resource": "*"}))
}

pub fn other() -> Policy {
    managed(json!({"Effect": "Allow", "Action": "iam:*", "Resource": "*"}))
}

/// A policy of the resource that allows these principals everything.
pub fn for_principal(effect: &str, principal: Value) -> Policy {
    on_resource(json!({"Effect": effect, "Principal": principal, "Action": "*", "Resource": "*"}))
}

pub fn federated() -> Caller {
    Caller::FederatedUser {
        issuer: ANN.parse::<Arn>().unwrap(),
        name: "guest".to_owned(),
    }
}

#[test]
fn nothing_is_allowed_by_nothing() {
    let none = Layers::default();
    assert_eq!(
        question(&user(ACCOUNT, "ann")).decide(&none),
        missing(Layer::Identity)
    );
    assert_eq!(
        question(&session(ACCOUNT, "jobs", "now")).decide(&none),
        missing(Layer::Identity)
    );
    let service = Caller::Service {
        name: "tasks.apprunner.amazonaws.com".to_owned(),
    };
    assert_eq!(question(&service).decide(&none), missing(Layer::Resource));
    assert_eq!(
        question(&Caller::Anonymous).decide(&none),
        missing(Layer::Resource)
    );
    assert_eq!(
        question(&root(ACCOUNT)).decide(&none),
        Decision::Allowed(Grant::Root)
    );
    assert_eq!(
        question(&root(OTHER)).decide(&none),
        missing(Layer::Resource)
    );
}

#[test]
fn a_denial_in_any_layer_wins() {
    let (allow, deny) = (allow(), deny());
    let open = for_principal("Allow", json!("*"));
    let shut = for_principal("Deny", json!("*"));
    let full = || {
        let mut layers = with_resource(identity(&allow), &open);
        layers.boundary = Some(named("boundary", &allow));
        layers.session = Some(vec![named("session", &allow)]);
        layers.service_control = vec![vec![named("control", &allow)]];
        layers
    };
    let asked = question(&session(ACCOUNT, "jobs", "now"));
    assert!(asked.decide(&full()).is_allowed());
    let mut layers = full();
    layers.identity.push(named("identity 2", &deny));
    assert_eq!(explicit_in(&asked.decide(&layers)), Some(Layer::Identity));
    let mut layers = full();
    layers.boundary = Some(named("boundary", &deny));
    assert_eq!(explicit_in(&asked.decide(&layers)), Some(Layer::Boundary));
    let mut layers = full();
    layers.session = Some(vec![named("a", &allow), named("b", &deny)]);
    assert_eq!(explicit_in(&asked.decide(&layers)), Some(Layer::Session));
    let mut layers = full();
    layers
        .service_control
        .push(vec![named("a", &deny), named("b", &allow)]);
    assert_eq!(
        explicit_in(&asked.decide(&layers)),
        Some(Layer::ServiceControl)
    );
    let layers = with_resource(full(), &shut);
    assert_eq!(explicit_in(&asked.decide(&layers)), Some(Layer::Resource));
    // The root user, too.
    let layers = with_resource(Layers::default(), &shut);
    assert_eq!(
        explicit_in(&question(&root(ACCOUNT)).decide(&layers)),
        Some(Layer::Resource)
    );
}

#[test]
fn boundary_session_and_control_limit_what_the_identity_has() {
    let (allow, other) = (allow(), other());
    let asked = question(&session(ACCOUNT, "jobs", "now"));
    let mut layers = identity(&allow);
    layers.boundary = Some(named("boundary", &other));
    assert_eq!(asked.decide(&layers), missing(Layer::Boundary));
    layers.boundary = Some(named("boundary", &allow));
    assert!(asked.decide(&layers).is_allowed());
    layers.session = Some(vec![named("session", &other)]);
    assert_eq!(asked.decide(&layers), missing(Layer::Session));
    layers.session = Some(Vec::new());
    assert_eq!(asked.decide(&layers), missing(Layer::Session));
    layers.session = Some(vec![named("a", &other), named("b", &allow)]);
    assert!(asked.decide(&layers).is_allowed());
    layers.service_control = vec![
        vec![named("organisation", &allow)],
        vec![named("unit", &other)],
    ];
    assert_eq!(asked.decide(&layers), missing(Layer::ServiceControl));
    layers.service_control = vec![
        vec![named("organisation", &allow)],
        vec![named("unit", &allow)],
    ];
    assert!(asked.decide(&layers).is_allowed());
    // A boundary gives nothing.
    layers.identity = vec![named("identity", &other)];
    assert_eq!(asked.decide(&layers), missing(Layer::Identity));
    // The root user is under service control policies.
    let layers = Layers {
        service_control: vec![vec![named("unit", &other)]],
        ..Layers::default()
    };
    assert_eq!(
        question(&root(ACCOUNT)).decide(&layers),
        missing(Layer::ServiceControl)
    );
}

#[test]
fn another_accounts_resource_needs_both_sides() {
    let (allow, other) = (allow(), other());
    let ann = user(OTHER, "ann");
    for principal in [
        json!("*"),
        json!({"AWS": OTHER}),
        json!({"AWS": "arn:aws:iam::444455556666:user/ann"}),
    ] {
        let open = for_principal("Allow", principal);
        assert_eq!(
            question(&ann).decide(&with_resource(identity(&other), &open)),
            missing(Layer::Identity)
        );
        assert!(
            question(&ann)
                .decide(&with_resource(identity(&allow), &open))
                .is_allowed()
        );
        let mut limited = with_resource(identity(&allow), &open);
        limited.boundary = Some(named("boundary", &other));
        assert_eq!(question(&ann).decide(&limited), missing(Layer::Boundary));
        limited.boundary = None;
        limited.session = Some(vec![named("session", &other)]);
        assert_eq!(question(&ann).decide(&limited), missing(Layer::Session));
    }
    let closed = for_principal("Allow", json!({"AWS": ACCOUNT}));
    assert_eq!(
        question(&ann).decide(&with_resource(identity(&allow), &closed)),
        missing(Layer::Resource)
    );
    assert_eq!(
        question(&ann).decide(&identity(&allow)),
        missing(Layer::Resource)
    );
    let open = for_principal("Allow", json!({"AWS": OTHER}));
    assert!(
        question(&root(OTHER))
            .decide(&with_resource(Layers::default(), &open))
            .is_allowed()
    );
}

#[test]
fn decisions_name_the_statement() {
    let policy = managed(json!([
        {"Effect": "Allow", "Action": "ecr:*", "Resource": "*"},
        {"Sid": "Apps", "Effect": "Allow", "Action": "apprunner:*", "Resource": "*"}]));
    let ann = question(&user(ACCOUNT, "ann"));
    let mut layers = identity(&policy);
    layers.identity[0].name = "arn:aws:iam::111122223333:policy/apps";
    let Decision::Allowed(Grant::Statements(names)) = ann.decide(&layers) else {
        panic!("not allowed");
    };
    assert_eq!(names.len(), 1);
    assert_eq!(
        (names[0].index, names[0].sid.as_deref(), names[0].layer),
        (1, Some("Apps"), Layer::Identity)
    );
    assert_eq!(
        ann.decide(&layers).to_string(),
        "allowed: Allow of identity-based policy arn:aws:iam::111122223333:policy/apps, Statement[1] (Apps)"
    );
    let deny = deny();
    layers.boundary = Some(named("boundary", &deny));
    assert_eq!(
        ann.decide(&layers).to_string(),
        "denied: Deny of permissions boundary boundary, Statement[0] (None)"
    );
    assert_eq!(
        ann.decide(&Layers::default()).to_string(),
        "denied: no identity-based policy allows it"
    );
    assert_eq!(
        question(&root(ACCOUNT))
            .decide(&Layers::default())
            .to_string(),
        "allowed: root user of the account"
    );
}

#[test]
fn messages_are_those_that_are_published() {
    let (allow, deny, other) = (allow(), deny(), other());
    let start = "User: arn:aws:iam::111122223333:user/ann is not authorized to perform: apprunner:DeleteService on resource: arn:aws:apprunner:us-east-1:111122223333:service/app/1";
    let ann = question(&user(ACCOUNT, "ann"));
    let check =
        |layers: &Layers<'_>, end: &str| assert_eq!(ann.message(layers), format!("{start} {end}"));
    check(
        &identity(&other),
        "because no identity-based policy allows the apprunner:DeleteService action",
    );
    check(
        &identity(&deny),
        "with an explicit deny in an identity-based policy",
    );
    let mut layers = identity(&allow);
    layers.boundary = Some(named("b", &other));
    check(
        &layers,
        "because no permissions boundary allows the apprunner:DeleteService action",
    );
    layers.boundary = Some(named("b", &deny));
    check(&layers, "with an explicit deny in a permissions boundary");
    layers.boundary = None;
    layers.session = Some(vec![named("s", &other)]);
    check(
        &layers,
        "because no session policy allows the apprunner:DeleteService action",
    );
    layers.session = Some(vec![named("s", &deny)]);
    check(&layers, "with an explicit deny in a session policy");
    layers.session = None;
    layers.service_control = vec![vec![named("c", &other)]];
    check(
        &layers,
        "because no service control policy allows the apprunner:DeleteService action",
    );
    layers.service_control = vec![vec![named("c", &deny)]];
    check(&layers, "with an explicit deny in a service control policy");
    let shut = for_principal("Deny", json!("*"));
    check(
        &with_resource(identity(&allow), &shut),
        "with an explicit deny in a resource-based policy",
    );
    let foreign = question(&user(OTHER, "ann")).message(&identity(&allow));
    assert!(
        foreign.ends_with(
            "because no resource-based policy allows the apprunner:DeleteService action"
        )
    );
    let closed = trust(json!({"Effect": "Deny", "Principal": "*", "Action": "sts:*"}));
    let asked = assume(&session(ACCOUNT, "other", "x"), "sts:AssumeRole");
    assert_eq!(
        asked.message(&with_trust(identity(&allow), &closed)),
        "User: arn:aws:sts::111122223333:assumed-role/other/x is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::111122223333:role/jobs with an explicit deny in the role trust policy"
    );
    let foreign = trust(json!({"Effect": "Allow", "Principal": {"AWS": OTHER}, "Action": "sts:*"}));
    assert!(
        asked
            .message(&with_trust(identity(&allow), &foreign))
            .ends_with("because no role trust policy allows the sts:AssumeRole action")
    );
}

#[test]
fn a_document_without_principals_is_no_policy_of_a_resource() {
    let (allow, deny) = (allow(), deny());
    for caller in [user(OTHER, "ann"), user(ACCOUNT, "ann"), Caller::Anonymous] {
        let decision = question(&caller).decide(&with_resource(Layers::default(), &allow));
        assert!(!decision.is_allowed(), "{caller:?}");
        let decision = question(&caller).decide(&with_trust(Layers::default(), &allow));
        assert!(!decision.is_allowed(), "{caller:?}");
    }
    let decision = question(&root(ACCOUNT)).decide(&with_resource(Layers::default(), &deny));
    assert_eq!(explicit_in(&decision), Some(Layer::Resource));
}

#[test]
fn a_resource_belongs_to_the_account_in_its_name() {
    for (resource, expect) in [
        ("arn:aws:ecr:us-east-1:444455556666:repository/a", OTHER),
        ("arn:aws:s3:::bucket", ACCOUNT),
        ("arn:aws:iam::aws:policy/x", ACCOUNT),
        ("arn:aws:ecr:us-east-1:4444:x", ACCOUNT),
        ("*", ACCOUNT),
    ] {
        assert_eq!(owner_of(resource, ACCOUNT), expect, "{resource}");
    }
}
