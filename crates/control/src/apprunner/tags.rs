//! Tags of every kind of resource. Those with the prefix `apron:` set features of the platform and are held against
//! [`extension`].

use super::{AppRunner, invalid, not_found, store_failed};
use crate::agenda::Task;
use crate::authorizer::ResourceFacts;
use crate::configurations::{AUTO_SCALING, CONNECTION, OBSERVABILITY, VPC_CONNECTOR, select};
use apron_aws::ApiError;
use apron_domain::configuration::{Revision, find};
use apron_domain::extension::Extensions;
use apron_domain::service::TAGS_MAX;
use apron_domain::{Millis, Service, ServiceConfig, ServiceId, extension};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    /// Empty where the request has none, which the model allows and nothing else does.
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTags {
    resource_arn: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AddTags {
    resource_arn: String,
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RemoveTags {
    resource_arn: String,
    tag_keys: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagList {
    tags: Vec<Tag>,
}

#[derive(Debug, Serialize)]
pub struct Nothing {}

/// What a tag is put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tagged {
    Service,
    AutoScaling,
    Observability,
    Connection,
    VpcConnector,
    VpcIngress,
}

impl Tagged {
    /// A configuration of this kind.
    fn of_kind(kind: &str) -> Tagged {
        match kind {
            AUTO_SCALING => Tagged::AutoScaling,
            OBSERVABILITY => Tagged::Observability,
            CONNECTION => Tagged::Connection,
            _ => Tagged::VpcConnector,
        }
    }

    /// As messages call it.
    fn name(self) -> &'static str {
        match self {
            Tagged::Service => "a service",
            Tagged::AutoScaling => "an auto scaling configuration",
            Tagged::Observability => "an observability configuration",
            Tagged::Connection => "a connection",
            Tagged::VpcConnector => "a VPC connector",
            Tagged::VpcIngress => "a VPC ingress connection",
        }
    }

    /// Checks a tag that may set an extension, which services and their auto scaling configurations have.
    fn check(self, tag: &Tag) -> Result<(), ApiError> {
        match self {
            Tagged::Service | Tagged::AutoScaling => {
                extension::check(&tag.key, &tag.value).map_err(|error| invalid(format!("{error}.")))
            }
            _ if sets_extension(&tag.key) => Err(invalid(format!(
                "Tag {} is not valid: tags with the prefix {} belong on a service or an auto scaling configuration, \
                 not on {}.",
                tag.key,
                extension::PREFIX,
                self.name()
            ))),
            _ => Ok(()),
        }
    }
}

fn sets_extension(key: &str) -> bool {
    key.starts_with(extension::PREFIX)
}

/// The tags with these added, if there are not too many then and those of the platform's features are understood.
pub(super) fn checked(
    tagged: Tagged,
    new: Vec<Tag>,
    mut tags: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, ApiError> {
    for (position, tag) in new.into_iter().enumerate() {
        if tag.key.is_empty() {
            return Err(invalid(format!(
                "1 validation error detected: Value null at 'tags.{}.member.key' failed to satisfy constraint: \
                 Member must not be null",
                position + 1
            )));
        }
        tagged.check(&tag)?;
        tags.insert(tag.key, tag.value);
    }
    match tags.len() > TAGS_MAX {
        true => Err(invalid(format!(
            "A resource can have at most {TAGS_MAX} tags."
        ))),
        false => Ok(tags),
    }
}

/// Refuses a web identity for a service without an instance role, which the identity's subject names.
pub(super) fn has_role_for_identity(
    tags: &BTreeMap<String, String>,
    config: &ServiceConfig,
) -> Result<(), ApiError> {
    let wanted = Extensions::of(tags, &BTreeMap::new()).web_identity;
    match (wanted, &config.instance_role_arn) {
        (Some(_), None) => Err(invalid(format!(
            "Tag {} is not valid: the service has no InstanceRoleArn in InstanceConfiguration, which the subject of its \
             tokens names.",
            extension::WEB_IDENTITY
        ))),
        _ => Ok(()),
    }
}

/// What a resource's ARN names.
enum Owner {
    Service(Box<Service>),
    /// A configuration of this kind with this id.
    Configuration(&'static str, String),
}

impl Owner {
    fn tagged(&self) -> Tagged {
        match self {
            Owner::Service(_) => Tagged::Service,
            Owner::Configuration(kind, _) => Tagged::of_kind(kind),
        }
    }

    fn extended(&self) -> Extended {
        match self {
            Owner::Service(service) => Extended::Service(service.id.clone()),
            Owner::Configuration(..) => Extended::Many,
        }
    }
}

/// Whose extensions a change of tags changes.
enum Extended {
    Service(ServiceId),
    /// Those of the services that use a configuration.
    Many,
}

impl AppRunner {
    /// The resource of an ARN; deleted ones are not found.
    async fn owner(&self, arn: &str) -> Result<Owner, ApiError> {
        let missing = || {
            not_found(format!(
                "Resource with the provided ARN was not found: {arn}."
            ))
        };
        let settings = &self.engine.settings;
        for kind in [AUTO_SCALING, OBSERVABILITY, CONNECTION, VPC_CONNECTOR] {
            let Some(selector) = select(settings, kind, arn) else {
                continue;
            };
            // Only names, numbers and ids matter here, which every kind has.
            let all = self
                .engine
                .store
                .configurations::<serde_json::Value>(kind)
                .await
                .map_err(store_failed)?;
            let found = find(&all, &selector).filter(|r| r.is_active() && selector.id.is_some());
            return found
                .map(|r| Owner::Configuration(kind, r.id.clone()))
                .ok_or_else(missing);
        }
        let service = self.service_to_change(arn).await?;
        Ok(Owner::Service(Box::new(service)))
    }

    async fn tags_of(&self, owner: &Owner) -> Result<BTreeMap<String, String>, ApiError> {
        match owner {
            Owner::Service(service) => Ok(service.tags.clone()),
            Owner::Configuration(kind, id) => {
                let all = self
                    .engine
                    .store
                    .configurations::<serde_json::Value>(kind)
                    .await
                    .map_err(store_failed)?;
                Ok(all
                    .into_iter()
                    .find(|r| r.id == *id)
                    .map(|r| r.tags)
                    .unwrap_or_default())
            }
        }
    }

    /// What policies need to know of a resource.
    pub(super) async fn facts(&self, arn: &str) -> Result<Option<ResourceFacts>, ApiError> {
        let owner = match self.owner(arn).await {
            Ok(owner) => owner,
            // A failure of the store refuses the request, a resource that is not there is the operation's own matter.
            Err(error) if error.status < 500 => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(ResourceFacts {
            tags: self.tags_of(&owner).await?,
            ..ResourceFacts::default()
        }))
    }

    /// Changes the tags of a resource, with nothing in between.
    async fn change_tags(
        &self,
        owner: Owner,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), ApiError> + Send,
    ) -> Result<Nothing, ApiError> {
        match owner {
            Owner::Service(service) => {
                let mut outcome = Ok(());
                let update = |service: &mut Service| outcome = change(&mut service.tags);
                self.engine
                    .store
                    .service_update(&service.id, update)
                    .await
                    .map_err(store_failed)?;
                outcome?;
            }
            Owner::Configuration(kind, id) => {
                let update = |all: &mut Vec<Revision<serde_json::Value>>| {
                    let found = all.iter_mut().find(|r| r.id == id);
                    let found = found.ok_or_else(|| {
                        not_found("Resource with the provided ARN was not found.")
                    })?;
                    change(&mut found.tags)
                };
                self.engine
                    .store
                    .configurations_change(kind, update)
                    .await
                    .map_err(store_failed)??;
            }
        }
        Ok(Nothing {})
    }

    pub(super) async fn tag_list(&self, input: ListTags) -> Result<TagList, ApiError> {
        let owner = self.owner(&input.resource_arn).await?;
        let tags = self.tags_of(&owner).await?;
        Ok(TagList {
            tags: tags
                .into_iter()
                .map(|(key, value)| Tag { key, value })
                .collect(),
        })
    }

    pub(super) async fn tag_add(&self, input: AddTags) -> Result<Nothing, ApiError> {
        let owner = self.owner(&input.resource_arn).await?;
        let tagged = owner.tagged();
        if let Owner::Service(service) = &owner {
            let tags = input.tags.iter();
            let tags = tags
                .map(|tag| (tag.key.clone(), tag.value.clone()))
                .collect();
            has_role_for_identity(&tags, &service.config)?;
        }
        let extended = input.tags.iter().any(|tag| sets_extension(&tag.key));
        let extended = extended.then(|| owner.extended());
        let changed = self.change_tags(owner, move |tags| {
            *tags = checked(tagged, input.tags, tags.clone())?;
            Ok(())
        });
        let answer = changed.await?;
        self.put_in_force(extended).await;
        Ok(answer)
    }

    pub(super) async fn tag_remove(&self, input: RemoveTags) -> Result<Nothing, ApiError> {
        let owner = self.owner(&input.resource_arn).await?;
        let extended = input.tag_keys.iter().any(|key| sets_extension(key));
        let extended = extended.then(|| owner.extended());
        let changed = self.change_tags(owner, move |tags| {
            tags.retain(|key, _| !input.tag_keys.contains(key));
            Ok(())
        });
        let answer = changed.await?;
        self.put_in_force(extended).await;
        Ok(answer)
    }

    /// Brings changed extensions into the routes, and into the number of instances, before the call is answered. The tags
    /// are stored by then: routes that cannot be published now are by the data plane's own return, or by the next change.
    async fn put_in_force(&self, extended: Option<Extended>) {
        let engine = &self.engine;
        let refreshed = match extended {
            None => return,
            Some(Extended::Service(id)) => {
                engine.agenda.poke(&id);
                engine.routes.refresh_service(&id).await
            }
            Some(Extended::Many) => {
                engine.agenda.plan(Task::Sweep, Millis(0));
                engine.routes.refresh().await
            }
        };
        if let Err(error) = refreshed {
            tracing::warn!(%error, "routes do not have the changed tags yet");
        }
    }
}
