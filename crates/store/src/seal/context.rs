//! What an envelope of a customer's key is bound to.

use std::collections::BTreeMap;

/// The encryption context (KMS developer guide): pairs of texts that are authenticated and not secret. The order they are
/// given in does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptionContext(BTreeMap<String, String>);

impl EncryptionContext {
    /// The context with these pairs.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> EncryptionContext {
        EncryptionContext(pairs.into_iter().collect())
    }

    /// The context with one pair.
    pub fn of(name: &str, value: &str) -> EncryptionContext {
        EncryptionContext::new([(name.to_owned(), value.to_owned())])
    }

    /// The same context with one more pair.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> EncryptionContext {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The pairs.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// As bytes from which the pairs can be told, whatever is in them: each text after its length.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in self.0.iter().flat_map(|(name, value)| [name, value]) {
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_pairs_are_different_bytes() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            EncryptionContext::new(pairs).bytes()
        };
        assert_eq!(of(&[("a", "1"), ("b", "2")]), of(&[("b", "2"), ("a", "1")]));
        assert_ne!(of(&[("a", "1b")]), of(&[("a1", "b")]));
        assert_ne!(of(&[("a", ""), ("b", "")]), of(&[("a", "b"), ("", "")]));
        assert!(of(&[]).is_empty());
    }
}
