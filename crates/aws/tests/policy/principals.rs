//! Whom a policy of a resource names, and what that is worth.

use crate::evaluation::{ANN, NOW, WORK, allow, federated, for_principal, other, question};
use crate::world::{
    ACCOUNT, OTHER, Question, ask, explicit_in, identity, missing, named, on_resource, root,
    session, trust, user, with_resource, with_trust,
};
use apron_aws::policy::{Caller, Layer, Layers};
use serde_json::{Value, json};

/// What a policy of the resource does for callers of its account whose own policies allow nothing: nothing, up to boundary and
/// session policy, or everything.
#[test]
fn naming_the_caller_its_role_or_its_account_differs() {
    let nothing = other();
    let asked_by = |caller: &Caller, principal: Value, limited: bool| {
        let policy = for_principal("Allow", principal);
        let mut layers = with_resource(Layers::default(), &policy);
        if limited {
            layers.boundary = Some(named("boundary", &nothing));
            layers.session = Some(vec![named("session", &nothing)]);
        }
        question(caller).decide(&layers).is_allowed()
    };
    let (ann, work) = (user(ACCOUNT, "ann"), session(ACCOUNT, "jobs", "now"));
    for (caller, principal, free, limited) in [
        (&ann, json!({"AWS": ANN}), true, true),
        (&ann, json!("*"), true, true),
        (&ann, json!({"AWS": ACCOUNT}), false, false),
        (
            &ann,
            json!({"AWS": "arn:aws:iam::111122223333:root"}),
            false,
            false,
        ),
        (
            &ann,
            json!({"AWS": "arn:aws:iam::111122223333:user/Ann"}),
            false,
            false,
        ),
        (&ann, json!({"AWS": "AIDAANN0000000000000"}), true, true),
        (&work, json!({"AWS": NOW}), true, true),
        (&work, json!({"AWS": WORK}), true, false),
        (&work, json!({"AWS": "AROAEXAMPLE000000001"}), true, false),
        (&work, json!({"AWS": ACCOUNT}), false, false),
        (
            &work,
            json!({"AWS": "arn:aws:sts::111122223333:assumed-role/jobs/later"}),
            false,
            false,
        ),
        (
            &federated(),
            json!({"AWS": "arn:aws:sts::111122223333:federated-user/guest"}),
            true,
            true,
        ),
        (&federated(), json!({"AWS": ANN}), false, false),
    ] {
        assert_eq!(
            asked_by(caller, principal.clone(), false),
            free,
            "{caller:?} {principal}"
        );
        assert_eq!(
            asked_by(caller, principal.clone(), true),
            limited,
            "{caller:?} {principal}"
        );
    }
}

#[test]
fn a_role_with_a_path_is_the_same_role() {
    let caller = Caller::RoleSession {
        role: "arn:aws:iam::111122223333:role/team/web/jobs"
            .parse()
            .unwrap(),
        role_id: "AROAEXAMPLE000000002".to_owned(),
        session: "now".to_owned(),
    };
    assert_eq!(caller.arn().as_deref(), Some(NOW));
    let policy = for_principal(
        "Allow",
        json!({"AWS": "arn:aws:iam::111122223333:role/team/web/jobs"}),
    );
    assert!(
        question(&caller)
            .decide(&with_resource(Layers::default(), &policy))
            .is_allowed()
    );
    let policy = for_principal("Allow", json!({"AWS": WORK}));
    assert!(
        !question(&caller)
            .decide(&with_resource(Layers::default(), &policy))
            .is_allowed()
    );
}

#[test]
fn not_principal_exempts_who_is_named() {
    let allow = allow();
    let denied = |caller: &Caller, exempt: Value| {
        let policy = on_resource(
            json!({"Effect": "Deny", "NotPrincipal": exempt, "Action": "*", "Resource": "*"}),
        );
        !question(caller)
            .decide(&with_resource(identity(&allow), &policy))
            .is_allowed()
    };
    let (ann, bob, work) = (
        user(ACCOUNT, "ann"),
        user(ACCOUNT, "bob"),
        session(ACCOUNT, "jobs", "now"),
    );
    let account = "arn:aws:iam::111122223333:root";
    assert!(!denied(&ann, json!({"AWS": [ANN, account]})));
    assert!(denied(&bob, json!({"AWS": [ANN, account]})));
    assert!(denied(&work, json!({"AWS": [ANN, account]})));
    assert!(denied(&work, json!({"AWS": [WORK, account]})));
    assert!(!denied(&work, json!({"AWS": [NOW, WORK, account]})));
    assert!(!denied(&root(ACCOUNT), json!({"AWS": account})));
    assert!(denied(&root(ACCOUNT), json!({"AWS": ANN})));
    assert!(!denied(&ann, json!("*")));
    let service = Caller::Service {
        name: "tasks.apprunner.amazonaws.com".to_owned(),
    };
    assert!(denied(&service, json!({"AWS": ANN})));
}

#[test]
fn a_denied_account_or_role_is_denied_with_all_its_sessions() {
    let allow = allow();
    for principal in [
        json!("*"),
        json!({"AWS": ACCOUNT}),
        json!({"AWS": WORK}),
        json!({"AWS": NOW}),
    ] {
        let policy = for_principal("Deny", principal.clone());
        let decision = question(&session(ACCOUNT, "jobs", "now"))
            .decide(&with_resource(identity(&allow), &policy));
        assert_eq!(explicit_in(&decision), Some(Layer::Resource), "{principal}");
    }
}

pub fn assume(caller: &Caller, action: &str) -> Question {
    ask(caller, action, WORK)
}

