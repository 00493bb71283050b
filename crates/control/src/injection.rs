//! What the instances of a revision are given besides its configuration: the values of its secrets, and what lets the
//! application act with its instance role.
//!
//! Values are read once, when the revision is deployed, with the permissions of the instance role, and kept sealed, so that
//! every instance of a revision has the same and one can be started while the secret is gone. They are forgotten with the last
//! instance of the revision.

mod failure;
mod read;
mod surroundings;

pub use failure::InjectionError;
pub use surroundings::{Means, PlatformVariables, platform_variables};

use crate::audit::Trail;
use crate::authorizer::Authorizer;
use crate::clock::Clock;
use crate::kms::Keyring;
use crate::settings::Settings;
use crate::vault::Vault;
use apron_domain::extension::Extensions;
use apron_domain::{Failure, FailureKind, SecretReference, Service, ServiceConfig, ServiceId};
use apron_store::{Change, Changed, EncryptionContext, Lock, Part, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The kind of the records.
const INJECTED_RECORDS: &str = "injected";
/// The part with the values by the names of their variables.
const VALUES: &str = "values";
/// The pair of the encryption context that says whose values they are.
const CONTEXT_NAME: &str = "aws:apprunner:service-id";

/// What is kept of an injection besides the values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injected {
    /// The service.
    pub service: String,
    /// The revision.
    pub revision: u32,
    /// The instance role's ARN.
    pub role: Option<String>,
    /// Which version of each reference was read.
    pub versions: BTreeMap<String, String>,
    /// The ARN of the role that its instances assume with a token of the platform.
    #[serde(default)]
    pub web_identity: Option<String>,
}

/// Reads secrets for instances, and keeps them.
pub struct Injection {
    settings: Arc<Settings>,
    store: Store,
    vault: Vault,
    authorizer: Arc<Authorizer>,
    trail: Arc<Trail>,
    clock: Arc<dyn Clock>,
}

impl Injection {
    /// Injection from this vault, with the permissions that the authorizer knows of.
    pub fn new(
        settings: Arc<Settings>,
        store: Store,
        vault: Vault,
        authorizer: Arc<Authorizer>,
        trail: Arc<Trail>,
        clock: Arc<dyn Clock>,
    ) -> Injection {
        Injection {
            settings,
            store,
            vault,
            authorizer,
            trail,
            clock,
        }
    }

