//! Short ways to write policies, callers and requests.

use apron_aws::Arn;
use apron_aws::policy::{
    Caller, Context, Decision, Denial, Kind, Layer, Layers, Policy, Request, ResourceLayer, Source,
    evaluate,
};
use serde_json::{Value, json};

pub const ACCOUNT: &str = "111122223333";
pub const OTHER: &str = "444455556666";

pub fn service_arn(tail: &str) -> String {
    format!("arn:aws:apprunner:us-east-1:{ACCOUNT}:service/{tail}")
}

pub fn parse(kind: Kind, policy: &Value) -> Policy {
    Policy::parse(&policy.to_string(), kind).unwrap_or_else(|error| panic!("{policy}: {error}"))
}

/// A managed policy of these statements, version 2012-10-17.
pub fn managed(statements: Value) -> Policy {
    parse(
        Kind::Managed,
        &json!({"Version": "2012-10-17", "Statement": statements}),
    )
}

/// A policy of a resource of these statements, version 2012-10-17.
pub fn on_resource(statements: Value) -> Policy {
    parse(
        Kind::Key,
        &json!({"Version": "2012-10-17", "Statement": statements}),
    )
}

/// A trust policy of these statements, version 2012-10-17.
pub fn trust(statements: Value) -> Policy {
    parse(
        Kind::Trust,
        &json!({"Version": "2012-10-17", "Statement": statements}),
    )
}

pub fn named<'a>(name: &'a str, policy: &'a Policy) -> Source<'a> {
    Source { name, policy }
}

pub fn user(account: &str, name: &str) -> Caller {
    Caller::User {
        arn: Arn::new("iam", "", account, format!("user/{name}")),
        id: format!("AIDA{:0<16}", name.to_ascii_uppercase()),
    }
}

pub fn session(account: &str, role: &str, session: &str) -> Caller {
    Caller::RoleSession {
        role: Arn::new("iam", "", account, format!("role/{role}")),
        role_id: "AROAEXAMPLE000000001".to_owned(),
        session: session.to_owned(),
    }
}

pub fn root(account: &str) -> Caller {
    Caller::Root {
        account: account.to_owned(),
    }
}

/// A question, with the context that the caller gives and more.
pub struct Question {
    pub caller: Caller,
    pub action: String,
    pub resource: String,
    pub owner: String,
    pub context: Context,
}

pub fn ask(caller: &Caller, action: &str, resource: &str) -> Question {
    Question {
        caller: caller.clone(),
        action: action.to_owned(),
        resource: resource.to_owned(),
        owner: ACCOUNT.to_owned(),
        context: caller.context(),
    }
}

impl Question {
    pub fn with(mut self, key: &str, value: &str) -> Question {
        self.context.set(key, value);
        self
    }

    pub fn request(&self) -> Request<'_> {
        Request {
            caller: &self.caller,
            action: &self.action,
            resource: &self.resource,
            owner: &self.owner,
            context: &self.context,
        }
    }

    pub fn decide(&self, layers: &Layers<'_>) -> Decision {
        evaluate(&self.request(), layers)
    }

    /// Whether one policy of the identity allows it.
    pub fn allowed_by(&self, policy: &Policy) -> bool {
        self.decide(&identity(policy)).is_allowed()
    }

    pub fn message(&self, layers: &Layers<'_>) -> String {
        match self.decide(layers) {
            Decision::Allowed(grant) => panic!("allowed: {grant:?}"),
            Decision::Denied(denial) => denial.message(&self.request()),
        }
    }
}

pub fn identity(policy: &Policy) -> Layers<'_> {
    Layers {
        identity: vec![named("identity", policy)],
        ..Layers::default()
    }
}

pub fn with_resource<'a>(mut layers: Layers<'a>, policy: &'a Policy) -> Layers<'a> {
    layers.resource = Some(ResourceLayer::Policy(named("resource", policy)));
    layers
}

pub fn with_trust<'a>(mut layers: Layers<'a>, policy: &'a Policy) -> Layers<'a> {
    layers.resource = Some(ResourceLayer::Trust(named("trust", policy)));
    layers
}

pub fn missing(layer: Layer) -> Decision {
    Decision::Denied(Denial::Missing(layer))
}

pub fn explicit_in(decision: &Decision) -> Option<Layer> {
    match decision {
        Decision::Denied(Denial::Explicit(name)) => Some(name.layer),
        _ => None,
    }
}
