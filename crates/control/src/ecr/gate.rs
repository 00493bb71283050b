//! The platform's side of the registry: who may come in, which repositories there are, what a push sets off.

use super::{Tokens, not_found_text};
use crate::clock::Clock;
use crate::endpoint::Credentials;
use crate::settings::Settings;
use apron_oci::{Action, Gate, Refusal};
use apron_store::Store;
use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::sync::Arc;

/// The user name of every registry log-in, as in ECR.
const USER: &str = "AWS";
/// Characters of an `Authorization` header we look at.
const AUTHORIZATION_CHARS_MAX: usize = 4096;

/// Is told of pushes, for automatic deployments.
#[async_trait]
pub trait PushWatcher: Send + Sync {
    /// A tag points to a new image, or was pushed again. Must not take long: the client waits.
    async fn pushed(&self, repository: &str, tag: &str);
}

/// The registry's gate: passwords of [`Tokens`] for the user `AWS`, repositories of the store.
pub struct RegistryGate {
    settings: Arc<Settings>,
    store: Store,
    tokens: Arc<Tokens>,
    credentials: Arc<dyn Credentials>,
    clock: Arc<dyn Clock>,
    watcher: Arc<dyn PushWatcher>,
}

impl RegistryGate {
    /// A gate; `credentials` tells whether the access key behind a password still exists.
    pub fn new(
        settings: Arc<Settings>,
        store: Store,
        tokens: Arc<Tokens>,
        credentials: Arc<dyn Credentials>,
        clock: Arc<dyn Clock>,
        watcher: Arc<dyn PushWatcher>,
    ) -> RegistryGate {
        RegistryGate {
            settings,
            store,
            tokens,
            credentials,
            clock,
            watcher,
        }
    }

    async fn is_authentic(&self, authorization: Option<&str>) -> bool {
        let Some(password) = authorization.and_then(password) else {
            return false;
        };
        match self.tokens.verify(&password, self.clock.now()) {
            Ok(access_key_id) => self.credentials.find(&access_key_id, None).await.is_ok(),
            Err(refusal) => {
                tracing::info!(%refusal, "registry log-in refused");
                false
            }
        }
    }

    async fn check_exists(&self, name: &str) -> Result<bool, Refusal> {
        let found = self.store.repository_get(name).await.map_err(|error| {
            tracing::error!(%error, repository = name, "cannot read the repository");
            Refusal::Denied("the registry cannot read its repositories now, try again".to_owned())
        })?;
        match found {
            Some(repository) => Ok(repository.immutable_tags),
            None => Err(Refusal::UnknownRepository(not_found_text(
                name,
                &self.settings.account,
            ))),
        }
    }
}

/// The password of a basic `Authorization` header (RFC 7617) of the user `AWS`.
fn password(header: &str) -> Option<String> {
    if header.len() > AUTHORIZATION_CHARS_MAX {
        return None;
    }
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    (user == USER).then(|| password.to_owned())
}

#[async_trait]
impl Gate for RegistryGate {
    async fn authorize(
        &self,
        authorization: Option<&str>,
        repository: Option<&str>,
        _: Action,
    ) -> Result<(), Refusal> {
        if !self.is_authentic(authorization).await {
            let realm = format!("https://{}/", self.settings.registry_host);
            return Err(Refusal::Unauthenticated { realm });
        }
        match repository {
            Some(name) => self.check_exists(name).await.map(|_| ()),
            None => Ok(()),
        }
    }

    async fn may_overwrite_tag(&self, repository: &str, tag: &str) -> Result<(), Refusal> {
        match self.check_exists(repository).await? {
            false => Ok(()),
            true => Err(Refusal::Denied(format!(
                "The image tag '{tag}' already exists in the '{repository}' repository and cannot be overwritten because \
                 the tag is immutable."
            ))),
        }
    }

    async fn pushed(&self, repository: &str, tag: Option<&str>, digest: &str) {
        tracing::info!(repository, tag, digest, "image pushed");
        if let Some(tag) = tag {
            self.watcher.pushed(repository, tag).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expect: Option<&str>) {
        assert_eq!(password(header).as_deref(), expect, "{header}");
    }

    #[test]
    fn only_basic_credentials_of_the_one_user() {
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        check(&basic("AWS:secret:with:colons"), Some("secret:with:colons"));
        check(&basic("AWS:x").replace("Basic", "basic"), Some("x"));
        check(&basic("aws:x"), None);
        check(&basic("AWS"), None);
        check("Bearer x", None);
        check("Basic !", None);
        check("", None);
    }
}
