//! Access keys of users and of the root user. The secret is in the answer of `CreateAccessKey` and nowhere after that.

use super::directory::Directory;
use super::entity::{AccessKey, Holder};
use super::errors::{error, quota};
use super::ids::{access_key_id, secret_access_key};
use super::input::{name, optional, page, text};
use super::{Iam, output, quotas, root};
use crate::endpoint::Call;
use apron_aws::ApiError;
use serde_json::{Value, json};
use std::sync::Arc;

/// The operation that makes a key.
pub(super) const CREATE: &str = "CreateAccessKey";

/// Whose keys a call is about. Whoever names no user means itself, the root user too.
#[derive(Clone, Copy)]
enum Whose<'a> {
    Root,
    User(&'a str),
}

impl<'a> Whose<'a> {
    fn of(call: &'a Call) -> Result<Whose<'a>, ApiError> {
        if call.caller.is_root() && optional(call, "UserName").is_none() {
            return Ok(Whose::Root);
        }
        name(call, Holder::User).map(Whose::User)
    }

    /// The name answers have, and the keys.
    fn keys(self, directory: &Directory) -> Result<(&str, &[AccessKey]), ApiError> {
        Ok(match self {
            Whose::Root => (root::NAME, &directory.root.keys),
            Whose::User(name) => {
                let user = directory.user(name)?;
                (&user.name, &user.keys)
            }
        })
    }

    /// The keys, to be changed.
    fn keys_mut(self, directory: &mut Directory) -> Result<&mut Vec<AccessKey>, ApiError> {
        Ok(match self {
            Whose::Root => &mut Arc::make_mut(&mut directory.root).keys,
            Whose::User(name) => &mut directory.user_mut(name)?.keys,
        })
    }
}

impl Iam {
    pub(super) async fn create_access_key(&self, call: &Call) -> Result<Value, ApiError> {
        let whose = Whose::of(call)?;
        let id = access_key_id(&*self.chance);
        let secret = secret_access_key(&*self.chance);
        let change = |directory: &mut Directory| {
            let (name, keys) = whose.keys(directory)?;
            if keys.len() >= quotas::ACCESS_KEYS_PER_USER {
                return Err(quota("AccessKeysPerUser", quotas::ACCESS_KEYS_PER_USER));
            }
            let key = AccessKey {
                id: id.clone(),
                active: true,
                created_at: call.now,
            };
            let mut answer = output::key(name, &key);
            answer["SecretAccessKey"] = json!(secret.reveal());
            whose.keys_mut(directory)?.push(key);
            directory.secrets.insert(id, secret);
            Ok(json!({"AccessKey": answer}))
        };
        self.identities.change(change).await
    }

    pub(super) async fn update_access_key(&self, call: &Call) -> Result<Value, ApiError> {
        let whose = Whose::of(call)?;
        let active = match text(call, "Status") {
            "Active" => true,
            "Inactive" => false,
            other => {
                let text = format!("Status of access key cannot be changed to {other}");
                return Err(super::errors::invalid_input(text));
            }
        };
        let change = |directory: &mut Directory| {
            own_key(whose.keys_mut(directory)?, text(call, "AccessKeyId"))?.active = active;
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) async fn delete_access_key(&self, call: &Call) -> Result<Value, ApiError> {
        let whose = Whose::of(call)?;
        let id = text(call, "AccessKeyId");
        let change = |directory: &mut Directory| {
            let keys = whose.keys_mut(directory)?;
            own_key(keys, id)?;
            keys.retain(|key| key.id != id);
            directory.secrets.remove(id);
            Ok(json!({}))
        };
        let answer = self.identities.change(change).await?;
        self.identities.last_used().forget(id);
        Ok(answer)
    }

    pub(super) fn list_access_keys(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let (name, keys) = Whose::of(call)?.keys(&directory)?;
        let keys = keys.iter();
        let keys = keys.map(|key| (key.id.clone(), output::key(name, key)));
        let mut keys: Vec<(String, Value)> = keys.collect();
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        let mut answer = page(call, "iam-keys", "AccessKeyMetadata", keys.into_iter())?;
        answer["UserName"] = json!(name);
        Ok(answer)
    }

    pub(super) fn get_access_key_last_used(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let id = text(call, "AccessKeyId");
        let (owner, _) = directory.key(id).ok_or_else(|| no_key(id))?;
        let last_used = match self.identities.last_used().get(id) {
            Some(it) => json!({
                "LastUsedDate": it.at.as_seconds(), "ServiceName": it.service, "Region": it.region,
            }),
            None => json!({"ServiceName": "N/A", "Region": "N/A"}),
        };
        Ok(json!({"UserName": owner.name(), "AccessKeyLastUsed": last_used}))
    }
}

fn own_key<'a>(keys: &'a mut [AccessKey], id: &str) -> Result<&'a mut AccessKey, ApiError> {
    let mut keys = keys.iter_mut();
    keys.find(|key| key.id == id).ok_or_else(|| no_key(id))
}

fn no_key(id: &str) -> ApiError {
    let message = format!("The Access Key with id {id} cannot be found.");
    error("NoSuchEntityException", message)
}
