//! The actions of the services: what they are called, what they act on, which condition keys they know; and which checks
//! an operation with a certain input needs.
//!
//! The tables (`models/actions-*.json`) hold facts of the Service Authorization Reference
//! (<https://docs.aws.amazon.com/service-authorization/latest/reference/reference.html>) and, in `operations`, how an
//! operation's input gives the resource.

mod checks;

use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use checks::{Check, CheckError, Scope, checks, set_encryption_context};

/// How far-reaching an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Access {
    /// Lists resources.
    List,
    /// Reads content or attributes.
    Read,
    /// Makes, changes or deletes.
    Write,
    /// Sets tags.
    Tagging,
    /// Changes who may do what.
    #[serde(rename = "Permissions management")]
    PermissionsManagement,
}

/// The actions of a service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// What stands before the colon of its actions.
    pub service: String,
    /// Its types of resources.
    pub resources: BTreeMap<String, ResourceType>,
    /// Its condition keys and their types, for example `ArrayOfString`; `${TagKey}` is the name of a tag.
    pub condition_keys: BTreeMap<String, String>,
    /// Its actions by name, without the service.
    pub actions: BTreeMap<String, Action>,
    /// How operations become checks.
    operations: BTreeMap<String, Operation>,
}

/// A type of resource.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceType {
    /// The form of its ARNs.
    pub arn: String,
    /// The condition keys every resource of the type has.
    pub conditions: Vec<String>,
}

/// An action.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// How far-reaching it is.
    pub access: Access,
    /// The types of resources it acts on; with `*` at the end: one is required. Empty: it has none, its resource is `*`.
    pub resources: Vec<String>,
    /// The condition keys of its requests.
    pub conditions: Vec<String>,
    /// Whether it is a permission without an operation.
    #[serde(default)]
    pub permission_only: bool,
}

/// How an operation's input becomes checks. Texts with members in braces are read by [`checks`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation {
    /// The resource.
    resource: String,
    /// The resource when a member of `resource` is not given.
    otherwise: Option<String>,
    /// Whether everybody who is known may, whatever the policies say
    /// (<https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>).
    #[serde(default)]
    free: bool,
    /// Whether the stored name has to take the place of the resource, because the input does not tell all of it.
    #[serde(default)]
    provisional: bool,
    /// Further resources of the same action, each when its member is given.
    #[serde(default)]
    also: Vec<String>,
    /// Condition keys by the path of the member that gives their values.
    #[serde(default)]
    context: BTreeMap<String, String>,
    /// The members with encryption contexts of KMS, by the action that each is for.
    #[serde(default)]
    encryption_contexts: BTreeMap<String, String>,
    /// The member with tags that the request sets.
    tags: Option<String>,
    /// The member with names of tags that the request removes.
    tag_keys: Option<String>,
    /// Further actions on the same resource, by the member that makes them necessary.
    #[serde(default)]
    implies: BTreeMap<String, String>,
    /// Actions, each with its own resource, in the place of the one that is called like the operation.
    #[serde(default)]
    asks: BTreeMap<String, String>,
    /// Roles that the request hands to a service.
    #[serde(default)]
    passes: Vec<PassedRole>,
}

/// A role that is handed to a service, which needs `iam:PassRole`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PassedRole {
    /// The path of the member with its ARN.
    member: String,
    /// The value of `iam:PassedToService`.
    service: String,
}

const TABLES: [&str; 10] = [
    include_str!("../../models/actions-apprunner.json"),
    include_str!("../../models/actions-apron.json"),
    include_str!("../../models/actions-cloudtrail.json"),
    include_str!("../../models/actions-ecr.json"),
    include_str!("../../models/actions-iam.json"),
    include_str!("../../models/actions-kms.json"),
    include_str!("../../models/actions-logs.json"),
    include_str!("../../models/actions-secretsmanager.json"),
    include_str!("../../models/actions-ssm.json"),
    include_str!("../../models/actions-sts.json"),
];

static SERVICES: LazyLock<BTreeMap<String, Service>> = LazyLock::new(|| {
    let parse = |text: &str| {
        let service: Service =
            serde_json::from_str(text).expect("the tables are part of the program and tested");
        (service.service.clone(), service)
    };
    TABLES.into_iter().map(parse).collect()
});

/// Every service with a table, by name.
pub fn services() -> impl Iterator<Item = &'static Service> {
    SERVICES.values()
}

/// A service by what stands before the colon of its actions.
pub fn service(name: &str) -> Option<&'static Service> {
    SERVICES.get(name)
}

/// An action such as `apprunner:CreateService`, without case, as policies have it.
pub fn action(name: &str) -> Option<&'static Action> {
    let (prefix, name) = name.split_once(':')?;
    let service = SERVICES.get(&prefix.to_ascii_lowercase())?;
    service.actions.get(name).or_else(|| {
        let mut actions = service.actions.iter();
        actions
            .find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, action)| action)
    })
}

/// Whether everybody who is known may perform an operation, whatever the policies say.
pub fn is_free(service: &str, operation: &str) -> bool {
    let row = SERVICES
        .get(service)
        .and_then(|it| it.operations.get(operation));
    row.is_some_and(|row| row.free)
}

impl Service {
    /// The operations that [`checks`] knows.
    pub fn operations(&self) -> impl Iterator<Item = &str> {
        self.operations.keys().map(String::as_str)
    }

    /// The actions that an operation is authorised by: the one of its name, unless the table has others for it.
    pub fn actions_of<'a>(&'a self, operation: &'a str) -> Vec<&'a str> {
        let asks = self.operations.get(operation).map(|row| &row.asks);
        match asks.filter(|asks| !asks.is_empty()) {
            Some(asks) => asks.keys().map(String::as_str).collect(),
            None => vec![operation],
        }
    }
}
