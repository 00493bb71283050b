//! The evaluator against the naive one, on random policies and requests.

use crate::reference::{self, All, Asked, Known, Who};
use crate::world::{ACCOUNT, OTHER, named, parse, root, session, user};
use apron_aws::policy::{
    Caller, Context, Decision, Denial, Grant, Kind, Layers, Operator, Policy, Request,
    ResourceLayer, evaluate, simulate,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const TEXTS: &[&str] = &[
    "",
    "a",
    "b",
    "ab",
    "A",
    "é",
    "a*",
    "*",
    "?",
    "a/b",
    "a:b",
    "x",
    "${aws:username}",
];
const PIECES: &[&str] = &[
    "a",
    "b",
    "é",
    "*",
    "?",
    "/",
    ":",
    "x",
    "**",
    "${*}",
    "${?}",
    "${$}",
    "$",
    "}",
    "${aws:username}",
    "${AWS:UserName}",
    "${test:tag, 'a'}",
    "${test:tag}",
    "${test:many}",
    "${test:gone,'*'}",
];
const KEYS: &[&str] = &[
    "aws:username",
    "test:tag",
    "Test:Many",
    "test:number",
    "test:date",
    "test:ip",
    "test:arn",
    "test:flag",
    "test:gone",
];
const NUMBERS: &[&str] = &["0", "10", "10.0", "-3", "2.5", "007", "99999"];
const DATES: &[&str] = &[
    "2024",
    "2024-02",
    "2024-02-29",
    "2024-02-29T10:00:00Z",
    "1709200800",
    "0",
    "1700000000",
];
const RANGES: &[&str] = &[
    "203.0.113.0/24",
    "203.0.113.7",
    "0.0.0.0/0",
    "10.0.0.0/9",
    "2001:db8::/32",
    "::/0",
    "2001:db8::1",
];
const ADDRESSES: &[&str] = &[
    "203.0.113.7",
    "203.0.112.255",
    "10.200.0.1",
    "2001:db8::1",
    "2001:db9::",
    "nothing",
];
const FLAGS: &[&str] = &["true", "false", "True", "FALSE"];
const BYTES: &[&str] = &["YQ==", "YWI=", ""];
const ACTIONS: &[&str] = &[
    "apprunner:CreateService",
    "apprunner:DeleteService",
    "ecr:PutImage",
    "AppRunner:createservice",
];
const ACTION_PATTERNS: &[&str] = &[
    "*",
    "*",
    "*:*",
    "apprunner:*",
    "apprunner:Create*",
    "apprunner:?eleteService",
    "ECR:putimage",
    "ecr:*Image",
    "apprunner:CreateService",
];
const ARNS: &[&str] = &[
    "*",
    "arn:aws:apprunner:us-east-1:111122223333:service/a/1",
    "arn:aws:apprunner:eu-west-1:111122223333:service/b",
    "arn:aws:logs:us-east-1:111122223333:log-group:/a:log-stream:b",
    "arn:aws:ecr:us-east-1:444455556666:repository/a*",
    "arn:aws:iam::111122223333:role/a",
];
const SPANNING: &[&str] = &[
    "arn:aws:logs:us-east-1:*:b",
    "arn:aws:logs:*:111122223333:*b",
    "arn:aws:logs:us-*:1*:/a:*",
];
const ACCOUNTS: &[&str] = &[
    "111122223333",
    "444455556666",
    "*",
    "111122223333:service/a",
];
const ARN_STARTS: &[&str] = &[
    "arn:aws:apprunner:us-east-1:111122223333:service/",
    "arn:aws:apprunner:*:111122223333:",
    "arn:aws:logs:us-east-1:111122223333:log-group:",
    "arn:aws:ecr:*:*:",
    "arn:*:iam::1111????3333:role/",
    "arn:aws:apprunner:us-east-1:${aws:PrincipalAccount}:service/",
];
const WHOLE_ARNS: &[&str] = &[
    "*",
    "arn:aws:apprunner:*",
    "arn:aws:apprunner:us-east-1:*",
    "arn:aws:logs:*:*:*",
    "arn:aws:ecr:us-*:444455556666:*",
];

fn pattern() -> impl Strategy<Value = String> {
    vec(select(PIECES), 0..5).prop_map(|pieces| pieces.concat())
}

fn arn_pattern() -> impl Strategy<Value = String> {
    let ends = select(&["*", "a", "1", "?", "/1", "*b", "z"][..]);
    let made = (select(ARN_STARTS), pattern(), ends)
        .prop_map(|(start, middle, end)| format!("{start}{middle}{end}"));
    let short =
        (select(ARN_STARTS), select(PIECES)).prop_map(|(start, end)| format!("{start}{end}"));
    let whole = select(WHOLE_ARNS).prop_map(str::to_owned);
    let spanning = select(SPANNING).prop_map(str::to_owned);
    prop_oneof![2 => made, 1 => short, 2 => whole, 2 => Just("*".to_owned()), 1 => spanning]
}

fn owned(texts: &'static [&'static str]) -> BoxedStrategy<String> {
    select(texts).prop_map(str::to_owned).boxed()
}

