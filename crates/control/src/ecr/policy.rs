//! The policies of repositories, which have a say about who may pull and push.

use super::Ecr;
use crate::authorizer::{ResourceFacts, ResourcePolicy, ResourceQuestion};
use crate::endpoint::Call;
use crate::iam::Document;
use apron_aws::ApiError;
use apron_aws::policy::Kind;
use apron_store::Repository;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OnPolicy {
    registry_id: Option<String>,
    repository_name: String,
    policy_text: Option<String>,
}

impl Ecr {
    pub(super) async fn set_repository_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OnPolicy = call.input()?;
        let text = input.policy_text.unwrap_or_default();
        Document::parse(&text, Kind::Repository).map_err(|refused| {
            let problem = format!("Invalid repository policy provided: {refused}");
            self.invalid("PolicyText", &problem)
        })?;
        let name = &input.repository_name;
        self.repository(call, input.registry_id.as_deref(), name)
            .await?;
        let put = text.clone();
        self.change(call, name, |repository| repository.policy = Some(put))
            .await?;
        Ok(self.policy_answer(name, &text))
    }

    pub(super) async fn get_repository_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OnPolicy = call.input()?;
        let name = &input.repository_name;
        let repository = self
            .repository(call, input.registry_id.as_deref(), name)
            .await?;
        let text = repository.policy.ok_or_else(|| self.no_policy(name))?;
        Ok(self.policy_answer(name, &text))
    }

    pub(super) async fn delete_repository_policy(&self, call: &Call) -> Result<Value, ApiError> {
        let input: OnPolicy = call.input()?;
        let name = &input.repository_name;
        let repository = self
            .repository(call, input.registry_id.as_deref(), name)
            .await?;
        let text = repository.policy.ok_or_else(|| self.no_policy(name))?;
        self.change(call, name, |repository| repository.policy = None)
            .await?;
        Ok(self.policy_answer(name, &text))
    }

    fn policy_answer(&self, name: &str, text: &str) -> Value {
        json!({"registryId": self.settings.account, "repositoryName": name, "policyText": text})
    }

    fn no_policy(&self, name: &str) -> ApiError {
        let message = format!(
            "Repository policy does not exist for the repository with name '{name}' in the registry with id '{}'",
            self.settings.account
        );
        self.error("RepositoryPolicyNotFoundException", message)
    }

    /// What policies need to know of a repository.
    pub(super) async fn facts(
        &self,
        question: &ResourceQuestion<'_>,
    ) -> Result<Option<ResourceFacts>, ApiError> {
        let start = self.arn("");
        let Some(name) = question.arn.strip_prefix(&start) else {
            return Ok(None);
        };
        if name.contains('*') {
            return Ok(None);
        }
        let found = self.store.repository_get(name).await;
        let found = found.map_err(|error| {
            tracing::error!(%error, repository = name, "the repository's policy cannot be read");
            ApiError::internal_failure()
        })?;
        found.map(facts_of).transpose()
    }
}

fn facts_of(repository: Repository) -> Result<ResourceFacts, ApiError> {
    let name = format!("policy of repository {}", repository.name);
    let document = repository
        .policy
        .map(|text| Document::parse(&text, Kind::Repository));
    let document = document.transpose().map_err(|error| {
        // It was checked when it was stored: an unreadable one must not let anybody in.
        tracing::error!(%error, policy = name, "a stored policy cannot be read");
        ApiError::internal_failure()
    })?;
    Ok(ResourceFacts {
        tags: repository.tags,
        policy: document.map(|document| ResourcePolicy {
            name,
            document,
            required: false,
        }),
        ..ResourceFacts::default()
    })
}
