//! Every operation of every service, called by a user who may do nothing. Inputs are made from the models; an operation that
//! cannot be tried so stands in `denials-untested.txt`, which has to be empty.

use apron_aws::Model;
use apron_aws::model::{self, Shape, Text};
use apron_aws::policy::actions;
use apron_testkit::{Life, World};
use serde_json::{Value, json};

/// Levels of an input.
const DEPTH_MAX: usize = 8;

/// Texts of the forms that models ask for.
const CANDIDATES: [&str; 22] = [
    "app-x1",
    "arn:aws:apprunner:us-east-1:111122223333:service/app-x1/0123456789abcdef0123456789abcdef",
    "arn:aws:iam::111122223333:role/app-x1",
    "arn:aws:ecr:us-east-1:111122223333:repository/app-x1",
    "arn:aws:secretsmanager:us-east-1:111122223333:secret:app-x1-AbCdEf",
    "arn:aws:kms:us-east-1:111122223333:key/01234567-89ab-cdef-0123-456789abcdef",
    "alias/app-x1",
    "01234567-89ab-cdef-0123-456789abcdef",
    "0123456789abcdef0123456789abcdef",
    "111122223333.dkr.ecr.us-east-1.amazonaws.com/app-x1:v1",
    "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "111122223333",
    "AKIAIOSFODNN7EXAMPLE",
    "app.example.com",
    "/app/x1",
    "v1",
    "8080",
    "1024",
    "{}",
    "a-text-that-is-longer-than-thirty-two-characters-and-shorter-than-sixty-four",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "0123456789abcdef0123456789abcdef01234567",
];

fn models() -> [&'static Model; 10] {
    [
        model::apprunner(),
        model::apron(),
        model::cloudtrail(),
        model::ecr(),
        model::iam(),
        model::kms(),
        model::logs(),
        model::secretsmanager(),
        model::ssm(),
        model::sts(),
    ]
}

/// A text of that shape; members that are called an ARN get one.
fn text(text: &Text, member: &str) -> Option<String> {
    if let Some(first) = text.values.first() {
        return Some(first.clone());
    }
    let fits = |candidate: &&&str| {
        let chars = candidate.chars().count() as f64;
        text.bounds.min.is_none_or(|min| chars >= min)
            && text.bounds.max.is_none_or(|max| chars <= max)
            && text.pattern.as_ref().is_none_or(|it| it.matches(candidate))
    };
    let arn = member.ends_with("Arn") || member.ends_with("arn");
    let named = |candidate: &&&str| !arn || candidate.starts_with("arn:");
    let mut first = CANDIDATES.iter().filter(named);
    let found = first.find(fits).or_else(|| CANDIDATES.iter().find(fits));
    found.map(|it| (*it).to_owned())
}

/// The least value of a shape; none: it cannot be made from the model.
fn least(model: &Model, shape: &str, member: &str, depth: usize) -> Option<Value> {
    if depth > DEPTH_MAX {
        return None;
    }
    Some(match model.shape(shape) {
        Shape::Structure(structure) => {
            let mut out = serde_json::Map::new();
            for name in &structure.required {
                let shape = &structure.members[name].shape;
                out.insert(name.clone(), least(model, shape, name, depth + 1)?);
            }
            Value::Object(out)
        }
        Shape::List { member: of, .. } => json!([least(model, &of.shape, member, depth + 1)?]),
        Shape::Map { key, value, .. } => {
            let key = least(model, &key.shape, member, depth + 1)?;
            json!({key.as_str()?: least(model, &value.shape, member, depth + 1)?})
        }
        Shape::String(it) => json!(text(it, member)?),
        Shape::Integer(b) | Shape::Long(b) | Shape::Double(b) | Shape::Float(b) => {
            json!(b.min.unwrap_or(1.0).max(1.0) as i64)
        }
        Shape::Boolean {} => json!(false),
        Shape::Timestamp { .. } => json!(1_800_000_000),
        Shape::Blob(_) => json!("AAAA"),
    })
}

#[test]
fn who_may_nothing_is_denied_every_operation() {
    let world = World::new();
    let life = Life::begin(&world);
    let root = life.root();
    let iam = |operation: &str, input: Value| {
        life.wait_for(root.call(model::iam(), operation, &input))
            .ok()
    };
    let _ = iam("CreateUser", json!({"UserName": "nobody"}));
    let key = iam("CreateAccessKey", json!({"UserName": "nobody"}));
    let (id, secret) = (key.text("AccessKeyId"), key.text("SecretAccessKey"));
    let nobody = root.with_keys(&id, &secret, None);
    let (mut untested, mut tried) = (Vec::new(), 0);
    for model in models() {
        for (operation, row) in &model.operations {
            let name = format!("{} {operation}", model.service);
            if actions::is_free(&model.service, operation) {
                continue;
            }
            let input = match &row.input {
                Some(shape) => least(model, shape, "", 0),
                None => Some(json!({})),
            };
            let Some(input) = input else {
                untested.push(format!("{name}: no input can be made"));
                continue;
            };
            let answer = life.wait_for(nobody.call(model, operation, &input));
            tried += 1;
            if !answer.is_denied() || !answer.body.contains("is not authorized to perform: ") {
                untested.push(format!("{name}: {} {}", answer.status, answer.body));
            }
        }
    }
    let known = include_str!("denials-untested.txt");
    let known: Vec<&str> = known.lines().collect();
    assert_eq!(untested, known, "{tried} were tried");
    assert!(tried > 200);
}