#[test]
fn a_trust_policy_has_to_allow() {
    let (allow, other) = (allow(), other());
    let trusting = |principal: Value| {
        trust(json!({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}))
    };
    let ann = user(ACCOUNT, "ann");
    let action = "sts:AssumeRole";
    // The account: the user's own policies say who.
    let by_account = trusting(json!({"AWS": ACCOUNT}));
    assert!(
        assume(&ann, action)
            .decide(&with_trust(identity(&allow), &by_account))
            .is_allowed()
    );
    let decision = assume(&ann, action).decide(&with_trust(identity(&other), &by_account));
    assert_eq!(decision, missing(Layer::Identity));
    // The user: nothing else is needed.
    let by_name = trusting(json!({"AWS": ANN}));
    assert!(
        assume(&ann, action)
            .decide(&with_trust(identity(&other), &by_name))
            .is_allowed()
    );
    // Somebody else: own policies do not help.
    let by_other = trusting(json!({"AWS": OTHER}));
    let decision = assume(&ann, action).decide(&with_trust(identity(&allow), &by_other));
    assert_eq!(decision, missing(Layer::Trust));
    assert_eq!(
        assume(&root(ACCOUNT), action).decide(&with_trust(Layers::default(), &by_other)),
        missing(Layer::Trust)
    );
    // Another account: both sides.
    let foreign = user(OTHER, "ann");
    assert!(
        assume(&foreign, action)
            .decide(&with_trust(identity(&allow), &by_other))
            .is_allowed()
    );
    assert_eq!(
        assume(&foreign, action).decide(&with_trust(identity(&other), &by_other)),
        missing(Layer::Identity)
    );
    assert_eq!(
        assume(&foreign, action).decide(&with_trust(identity(&allow), &by_account)),
        missing(Layer::Trust)
    );
}

#[test]
fn services_and_web_identities_are_trusted_by_name() {
    let policy = trust(json!([
        {"Effect": "Allow", "Principal": {"Service": "tasks.apprunner.amazonaws.com"}, "Action": "sts:AssumeRole"},
        {"Effect": "Allow", "Principal": {"Federated": "login.example"}, "Action": "sts:AssumeRoleWithWebIdentity",
         "Condition": {"StringEquals": {"login.example:aud": "apron"}, "StringLike": {"login.example:sub": "service:web/*"}}},
        {"Effect": "Deny", "Principal": "*", "Action": "sts:*", "Condition": {"StringEquals": {"login.example:sub": "service:web/evil"}}}
    ]));
    let layers = with_trust(Layers::default(), &policy);
    let service = |name: &str| {
        assume(
            &Caller::Service {
                name: name.to_owned(),
            },
            "sts:AssumeRole",
        )
    };
    assert!(
        service("tasks.apprunner.amazonaws.com")
            .decide(&layers)
            .is_allowed()
    );
    assert_eq!(
        service("build.apprunner.amazonaws.com").decide(&layers),
        missing(Layer::Trust)
    );
    let web = |audience: &str, subject: &str| {
        let caller = Caller::WebIdentity {
            provider: "login.example".to_owned(),
        };
        assume(&caller, "sts:AssumeRoleWithWebIdentity")
            .with("login.example:aud", audience)
            .with("login.example:sub", subject)
            .decide(&layers)
    };
    assert!(web("apron", "service:web/1").is_allowed());
    assert_eq!(web("apron", "service:api/1"), missing(Layer::Trust));
    assert_eq!(web("other", "service:web/1"), missing(Layer::Trust));
    assert_eq!(
        explicit_in(&web("apron", "service:web/evil")),
        Some(Layer::Trust)
    );
    let plain = assume(
        &Caller::WebIdentity {
            provider: "login.example".to_owned(),
        },
        "sts:AssumeRole",
    );
    assert_eq!(plain.decide(&layers), missing(Layer::Trust));
}

#[test]
fn callers_say_who_they_are() {
    let get =
        |caller: &Caller, key: &str| caller.context().get(key).map(|values| values[0].clone());
    let work = session(ACCOUNT, "team/jobs", "now");
    assert_eq!(
        get(&work, "aws:PrincipalArn").as_deref(),
        Some("arn:aws:iam::111122223333:role/team/jobs")
    );
    assert_eq!(
        get(&work, "aws:userid").as_deref(),
        Some("AROAEXAMPLE000000001:now")
    );
    assert_eq!(get(&work, "aws:username"), None);
    assert_eq!(
        get(&work, "aws:PrincipalType").as_deref(),
        Some("AssumedRole")
    );
    let ann = user(ACCOUNT, "team/ann");
    assert_eq!(get(&ann, "aws:username").as_deref(), Some("ann"));
    assert_eq!(get(&ann, "aws:PrincipalAccount").as_deref(), Some(ACCOUNT));
    assert_eq!(get(&root(ACCOUNT), "aws:userid").as_deref(), Some(ACCOUNT));
    assert_eq!(
        get(&root(ACCOUNT), "aws:PrincipalType").as_deref(),
        Some("Account")
    );
    assert_eq!(
        get(&federated(), "aws:userid").as_deref(),
        Some("111122223333:guest")
    );
    let service = Caller::Service {
        name: "x.amazonaws.com".to_owned(),
    };
    assert_eq!(
        get(&service, "aws:PrincipalIsAWSService").as_deref(),
        Some("true")
    );
    assert_eq!(
        get(&service, "aws:PrincipalServiceName").as_deref(),
        Some("x.amazonaws.com")
    );
    assert_eq!(get(&Caller::Anonymous, "aws:PrincipalArn"), None);
}