fn condition_values(operator: &str) -> BoxedStrategy<Vec<String>> {
    let one = match operator {
        name if name.starts_with("String") => pattern().boxed(),
        name if name.starts_with("Numeric") => owned(NUMBERS),
        name if name.starts_with("Date") => owned(DATES),
        name if name.contains("IpAddress") => owned(RANGES),
        name if name.starts_with("Arn") => arn_pattern().boxed(),
        "BinaryEquals" => owned(BYTES),
        _ => owned(&FLAGS[..2]),
    };
    vec(one, 1..3).boxed()
}

/// A member of `Condition`: operator, key, values.
fn condition() -> impl Strategy<Value = (String, String, Vec<String>)> {
    let names: Vec<&'static str> = Operator::names().collect();
    (
        select(names),
        select(&["", "ForAllValues:", "ForAnyValue:"][..]),
        any::<bool>(),
        select(KEYS),
    )
        .prop_flat_map(|(name, prefix, if_exists, key)| {
            let suffix = if if_exists { "IfExists" } else { "" };
            let full = match name {
                "Null" => name.to_owned(),
                _ => format!("{prefix}{name}{suffix}"),
            };
            condition_values(name).prop_map(move |values| (full.clone(), key.to_owned(), values))
        })
}

fn principal() -> impl Strategy<Value = Value> {
    let names = select(
        &[
            "*",
            "111122223333",
            "arn:aws:iam::111122223333:root",
            "arn:aws:iam::444455556666:root",
            "arn:aws:iam::111122223333:user/ann",
            "arn:aws:iam::444455556666:user/ann",
            "arn:aws:iam::111122223333:role/jobs",
            "arn:aws:sts::111122223333:assumed-role/jobs/now",
            "arn:aws:sts::444455556666:assumed-role/jobs/now",
        ][..],
    );
    prop_oneof![
        1 => Just(json!("*")),
        4 => vec(names, 1..3).prop_map(|names| json!({"AWS": names})),
    ]
}

fn statement(with_principal: bool) -> impl Strategy<Value = Value> {
    let actions = vec(select(ACTION_PATTERNS), 1..3);
    let resources = vec(arn_pattern(), 1..3);
    let conditions = prop_oneof![Just(Vec::new()), vec(condition(), 1..3)];
    let nots = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (
        actions,
        resources,
        conditions,
        principal(),
        nots,
        proptest::bool::weighted(0.2),
    )
        .prop_map(
            move |(
                actions,
                resources,
                conditions,
                principal,
                (no_action, no_resource, no_principal, few),
                deny,
            )| {
                let not = |name: &str, is: bool| {
                    if is {
                        format!("Not{name}")
                    } else {
                        name.to_owned()
                    }
                };
                let mut members = Map::new();
                members.insert(
                    "Effect".to_owned(),
                    json!(if deny { "Deny" } else { "Allow" }),
                );
                members.insert(not("Action", no_action && few), json!(actions));
                members.insert(not("Resource", no_resource), json!(resources));
                if with_principal {
                    members.insert(not("Principal", no_principal && deny), principal);
                }
                let mut operators: Map<String, Value> = Map::new();
                for (operator, key, values) in conditions {
                    let tests = operators.entry(operator).or_insert_with(|| json!({}));
                    tests[key] = json!(values);
                }
                if !operators.is_empty() {
                    members.insert("Condition".to_owned(), Value::from(operators));
                }
                Value::from(members)
            },
        )
}

fn policy(with_principal: bool) -> impl Strategy<Value = Value> {
    let version = select(
        &[
            Some("2012-10-17"),
            Some("2012-10-17"),
            Some("2008-10-17"),
            None,
        ][..],
    );
    (version, vec(statement(with_principal), 1..4)).prop_map(|(version, statements)| {
        let mut policy = json!({"Statement": statements});
        if let Some(version) = version {
            policy["Version"] = json!(version);
        }
        if version != Some("2012-10-17") {
            // There it is no variable, and its letters are no account.
            let text = policy
                .to_string()
                .replace("${aws:PrincipalAccount}", ACCOUNT);
            policy = text.parse().unwrap();
        }
        policy
    })
}

