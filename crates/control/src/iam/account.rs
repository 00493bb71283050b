//! The account as a whole.

use super::directory::{Directory, key_of};
use super::entity::{Holder, ManagedPolicy, Permissions};
use super::input::{page, texts};
use super::{Iam, managed, output, quotas};
use crate::endpoint::Call;
use apron_aws::ApiError;
use serde_json::{Value, json};

impl Iam {
    pub(super) fn get_account_summary(&self) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let versions: usize = directory
            .policies
            .values()
            .map(|it| it.versions.len())
            .sum();
        Ok(json!({"SummaryMap": {
            "Users": directory.users.len(), "UsersQuota": quotas::USERS,
            "Groups": directory.groups.len(), "GroupsQuota": quotas::GROUPS,
            "Roles": directory.roles.len(), "RolesQuota": quotas::ROLES,
            "Policies": directory.policies.len(), "PoliciesQuota": quotas::POLICIES,
            "PolicyVersionsInUse": versions,
            "VersionsPerPolicyQuota": quotas::VERSIONS_PER_POLICY,
            "AccessKeysPerUserQuota": quotas::ACCESS_KEYS_PER_USER,
            "GroupsPerUserQuota": quotas::GROUPS_PER_USER,
            "AttachedPoliciesPerUserQuota": quotas::ATTACHED_POLICIES,
            "AttachedPoliciesPerGroupQuota": quotas::ATTACHED_POLICIES,
            "AttachedPoliciesPerRoleQuota": quotas::ATTACHED_POLICIES,
            "UserPolicySizeQuota": quotas::USER_POLICY_SIZE,
            "GroupPolicySizeQuota": quotas::GROUP_POLICY_SIZE,
            "RolePolicySizeQuota": quotas::ROLE_POLICY_SIZE,
            "PolicySizeQuota": quotas::POLICY_SIZE,
            "AssumeRolePolicySizeQuota": quotas::ASSUME_ROLE_POLICY_SIZE,
            "AccountAccessKeysPresent": u8::from(!directory.root.keys.is_empty()), "AccountPasswordPresent": 0, "AccountMFAEnabled": 0,
            "MFADevices": 0, "MFADevicesInUse": 0, "InstanceProfiles": 0,
            "Providers": directory.providers.len(),
        }}))
    }

    pub(super) fn get_account_authorization_details(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let filter = texts(call, "Filter");
        let wanted = |kind: &str| filter.is_empty() || filter.contains(&kind);
        // One listing over four kinds: the first letter of a key tells the kind.
        let mut all: Vec<(String, Value)> = Vec::new();
        for (holder, name, _, permissions) in directory.holders() {
            if wanted(holder.title()) {
                let key = format!("{}{}", holder.word(), key_of(name));
                all.push((key, detail(&directory, holder, name, permissions)?));
            }
        }
        let of_aws = managed::policies().filter(|_| wanted("AWSManagedPolicy"));
        let own = directory.policies.values();
        let own = own.filter(|_| wanted("LocalManagedPolicy"));
        for policy in of_aws.chain(own) {
            let arn = output::policy_arn(policy, &directory.account);
            all.push((format!("z{arn}"), policy_detail(policy, &directory)));
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let mut answer = page(call, "iam-details", "All", all.into_iter())?;
        let all = answer["All"].take();
        let all = all.as_array().into_iter().flatten();
        let with = |member: &str| -> Value {
            let all = all.clone();
            all.filter(|it| it.get(member).is_some()).cloned().collect()
        };
        answer["UserDetailList"] = with("UserPolicyList");
        answer["GroupDetailList"] = with("GroupPolicyList");
        answer["RoleDetailList"] = with("RolePolicyList");
        answer["Policies"] = with("PolicyVersionList");
        Ok(answer)
    }
}

fn detail(
    directory: &Directory,
    holder: Holder,
    name: &str,
    permissions: &Permissions,
) -> Result<Value, ApiError> {
    let mut out = match holder {
        Holder::User => output::user(directory.user(name)?, &directory.account),
        Holder::Group => output::group(directory.group(name)?, &directory.account),
        Holder::Role => {
            let role = directory.role(name)?;
            let mut out = output::role_listed(role, &directory.account);
            out["Tags"] = output::tags(&role.tags);
            out["InstanceProfileList"] = json!([]);
            out
        }
    };
    if holder == Holder::User {
        let groups = directory.groups_of(directory.user(name)?);
        let names: Vec<&str> = groups.map(|group| group.name.as_str()).collect();
        out["GroupList"] = json!(names);
    }
    let inline = permissions.inline.iter();
    let inline: Vec<Value> = inline
        .map(|(name, document)| {
            json!({"PolicyName": name, "PolicyDocument": output::document(document)})
        })
        .collect();
    out[format!("{}PolicyList", holder.title())] = json!(inline);
    let attached = permissions.attached.iter();
    out["AttachedManagedPolicies"] = attached
        .map(|arn| output::attached(directory, arn))
        .collect();
    Ok(out)
}

fn policy_detail(policy: &ManagedPolicy, directory: &Directory) -> Value {
    let mut out = output::policy(policy, directory);
    let versions = policy.versions.iter().rev();
    out["PolicyVersionList"] = versions
        .map(|version| output::version(policy, version, true))
        .collect();
    out
}
