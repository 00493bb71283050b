//! `BatchGetSecretValue`.

use super::list::Filter;
use super::record::{CURRENT, SECRET_RECORDS, SecretRecord};
use super::{SecretsManager, invalid_parameter};
use crate::endpoint::{Call, Listing, internal};
use apron_aws::ApiError;
use serde::Deserialize;
use serde_json::{Value, json};

const PAGE_KIND: &str = "secret-values";
/// Secrets of one page, unless fewer are asked for.
const PAGE_ENTRIES_DEFAULT: usize = 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchGet {
    secret_id_list: Option<Vec<String>>,
    filters: Option<Vec<Filter>>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

impl SecretsManager {
    pub(super) async fn batch_get_secret_value(&self, call: &Call) -> Result<Value, ApiError> {
        let input: BatchGet = call.input()?;
        let (ids, next) = match (&input.secret_id_list, &input.filters) {
            (Some(ids), None) => (ids.clone(), None),
            (None, Some(filters)) => self.filtered(call, &input, filters).await?,
            _ => {
                return Err(invalid_parameter(
                    "You must include either SecretIdList or Filters, but not both.",
                ));
            }
        };
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for id in &ids {
            match self.current_of(call, id).await {
                Ok(value) => values.push(value),
                Err(cause) => errors.push(json!({
                    "SecretId": id,
                    "ErrorCode": cause.code,
                    "Message": cause.message,
                })),
            }
        }
        Ok(json!({ "SecretValues": values, "Errors": errors, "NextToken": next }))
    }

    async fn current_of(&self, call: &Call, id: &str) -> Result<Value, ApiError> {
        // Who may ask for many may not therefore read each.
        let input = json!({ "SecretId": id });
        let may = self
            .keyring
            .may(call, "secretsmanager", "GetSecretValue", &input);
        may.await?;
        let (name, secret) = self.find_live(call, id).await?;
        let version = secret.staged(CURRENT).ok_or_else(super::not_found)?;
        self.value_answer(call, &name, &secret, version).await
    }

    /// The names of a page of secrets that pass the filters, and the token of the next.
    async fn filtered(
        &self,
        call: &Call,
        input: &BatchGet,
        filters: &[Filter],
    ) -> Result<(Vec<String>, Option<String>), ApiError> {
        let listing = Listing {
            kind: PAGE_KIND,
            token: input.next_token.as_deref(),
            entries_max: input.max_results.unwrap_or(PAGE_ENTRIES_DEFAULT),
        };
        let all = self.store.vault_all::<SecretRecord>(SECRET_RECORDS).await;
        let all = all.map_err(|e| internal(call, "list the secrets", &e))?;
        let names = all
            .into_iter()
            .filter(|(name, secret)| {
                secret.destroy_at.is_none()
                    && filters.iter().all(|filter| filter.passes(name, secret))
            })
            .map(|(name, _)| name);
        let page = listing.page(names, String::as_str);
        page.map_err(super::read::bad_page_token)
    }
}
