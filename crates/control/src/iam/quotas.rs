//! IAM's quotas (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>, defaults).

/// Users of an account.
pub const USERS: usize = 5_000;
/// Groups of an account.
pub const GROUPS: usize = 300;
/// Roles of an account.
pub const ROLES: usize = 1_000;
/// Managed policies of an account.
pub const POLICIES: usize = 1_500;
/// Versions of a managed policy.
pub const VERSIONS_PER_POLICY: usize = 5;
/// Managed policies attached to one user, group or role.
pub const ATTACHED_POLICIES: usize = 10;
/// Access keys of a user.
pub const ACCESS_KEYS_PER_USER: usize = 2;
/// Groups a user is in.
pub const GROUPS_PER_USER: usize = 10;
/// Tags of a user, role or policy.
pub const TAGS: usize = 50;
/// Characters of all inline policies of a user, without white space.
pub const USER_POLICY_SIZE: usize = 2_048;
/// Characters of all inline policies of a group, without white space.
pub const GROUP_POLICY_SIZE: usize = 5_120;
/// Characters of all inline policies of a role, without white space.
pub const ROLE_POLICY_SIZE: usize = 10_240;
/// Characters of a managed policy.
pub const POLICY_SIZE: usize = 6_144;
/// Characters of a trust policy.
pub const ASSUME_ROLE_POLICY_SIZE: usize = 2_048;
/// OpenID Connect providers of an account.
pub const OIDC_PROVIDERS: usize = 100;
/// Audiences of an OpenID Connect provider.
pub const CLIENT_IDS_PER_PROVIDER: usize = 100;
/// Thumbprints of an OpenID Connect provider.
pub const THUMBPRINTS_PER_PROVIDER: usize = 5;
