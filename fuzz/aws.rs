//! What must hold for any bytes that the AWS API is given. Each function is one fuzz target.

use apron_aws::codec;
use apron_aws::model::{self, Model, Protocol};
use apron_aws::policy::{
    Caller, Context, Decision, Denial, Kind, Layers, Policy, Request, ResourceLayer, Source,
    evaluate,
};
use apron_aws::sigv4::{Authorization, Head, KeyCache, Payload, Secret, verify};
use http::{HeaderMap, HeaderName, HeaderValue};

const ACCOUNT: &str = "111122223333";

/// A caller, an action, a resource and context keys in the first line, a policy behind it.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (question, document) = text.split_once('\n').unwrap_or(("", text));
    for kind in [Kind::Key, Kind::Managed, Kind::Trust] {
        let Ok(policy) = Policy::parse(document, kind) else {
            continue;
        };
        let printed = policy.to_string();
        let again = Policy::parse(&printed, kind).expect("what was printed can be read");
        assert_eq!(again, policy);
        assert_eq!(again.to_string(), printed);
        decide(question, &policy);
    }
}

/// Checks that no policy makes a decision more generous than it may.
fn decide(question: &str, policy: &Policy) {
    let mut words = question.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let (name, action, resource) = (next(), next(), next());
    let Ok(arn) = format!("arn:aws:iam::{ACCOUNT}:user/{name}").parse() else {
        return;
    };
    // Actions are the platform's own words, and have a service.
    if !action.contains(':') {
        return;
    }
    let user = Caller::User {
        arn,
        id: "AIDATEST".to_owned(),
    };
    let mut context = user.context();
    words
        .filter_map(|word| word.split_once('='))
        .for_each(|(key, value)| context.set(key, value));
    let ask =
        |caller: &Caller, layers: &Layers<'_>| answer(caller, action, resource, &context, layers);
    let allowed = |caller: &Caller, layers: &Layers<'_>| ask(caller, layers).is_allowed();

    let everything = read(r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#);
    let [own, all] = [policy, &everything].map(|policy| Source { name: "p", policy });
    let alone = Layers {
        identity: vec![own],
        ..Layers::default()
    };
    let generous = Layers {
        identity: vec![own, all],
        ..Layers::default()
    };
    assert!(!allowed(&user, &Layers::default()) && !allowed(&Caller::Anonymous, &alone));
    if allowed(&user, &alone) {
        assert!(allowed(&user, &generous), "more was allowed with less");
    }
    let mut bounded = generous.clone();
    bounded.boundary = Some(own);
    let mut session = generous.clone();
    session.session = Some(vec![own]);
    if allowed(&user, &bounded) || allowed(&user, &session) {
        assert!(allowed(&user, &generous), "a bound allowed something");
    }
    denied_by_one(&generous, |layers| ask(&user, layers));
}

/// Checks that one denial is enough, wherever it stands.
fn denied_by_one(generous: &Layers<'_>, ask: impl Fn(&Layers<'_>) -> Decision) {
    let nothing = read(r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#);
    let none = Source {
        name: "p",
        policy: &nothing,
    };
    let mut layers = [(); 4].map(|()| generous.clone());
    layers[0].identity.push(none);
    layers[1].boundary = Some(none);
    layers[2].session = Some(vec![none]);
    layers[3].resource = Some(ResourceLayer::Policy(none));
    for layers in layers {
        let decision = ask(&layers);
        assert!(
            matches!(decision, Decision::Denied(Denial::Explicit(_))),
            "{decision:?}"
        );
    }
}

fn read(text: &str) -> Policy {
    Policy::parse(text, Kind::Managed).expect("a policy")
}

fn answer(
    caller: &Caller,
    action: &str,
    resource: &str,
    context: &Context,
    layers: &Layers<'_>,
) -> Decision {
    let request = Request {
        caller,
        action,
        resource,
        owner: ACCOUNT,
        context,
    };
    let decision = evaluate(&request, layers);
    if let Decision::Denied(denial) = &decision {
        assert!(!denial.message(&request).is_empty());
    }
    decision
}

/// Method, path and query in the first line, then headers, then an empty line and the body: nobody signs without the secret.
pub fn authorization(data: &[u8]) {
    let end = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = data.split_at(end.unwrap_or(data.len()));
    let Ok(head) = std::str::from_utf8(head) else {
        return;
    };
    let mut lines = head.split('\n');
    let mut first = lines.next().unwrap_or_default().split(' ');
    let mut next = || first.next().unwrap_or_default();
    let (method, path, query) = (next(), next(), next());
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    let head = Head {
        method,
        path,
        query,
        headers: &headers,
    };
    let Ok(authorization) = Authorization::parse(head) else {
        return;
    };
    let secret = Secret::new("a secret that is in no input");
    for payload in [Payload::Signed, Payload::MayBeUnsigned] {
        let keys = KeyCache::default();
        let proved = verify(&authorization, head, body, &secret, payload, &keys);
        assert!(proved.is_err(), "{authorization:?}");
    }
}

/// A service and an operation in the first line, the body behind it: what is taken keeps the model, and is taken again as it is.
pub fn api_input(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (line, body) = data.split_at(end.unwrap_or(data.len()));
    let body = body.get(1..).unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else {
        return;
    };
    let (service, operation) = line.split_once(' ').unwrap_or((line, ""));
    let Some(model) = models().into_iter().find(|model| model.service == service) else {
        return;
    };
    let Some(operation) = model.operations.get(operation) else {
        return;
    };
    let input = match codec::decode(model, operation, body) {
        Ok(input) => input,
        Err(error) => {
            assert!(error.status == 400 && !error.receiver_fault, "{error:?}");
            let answer = codec::encode_error(model, &error, "id");
            assert!(!answer.body.is_empty());
            return;
        }
    };
    if model.protocol != Protocol::Query {
        let written = serde_json::to_vec(&input).expect("JSON");
        let again = codec::decode(model, operation, &written);
        assert_eq!(again.as_ref(), Ok(&input));
    }
}

fn models() -> [&'static Model; 10] {
    [
        model::apprunner(),
        model::cloudtrail(),
        model::iam(),
        model::ecr(),
        model::kms(),
        model::logs(),
        model::secretsmanager(),
        model::ssm(),
        model::sts(),
        model::apron(),
    ]
}