fn known() -> impl Strategy<Value = Known> {
    let one = |texts: &'static [&'static str]| {
        option::of(select(texts).prop_map(|text| vec![text.to_owned()]))
    };
    let some = option::of(vec(owned(TEXTS), 0..4));
    (
        one(TEXTS),
        one(TEXTS),
        some,
        one(NUMBERS),
        one(DATES),
        one(ADDRESSES),
        one(ARNS),
        one(FLAGS),
        one(ACCOUNTS),
    )
        .prop_map(
            |(name, tag, many, number, date, address, arn, flag, account)| {
                let keys = [
                    "aws:username",
                    "test:tag",
                    "test:many",
                    "test:number",
                    "test:date",
                    "test:ip",
                    "test:arn",
                    "test:flag",
                    "aws:principalaccount",
                ];
                let values = [name, tag, many, number, date, address, arn, flag, account];
                let pairs = keys.into_iter().zip(values);
                pairs
                    .filter_map(|(key, values)| Some((key.to_owned(), values?)))
                    .collect()
            },
        )
}

fn caller() -> impl Strategy<Value = (Caller, Who)> {
    let account = select(&[ACCOUNT, ACCOUNT, OTHER][..]);
    (account, 0..5).prop_map(|(account, kind)| {
        let who = |own: String, parent: String, is_root: bool| Who {
            account: account.to_owned(),
            own,
            parent,
            is_root,
        };
        match kind {
            0 => (
                root(account),
                who(format!("arn:aws:iam::{account}:root"), String::new(), true),
            ),
            1 | 2 => (
                user(account, "ann"),
                who(
                    format!("arn:aws:iam::{account}:user/ann"),
                    String::new(),
                    false,
                ),
            ),
            _ => (
                session(account, "jobs", "now"),
                who(
                    format!("arn:aws:sts::{account}:assumed-role/jobs/now"),
                    format!("arn:aws:iam::{account}:role/jobs"),
                    false,
                ),
            ),
        }
    })
}

fn all() -> impl Strategy<Value = All> {
    let identity = || vec(policy(false), 0..3);
    (
        identity(),
        option::of(policy(true)),
        any::<bool>(),
        option::weighted(0.2, policy(false)),
        option::weighted(0.2, identity()),
        prop_oneof![4 => Just(Vec::new()), 1 => vec(identity(), 1..3)],
    )
        .prop_map(
            |(identity, resource, trust, boundary, session, control)| All {
                identity,
                trust: trust && resource.is_some(),
                resource,
                boundary,
                session,
                control,
            },
        )
}

/// The policies as the crate has them, which lives as long as the layers do.
struct Parsed {
    identity: Vec<Policy>,
    resource: Option<Policy>,
    boundary: Option<Policy>,
    session: Option<Vec<Policy>>,
    control: Vec<Vec<Policy>>,
}

fn parsed(all: &All) -> Parsed {
    let role = |policy: &Value| parse(Kind::RoleInline, policy);
    let roles = |policies: &Vec<Value>| policies.iter().map(role).collect::<Vec<_>>();
    Parsed {
        identity: roles(&all.identity),
        resource: all.resource.as_ref().map(|policy| parse(Kind::Key, policy)),
        boundary: all.boundary.as_ref().map(role),
        session: all.session.as_ref().map(roles),
        control: all.control.iter().map(roles).collect(),
    }
}

fn layers<'a>(parsed: &'a Parsed, trust: bool) -> Layers<'a> {
    let sources = |policies: &'a Vec<Policy>| {
        policies
            .iter()
            .map(|policy| named("p", policy))
            .collect::<Vec<_>>()
    };
    let resource = parsed.resource.as_ref().map(|policy| named("r", policy));
    Layers {
        identity: sources(&parsed.identity),
        resource: resource.map(|source| {
            if trust {
                ResourceLayer::Trust(source)
            } else {
                ResourceLayer::Policy(source)
            }
        }),
        boundary: parsed.boundary.as_ref().map(|policy| named("b", policy)),
        session: parsed.session.as_ref().map(sources),
        service_control: parsed.control.iter().map(sources).collect(),
    }
}

