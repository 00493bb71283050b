//! What policies need to know of users, groups, roles and policies.

use super::directory::Directory;
use super::entity::{Entity, Tags};
use crate::authorizer::{ResourceFacts, ResourcePolicy, ResourceQuestion};

/// The facts about an identity. Requests name users, groups and roles without their paths.
pub(super) fn facts(
    directory: &Directory,
    question: &ResourceQuestion<'_>,
) -> Option<ResourceFacts> {
    let arn: apron_aws::Arn = question.arn.parse().ok()?;
    if arn.account != directory.account {
        return None;
    }
    let (kind, name) = arn.resource.split_once('/')?;
    let account = &directory.account;
    // A name alone, or the whole ARN; never the name with another path.
    let meant = |own: String| (!name.contains('/') || own == question.arn).then_some(own);
    match kind {
        "user" => {
            let user = directory.user(last(name)).ok()?;
            Some(ResourceFacts {
                arn: Some(meant(user.arn(account))?),
                tags: user.tags.clone(),
                boundary: user.permissions.boundary.clone(),
                policy: None,
            })
        }
        "group" => {
            let group = directory.group(last(name)).ok()?;
            Some(ResourceFacts {
                arn: Some(meant(group.arn(account))?),
                ..ResourceFacts::default()
            })
        }
        "role" if question.action.starts_with("sts:") => {
            let role = directory.role_by_arn(question.arn)?;
            let policy = ResourcePolicy {
                name: format!("trust policy of role {}", role.name),
                document: role.trust.clone(),
                required: true,
            };
            Some(ResourceFacts {
                arn: None,
                tags: role.tags.clone(),
                boundary: None,
                policy: Some(policy),
            })
        }
        "role" => {
            let role = directory.role(last(name)).ok()?;
            Some(ResourceFacts {
                arn: Some(meant(role.arn(account))?),
                tags: role.tags.clone(),
                boundary: role.permissions.boundary.clone(),
                policy: None,
            })
        }
        "policy" => {
            let policy = directory.policy(question.arn);
            let tags: Tags = policy.map(|it| it.tags.clone()).unwrap_or_default();
            Some(ResourceFacts {
                tags,
                ..ResourceFacts::default()
            })
        }
        "oidc-provider" => Some(of_provider(directory, name)),
        _ => None,
    }
}

/// The facts about an OpenID Connect provider. A new one is asked for by its URL.
fn of_provider(directory: &Directory, name: &str) -> ResourceFacts {
    let url = name.strip_prefix("https://").unwrap_or(name);
    let arn = format!("arn:aws:iam::{}:oidc-provider/{url}", directory.account);
    let tags = directory.provider(&arn).map(|it| it.tags.clone());
    ResourceFacts {
        arn: Some(arn),
        tags: tags.unwrap_or_default(),
        ..ResourceFacts::default()
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}
