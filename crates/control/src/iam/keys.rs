//! Access keys of users. The secret is in the answer of `CreateAccessKey` and nowhere after that.

use super::directory::Directory;
use super::entity::{AccessKey, Holder, User};
use super::errors::{error, quota};
use super::ids::{access_key_id, secret_access_key};
use super::input::{name, page, text};
use super::{Iam, output, quotas};
use crate::endpoint::Call;
use apron_aws::ApiError;
use serde_json::{Value, json};

impl Iam {
    pub(super) async fn create_access_key(&self, call: &Call) -> Result<Value, ApiError> {
        let name = name(call, Holder::User)?;
        let id = access_key_id(&*self.chance);
        let secret = secret_access_key(&*self.chance);
        let change = |directory: &mut Directory| {
            let user = directory.user_mut(name)?;
            if user.keys.len() >= quotas::ACCESS_KEYS_PER_USER {
                return Err(quota("AccessKeysPerUser", quotas::ACCESS_KEYS_PER_USER));
            }
            let key = AccessKey {
                id: id.clone(),
                active: true,
                created_at: call.now,
            };
            let mut answer = output::key(user, &key);
            answer["SecretAccessKey"] = json!(secret.reveal());
            user.keys.push(key);
            directory.secrets.insert(id, secret);
            Ok(json!({"AccessKey": answer}))
        };
        self.identities.change(change).await
    }

    pub(super) async fn update_access_key(&self, call: &Call) -> Result<Value, ApiError> {
        let name = name(call, Holder::User)?;
        let active = match text(call, "Status") {
            "Active" => true,
            "Inactive" => false,
            other => {
                let text = format!("Status of access key cannot be changed to {other}");
                return Err(super::errors::invalid_input(text));
            }
        };
        let change = |directory: &mut Directory| {
            let user = directory.user_mut(name)?;
            own_key(user, text(call, "AccessKeyId"))?.active = active;
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) async fn delete_access_key(&self, call: &Call) -> Result<Value, ApiError> {
        let name = name(call, Holder::User)?;
        let id = text(call, "AccessKeyId");
        let change = |directory: &mut Directory| {
            let user = directory.user_mut(name)?;
            own_key(user, id)?;
            user.keys.retain(|key| key.id != id);
            directory.secrets.remove(id);
            Ok(json!({}))
        };
        let answer = self.identities.change(change).await?;
        self.identities.last_used().forget(id);
        Ok(answer)
    }

    pub(super) fn list_access_keys(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let user = directory.user(name(call, Holder::User)?)?;
        let keys = user.keys.iter();
        let keys = keys.map(|key| (key.id.clone(), output::key(user, key)));
        let mut keys: Vec<(String, Value)> = keys.collect();
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        let mut answer = page(call, "iam-keys", "AccessKeyMetadata", keys.into_iter())?;
        answer["UserName"] = json!(user.name);
        Ok(answer)
    }

    pub(super) fn get_access_key_last_used(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let id = text(call, "AccessKeyId");
        let (user, _) = directory.key(id).ok_or_else(|| no_key(id))?;
        let last_used = match self.identities.last_used().get(id) {
            Some(it) => json!({
                "LastUsedDate": it.at.as_seconds(), "ServiceName": it.service, "Region": it.region,
            }),
            None => json!({"ServiceName": "N/A", "Region": "N/A"}),
        };
        Ok(json!({"UserName": user.name, "AccessKeyLastUsed": last_used}))
    }
}

fn own_key<'a>(user: &'a mut User, id: &str) -> Result<&'a mut AccessKey, ApiError> {
    let mut keys = user.keys.iter_mut();
    keys.find(|key| key.id == id).ok_or_else(|| no_key(id))
}

fn no_key(id: &str) -> ApiError {
    let message = format!("The Access Key with id {id} cannot be found.");
    error("NoSuchEntityException", message)
}
