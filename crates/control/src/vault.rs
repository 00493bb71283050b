//! The three services that keep secrets, put together.

use crate::authorizer::Authorizer;
use crate::clock::{Chance, Clock};
use crate::kms::{Keyring, Kms};
use crate::secretsmanager::SecretsManager;
use crate::settings::Settings;
use crate::ssm::ParameterStore;
use apron_domain::Millis;
use apron_store::{Store, StoreError};
use std::sync::Arc;

/// Milliseconds between two looks for what has to be destroyed.
const SWEEP_EVERY_MS: u64 = 60 * 60 * 1000;

/// Keys, secrets and parameters of this installation.
#[derive(Clone)]
pub struct Vault {
    /// KMS.
    pub kms: Arc<Kms>,
    /// Secrets Manager.
    pub secrets: Arc<SecretsManager>,
    /// Parameter Store.
    pub parameters: Arc<ParameterStore>,
    /// The keys.
    pub keyring: Keyring,
}

impl Vault {
    /// The three over one store.
    pub fn new(
        settings: &Arc<Settings>,
        store: &Store,
        authorizer: Arc<Authorizer>,
        chance: Arc<dyn Chance>,
    ) -> Vault {
        let keyring = Keyring::new(settings.clone(), store.clone(), authorizer);
        let (settings, store) = (settings.clone(), store.clone());
        let kms = Kms::new(
            settings.clone(),
            store.clone(),
            keyring.clone(),
            chance.clone(),
        );
        let secrets = SecretsManager::new(settings.clone(), store.clone(), keyring.clone(), chance);
        Vault {
            kms: Arc::new(kms),
            secrets: Arc::new(secrets),
            parameters: Arc::new(ParameterStore::new(settings, store, keyring.clone())),
            keyring,
        }
    }

    /// Destroys secrets and keys whose time of deletion has come, for ever.
    pub async fn sweep(self, clock: Arc<dyn Clock>) {
        loop {
            if let Err(error) = self.sweep_once(clock.now()).await {
                tracing::warn!(%error, "deleted secrets will be looked for again");
            }
            let next = clock.now().plus(SWEEP_EVERY_MS);
            clock.reach(next).await;
        }
    }

    /// Destroys secrets and keys whose time of deletion has come; how many.
    pub async fn sweep_once(&self, now: Millis) -> Result<usize, StoreError> {
        Ok(self.secrets.sweep(now).await? + self.keyring.sweep(now).await?)
    }
}
