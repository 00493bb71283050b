//! The identities of this installation: in memory for every call, in the store for ever.

use super::directory::{Directory, Entities};
use super::entity::{Entity, Group, ManagedPolicy, OidcProvider, Role, User};
use super::last_used::LastUsed;
use super::root::Root;
use super::sessions::{Session, SessionTokens, Temporary};
use crate::clock::Chance;
use apron_aws::ApiError;
use apron_aws::sigv4::Secret;
use apron_store::{ACCESS_KEY_SECRETS, IdentityChange, SecretChange, Store, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

/// The identities of this installation.
pub struct Identities {
    pub(super) sessions: SessionTokens,
    pub(super) last_used: LastUsed,
    store: Store,
    directory: RwLock<Arc<Directory>>,
    /// Changes are made one after the other.
    changing: tokio::sync::Mutex<()>,
}

impl Identities {
    /// Reads the identities of an account. A new one has none, and a root user without a key.
    ///
    /// # Errors
    /// The store cannot be read, or holds what this program cannot read; nobody is let in then.
    pub async fn open(
        store: Store,
        account: &str,
        chance: &dyn Chance,
    ) -> Result<Arc<Identities>, StoreError> {
        let mut directory = Directory {
            account: account.to_owned(),
            root: read_root(&store).await?,
            users: read::<User>(&store).await?,
            groups: read::<Group>(&store).await?,
            roles: read::<Role>(&store).await?,
            policies: read::<ManagedPolicy>(&store).await?,
            providers: read::<OidcProvider>(&store).await?,
            ..Directory::default()
        };
        directory.index();
        for id in store.secrets(ACCESS_KEY_SECRETS).await? {
            let secret = store.secret_get(ACCESS_KEY_SECRETS, &id).await?;
            if let Some(secret) = secret.and_then(|bytes| String::from_utf8(bytes).ok()) {
                directory.secrets.insert(id, Secret::new(secret));
            }
        }
        Ok(Arc::new(Identities {
            sessions: SessionTokens::load(&store, chance).await?,
            last_used: LastUsed::load(&store).await?,
            store,
            directory: RwLock::new(Arc::new(directory)),
            changing: tokio::sync::Mutex::default(),
        }))
    }

    /// The identities as they are now.
    pub fn directory(&self) -> Arc<Directory> {
        self.directory
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The store behind it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Reads the identities, changes them and stores what was changed, with nothing in between. A refusal of `change` changes
    /// nothing.
    pub async fn change<O>(
        &self,
        change: impl FnOnce(&mut Directory) -> Result<O, ApiError> + Send,
    ) -> Result<O, ApiError> {
        let _one_at_a_time = self.changing.lock().await;
        let before = self.directory();
        let mut after = Directory::clone(&before);
        let outcome = change(&mut after)?;
        after.index();
        let (records, keys) = differences(&before, &after);
        if !records.is_empty() || !keys.is_empty() {
            let stored = self.store.identities_change(&records, &keys).await;
            stored.map_err(store_failed)?;
            let mut directory = self
                .directory
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            *directory = Arc::new(after);
        }
        Ok(outcome)
    }

    /// Temporary credentials for a session.
    pub fn issue(&self, session: Session, chance: &dyn Chance) -> Temporary {
        self.sessions.issue(session, chance)
    }

    /// When keys and roles were last used.
    pub fn last_used(&self) -> &LastUsed {
        &self.last_used
    }

    /// Stores when keys and roles were last used, where that changed.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn keep_last_used(&self) -> Result<(), StoreError> {
        self.last_used.keep(&self.store).await
    }
}

/// What a caller sees of a failure of the store; the cause goes to the log.
fn store_failed(error: StoreError) -> ApiError {
    tracing::error!(%error, "identities cannot be stored");
    let message = match error {
        StoreError::Full { .. } => {
            "The disk that holds the platform's state is full; nothing was changed."
        }
        _ => "The request processing has failed because of an unknown error, exception or failure.",
    };
    super::errors::error("ServiceFailureException", message)
}

async fn read<T: Entity + DeserializeOwned>(store: &Store) -> Result<Entities<T>, StoreError> {
    let found: Vec<T> = store.identities(T::KIND).await?;
    let named = |entity: T| (super::directory::key_of(entity.name()), Arc::new(entity));
    Ok(found.into_iter().map(named).collect())
}

async fn read_root(store: &Store) -> Result<Arc<Root>, StoreError> {
    let found: Vec<Root> = store.identities(Root::KIND).await?;
    Ok(Arc::new(found.into_iter().next().unwrap_or_default()))
}

/// What has to be stored so that `before` becomes `after`.
fn differences(
    before: &Directory,
    after: &Directory,
) -> (Vec<IdentityChange<Value>>, Vec<SecretChange>) {
    let mut records = Vec::new();
    if !Arc::ptr_eq(&before.root, &after.root) {
        records.push(changed(&*after.root));
    }
    compare(&before.users, &after.users, &mut records);
    compare(&before.groups, &after.groups, &mut records);
    compare(&before.roles, &after.roles, &mut records);
    compare(&before.policies, &after.policies, &mut records);
    compare(&before.providers, &after.providers, &mut records);
    let mut keys = Vec::new();
    for (id, secret) in &after.secrets {
        if !before.secrets.contains_key(id) {
            keys.push((id.clone(), Some(secret.reveal().as_bytes().to_vec())));
        }
    }
    for id in before.secrets.keys() {
        if !after.secrets.contains_key(id) {
            keys.push((id.clone(), None));
        }
    }
    (records, keys)
}

/// Untouched entities are the same allocation; so nothing is compared by value.
fn compare<T: Entity + Serialize>(
    before: &Entities<T>,
    after: &Entities<T>,
    records: &mut Vec<IdentityChange<Value>>,
) {
    let old: BTreeMap<&str, &Arc<T>> = before.values().map(|it| (it.id(), it)).collect();
    let mut kept = BTreeSet::new();
    for entity in after.values() {
        kept.insert(entity.id());
        if old
            .get(entity.id())
            .is_none_or(|it| !Arc::ptr_eq(it, entity))
        {
            records.push(changed(&**entity));
        }
    }
    for id in old.keys().filter(|id| !kept.contains(*id)) {
        records.push(IdentityChange {
            kind: T::KIND,
            id: (*id).to_owned(),
            record: None,
        });
    }
}

fn changed<T: Entity + Serialize>(entity: &T) -> IdentityChange<Value> {
    let record = serde_json::to_value(entity).expect("records are texts and numbers");
    IdentityChange {
        kind: T::KIND,
        id: entity.id().to_owned(),
        record: Some(record),
    }
}
