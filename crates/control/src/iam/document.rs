//! Policy documents as they are kept: the text as it was given, checked and read once.

use apron_aws::policy::{Kind, Policy, PolicyError};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// The names of the kinds in stored records.
const KINDS: [(Kind, &str); 9] = [
    (Kind::UserInline, "user"),
    (Kind::GroupInline, "group"),
    (Kind::RoleInline, "role"),
    (Kind::Managed, "managed"),
    (Kind::Session, "session"),
    (Kind::Trust, "trust"),
    (Kind::Repository, "repository"),
    (Kind::Secret, "secret"),
    (Kind::Key, "key"),
];

/// A policy document. Cheap to clone.
#[derive(Clone)]
pub struct Document {
    inner: Arc<Inner>,
}

struct Inner {
    kind: Kind,
    text: String,
    policy: Policy,
    reads_resource_tags: bool,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    kind: String,
    text: String,
}

impl Document {
    /// Checks a text that somebody wants to store.
    ///
    /// # Errors
    /// The text is no policy of that kind, or too long.
    pub fn parse(text: &str, kind: Kind) -> Result<Document, PolicyError> {
        let policy = Policy::parse(text, kind)?;
        let reads_resource_tags = policy
            .context_keys()
            .iter()
            .any(|key| key.to_ascii_lowercase().contains("resourcetag/"));
        let inner = Inner {
            kind,
            text: text.to_owned(),
            policy,
            reads_resource_tags,
        };
        Ok(Document {
            inner: Arc::new(inner),
        })
    }

    /// The text as it was given.
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    /// Whether a condition or variable asks for tags of the resource, which are looked up for such policies only.
    pub fn reads_resource_tags(&self) -> bool {
        self.inner.reads_resource_tags
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.text)
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Document) -> bool {
        self.inner.kind == other.inner.kind && self.inner.text == other.inner.text
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = KINDS.iter().find(|(kind, _)| *kind == self.inner.kind);
        let stored = Stored {
            kind: name.map_or("managed", |(_, name)| name).to_owned(),
            text: self.inner.text.clone(),
        };
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        let kind = KINDS.iter().find(|(_, name)| *name == stored.kind);
        let (kind, _) = kind.ok_or_else(|| D::Error::custom("a policy of an unknown kind"))?;
        Document::parse(&stored.text, *kind).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_back_as_they_were_given() {
        let text = r#"{"Version":"2012-10-17", "Statement":[{"Effect":"Allow","Action":"ecr:*","Resource":"*",
            "Condition":{"StringEquals":{"aws:ResourceTag/team":"a"}}}]}"#;
        let document = Document::parse(text, Kind::Managed).unwrap();
        assert!(document.reads_resource_tags());
        let stored = serde_json::to_string(&document).unwrap();
        let read: Document = serde_json::from_str(&stored).unwrap();
        assert_eq!((read.text(), &read), (text, &document));
        let broken = r#"{"kind":"managed","text":"{}"}"#;
        assert!(serde_json::from_str::<Document>(broken).is_err());
    }
}
