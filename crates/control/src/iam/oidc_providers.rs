//! OpenID Connect providers: issuers whose tokens roles of this account may trust
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html>).

use super::directory::{Directory, key_of};
use super::entity::{Entity, OidcProvider};
use super::errors::{error, invalid_input, quota};
use super::ids::{IdKind, unique_id};
use super::input::{tags, text, texts};
use super::{Iam, output, quotas};
use crate::endpoint::Call;
use apron_aws::ApiError;
use http::Uri;
use serde_json::{Value, json};
use std::sync::Arc;

impl Iam {
    pub(super) async fn create_provider(&self, call: &Call) -> Result<Value, ApiError> {
        let provider = OidcProvider {
            id: unique_id(IdKind::Provider, &*self.chance),
            url: url(text(call, "Url"))?,
            created_at: call.now,
            client_ids: client_ids(call)?,
            thumbprints: thumbprints(call)?,
            tags: tags(call)?,
        };
        let change = |directory: &mut Directory| {
            let key = key_of(&provider.url);
            if directory.providers.contains_key(&key) {
                let text = format!("Provider with url https://{} already exists.", provider.url);
                return Err(error("EntityAlreadyExistsException", text));
            }
            if directory.providers.len() >= quotas::OIDC_PROVIDERS {
                let limit = quotas::OIDC_PROVIDERS;
                return Err(quota("OpenIdConnectProvidersPerAccount", limit));
            }
            let answer = json!({
                "OpenIDConnectProviderArn": provider.arn(&directory.account),
                "Tags": (!provider.tags.is_empty()).then(|| output::tags(&provider.tags)),
            });
            directory.providers.insert(key, Arc::new(provider));
            Ok(answer)
        };
        self.identities.change(change).await
    }

    pub(super) fn get_provider(&self, call: &Call) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let provider = named(&directory, call)?;
        Ok(json!({
            "Url": provider.url, "ClientIDList": provider.client_ids,
            "ThumbprintList": provider.thumbprints, "CreateDate": provider.created_at.as_seconds(),
            "Tags": output::tags(&provider.tags),
        }))
    }

    pub(super) fn list_providers(&self) -> Result<Value, ApiError> {
        let directory = self.identities.directory();
        let arns = directory.providers.values();
        let arns = arns.map(|it| json!({"Arn": it.arn(&directory.account)}));
        Ok(json!({"OpenIDConnectProviderList": arns.collect::<Vec<Value>>()}))
    }

    /// Does not fail for a provider that is not there, as AWS has it.
    pub(super) async fn delete_provider(&self, call: &Call) -> Result<Value, ApiError> {
        let change = |directory: &mut Directory| {
            let found = directory.provider(text(call, "OpenIDConnectProviderArn"));
            if let Some(key) = found.map(|it| key_of(&it.url)) {
                directory.providers.remove(&key);
            }
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) async fn add_client_id(&self, call: &Call) -> Result<Value, ApiError> {
        let change = |directory: &mut Directory| {
            let (provider, id) = (named_mut(directory, call)?, text(call, "ClientID"));
            if !provider.client_ids.iter().any(|known| known == id) {
                provider.client_ids.push(id.to_owned());
            }
            bounded(&provider.client_ids)?;
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) async fn remove_client_id(&self, call: &Call) -> Result<Value, ApiError> {
        let change = |directory: &mut Directory| {
            let id = text(call, "ClientID");
            let provider = named_mut(directory, call)?;
            provider.client_ids.retain(|known| known != id);
            Ok(json!({}))
        };
        self.identities.change(change).await
    }

    pub(super) async fn update_thumbprint(&self, call: &Call) -> Result<Value, ApiError> {
        let given = thumbprints(call)?;
        let change = |directory: &mut Directory| {
            named_mut(directory, call)?.thumbprints = given;
            Ok(json!({}))
        };
        self.identities.change(change).await
    }
}

/// The provider that is meant.
pub(super) fn named<'a>(
    directory: &'a Directory,
    call: &Call,
) -> Result<&'a Arc<OidcProvider>, ApiError> {
    let arn = text(call, "OpenIDConnectProviderArn");
    directory.provider(arn).ok_or_else(|| missing(arn))
}

/// The same to be changed.
pub(super) fn named_mut<'a>(
    directory: &'a mut Directory,
    call: &Call,
) -> Result<&'a mut OidcProvider, ApiError> {
    let arn = text(call, "OpenIDConnectProviderArn");
    let key = directory.provider(arn).map(|it| key_of(&it.url));
    let found = key.and_then(|key| directory.providers.get_mut(&key));
    found.map(Arc::make_mut).ok_or_else(|| missing(arn))
}

fn missing(arn: &str) -> ApiError {
    let text = format!("OpenIDConnect Provider not found for arn {arn}");
    error("NoSuchEntityException", text)
}

/// The URL of an issuer without its scheme: a host, perhaps with a port, and a path.
fn url(given: &str) -> Result<String, ApiError> {
    let refused = || invalid_input(format!("Invalid Open ID Connect Provider URL: {given}"));
    let uri: Uri = given.parse().map_err(|_| refused())?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/%[]".contains(&byte);
    let ok = uri.scheme_str() == Some("https")
        && uri.host().is_some_and(|host| !host.is_empty())
        && uri.query().is_none()
        && given.bytes().all(plain);
    let rest = given.strip_prefix("https://").filter(|_| ok);
    rest.map(|rest| rest.trim_end_matches('/').to_owned())
        .ok_or_else(refused)
}

fn client_ids(call: &Call) -> Result<Vec<String>, ApiError> {
    let mut ids: Vec<String> = Vec::new();
    for id in texts(call, "ClientIDList") {
        if !ids.iter().any(|known| known == id) {
            ids.push(id.to_owned());
        }
    }
    bounded(&ids)?;
    Ok(ids)
}

fn bounded(ids: &[String]) -> Result<(), ApiError> {
    let limit = quotas::CLIENT_IDS_PER_PROVIDER;
    match ids.len() > limit {
        true => Err(quota("ClientIdsPerOpenIdConnectProvider", limit)),
        false => Ok(()),
    }
}

fn thumbprints(call: &Call) -> Result<Vec<String>, ApiError> {
    let given = texts(call, "ThumbprintList");
    let limit = quotas::THUMBPRINTS_PER_PROVIDER;
    if given.len() > limit {
        let text = format!("Thumbprint list must contain fewer than {limit} entries.");
        return Err(invalid_input(text));
    }
    if let Some(odd) = given
        .iter()
        .find(|it| !it.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        let text = format!("Thumbprint {odd} is not the SHA-1 of a certificate in hexadecimal.");
        return Err(invalid_input(text));
    }
    Ok(given.into_iter().map(str::to_ascii_lowercase).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_hosts_with_paths() {
        for (given, kept) in [
            ("https://a.example.com", "a.example.com"),
            ("https://a.example.com/x/Y/", "a.example.com/x/Y"),
            ("https://localhost:7400", "localhost:7400"),
        ] {
            assert_eq!(url(given).unwrap(), kept);
        }
        for given in [
            "a.example.com",
            "http://a.example.com",
            "https://a.example.com?x=1",
            "https://a.example.com/#x",
            "https://user@a.example.com",
            "https://a.example.com/*",
            "https://",
            "",
        ] {
            assert_eq!(url(given).unwrap_err().code, "InvalidInput", "{given}");
        }
    }
}
