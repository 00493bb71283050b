//! What policies would decide, without doing it.

use super::Iam;
use super::directory::{Directory, Named};
use super::document::Document;
use super::entity::{Entity, Tags};
use super::errors::{self, error, invalid_input};
use super::input::{optional, page, text, texts};
use crate::endpoint::Call;
use apron_aws::policy::{
    Caller, Context, Kind, Layer, Layers, Policy, Request, ResourceLayer, Simulation, Source,
    StatementMatch, owner_of, simulate,
};
use apron_aws::{ApiError, Arn};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Questions of one call: actions times resources.
const QUESTIONS_MAX: usize = 5_000;
/// Seconds of a date such as `CreateDate` in one millisecond.
const MS_PER_SECOND: u64 = 1_000;

/// Whose policies are asked.
struct Subject {
    caller: Caller,
    identity: Vec<Named>,
    boundary: Option<Named>,
    tags: Tags,
}

impl Iam {
    pub(super) fn simulate_principal_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let mut subject = subject(&directory, text(call, "PolicySourceArn"))?;
        subject.identity.extend(given(call, "PolicyInputList")?);
        let excluded = texts(call, "PolicyExclusionList");
        subject
            .identity
            .retain(|it| !excluded.contains(&it.name.as_str()));
        answer(call, &directory, subject)
    }

    pub(super) fn simulate_custom_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let caller = match optional(call, "CallerArn") {
            Some(arn) => subject(&directory, arn)?.caller,
            None => somebody(&directory)?,
        };
        let subject = Subject {
            caller,
            identity: given(call, "PolicyInputList")?,
            boundary: None,
            tags: Tags::new(),
        };
        answer(call, &directory, subject)
    }

    pub(super) fn context_keys_of_texts(&self, call: &Call) -> Result<Value, ApiError> {
        Ok(context_keys(&given(call, "PolicyInputList")?))
    }

    pub(super) fn context_keys_of_principal(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let mut policies = subject(&directory, text(call, "PolicySourceArn"))?.identity;
        policies.extend(given(call, "PolicyInputList")?);
        Ok(context_keys(&policies))
    }
}

fn context_keys(policies: &[Named]) -> Value {
    let keys = policies
        .iter()
        .flat_map(|it| it.document.policy().context_keys());
    let keys: BTreeSet<String> = keys.collect();
    json!({"ContextKeyNames": keys})
}

/// The policies that a request brings.
fn given(call: &Call, member: &str) -> Result<Vec<Named>, ApiError> {
    let texts = texts(call, member).into_iter().enumerate();
    let read = |(index, text): (usize, &str)| {
        let document = Document::parse(text, Kind::Managed);
        let document = document.map_err(|refused| invalid_input(refused.to_string()))?;
        let name = format!("{member}.{}", index + 1);
        Ok(Named { name, document })
    };
    texts.map(read).collect()
}

fn subject(directory: &Directory, arn: &str) -> Result<Subject, ApiError> {
    let unknown = || {
        let message = format!("The policy source {arn} cannot be found.");
        error("NoSuchEntityException", message)
    };
    let parsed: Arn = arn.parse().map_err(|_| unknown())?;
    let name = parsed.resource.rsplit('/').next().unwrap_or_default();
    let is = |own: String| own == arn;
    match parsed.resource.split('/').next() {
        Some("user") => {
            let user = directory.user(name)?;
            is(user.arn(&directory.account))
                .then_some(())
                .ok_or_else(unknown)?;
            let boundary = directory.boundary_of(&user.permissions).flatten();
            Ok(Subject {
                caller: Caller::User {
                    arn: parsed,
                    id: user.id.clone(),
                },
                identity: directory.policies_of_user(user),
                boundary,
                tags: user.tags.clone(),
            })
        }
        Some("role") => {
            let role = directory.role_by_arn(arn).ok_or_else(unknown)?;
            let boundary = directory.boundary_of(&role.permissions).flatten();
            let (role_id, session) = (role.id.clone(), "simulation".to_owned());
            Ok(Subject {
                caller: Caller::RoleSession {
                    role: parsed,
                    role_id,
                    session,
                },
                identity: directory.policies_of_role(role),
                boundary,
                tags: role.tags.clone(),
            })
        }
        Some("group") => {
            let group = directory.group(name)?;
            is(group.arn(&directory.account))
                .then_some(())
                .ok_or_else(unknown)?;
            Ok(Subject {
                caller: somebody(directory)?,
                identity: directory.policies_of_group(group),
                boundary: None,
                tags: Tags::new(),
            })
        }
        _ => Err(unknown()),
    }
}

/// A user of the account of whom nothing is known.
fn somebody(directory: &Directory) -> Result<Caller, ApiError> {
    let arn = Arn::new("iam", "", &directory.account, "user/simulation");
    let id = "AIDASIMULATION0000000".to_owned();
    Ok(Caller::User { arn, id })
}

