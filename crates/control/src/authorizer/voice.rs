//! The policies that speak for a caller.

use crate::endpoint::Caller;
use crate::iam::{Directory, Document, Named, Session, SessionHolder, Tags, session_policy};
use apron_aws::policy::{self, Context, Layers, Source};
use std::sync::{Arc, LazyLock};

/// What the credentials of `GetSessionToken` are not good for
/// (<https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html>).
const SESSION_TOKEN_LIMITS: &str = r#"{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "NotAction": ["iam:*", "sts:*"], "Resource": "*"},
    {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]}"#;
/// What takes the place of a policy that ought to be there and is not.
const NOTHING: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}"#;

static LIMITS: LazyLock<Document> = LazyLock::new(|| constant(SESSION_TOKEN_LIMITS));
static DENIED: LazyLock<Document> = LazyLock::new(|| constant(NOTHING));

fn constant(text: &str) -> Document {
    session_policy(text).expect("the text is part of the program and tested")
}

/// The policies that speak for a caller, taken once for a request.
#[derive(Default)]
pub(super) struct Voice {
    identity: Vec<Named>,
    boundary: Option<Named>,
    session: Option<Vec<Named>>,
    tags: Tags,
    origin: Option<Arc<Session>>,
}

impl Voice {
    pub(super) fn of(caller: &Caller, directory: &Directory) -> Voice {
        let mut voice = Voice {
            origin: caller.session.clone(),
            ..Voice::default()
        };
        let permissions = match &caller.identity {
            policy::Caller::User { id, .. } => {
                let name = caller.user_name().unwrap_or_default();
                let user = directory.user(name).ok().filter(|user| user.id == *id);
                user.map(|user| {
                    voice.identity = directory.policies_of_user(user);
                    voice.tags.clone_from(&user.tags);
                    user.permissions.clone()
                })
            }
            policy::Caller::RoleSession { role, role_id, .. } => {
                let found = directory.role_by_arn(&role.to_string());
                let role = found.filter(|role| role.id == *role_id);
                role.map(|role| {
                    voice.identity = directory.policies_of_role(role);
                    voice.tags.clone_from(&role.tags);
                    role.permissions.clone()
                })
            }
            _ => None,
        };
        let boundary = permissions.and_then(|it| directory.boundary_of(&it));
        voice.boundary = boundary.map(|found| found.unwrap_or_else(|| named("missing", &DENIED)));
        if let Some(session) = &caller.session {
            voice.limit(session, directory);
        }
        voice
    }

    fn limit(&mut self, session: &Session, directory: &Directory) {
        self.tags.extend(session.tags.clone());
        let mut limits = Vec::new();
        if !matches!(session.holder, SessionHolder::Role { .. }) {
            limits.push(named("limits of GetSessionToken", &LIMITS));
        }
        if let Some(document) = &session.policy {
            limits.push(named("policy of the session", document));
        }
        for arn in &session.policy_arns {
            let managed = directory.managed(arn);
            limits.push(managed.unwrap_or_else(|| named(arn, &DENIED)));
        }
        self.session = Some(limits).filter(|limits| !limits.is_empty());
    }

    pub(super) fn reads_resource_tags(&self) -> bool {
        let session = self.session.iter().flatten();
        let mut all = self.identity.iter().chain(&self.boundary).chain(session);
        all.any(|it| it.document.reads_resource_tags())
    }

    /// The condition keys of the caller that its policies do not give.
    pub(super) fn describe(&self, context: &mut Context) {
        let tags = self.tags.iter();
        context.set_tags(
            "aws:PrincipalTag",
            tags.map(|(key, value)| (key.as_str(), value.as_str())),
        );
        if let Some(session) = &self.origin {
            context.set("aws:MultiFactorAuthPresent", "false");
            let seconds = i64::try_from(session.issued.0 / 1000).unwrap_or(i64::MAX);
            context.set("aws:TokenIssueTime", policy::written_date(seconds));
            if let Some(identity) = &session.source_identity {
                context.set("aws:SourceIdentity", identity);
            }
        }
    }

    pub(super) fn layers(&self) -> Layers<'_> {
        Layers {
            service_control: Vec::new(),
            identity: self.identity.iter().map(source).collect(),
            boundary: self.boundary.as_ref().map(source),
            session: self
                .session
                .as_ref()
                .map(|all| all.iter().map(source).collect()),
            resource: None,
        }
    }
}

fn named(name: &str, document: &Document) -> Named {
    Named {
        name: name.to_owned(),
        document: document.clone(),
    }
}

fn source(named: &Named) -> Source<'_> {
    Source {
        name: &named.name,
        policy: named.document.policy(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_constants_are_policies() {
        assert!(!super::LIMITS.reads_resource_tags());
        assert_eq!(super::DENIED.policy().statements.len(), 1);
    }
}
