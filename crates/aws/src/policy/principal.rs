//! Entries of `Principal` and `NotPrincipal`
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html>).

use super::request::Caller;
use crate::arn::Arn;

/// Characters of the unique id of a user or role, at least and at most.
const UNIQUE_ID_CHARS: std::ops::RangeInclusive<usize> = 16..=128;

/// Whom an entry names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrincipalPattern {
    /// `*`.
    Everyone,
    /// An account, by its number or by the ARN of its root.
    Account(String),
    /// A user, role or session, by its ARN.
    Arn(String),
    /// A user or role by its unique id, as IAM writes the ARN of one that was deleted.
    UniqueId(String),
    /// A service, for example `tasks.apprunner.amazonaws.com`.
    Service(String),
    /// An identity provider, by its ARN or by its name.
    Federated(String),
}

/// How directly a policy of a resource names the caller. It decides which other layers can still refuse
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The caller's account: it is for the account's own policies to say who.
    Account,
    /// The role of the caller's session, or the user who federated: boundary and session policy still limit.
    Entity,
    /// The caller.
    Direct,
}

impl PrincipalPattern {
    /// An entry by the key of the map it is in (`AWS`, `Service`, `Federated`).
    pub(super) fn parse(key: &str, text: &str) -> Result<PrincipalPattern, String> {
        let invalid = || format!("Invalid principal in policy: \"{key}\":\"{text}\"");
        match key {
            "AWS" => aws(text).ok_or_else(invalid),
            "Service" => {
                let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
                let ok = text.contains('.') && text.bytes().all(plain);
                ok.then(|| PrincipalPattern::Service(text.to_owned()))
                    .ok_or_else(invalid)
            }
            "Federated" => {
                let ok = !text.is_empty() && !text.contains(|c: char| "*?\"$ ".contains(c));
                ok.then(|| PrincipalPattern::Federated(text.to_owned()))
                    .ok_or_else(invalid)
            }
            "CanonicalUser" => Err(
                "Invalid principal in policy: canonical user ids belong to S3 and are not supported"
                    .to_owned(),
            ),
            _ => Err(invalid()),
        }
    }

    /// The key of the map it stands in, and its text.
    pub(super) fn written(&self) -> (&'static str, &str) {
        match self {
            PrincipalPattern::Everyone => ("AWS", "*"),
            PrincipalPattern::Account(text)
            | PrincipalPattern::Arn(text)
            | PrincipalPattern::UniqueId(text) => ("AWS", text),
            PrincipalPattern::Service(text) => ("Service", text),
            PrincipalPattern::Federated(text) => ("Federated", text),
        }
    }

    /// How directly the entry names a caller; none: not at all.
    pub fn reach(&self, caller: &Caller) -> Option<Reach> {
        let when = |is: bool, reach: Reach| is.then_some(reach);
        match self {
            PrincipalPattern::Everyone => Some(Reach::Direct),
            PrincipalPattern::Account(account) => match caller {
                Caller::Root { account: own } => when(own == account, Reach::Direct),
                _ => when(caller.account() == Some(account.as_str()), Reach::Account),
            },
            PrincipalPattern::Arn(arn) => {
                let entity = match caller {
                    Caller::RoleSession { role, .. } => Some(role.to_string()),
                    Caller::FederatedUser { issuer, .. } => Some(issuer.to_string()),
                    _ => None,
                };
                let direct = when(caller.arn().as_deref() == Some(arn), Reach::Direct);
                direct.or_else(|| when(entity.as_deref() == Some(arn), Reach::Entity))
            }
            PrincipalPattern::UniqueId(id) => match caller {
                Caller::User { id: own, .. } => when(own == id, Reach::Direct),
                Caller::RoleSession { role_id, .. } => when(role_id == id, Reach::Entity),
                _ => None,
            },
            PrincipalPattern::Service(name) => {
                let is = matches!(caller, Caller::Service { name: own } if own == name);
                when(is, Reach::Direct)
            }
            PrincipalPattern::Federated(name) => {
                let is = matches!(caller, Caller::WebIdentity { provider } if provider == name);
                when(is, Reach::Direct)
            }
        }
    }
}

/// An entry under `AWS`; none when it is of no known form. Wildcards name everyone or nobody, never a part of a name.
fn aws(text: &str) -> Option<PrincipalPattern> {
    if text == "*" {
        return Some(PrincipalPattern::Everyone);
    }
    if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(PrincipalPattern::Account(text.to_owned()));
    }
    let id_like = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    if UNIQUE_ID_CHARS.contains(&text.len())
        && (text.starts_with("AIDA") || text.starts_with("AROA"))
        && text.bytes().all(id_like)
    {
        return Some(PrincipalPattern::UniqueId(text.to_owned()));
    }
    let arn: Arn = text.parse().ok()?;
    let in_account = arn.account.len() == 12 && arn.region.is_empty();
    if !in_account || text.contains(['*', '?', '$']) {
        return None;
    }
    let (kind, name) = arn.resource.split_once('/').unwrap_or((&arn.resource, ""));
    let ok = match (arn.service.as_str(), kind) {
        ("iam", "root") if name.is_empty() => {
            return Some(PrincipalPattern::Account(arn.account));
        }
        ("iam", "user" | "role") | ("sts", "federated-user") => !name.is_empty(),
        ("sts", "assumed-role") => {
            let (role, session) = name.split_once('/')?;
            !role.is_empty() && !session.is_empty()
        }
        _ => false,
    };
    ok.then(|| PrincipalPattern::Arn(text.to_owned()))
}
