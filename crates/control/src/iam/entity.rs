//! Users, groups, roles and managed policies as they are kept.

use super::document::Document;
use apron_domain::Millis;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// Who holds policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// A user.
    User,
    /// A group.
    Group,
    /// A role.
    Role,
}

impl Holder {
    /// The word for it in ARNs and texts.
    pub fn word(self) -> &'static str {
        match self {
            Holder::User => "user",
            Holder::Group => "group",
            Holder::Role => "role",
        }
    }

    /// The word as operations and their members have it.
    pub fn title(self) -> &'static str {
        match self {
            Holder::User => "User",
            Holder::Group => "Group",
            Holder::Role => "Role",
        }
    }
}

/// The policies of a user, group or role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Permissions {
    /// ARNs of the managed policies, in the order they were attached.
    pub attached: Vec<String>,
    /// Inline policies by name.
    pub inline: BTreeMap<String, Document>,
    /// The ARN of the permissions boundary.
    pub boundary: Option<String>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// `AIDA…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its path, `/` or `/…/`.
    pub path: String,
    /// When it was created.
    pub created_at: Millis,
    /// Its tags.
    #[serde(default)]
    pub tags: Tags,
    /// Its policies.
    #[serde(default)]
    pub permissions: Permissions,
    /// Unique ids of the groups it is in.
    #[serde(default)]
    pub groups: BTreeSet<String>,
    /// Its access keys, oldest first.
    #[serde(default)]
    pub keys: Vec<AccessKey>,
}

/// An access key; its secret is sealed apart from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccessKey {
    /// `AKIA…`.
    pub id: String,
    /// Whether it can be used.
    pub active: bool,
    /// When it was created.
    pub created_at: Millis,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// `AGPA…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// When it was created.
    pub created_at: Millis,
    /// Its policies.
    #[serde(default)]
    pub permissions: Permissions,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// `AROA…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// When it was created.
    pub created_at: Millis,
    /// What it is for, in somebody's words.
    #[serde(default)]
    pub description: Option<String>,
    /// The longest session, seconds.
    pub max_session_seconds: u32,
    /// Who may assume it.
    pub trust: Document,
    /// Its tags.
    #[serde(default)]
    pub tags: Tags,
    /// Its policies.
    #[serde(default)]
    pub permissions: Permissions,
    /// The principal of the service it belongs to, for a service-linked role.
    #[serde(default)]
    pub service: Option<String>,
}

/// A managed policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManagedPolicy {
    /// `ANPA…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// When it was created.
    pub created_at: Millis,
    /// When its versions were last changed.
    pub updated_at: Millis,
    /// What it is for, in somebody's words.
    #[serde(default)]
    pub description: Option<String>,
    /// Its versions, oldest first.
    pub versions: Vec<PolicyVersion>,
    /// The number of the version in force.
    pub default_version: u32,
    /// The number of the newest version that ever was.
    pub last_version: u32,
    /// Its tags.
    #[serde(default)]
    pub tags: Tags,
}

/// One version of a managed policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// Its number.
    pub number: u32,
    /// When it was created.
    pub created_at: Millis,
    /// The document.
    pub document: Document,
}

impl ManagedPolicy {
    /// The version of that number.
    pub fn version(&self, number: u32) -> Option<&PolicyVersion> {
        self.versions
            .iter()
            .find(|version| version.number == number)
    }

    /// The document in force.
    pub fn document(&self) -> Option<&Document> {
        self.version(self.default_version)
            .map(|version| &version.document)
    }
}

/// An OpenID Connect provider: an issuer whose tokens roles may trust.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OidcProvider {
    /// A unique id, which no answer shows.
    pub id: String,
    /// The issuer's URL without `https://`.
    pub url: String,
    /// When it was created.
    pub created_at: Millis,
    /// The audiences that tokens may be for.
    #[serde(default)]
    pub client_ids: Vec<String>,
    /// Thumbprints of certificates, kept and not used: certificates are verified as everywhere.
    #[serde(default)]
    pub thumbprints: Vec<String>,
    /// Its tags.
    #[serde(default)]
    pub tags: Tags,
}

/// What every kind of identity has.
pub trait Entity {
    /// The kind in the store and in ARNs.
    const KIND: &'static str;

    /// The unique id.
    fn id(&self) -> &str;

    /// The name.
    fn name(&self) -> &str;

    /// The path.
    fn path(&self) -> &str;

    /// The ARN in an account.
    fn arn(&self, account: &str) -> String {
        let (path, name) = (self.path(), self.name());
        format!("arn:aws:iam::{account}:{}{path}{name}", Self::KIND)
    }
}

impl Entity for User {
    const KIND: &'static str = "user";

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> &str {
        &self.path
    }
}

impl Entity for Group {
    const KIND: &'static str = "group";

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> &str {
        &self.path
    }
}

impl Entity for Role {
    const KIND: &'static str = "role";

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> &str {
        &self.path
    }
}

impl Entity for ManagedPolicy {
    const KIND: &'static str = "policy";

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> &str {
        &self.path
    }
}

impl Entity for OidcProvider {
    const KIND: &'static str = "oidc-provider";

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.url
    }

    fn path(&self) -> &str {
        "/"
    }
}
