//! The kinds of policies: what each may contain and how long it may be
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).

/// What a policy is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A user's inline policy. The bound is for all of a user's together.
    UserInline,
    /// A group's inline policy. The bound is for all of a group's together.
    GroupInline,
    /// A role's inline policy. The bound is for all of a role's together.
    RoleInline,
    /// A managed policy; permissions boundaries are managed policies.
    Managed,
    /// The session policy of `AssumeRole` and `GetFederationToken`.
    Session,
    /// A service control policy of an organisation.
    ServiceControl,
    /// A role's trust policy.
    Trust,
    /// The policy of an ECR repository.
    Repository,
    /// The policy of a secret.
    Secret,
    /// The policy of a KMS key.
    Key,
}

/// Whether an element is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Required,
    Optional,
    Prohibited,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 10] = [
        Kind::UserInline,
        Kind::GroupInline,
        Kind::RoleInline,
        Kind::Managed,
        Kind::Session,
        Kind::ServiceControl,
        Kind::Trust,
        Kind::Repository,
        Kind::Secret,
        Kind::Key,
    ];

    /// The characters a document may have; see [`Kind::counts_space`].
    pub fn chars_max(self) -> usize {
        match self {
            Kind::UserInline | Kind::Trust | Kind::Session => 2_048,
            Kind::GroupInline | Kind::ServiceControl => 5_120,
            Kind::Managed => 6_144,
            Kind::RoleInline | Kind::Repository => 10_240,
            Kind::Secret => 20_480,
            Kind::Key => 32_768,
        }
    }

    /// Whether white space counts; it does not for what IAM stores.
    pub fn counts_space(self) -> bool {
        matches!(
            self,
            Kind::Session | Kind::Repository | Kind::Secret | Kind::Key
        )
    }

    /// Whether the policy belongs to a resource and so names principals.
    pub fn names_principals(self) -> bool {
        matches!(
            self,
            Kind::Trust | Kind::Repository | Kind::Secret | Kind::Key
        )
    }

    /// Whether IAM keeps it, whose rules for `Sid` are the strict ones.
    pub(super) fn strict_sids(self) -> bool {
        !matches!(self, Kind::Repository | Kind::Secret | Kind::Key)
    }

    /// `Resource` or `NotResource`. A trust policy and a repository's policy mean the resource they belong to.
    pub(super) fn resources(self) -> Presence {
        match self {
            Kind::Trust => Presence::Prohibited,
            Kind::Repository => Presence::Optional,
            _ => Presence::Required,
        }
    }

    /// `Id`.
    pub(super) fn id(self) -> Presence {
        if self.names_principals() {
            Presence::Optional
        } else {
            Presence::Prohibited
        }
    }
}
