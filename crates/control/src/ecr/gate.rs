//! The platform's side of the registry: who may come in, which repositories there are, what a push sets off.

use super::{Tokens, not_found_text};
use crate::audit::{Deed, Door, Trail};
use crate::authorizer::{Authorizer, Surroundings};
use crate::clock::Clock;
use crate::endpoint::{Caller, Peer};
use crate::settings::Settings;
use apron_aws::model::Protocol;
use apron_domain::Millis;
use apron_oci::{Action, Gate, Refusal, Visitor};
use apron_store::Store;
use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use std::sync::Arc;

/// The user name of every registry log-in, as in ECR.
const USER: &str = "AWS";
/// Characters of an `Authorization` header we look at.
const AUTHORIZATION_CHARS_MAX: usize = 64 << 10;

/// Is told of pushes, for automatic deployments.
#[async_trait]
pub trait PushWatcher: Send + Sync {
    /// A tag points to a new image, or was pushed again. Must not take long: the client waits.
    async fn pushed(&self, repository: &str, tag: &str);
}

/// The registry's gate: passwords of [`Tokens`] for the user `AWS`, the permissions of who got them, repositories of the store.
pub struct RegistryGate {
    settings: Arc<Settings>,
    store: Store,
    tokens: Arc<Tokens>,
    authorizer: Arc<Authorizer>,
    trail: Arc<Trail>,
    clock: Arc<dyn Clock>,
    watcher: Arc<dyn PushWatcher>,
}

/// The actions of ECR's API that a request to the registry stands for, any one of which is enough
/// (<https://docs.aws.amazon.com/AmazonECR/latest/userguide/security_iam_service-with-iam.html>).
fn actions(action: Action) -> &'static [&'static str] {
    match action {
        Action::Ping => &[],
        Action::ReadManifest => &["ecr:BatchGetImage"],
        Action::ReadLayer => &["ecr:GetDownloadUrlForLayer"],
        // Those who pull ask for the length of content, those who push whether it is there.
        Action::CheckLayer => &[
            "ecr:BatchCheckLayerAvailability",
            "ecr:GetDownloadUrlForLayer",
        ],
        Action::List => &["ecr:ListImages"],
        Action::StartUpload => &["ecr:InitiateLayerUpload"],
        Action::UploadPart => &["ecr:UploadLayerPart"],
        Action::EndUpload | Action::UploadWhole => &["ecr:CompleteLayerUpload"],
        Action::PutManifest => &["ecr:PutImage"],
        Action::Delete => &["ecr:BatchDeleteImage"],
        Action::Catalog => &["ecr:DescribeRepositories"],
    }
}

/// Whether a request changes nothing that somebody sees: content that no manifest names is nobody's image.
fn reads(action: Action) -> bool {
    !matches!(action, Action::PutManifest | Action::Delete)
}

impl RegistryGate {
    /// A gate; the authorizer knows the callers behind passwords and what they may.
    pub fn new(
        settings: Arc<Settings>,
        store: Store,
        tokens: Arc<Tokens>,
        authorizer: Arc<Authorizer>,
        trail: Arc<Trail>,
        clock: Arc<dyn Clock>,
        watcher: Arc<dyn PushWatcher>,
    ) -> RegistryGate {
        RegistryGate {
            settings,
            store,
            tokens,
            authorizer,
            trail,
            clock,
            watcher,
        }
    }

    /// Who has logged in; the error says why it is nobody we know, or not any more.
    fn caller(&self, authorization: &str, now: Millis) -> Result<Caller, String> {
        let password = password(authorization);
        let password = password.ok_or("the registry takes the user name AWS and a password")?;
        let holder = self.tokens.verify(&password, now);
        let holder = holder.map_err(|refusal| refusal.to_string())?;
        let token = holder.session_token.as_deref();
        let identities = self.authorizer.identities();
        let found = identities.find(&holder.access_key_id, token, now);
        let found = found.map_err(|refusal| refusal.to_string())?;
        Ok(found.caller)
    }

    /// Refuses who brought a wrong password: recorded, and slower with each from the same address.
    async fn turn_away(
        &self,
        reason: &str,
        repository: Option<&str>,
        action: Action,
        surroundings: &Surroundings,
    ) -> Option<Refusal> {
        tracing::info!(reason, "registry log-in refused");
        let door = Door::Registry {
            action: actions(action).first().copied().unwrap_or("Login"),
            repository,
            reads: reads(action),
        };
        let code = "UNAUTHORIZED";
        let turned = self.trail.turn_away("", surroundings, door, code, reason);
        let too_many = turned.await;
        too_many.then(|| Refusal::Denied("too many log-ins were refused, wait a moment".to_owned()))
    }

    /// Asks the policies and records the answer: what changes something is on disk before it is done.
    async fn permit(
        &self,
        caller: &Caller,
        repository: Option<&str>,
        action: Action,
        surroundings: &Surroundings,
    ) -> Result<(), Refusal> {
        let arn = super::repository_arn(&self.settings, repository.unwrap_or("*"));
        let names = actions(action);
        let mut deed = Deed {
            request_id: "",
            caller,
            surroundings,
            door: Door::Registry {
                action: names.first().copied().unwrap_or("Login"),
                repository,
                reads: reads(action),
            },
            answered: &[],
        };
        let mut denied = None;
        let mut answered = Vec::new();
        for name in names {
            let answer = self.authorizer.permit(caller, name, &arn, surroundings);
            match answer.await {
                Ok(answer) => {
                    answered.push(answer);
                    break;
                }
                Err(refusal) => denied = denied.or(Some(refusal)),
            }
        }
        if let (true, Some(refusal)) = (answered.is_empty(), denied) {
            let error = refusal.clone().into_error(Protocol::Json11);
            let recorded = self.trail.refused(&deed, &refusal, &error);
            recorded.map_err(|error| Refusal::Denied(error.message))?;
            return Err(Refusal::Denied(refusal.message().to_owned()));
        }
        deed.answered = &answered;
        let opened = self.trail.open(&deed).await;
        let opened = opened.map_err(|error| Refusal::Denied(error.message))?;
        let allowed = json!({});
        let closed = self
            .trail
            .close(opened, deed.door, Ok(&allowed), surroundings.now);
        closed.map_err(|error| Refusal::Denied(error.message))
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
        visitor: Visitor<'_>,
        repository: Option<&str>,
        action: Action,
    ) -> Result<(), Refusal> {
        let now = self.clock.now();
        let surroundings = Surroundings {
            source: visitor.extensions.get::<Peer>().map(|peer| peer.0),
            user_agent: None,
            now,
        };
        let realm = format!("https://{}/", self.settings.registry_host);
        // Clients ask without a password first, to learn how to log in.
        let Some(authorization) = visitor.authorization else {
            return Err(Refusal::Unauthenticated { realm });
        };
        let caller = match self.caller(authorization, now) {
            Ok(caller) => caller,
            Err(reason) => {
                let turned = self.turn_away(&reason, repository, action, &surroundings);
                let refusal = turned.await;
                return Err(refusal.unwrap_or(Refusal::Unauthenticated { realm }));
            }
        };
        self.permit(&caller, repository, action, &surroundings)
            .await?;
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
