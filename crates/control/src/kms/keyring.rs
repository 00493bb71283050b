//! Finding keys by whatever names them, for KMS itself and for the services that encrypt with customers' keys.

use super::record::{ALIAS_RECORDS, AliasRecord};
use super::{KeyRecord, KeyState};
use crate::authorizer::{Asked, Authorizer, Surroundings};
use crate::endpoint::Call;
use crate::settings::Settings;
use apron_aws::model::Protocol;
use apron_aws::policy::Context;
use apron_aws::policy::actions::set_encryption_context;
use apron_aws::{ApiError, Arn};
use apron_domain::Millis;
use apron_store::{
    CustomerKeyId, EncryptionContext, KEY_RECORDS, Store, StoreError, customer_key_id,
    customer_key_of,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::sync::Arc;

/// The keys of this installation.
#[derive(Clone)]
pub struct Keyring {
    settings: Arc<Settings>,
    store: Store,
    authorizer: Arc<Authorizer>,
}

/// A key that may be used now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsableKey {
    /// Its id, as envelopes name it.
    pub id: CustomerKeyId,
    /// Its ARN.
    pub arn: String,
}

/// What another service uses a key for, in the name of its caller.
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    /// The service as in actions, for example `secretsmanager`.
    pub service: &'a str,
    /// What it does with the key, for example `kms:Decrypt`.
    pub action: &'a str,
    /// What the value is bound to.
    pub context: &'a EncryptionContext,
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyRefusal {
    /// There is no such key; the text says which.
    #[error("{0}")]
    NotFound(String),
    /// The key of this ARN is disabled.
    #[error("{0} is disabled")]
    Disabled(String),
    /// The key of this ARN is to be deleted.
    #[error("{0} is pending deletion")]
    PendingDeletion(String),
    /// The caller may not use the key; the text is that of the refusal.
    #[error("{0}")]
    Denied(String),
    /// The keys cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Keyring {
    /// The keys in this store, used by whom the authorizer lets.
    pub fn new(settings: Arc<Settings>, store: Store, authorizer: Arc<Authorizer>) -> Keyring {
        Keyring {
            settings,
            store,
            authorizer,
        }
    }

    /// The key that a text names, if it may be used now and the caller of another service may use it: who reads a secret of a
    /// customer's key needs `kms:Decrypt`, who writes one `kms:GenerateDataKey`, as with AWS.
    pub async fn usable_by(
        &self,
        call: &Call,
        of: &Use<'_>,
        text: &str,
    ) -> Result<UsableKey, KeyRefusal> {
        let key = self.usable(text).await?;
        let surroundings = Surroundings {
            now: call.now,
            ..Surroundings::default()
        };
        let mut context = Context::new();
        set_encryption_context(&mut context, of.context.pairs());
        let via = format!("{}.{}.amazonaws.com", of.service, self.settings.region);
        context.set("kms:ViaService", via);
        context.set("aws:ViaAWSService", "true");
        let (caller, authorizer) = (&call.caller, &self.authorizer);
        let permitted = authorizer.permit_in(caller, of.action, &key.arn, context, &surroundings);
        match permitted.await {
            Ok(_) => Ok(key),
            Err(refusal) => Err(KeyRefusal::Denied(refusal.message().to_owned())),
        }
    }

    /// Whether the caller of one operation may perform another besides.
    ///
    /// # Errors
    /// The refusal, as that operation would answer it.
    pub async fn may(
        &self,
        call: &Call,
        service: &str,
        operation: &str,
        input: &Value,
    ) -> Result<(), ApiError> {
        let surroundings = Surroundings {
            now: call.now,
            ..Surroundings::default()
        };
        let asked = Asked {
            caller: &call.caller,
            service,
            operation,
            input,
            surroundings: &surroundings,
        };
        match self.authorizer.check(&asked).await {
            Ok(_) => Ok(()),
            Err(refusal) => Err(refusal.into_error(Protocol::Json11)),
        }
    }

    /// What policies need to know of the key that a resource names: by its id, an alias, or a cipher text that it made.
    pub async fn facts(
        &self,
        arn: &str,
    ) -> Result<Option<(String, String, KeyRecord)>, StoreError> {
        let resource = arn
            .parse::<Arn>()
            .map(|arn| arn.resource)
            .unwrap_or_default();
        let named = resource.strip_prefix("key/").unwrap_or(&resource);
        let made_by = || {
            let sealed = BASE64_STANDARD.decode(named).ok()?;
            customer_key_of(&sealed).map(|id| Keyring::text_of(&id))
        };
        let named = match named.starts_with("alias/") || customer_key_id(named).is_some() {
            true => named.to_owned(),
            false => made_by().unwrap_or_else(|| named.to_owned()),
        };
        match self.find(&named).await {
            Ok((id, record)) => {
                let arn = self.arn(&format!("key/{id}"));
                Ok(Some((id, arn, record)))
            }
            Err(KeyRefusal::Store(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// The ARN of what KMS has under this name: `key/<id>` or `alias/<name>`.
    pub fn arn(&self, resource: &str) -> String {
        Arn::new(
            "kms",
            &self.settings.region,
            &self.settings.account,
            resource,
        )
        .to_string()
    }

    /// The text of a key's id.
    pub fn text_of(id: &CustomerKeyId) -> String {
        let hex = hex::encode(id);
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
        parts.map(|part| hex[part].to_owned()).join("-")
    }

    /// The key that an id, an ARN, an alias or an alias' ARN names, with its id; whatever its state.
    pub async fn find(&self, text: &str) -> Result<(String, KeyRecord), KeyRefusal> {
        let id = match self.resource(text)? {
            alias if alias.starts_with("alias/") => self.target(&alias).await?,
            key => key,
        };
        let record = self.store.vault_get(KEY_RECORDS, &id).await?;
        match record {
            Some(record) => Ok((id, record)),
            None => {
                let arn = self.arn(&format!("key/{id}"));
                Err(KeyRefusal::NotFound(format!("Key '{arn}' does not exist")))
            }
        }
    }

    /// The key that a text names, if it may be used now.
    pub async fn usable(&self, text: &str) -> Result<UsableKey, KeyRefusal> {
        let (id, record) = self.find(text).await?;
        let arn = self.arn(&format!("key/{id}"));
        match record.state {
            KeyState::Disabled => Err(KeyRefusal::Disabled(arn)),
            KeyState::PendingDeletion { .. } => Err(KeyRefusal::PendingDeletion(arn)),
            KeyState::Enabled => match customer_key_id(&id) {
                Some(id) => Ok(UsableKey { id, arn }),
                None => Err(invalid(text)),
            },
        }
    }

    /// Destroys keys whose time of deletion has come, with their aliases. Returns how many.
    pub async fn sweep(&self, now: Millis) -> Result<usize, StoreError> {
        let mut destroyed = 0;
        for (id, record) in self.store.vault_all::<KeyRecord>(KEY_RECORDS).await? {
            if !matches!(record.state, KeyState::PendingDeletion { at } if at <= now) {
                continue;
            }
            for (alias, target) in self.store.vault_all::<AliasRecord>(ALIAS_RECORDS).await? {
                if target.target == id {
                    self.store.vault_drop(ALIAS_RECORDS, &alias).await?;
                }
            }
            self.store.customer_key_destroy(&id).await?;
            tracing::info!(
                key = id,
                "the key is destroyed, its time of deletion has come"
            );
            destroyed += 1;
        }
        Ok(destroyed)
    }

    /// The id of the key that an alias stands for.
    async fn target(&self, alias: &str) -> Result<String, KeyRefusal> {
        let record: Option<AliasRecord> = self.store.vault_get(ALIAS_RECORDS, alias).await?;
        let missing = || {
            let arn = self.arn(alias);
            KeyRefusal::NotFound(format!("Alias {arn} is not found."))
        };
        record.map(|record| record.target).ok_or_else(missing)
    }

    /// `alias/<name>` or a key's id.
    fn resource(&self, text: &str) -> Result<String, KeyRefusal> {
        let resource = match text.parse::<Arn>() {
            Ok(arn) => {
                let ours = arn.service == "kms"
                    && arn.region == self.settings.region
                    && arn.account == self.settings.account;
                match ours {
                    true => arn.resource,
                    false => return Err(invalid(text)),
                }
            }
            Err(_) => text.to_owned(),
        };
        match resource.strip_prefix("key/") {
            Some(id) => Ok(id.to_owned()),
            None if resource.starts_with("alias/") || customer_key_id(&resource).is_some() => {
                Ok(resource)
            }
            None => Err(invalid(text)),
        }
    }
}

fn invalid(text: &str) -> KeyRefusal {
    KeyRefusal::NotFound(format!("Invalid keyId '{text}'"))
}
