//! What a service tells of a resource.

use crate::iam::{Document, Tags};
use apron_aws::policy::Context;
use apron_aws::policy::actions::Check;

/// A question about a resource.
#[derive(Clone, Copy, Debug)]
pub struct ResourceQuestion<'a> {
    /// The action that somebody wants to perform on it.
    pub action: &'a str,
    /// Its ARN, as far as the request tells it.
    pub arn: &'a str,
}

/// What policies need to know of a resource.
#[derive(Clone, Debug, Default)]
pub struct ResourceFacts {
    /// Its whole ARN, where requests do not tell it.
    pub arn: Option<String>,
    /// Its tags, for `aws:ResourceTag`.
    pub tags: Tags,
    /// The ARN of its permissions boundary, for users and roles.
    pub boundary: Option<String>,
    /// Its policy.
    pub policy: Option<ResourcePolicy>,
}

/// The policy of a resource.
#[derive(Clone, Debug)]
pub struct ResourcePolicy {
    /// What it is called in records, for example `policy of repository app`.
    pub name: String,
    /// The document.
    pub document: Document,
    /// Whether it has to allow in any case, as trust policies of roles and policies of KMS keys do.
    pub required: bool,
}

impl ResourceFacts {
    pub(super) fn describe(&self, check: &Check, context: &mut Context) {
        let tags = || {
            self.tags
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
        };
        context.set_tags("aws:ResourceTag", tags());
        if let Some((service @ ("iam" | "ecr" | "secretsmanager" | "ssm"), _)) =
            check.action.split_once(':')
        {
            context.set_tags(&format!("{service}:ResourceTag"), tags());
        }
        if check.action.starts_with("sts:") {
            context.set_tags("iam:ResourceTag", tags());
        }
        if let Some(boundary) = &self.boundary {
            context.set("iam:PermissionsBoundary", boundary);
        }
    }
}