/// The values of `ContextEntries`.
fn context(call: &Call, subject: &Subject) -> Context {
    let mut context = subject.caller.context();
    context.set_time(i64::try_from(call.now.0 / MS_PER_SECOND).unwrap_or(i64::MAX));
    let tags = subject.tags.iter();
    let tags = tags.map(|(key, value)| (key.as_str(), value.as_str()));
    context.set_tags("aws:PrincipalTag", tags);
    let entries = call.input.get("ContextEntries").and_then(Value::as_array);
    for entry in entries.into_iter().flatten() {
        let name = entry["ContextKeyName"].as_str().unwrap_or_default();
        let values = entry["ContextKeyValues"].as_array();
        let values = values.into_iter().flatten().filter_map(Value::as_str);
        context.set_all(name, values);
    }
    context
}

fn answer(call: &Call, directory: &Directory, subject: Subject) -> Result<Value, ApiError> {
    let mut subject = subject;
    if let Some(boundary) = given(call, "PermissionsBoundaryPolicyInputList")?.pop() {
        subject.boundary = Some(boundary);
    }
    let resource_policy = optional(call, "ResourcePolicy")
        .map(|text| Policy::parse(text, Kind::Secret))
        .transpose();
    let resource_policy = resource_policy.map_err(|refused| invalid_input(refused.to_string()))?;
    let owner = optional(call, "ResourceOwner").map(account_of);
    let context = context(call, &subject);
    let mut layers = Layers {
        identity: subject.identity.iter().map(source).collect(),
        boundary: subject.boundary.as_ref().map(source),
        ..Layers::default()
    };
    layers.resource = resource_policy.as_ref().map(|policy| {
        ResourceLayer::Policy(Source {
            name: "ResourcePolicy",
            policy,
        })
    });
    let (actions, mut resources) = (texts(call, "ActionNames"), texts(call, "ResourceArns"));
    if resources.is_empty() {
        resources.push("*");
    }
    if actions.len().saturating_mul(resources.len()) > QUESTIONS_MAX {
        let message = format!("More than {QUESTIONS_MAX} combinations of actions and resources.");
        return Err(invalid_input(message));
    }
    let mut results = Vec::new();
    for action in actions {
        if apron_aws::policy::ActionPattern::check(action).is_err() {
            return Err(errors::invalid_input(format!("Invalid Action {action}")));
        }
        for resource in &resources {
            let owner = owner
                .as_deref()
                .unwrap_or_else(|| owner_of(resource, &directory.account));
            let request = Request {
                caller: &subject.caller,
                action,
                resource,
                owner,
                context: &context,
            };
            let simulated = simulate(&request, &layers);
            let key = format!("{:08}", results.len());
            results.push((key, result(&request, &simulated, layers.boundary.is_some())));
        }
    }
    page(
        call,
        "iam-simulation",
        "EvaluationResults",
        results.into_iter(),
    )
}

fn account_of(owner: &str) -> String {
    let arn = owner.parse::<Arn>();
    arn.map_or_else(|_| owner.to_owned(), |arn| arn.account)
}

fn source(named: &Named) -> Source<'_> {
    Source {
        name: &named.name,
        policy: named.document.policy(),
    }
}

fn result(request: &Request<'_>, simulated: &Simulation, bounded: bool) -> Value {
    let statements: Vec<Value> = simulated.matched.iter().map(statement).collect();
    let by_boundary = bounded.then(|| {
        let allowed = simulated.matched.iter().any(|it| {
            it.name.layer == Layer::Boundary && it.name.effect == apron_aws::policy::Effect::Allow
        });
        json!({"AllowedByPermissionsBoundary": allowed})
    });
    json!({
        "EvalActionName": request.action, "EvalResourceName": request.resource,
        "EvalDecision": simulated.decision.simulated(), "MatchedStatements": statements,
        "MissingContextValues": simulated.missing_context,
        "PermissionsBoundaryDecisionDetail": by_boundary,
    })
}

fn statement(matched: &StatementMatch) -> Value {
    let kind = match matched.name.layer {
        Layer::Resource | Layer::Trust => "resource",
        _ if matched.name.policy.starts_with("inline policy of user") => "user",
        _ if matched.name.policy.starts_with("inline policy of group") => "group",
        _ if matched.name.policy.starts_with("inline policy of role") => "role",
        _ if matched.name.policy.starts_with("arn:aws:iam::aws:") => "aws-managed",
        _ if matched.name.policy.starts_with("arn:") => "user-managed",
        _ => "none",
    };
    let (start, end) = (matched.span.start, matched.span.end);
    json!({
        "SourcePolicyId": matched.name.policy, "SourcePolicyType": kind,
        "StartPosition": {"Line": start.line, "Column": start.column},
        "EndPosition": {"Line": end.line, "Column": end.column},
    })
}