    /// Reads what the instances of a revision need, unless that is done already. A failure is the deployment's.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn prepare(
        &self,
        of: &Service,
        revision: u32,
        config: &ServiceConfig,
    ) -> Result<Result<(), Failure>, StoreError> {
        let service = &of.id;
        if self.record(service, revision).await?.is_some() {
            return Ok(Ok(()));
        }
        let lock = match self.lock(service, config).await {
            Ok(lock) => lock,
            Err(InjectionError::Store(error)) => return Err(error),
            Err(error) => return Ok(Err(failed(&error))),
        };
        let mut values = BTreeMap::new();
        let mut versions = BTreeMap::new();
        for (name, text) in &config.image.secrets {
            match self.read(service, name, text, config).await {
                Ok((value, version)) => {
                    values.insert(name.clone(), value);
                    versions.insert(text.clone(), version);
                }
                Err(error) => return Ok(Err(failed(&error))),
            }
        }
        let record = Injected {
            service: service.to_string(),
            revision,
            role: config.instance_role_arn.clone(),
            versions,
            // A token names the instance role, so there is none without.
            web_identity: config
                .instance_role_arn
                .as_ref()
                .and_then(|_| Extensions::of(&of.tags, &BTreeMap::new()).web_identity),
        };
        self.keep(record, lock, &values).await?;
        Ok(Ok(()))
    }

    /// The value of one of the secrets of a configuration, by the name of its variable; `None` when it has none of that name.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn secret(
        &self,
        service: &ServiceId,
        name: &str,
        config: &ServiceConfig,
    ) -> Result<Option<String>, Failure> {
        let Some(text) = config.image.secrets.get(name) else {
            return Ok(None);
        };
        let read = self.read(service, name, text, config).await;
        read.map(|(value, _)| Some(value))
            .map_err(|error| failed(&error))
    }

    /// The variables for instances of a revision that was prepared.
    ///
    /// # Errors
    /// The values cannot be opened: the key that sealed them is gone.
    pub async fn values(
        &self,
        service: &ServiceId,
        revision: u32,
    ) -> Result<BTreeMap<String, String>, StoreError> {
        let context = EncryptionContext::of(CONTEXT_NAME, service.as_str());
        let name = name_of(service.as_str(), revision);
        let sealed = self
            .store
            .vault_open(INJECTED_RECORDS, &name, VALUES, &context)
            .await?;
        let doing = "read the secrets of a revision";
        let sealed = sealed.ok_or_else(|| StoreError::NotFound {
            doing,
            what: format!("what was read for {name}"),
        })?;
        serde_json::from_slice(&sealed).map_err(|_| StoreError::Damaged {
            doing,
            reason: format!("what was read for {name} is not what it should be"),
        })
    }

    /// What is kept of a revision; none when nothing was ever prepared for it.
    pub async fn record(
        &self,
        service: &ServiceId,
        revision: u32,
    ) -> Result<Option<Injected>, StoreError> {
        let name = name_of(service.as_str(), revision);
        self.store.vault_get(INJECTED_RECORDS, &name).await
    }

    /// Which versions the references of a configuration mean now, without reading them.
    pub async fn versions_now(
        &self,
        config: &ServiceConfig,
    ) -> Result<BTreeMap<String, String>, StoreError> {
        let mut versions = BTreeMap::new();
        for text in config.image.secrets.values() {
            let Ok(reference) = self.reference(text) else {
                continue;
            };
            let version = match &reference {
                SecretReference::Secret {
                    arn,
                    stage,
                    version,
                    ..
                } => {
                    let secrets = &self.vault.secrets;
                    secrets
                        .version_of(arn, version.as_deref(), stage.as_deref())
                        .await?
                }
                SecretReference::Parameter { name } => {
                    self.vault.parameters.version_of(name).await?
                }
            };
            if let Some(version) = version {
                versions.insert(text.clone(), version);
            }
        }
        Ok(versions)
    }

    /// The revisions whose instances have a token, with the ARNs of their instance roles.
    pub async fn identified(&self) -> Result<Vec<(ServiceId, u32, String)>, StoreError> {
        let all = self.store.vault_all::<Injected>(INJECTED_RECORDS).await?;
        let identified = all.into_iter().filter_map(|(_, record)| {
            record.web_identity?;
            let service = ServiceId::parse(&record.service).ok()?;
            Some((service, record.revision, record.role?))
        });
        Ok(identified.collect())
    }

    /// The revisions for which something is kept, as `<service>/<revision>`.
    pub async fn kept(&self) -> Result<Vec<String>, StoreError> {
        let all = self.store.vault_all::<Injected>(INJECTED_RECORDS).await?;
        Ok(all.into_iter().map(|(name, _)| name).collect())
    }

    /// Forgets what is kept under these names, unless it is for one of the revisions that are needed.
    pub async fn retain(
        &self,
        kept: &[String],
        needed: &[(ServiceId, u32)],
    ) -> Result<(), StoreError> {
        let needed: BTreeSet<String> = needed
            .iter()
            .map(|(service, revision)| name_of(service.as_str(), *revision))
            .collect();
        for name in kept.iter().filter(|name| !needed.contains(*name)) {
            self.store.vault_drop(INJECTED_RECORDS, name).await?;
        }
        Ok(())
    }

    fn reference(&self, text: &str) -> Result<SecretReference, InjectionError> {
        let parsed = SecretReference::parse(text, &self.settings.region, &self.settings.account);
        parsed.map_err(|reason| InjectionError::Reference(text.to_owned(), reason))
    }

    /// What seals the values: the service's key when it has one, which has to be in use.
    async fn lock(
        &self,
        service: &ServiceId,
        config: &ServiceConfig,
    ) -> Result<Lock, InjectionError> {
        let Some(key) = &config.encryption_key else {
            return Ok(Lock::Platform);
        };
        let context = EncryptionContext::of(CONTEXT_NAME, service.as_str());
        let keyring: &Keyring = &self.vault.keyring;
        match keyring.usable(key).await {
            Ok(key) => Ok(Lock::Customer(key.id, context)),
            Err(refusal) => Err(InjectionError::Key(refusal.to_string())),
        }
    }

    async fn keep(
        &self,
        record: Injected,
        lock: Lock,
        values: &BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        let name = name_of(&record.service, record.revision);
        let value = serde_json::to_vec(values).map_err(|error| StoreError::Invalid {
            doing: "keep the secrets of a revision",
            reason: error.to_string(),
        })?;
        let keep = |_: Option<Injected>| {
            Ok(Change {
                record: Some(record),
                parts: vec![Part::Put {
                    name: VALUES.to_owned(),
                    lock,
                    value,
                }],
                outcome: (),
            })
        };
        let kept: Changed<(), ()> = self
            .store
            .vault_change(INJECTED_RECORDS, &name, u32::MAX, keep)
            .await;
        kept.map(|_| ())
    }
}

fn name_of(service: &str, revision: u32) -> String {
    format!("{service}/{revision}")
}

fn failed(error: &InjectionError) -> Failure {
    Failure::new(FailureKind::Secrets, error.to_string())
}