fn context(known: &Known) -> Context {
    let mut context = Context::new();
    for (key, values) in known {
        context.set_all(&key.to_uppercase(), values.clone());
    }
    context
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, max_shrink_iters: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decisions_are_those_of_the_naive_evaluator(
        all in all(),
        (caller, who) in caller(),
        action in select(ACTIONS),
        resource in select(ARNS),
        known in known(),
    ) {
        let asked = Asked { who, action: action.to_owned(), resource: resource.to_owned(), owner: ACCOUNT.to_owned(), known: known.clone() };
        let parsed = parsed(&all);
        let layers = layers(&parsed, all.trust);
        let context = context(&known);
        let request = Request { caller: &caller, action, resource, owner: ACCOUNT, context: &context };
        let decision = evaluate(&request, &layers);
        let expected = reference::decide(&asked, &all);
        let found = match &decision {
            Decision::Allowed(_) => Some(true),
            Decision::Denied(Denial::Missing(_)) => Some(false),
            Decision::Denied(Denial::Explicit(_)) => None,
        };
        prop_assert_eq!(found, expected, "{}", &decision);
        let simulation = simulate(&request, &layers);
        prop_assert_eq!(&simulation.decision, &decision);
        if let Decision::Denied(Denial::Explicit(name)) = &decision {
            prop_assert!(simulation.matched.iter().any(|it| it.name == *name));
        }
    }

    #[test]
    fn one_condition_is_as_the_naive_evaluator_has_it(
        (operator, key, values) in condition(),
        known in known(),
        new in any::<bool>(),
    ) {
        let version = if new { "2012-10-17" } else { "2008-10-17" };
        let policy = json!({"Version": version, "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {operator: {key: values}}}
        ]});
        let caller = user(ACCOUNT, "ann");
        let who = Who { account: ACCOUNT.to_owned(), own: caller.arn().unwrap(), parent: String::new(), is_root: false };
        let asked = Asked { who, action: "a:b".to_owned(), resource: "*".to_owned(), owner: ACCOUNT.to_owned(), known: known.clone() };
        let all = All { identity: vec![policy], ..All::default() };
        let parsed = parsed(&all);
        let context = context(&known);
        let request = Request { caller: &caller, action: "a:b", resource: "*", owner: ACCOUNT, context: &context };
        let decision = evaluate(&request, &layers(&parsed, false));
        prop_assert_eq!(Some(decision.is_allowed()), reference::decide(&asked, &all));
    }

    #[test]
    fn text_matches_as_it_does_character_by_character(
        pattern in vec(select(&["a", "b", "é", "*", "?", "aa", "ab"][..]), 0..9),
        value in vec(select(&["a", "b", "é", "*", "?"][..]), 0..9),
    ) {
        let (pattern, value) = (pattern.concat(), value.concat());
        let policy = parse(Kind::Managed, &json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringLike": {"test:key": pattern}}}
        ]}));
        let context = Context::new().with("test:key", &value);
        let found = policy.statements[0].conditions[0].holds(policy.statements[0].effect, &context);
        prop_assert_eq!(Some(found), reference::like(&pattern, &value, true, &Known::new()));
    }

    #[test]
    fn what_is_printed_reads_as_the_same(document in policy(true)) {
        let policy = parse(Kind::Key, &document);
        let printed = policy.to_string();
        let again = Policy::parse(&printed, Kind::Key).unwrap();
        prop_assert_eq!(&again, &policy);
        prop_assert_eq!(again.to_string(), printed);
    }
}

/// The properties above would hold of policies that never apply.
#[test]
fn random_policies_reach_every_answer() {
    let mut runner = TestRunner::deterministic();
    let strategy = (all(), caller(), select(ACTIONS), select(ARNS), known());
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..1_500 {
        let (all, (caller, _), action, resource, known) =
            strategy.new_tree(&mut runner).unwrap().current();
        let parsed = parsed(&all);
        let context = context(&known);
        let request = Request {
            caller: &caller,
            action,
            resource,
            owner: ACCOUNT,
            context: &context,
        };
        let answer = match evaluate(&request, &layers(&parsed, all.trust)) {
            Decision::Allowed(Grant::Root) => "root".to_owned(),
            Decision::Allowed(Grant::Statements(names)) => {
                let layers: Vec<_> = names.iter().map(|name| name.layer.name()).collect();
                format!("allowed by {}", layers.join(" and "))
            }
            Decision::Denied(Denial::Explicit(name)) => format!("denied by {}", name.layer.name()),
            Decision::Denied(Denial::Missing(layer)) => format!("missing {}", layer.name()),
        };
        *counts.entry(answer).or_default() += 1;
    }
    for layer in [
        "service control policy",
        "resource-based policy",
        "role trust policy",
        "identity-based policy",
        "permissions boundary",
        "session policy",
    ] {
        for answer in [format!("denied by {layer}"), format!("missing {layer}")] {
            assert!(
                counts.contains_key(&answer),
                "{answer} is not among {counts:#?}"
            );
        }
        let allowed = counts
            .keys()
            .any(|it| it.starts_with("allowed") && it.contains(layer));
        assert!(allowed, "no {layer} allowed: {counts:#?}");
    }
}
