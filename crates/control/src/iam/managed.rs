//! The managed policies of AWS that users of App Runner attach. The documents are facts of the AWS Managed Policy Reference
//! (<https://docs.aws.amazon.com/aws-managed-policy/latest/reference/about-managed-policy-reference.html>), reduced to what
//! exists here; `ReadOnlyAccess` names the services of this platform only.

use super::document::Document;
use super::entity::{ManagedPolicy, PolicyVersion, Tags};
use apron_aws::policy::Kind;
use apron_domain::Millis;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// When they came to be, as far as this platform knows: the beginning of 2021.
const CREATED_AT: Millis = Millis(1_609_459_200_000);
/// What stands before path and name in their ARNs.
const ARN_START: &str = "arn:aws:iam::aws:policy";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default = "root_path")]
    path: String,
    document: Value,
}

fn root_path() -> String {
    "/".to_owned()
}

static POLICIES: LazyLock<BTreeMap<String, Arc<ManagedPolicy>>> = LazyLock::new(|| {
    let entries: Vec<Entry> = serde_json::from_str(include_str!("managed.json"))
        .expect("the table is part of the program and tested");
    let entries = entries.into_iter().enumerate();
    entries
        .map(|(index, entry)| policy_of(index, entry))
        .collect()
});

fn policy_of(index: usize, entry: Entry) -> (String, Arc<ManagedPolicy>) {
    let document = Document::parse(&entry.document.to_string(), Kind::Managed)
        .expect("the table is part of the program and tested");
    let version = PolicyVersion {
        number: 1,
        created_at: CREATED_AT,
        document,
    };
    let policy = ManagedPolicy {
        id: format!("ANPAAWSMANAGED{index:07}"),
        name: entry.name,
        path: entry.path,
        created_at: CREATED_AT,
        updated_at: CREATED_AT,
        description: None,
        versions: vec![version],
        default_version: 1,
        last_version: 1,
        tags: Tags::new(),
    };
    (arn(&policy), Arc::new(policy))
}

/// The ARN of one of these policies.
pub fn arn(policy: &ManagedPolicy) -> String {
    format!("{ARN_START}{}{}", policy.path, policy.name)
}

/// The policy of that ARN.
pub fn policy(arn: &str) -> Option<&'static Arc<ManagedPolicy>> {
    POLICIES.get(arn)
}

/// All of them.
pub fn policies<'a>() -> impl Iterator<Item = &'a Arc<ManagedPolicy>> {
    POLICIES.values()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let full = policy("arn:aws:iam::aws:policy/AWSAppRunnerFullAccess").unwrap();
        assert!(full.document().is_some());
        let pull = "arn:aws:iam::aws:policy/service-role/AWSAppRunnerServicePolicyForECRAccess";
        assert!(policy(pull).is_some());
        assert!(policies().all(|policy| policy.id.len() == 21));
    }
}
