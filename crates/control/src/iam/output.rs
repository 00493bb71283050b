//! Entities as answers have them.

use super::directory::Directory;
use super::document::Document;
use super::entity::{
    AccessKey, Entity, Group, ManagedPolicy, Permissions, PolicyVersion, Role, Tags, User,
};
use super::last_used::{LastUsed, Use};
use super::managed;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

/// Documents in answers are URL-encoded (RFC 3986, unreserved characters stay).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A document as answers have it.
pub fn document(document: &Document) -> String {
    utf8_percent_encode(document.text(), ENCODED).to_string()
}

/// Tags as answers have them.
pub fn tags(tags: &Tags) -> Value {
    let tag = |(key, value): (&String, &String)| json!({"Key": key, "Value": value});
    tags.iter().map(tag).collect()
}

/// Tags where none are left out.
fn some_tags(own: &Tags) -> Option<Value> {
    (!own.is_empty()).then(|| tags(own))
}

fn boundary(permissions: &Permissions) -> Option<Value> {
    let arn = permissions.boundary.as_deref()?;
    Some(json!({"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn}))
}

/// A user as listings have it: without tags and boundary.
pub fn user_listed(user: &User, account: &str) -> Value {
    json!({
        "Path": user.path, "UserName": user.name, "UserId": user.id, "Arn": user.arn(account),
        "CreateDate": user.created_at.as_seconds(),
    })
}

/// A user in full.
pub fn user(user: &User, account: &str) -> Value {
    let mut out = user_listed(user, account);
    out["PermissionsBoundary"] = json!(boundary(&user.permissions));
    out["Tags"] = json!(some_tags(&user.tags));
    out
}

/// A group.
pub fn group(group: &Group, account: &str) -> Value {
    json!({
        "Path": group.path, "GroupName": group.name, "GroupId": group.id, "Arn": group.arn(account),
        "CreateDate": group.created_at.as_seconds(),
    })
}

/// A role as listings have it: without tags, boundary and last use.
pub fn role_listed(role: &Role, account: &str) -> Value {
    json!({
        "Path": role.path, "RoleName": role.name, "RoleId": role.id, "Arn": role.arn(account),
        "CreateDate": role.created_at.as_seconds(), "AssumeRolePolicyDocument": document(&role.trust),
        "Description": role.description, "MaxSessionDuration": role.max_session_seconds,
    })
}

/// A role in full.
pub fn role(role: &Role, account: &str, last_used: &LastUsed) -> Value {
    let mut out = role_listed(role, account);
    out["PermissionsBoundary"] = json!(boundary(&role.permissions));
    out["Tags"] = json!(some_tags(&role.tags));
    out["RoleLastUsed"] = match last_used.get(&role.id) {
        Some(Use { at, region, .. }) => {
            json!({"LastUsedDate": at.as_seconds(), "Region": region})
        }
        None => json!({}),
    };
    out
}

/// An access key without its secret.
pub fn key(user_name: &str, key: &AccessKey) -> Value {
    json!({
        "UserName": user_name, "AccessKeyId": key.id, "CreateDate": key.created_at.as_seconds(),
        "Status": if key.active { "Active" } else { "Inactive" },
    })
}

/// The ARN of a managed policy of the account or of AWS.
pub fn policy_arn(policy: &ManagedPolicy, account: &str) -> String {
    let of_aws = managed::arn(policy);
    let is_of_aws = managed::policy(&of_aws).is_some_and(|it| it.id == policy.id);
    if is_of_aws {
        of_aws
    } else {
        policy.arn(account)
    }
}

/// A managed policy.
pub fn policy(policy: &ManagedPolicy, directory: &Directory) -> Value {
    let arn = policy_arn(policy, &directory.account);
    json!({
        "PolicyName": policy.name, "PolicyId": policy.id, "Path": policy.path,
        "DefaultVersionId": version_id(policy.default_version),
        "AttachmentCount": directory.attachments(&arn),
        "PermissionsBoundaryUsageCount": directory.boundaries(&arn),
        "IsAttachable": true, "Description": policy.description,
        "CreateDate": policy.created_at.as_seconds(), "UpdateDate": policy.updated_at.as_seconds(),
        "Tags": some_tags(&policy.tags), "Arn": arn,
    })
}

/// The id of a version.
pub fn version_id(number: u32) -> String {
    format!("v{number}")
}

/// A version of a managed policy.
pub fn version(policy: &ManagedPolicy, version: &PolicyVersion, with_document: bool) -> Value {
    json!({
        "VersionId": version_id(version.number), "IsDefaultVersion": version.number == policy.default_version,
        "CreateDate": version.created_at.as_seconds(),
        "Document": with_document.then(|| document(&version.document)),
    })
}

/// Attached policies by name and ARN.
pub fn attached(directory: &Directory, arn: &str) -> Value {
    let name = directory.policy(arn).map(|policy| policy.name.clone());
    json!({"PolicyName": name, "PolicyArn": arn})
}
