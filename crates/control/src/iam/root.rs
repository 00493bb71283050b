//! The account's root user, who may do everything: nothing of it is stored but its access keys.
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_root-user.html>)

use super::directory::Directory;
use super::entity::{AccessKey, Entity};
use super::identities::Identities;
use super::keys::CREATE;
use crate::audit::{Deed, Door, Trail};
use crate::authorizer::Surroundings;
use crate::endpoint::Caller;
use apron_aws::sigv4::Secret;
use apron_aws::{ApiError, model};
use apron_domain::Millis;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// What the root user is called where a name has to stand.
pub const NAME: &str = "root";

/// The request id of what no request asked for.
const REQUEST: &str = "operator";

/// An access key of the root user in clear.
#[derive(Clone, Debug)]
pub struct RootKey {
    /// `AKIA…`.
    pub access_key_id: String,
    /// The secret access key.
    pub secret: Secret,
}

/// The root user as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Root {
    /// Its access keys, oldest first.
    pub keys: Vec<AccessKey>,
}

impl Entity for Root {
    const KIND: &'static str = "root";

    fn id(&self) -> &str {
        NAME
    }

    fn name(&self) -> &str {
        NAME
    }

    fn path(&self) -> &str {
        "/"
    }
}

impl Identities {
    /// Makes this the root user's only key; without effect if it is already.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn set_root_key(&self, key: RootKey, now: Millis) -> Result<(), ApiError> {
        let change = |directory: &mut Directory| {
            let only = [key.access_key_id.as_str()];
            if directory.root.keys.iter().map(|it| &*it.id).eq(only) {
                return Ok(());
            }
            let root = Arc::make_mut(&mut directory.root);
            for former in std::mem::take(&mut root.keys) {
                directory.secrets.remove(&former.id);
            }
            root.keys.push(AccessKey {
                id: key.access_key_id.clone(),
                active: true,
                created_at: now,
            });
            directory.secrets.insert(key.access_key_id, key.secret);
            Ok(())
        };
        self.change(change).await
    }

    /// Makes this the root user's only key because the machine's operator says so, who signed nothing; that is recorded as the
    /// root user's own deed.
    ///
    /// # Errors
    /// It cannot be recorded or stored.
    pub async fn reset_root_key(
        &self,
        key: RootKey,
        trail: &Trail,
        now: Millis,
    ) -> Result<(), ApiError> {
        let caller = Caller::root(&self.directory().account, "");
        let surroundings = Surroundings {
            now,
            ..Surroundings::default()
        };
        let input = json!({});
        let door = Door::Api {
            model: model::iam(),
            operation: CREATE,
            input: &input,
        };
        let deed = Deed {
            request_id: REQUEST,
            caller: &caller,
            surroundings: &surroundings,
            door,
            answered: &[],
        };
        let opened = trail.open(&deed).await?;
        let output = json!({"AccessKey": {
            "UserName": NAME, "AccessKeyId": key.access_key_id, "Status": "Active", "CreateDate": now.as_seconds(),
        }});
        let done = self.set_root_key(key, now).await;
        let ended = trail.close(opened, door, done.as_ref().map(|()| &output), now);
        ended.and(done)
    }
}
