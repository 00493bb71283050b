//! Who claims a name. Names are claimed by one owner each, unless a table is inconsistent or a name moves from one owner
//! to another in two steps: then the latest claim counts, and when it is given up the one before counts again.

use std::collections::HashMap;
use std::sync::Arc;

/// Names with those who claim them, the latest last.
#[derive(Debug, Default)]
pub struct Claims(HashMap<String, Vec<Arc<str>>>);

impl Claims {
    /// Claims a name; a claim that exists keeps its place.
    pub fn claim(&mut self, name: &str, owner: &str) {
        let owners = self.0.entry(name.to_owned()).or_default();
        if !owners.iter().any(|it| **it == *owner) {
            owners.push(owner.into());
        }
    }

    /// Gives a claim up.
    pub fn give_up(&mut self, name: &str, owner: &str) {
        if let Some(owners) = self.0.get_mut(name) {
            owners.retain(|it| **it != *owner);
            if owners.is_empty() {
                self.0.remove(name);
            }
        }
    }

    /// Whose claim counts.
    pub fn owner(&self, name: &str) -> Option<&str> {
        Some(self.0.get(name)?.last()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_claim_counts() {
        let mut claims = Claims::default();
        claims.claim("a", "one");
        claims.claim("a", "two");
        claims.claim("a", "one");
        assert_eq!(claims.owner("a"), Some("two"));
        claims.give_up("a", "two");
        assert_eq!(claims.owner("a"), Some("one"));
        claims.give_up("a", "one");
        assert_eq!((claims.owner("a"), claims.0.len()), (None, 0));
    }
}
