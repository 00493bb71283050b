//! The account's configurations beside services: auto scaling, observability, connections, VPC connectors.
//!
//! They share one life: a name, revisions that are never changed once made, and a deletion that leaves the revision
//! describable for a while. A whole list of one kind is read, changed by these functions and stored in one transaction.

use crate::time::Millis;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One revision of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision<T> {
    /// Its name.
    pub name: String,
    /// Its number; 1 for kinds without revisions.
    pub number: u32,
    /// 32 lower-case hexadecimal digits.
    pub id: String,
    /// When it was made.
    pub created_at: Millis,
    /// When it was deleted.
    pub deleted_at: Option<Millis>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// What it says.
    pub content: T,
}

/// The numbers of an auto scaling configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoScaling {
    /// Requests one instance is given at the same time.
    pub max_concurrency: u32,
    /// Instances kept at least.
    pub min_size: u32,
    /// Instances at most.
    pub max_size: u32,
    /// New services that name no configuration get this one.
    pub is_default: bool,
}

/// What an observability configuration switches on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observability {
    /// The tracing vendor; none switches tracing off.
    pub vendor: Option<String>,
}

/// A connection to a provider of source code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// `GITHUB` or `BITBUCKET`.
    pub provider: String,
    /// The provider has granted access.
    pub available: bool,
    /// The host it is for, with a port where that matters, when it is not the provider's own.
    #[serde(default)]
    pub host: Option<String>,
}

/// A way from instances into a private network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcConnector {
    /// Subnet ids.
    pub subnets: Vec<String>,
    /// Security group ids.
    pub security_groups: Vec<String>,
}

/// What an ARN's tail selects: a name, and optionally one revision of it, and optionally its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The name.
    pub name: String,
    /// One revision; without it the latest active one.
    pub number: Option<u32>,
    /// The id that the revision must have.
    pub id: Option<String>,
}

impl<T> Revision<T> {
    /// Not deleted.
    pub fn is_active(&self) -> bool {
        self.deleted_at.is_none()
    }
}

/// The revision that a selector means; deleted ones only when named by number.
pub fn find<'a, T>(all: &'a [Revision<T>], selector: &Selector) -> Option<&'a Revision<T>> {
    let named = all.iter().filter(|r| r.name == selector.name);
    match selector.number {
        Some(number) => named
            .filter(|r| selector.id.as_ref().is_none_or(|id| *id == r.id))
            .find(|r| r.number == number),
        None => named.filter(|r| r.is_active()).max_by_key(|r| r.number),
    }
}

/// Whether it is the highest revision of its name that was ever made, and active.
pub fn is_latest<T>(all: &[Revision<T>], revision: &Revision<T>) -> bool {
    let highest = all
        .iter()
        .filter(|r| r.name == revision.name)
        .map(|r| r.number)
        .max();
    revision.is_active() && Some(revision.number) == highest
}

/// The number of the next revision of a name: numbers are not given twice while any revision is remembered.
pub fn next_number<T>(all: &[Revision<T>], name: &str) -> u32 {
    let highest = all
        .iter()
        .filter(|r| r.name == name)
        .map(|r| r.number)
        .max();
    highest.unwrap_or(0) + 1
}

/// Names with an active revision.
pub fn active_names<T>(all: &[Revision<T>]) -> BTreeSet<&str> {
    all.iter()
        .filter(|r| r.is_active())
        .map(|r| r.name.as_str())
        .collect()
}

/// Forgets revisions deleted before this time, except the highest of each name, which keeps the numbering.
pub fn forget_deleted<T>(all: &mut Vec<Revision<T>>, before: Millis) {
    let highest: BTreeMap<String, u32> = all.iter().fold(BTreeMap::new(), |mut map, r| {
        let number = map.entry(r.name.clone()).or_default();
        *number = r.number.max(*number);
        map
    });
    all.retain(|r| {
        r.deleted_at.is_none_or(|at| at >= before) || highest.get(&r.name) == Some(&r.number)
    });
}

/// Makes one revision the account's default.
pub fn set_default(all: &mut [Revision<AutoScaling>], id: &str) {
    for revision in all {
        revision.content.is_default = revision.id == id;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(name: &str, number: u32, deleted: Option<u64>) -> Revision<()> {
        Revision {
            name: name.to_owned(),
            number,
            id: format!("{name}-{number}"),
            created_at: Millis(number.into()),
            deleted_at: deleted.map(Millis),
            tags: BTreeMap::new(),
            content: (),
        }
    }

    fn select(name: &str, number: Option<u32>) -> Selector {
        Selector {
            name: name.to_owned(),
            number,
            id: None,
        }
    }

    #[test]
    fn a_name_alone_means_its_latest_active_revision() {
        let all = [
            revision("a", 1, None),
            revision("a", 2, None),
            revision("a", 3, Some(9)),
        ];
        assert_eq!(find(&all, &select("a", None)).unwrap().number, 2);
        assert_eq!(find(&all, &select("a", Some(3))).unwrap().number, 3);
        assert!(find(&all, &select("b", None)).is_none());
        let wrong = Selector {
            id: Some("x".to_owned()),
            ..select("a", Some(1))
        };
        assert!(find(&all, &wrong).is_none());
    }

    #[test]
    fn a_deleted_highest_revision_leaves_no_latest_and_keeps_its_number() {
        let mut all = vec![
            revision("a", 1, None),
            revision("a", 2, Some(5)),
            revision("b", 1, Some(5)),
        ];
        assert!(!is_latest(&all, &all[0]) && !is_latest(&all, &all[1]));
        assert_eq!((next_number(&all, "a"), next_number(&all, "c")), (3, 1));
        assert_eq!(active_names(&all), BTreeSet::from(["a"]));
        all.push(revision("a", 3, None));
        forget_deleted(&mut all, Millis(6));
        assert_eq!(
            all.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(),
            ["a-1", "b-1", "a-3"]
        );
    }
}
