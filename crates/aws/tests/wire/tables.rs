use apron_aws::model::{self, Lookup, Model, Shape};

fn models() -> [&'static Model; 9] {
    [
        model::apprunner(),
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

fn references(shape: &Shape) -> Vec<&str> {
    match shape {
        Shape::Structure(s) => s.members.values().map(|m| m.shape.as_str()).collect(),
        Shape::List { member, .. } => vec![member.shape.as_str()],
        Shape::Map { key, value, .. } => vec![key.shape.as_str(), value.shape.as_str()],
        _ => Vec::new(),
    }
}

#[test]
fn tables_are_closed_under_reference() {
    for model in models() {
        for (name, operation) in &model.operations {
            let named = operation
                .input
                .iter()
                .chain(&operation.output)
                .chain(&operation.errors);
            for shape in named {
                assert!(
                    model.shapes.contains_key(shape),
                    "{} {name} names {shape}",
                    model.service
                );
            }
        }
        for (name, shape) in &model.shapes {
            for other in references(shape) {
                assert!(
                    model.shapes.contains_key(other),
                    "{} {name} names {other}",
                    model.service
                );
            }
        }
    }
}

#[test]
fn every_pattern_compiles() {
    let mut seen = 0;
    for model in models() {
        for (name, shape) in &model.shapes {
            if let Shape::String(text) = shape
                && let Some(pattern) = &text.pattern
            {
                assert!(
                    pattern.regex().is_ok(),
                    "{} {name}: {:?}",
                    model.service,
                    pattern.regex()
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 25, "only {seen} patterns");
}

#[test]
fn every_operation_of_app_runner_is_there() {
    assert_eq!(model::apprunner().operations.len(), 37);
    assert!(model::apprunner().other_operations.is_empty());
}

#[test]
fn real_operations_are_told_from_unknown_ones() {
    assert!(matches!(
        model::ecr().operation("CreateRepository"),
        Lookup::Offered(_)
    ));
    assert!(matches!(
        model::ecr().operation("PutLifecyclePolicy"),
        Lookup::NotOffered
    ));
    assert!(matches!(
        model::ecr().operation("CreateRepositories"),
        Lookup::Unknown
    ));
    assert!(matches!(
        model::sts().operation("GetFederationToken"),
        Lookup::NotOffered
    ));
}

#[test]
fn errors_take_status_and_member_from_the_model() {
    let fault = model::apprunner().error("InternalServiceErrorException", "x");
    assert_eq!((fault.status, fault.receiver_fault), (500, true));
    let fault = model::apprunner().error("InvalidStateException", "x");
    assert_eq!((fault.status, fault.receiver_fault), (400, false));
    assert_eq!(
        model::apprunner().message_member("InvalidStateException"),
        "Message"
    );
    assert_eq!(
        model::ecr().message_member("RepositoryNotFoundException"),
        "message"
    );
    assert_eq!(
        model::logs().message_member("ResourceNotFoundException"),
        "message"
    );
}
