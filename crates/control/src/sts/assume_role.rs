//! `AssumeRole`. The caller's policies and the role's trust policy have said yes when this is reached.

use super::marks::Marks;
use super::{Sts, credentials, denied, duration, error};
use crate::endpoint::Call;
use crate::iam::{Document, Entity, Role, Session, SessionHolder, session_policy};
use apron_aws::policy::{Caller, PolicyError};
use apron_aws::{ApiError, model};
use serde_json::{Value, json};

/// Characters of session policy, ARNs and tags together that `PackedPolicySize` calls 100 percent.
const PACKED_CHARS_MAX: usize = 4_096;
/// Managed policies that may limit a session.
const POLICY_ARNS_MAX: usize = 10;

impl Sts {
    pub(super) fn assume_role(&self, call: &Call) -> Result<Value, ApiError> {
        if call.caller.is_root() {
            return Err(denied("Roles may not be assumed by root accounts."));
        }
        let arn = text(&call.input, "RoleArn");
        let directory = self.identities.directory();
        let role = directory.role_by_arn(arn).ok_or_else(|| {
            // Whether a role exists is nobody's business who may not assume it.
            denied(format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}",
                call.caller.arn
            ))
        })?;
        let marks = Marks::asked(&call.input, call.caller.session.as_deref())?;
        self.assumed(call, role, marks)
    }

    /// A session of a role that may be assumed, as the answer has it.
    pub(super) fn assumed(
        &self,
        call: &Call,
        role: &Role,
        marks: Marks,
    ) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let name = text(&call.input, "RoleSessionName").to_owned();
        let session = self.session(call, role, name.clone(), marks)?;
        let packed = packed_size(&session)?;
        let source_identity = session.source_identity.clone();
        let made = self.identities.issue(session, &*self.chance);
        self.identities
            .last_used()
            .note(&role.id, call.now, "sts", "");
        let assumed = Caller::RoleSession {
            role: role.arn(&directory.account).parse().map_err(|cause| {
                crate::endpoint::internal(call, "read the ARN of the role", &cause)
            })?,
            role_id: role.id.clone(),
            session: name.clone(),
        };
        Ok(json!({
            "Credentials": credentials(&made),
            "AssumedRoleUser": {"AssumedRoleId": format!("{}:{name}", role.id), "Arn": assumed.arn()},
            "PackedPolicySize": packed,
            "SourceIdentity": source_identity,
        }))
    }

    fn session(
        &self,
        call: &Call,
        role: &Role,
        name: String,
        marks: Marks,
    ) -> Result<Session, ApiError> {
        let chained = matches!(call.caller.identity, Caller::RoleSession { .. });
        let asked = duration::asked(call);
        let seconds = duration::of_role(asked, u64::from(role.max_session_seconds), chained)?;
        Ok(Session {
            holder: SessionHolder::Role {
                id: role.id.clone(),
                session: name,
            },
            issued: call.now,
            expires: call.now.plus(seconds * 1000),
            policy: policy(&call.input)?,
            policy_arns: self.policy_arns(&call.input)?,
            tags: marks.tags,
            transitive: marks.transitive,
            source_identity: marks.source_identity,
        })
    }

    fn policy_arns(&self, input: &Value) -> Result<Vec<String>, ApiError> {
        let given = input.get("PolicyArns").and_then(Value::as_array);
        let given = given.into_iter().flatten();
        let arns: Vec<String> = given.map(|it| text(it, "arn").to_owned()).collect();
        if arns.len() > POLICY_ARNS_MAX {
            let text = format!("PolicyArns names more than {POLICY_ARNS_MAX} policies.");
            return Err(ApiError::validation(text));
        }
        let directory = self.identities.directory();
        for arn in &arns {
            if directory.policy(arn).is_none() {
                let text = format!("Policy {arn} does not exist or is not attachable.");
                return Err(error("MalformedPolicyDocumentException", text));
            }
        }
        Ok(arns)
    }
}

pub(super) fn text<'a>(input: &'a Value, member: &str) -> &'a str {
    input
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn policy(input: &Value) -> Result<Option<Document>, ApiError> {
    let given = input.get("Policy").and_then(Value::as_str);
    let refused = |refused: PolicyError| {
        let shape = match &refused {
            PolicyError::Malformed(_) => "MalformedPolicyDocumentException",
            PolicyError::TooLong { .. } => "PackedPolicyTooLargeException",
        };
        model::sts().error(shape, refused.to_string())
    };
    given.map(session_policy).transpose().map_err(refused)
}

fn packed_size(session: &Session) -> Result<Option<usize>, ApiError> {
    let policy = session.policy.as_ref().map_or(0, |it| it.text().len());
    let arns: usize = session.policy_arns.iter().map(String::len).sum();
    let tags: usize = session
        .tags
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    let chars = policy + arns + tags;
    if chars > PACKED_CHARS_MAX {
        let text = format!(
            "Packed size of session policy and tags consumes {}% of allotted space.",
            chars * 100 / PACKED_CHARS_MAX
        );
        return Err(error("PackedPolicyTooLargeException", text));
    }
    Ok((chars > 0).then(|| (chars * 100).div_ceil(PACKED_CHARS_MAX)))
}
