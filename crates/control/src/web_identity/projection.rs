//! Tokens of instances are replaced long before they end.

use crate::engine::Engine;
use apron_compute::{ComputeError, TokenFiles};
use apron_domain::{InstanceId, Millis, ServiceId};
use apron_store::StoreError;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Time between two looks for tokens to replace, milliseconds.
const LOOK_EVERY_MS: u64 = 60_000;
/// Age at which a token is replaced, milliseconds.
const REPLACE_AFTER_MS: u64 = 60 * 60 * 1000;

/// Replaces the tokens of running instances.
pub struct Projection {
    engine: Arc<Engine>,
    files: Arc<dyn TokenFiles>,
}

/// When instances were given their tokens. What was given before the platform's start is not known, and is replaced at once.
#[derive(Default)]
struct Given(BTreeMap<InstanceId, Millis>);

impl Given {
    fn is_due(&self, id: &InstanceId, withdrawn: Millis, now: Millis) -> bool {
        let given = self.0.get(id);
        given.is_none_or(|given| *given <= withdrawn || now.since(*given) >= REPLACE_AFTER_MS)
    }
}

impl Projection {
    /// Tokens for the instances of this engine.
    pub fn new(engine: Arc<Engine>, files: Arc<dyn TokenFiles>) -> Projection {
        Projection { engine, files }
    }

    /// Replaces tokens for ever.
    pub async fn run(self) {
        let mut given = Given::default();
        let mut withdrawn = self.engine.web_identity.issuer.withdrawn();
        loop {
            let before = *withdrawn.borrow_and_update();
            if let Err(error) = self.pass(&mut given, before).await {
                tracing::warn!(%error, "tokens of instances will be replaced later");
            }
            let next = self.engine.clock.now().plus(LOOK_EVERY_MS);
            tokio::select! {
                () = self.engine.clock.reach(next) => {}
                // The issuer lives as long as the engine.
                _ = withdrawn.changed() => {}
            }
        }
    }

    async fn pass(&self, given: &mut Given, withdrawn: Millis) -> Result<(), StoreError> {
        let engine = &self.engine;
        let now = engine.clock.now();
        let mut running = BTreeMap::new();
        for (service, revision, role) in engine.injection.identified().await? {
            for id in engine.fleet.of_service(&service) {
                let same = engine
                    .fleet
                    .status(&id)
                    .is_some_and(|it| it.revision == revision);
                if same {
                    running.insert(id, (service.clone(), role.clone()));
                }
            }
        }
        given.0.retain(|id, _| running.contains_key(id));
        for (id, (service, role)) in running {
            if given.is_due(&id, withdrawn, now) && self.replace(&id, &service, &role, now).await? {
                given.0.insert(id, now);
            }
        }
        Ok(())
    }

    /// Whether the instance has another token, or will never have one.
    async fn replace(
        &self,
        id: &InstanceId,
        service: &ServiceId,
        role: &str,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let Some(service) = self.engine.store.service_get(service).await? else {
            return Ok(true);
        };
        let token = self.engine.token(&service, id, role, now).await?;
        match self.files.put_token(id, &token).await {
            Ok(()) | Err(ComputeError::Unknown(_)) => Ok(true),
            Err(error) => {
                tracing::warn!(instance = %id, %error, "the token of an instance cannot be replaced");
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_replaced_while_they_are_good_for_long() {
        let id = InstanceId::from_random([1; 16]);
        let mut given = Given::default();
        let never = Millis(0);
        assert!(given.is_due(&id, never, Millis(1)));
        given.0.insert(id.clone(), Millis(1));
        assert!(!given.is_due(&id, never, Millis(REPLACE_AFTER_MS)));
        assert!(given.is_due(&id, never, Millis(REPLACE_AFTER_MS + 1)));
        assert!(
            given.is_due(&id, Millis(1), Millis(1)),
            "its key was withdrawn"
        );
        const { assert!(REPLACE_AFTER_MS * 2 < crate::web_identity::TOKEN_LIFE_MS) };
    }
}
