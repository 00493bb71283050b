//! When access keys and roles were last used. Kept in memory for every call and stored now and then: what a crash loses is a
//! minute of it, and IAM's own figures are later than that.

use apron_domain::Millis;
use apron_store::{IdentityChange, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The kind of these records in the store.
const KIND: &str = "last-used";
/// Keys and roles remembered. More than the quotas of users and roles let be.
const ENTRIES_MAX: usize = 20_000;

/// One use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// The access key or the role's unique id.
    pub id: String,
    /// When.
    pub at: Millis,
    /// The service that was called.
    pub service: String,
    /// The region of the signature.
    pub region: String,
}

#[derive(Default)]
struct Uses {
    all: BTreeMap<String, Use>,
    /// Those that are not stored as they are.
    changed: std::collections::BTreeSet<String>,
}

/// When access keys and roles were last used.
#[derive(Default)]
pub struct LastUsed {
    uses: Mutex<Uses>,
}

impl LastUsed {
    /// As it was stored.
    pub(super) async fn load(store: &Store) -> Result<LastUsed, StoreError> {
        let stored: Vec<Use> = store.identities(KIND).await?;
        let all = stored.into_iter().map(|it| (it.id.clone(), it)).collect();
        let uses = Uses {
            all,
            ..Uses::default()
        };
        Ok(LastUsed {
            uses: Mutex::new(uses),
        })
    }

    /// A key or role is used.
    pub fn note(&self, id: &str, at: Millis, service: &str, region: &str) {
        let mut uses = self.lock();
        let full = uses.all.len() >= ENTRIES_MAX;
        match uses.all.get_mut(id) {
            Some(known) => {
                known.at = at;
                if known.service != service {
                    service.clone_into(&mut known.service);
                }
                if known.region != region {
                    region.clone_into(&mut known.region);
                }
            }
            None if full => return,
            None => {
                let new = Use {
                    id: id.to_owned(),
                    at,
                    service: service.to_owned(),
                    region: region.to_owned(),
                };
                uses.all.insert(id.to_owned(), new);
            }
        }
        if !uses.changed.contains(id) {
            uses.changed.insert(id.to_owned());
        }
    }

    /// The last use of a key or role.
    pub fn get(&self, id: &str) -> Option<Use> {
        self.lock().all.get(id).cloned()
    }

    /// Forgets a key or role that is no more.
    pub fn forget(&self, id: &str) {
        let mut uses = self.lock();
        if uses.all.remove(id).is_some() {
            uses.changed.insert(id.to_owned());
        }
    }

    /// Stores what changed.
    pub(super) async fn keep(&self, store: &Store) -> Result<(), StoreError> {
        let changes: Vec<IdentityChange<Use>> = {
            let mut uses = self.lock();
            let uses = &mut *uses;
            let changed = std::mem::take(&mut uses.changed);
            let change = |id: String| IdentityChange {
                kind: KIND,
                record: uses.all.get(&id).cloned(),
                id,
            };
            changed.into_iter().map(change).collect()
        };
        if changes.is_empty() {
            return Ok(());
        }
        let stored = store.identities_change(&changes, &[]).await;
        if stored.is_err() {
            let mut uses = self.lock();
            let again = changes.into_iter().map(|change| change.id);
            uses.changed.extend(again);
        }
        stored
    }

    fn lock(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
