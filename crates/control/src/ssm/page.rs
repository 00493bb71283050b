//! A page of parameters, in the order of their names.

use super::filter::StringFilter;
use super::record::{PARAMETER_RECORDS, ParameterRecord};
use super::{ParameterStore, bad_page_token};
use crate::endpoint::{Call, Listing, internal};
use apron_aws::ApiError;

impl ParameterStore {
    /// The parameters of a page, of those with a name that is meant and all that the filters ask for; and the token of the
    /// page behind it.
    pub(super) async fn page(
        &self,
        call: &Call,
        listing: &Listing<'_>,
        filters: &[StringFilter],
        meant: impl Fn(&str) -> bool,
    ) -> Result<(Vec<(String, ParameterRecord)>, Option<String>), ApiError> {
        let all = self
            .store
            .vault_all::<ParameterRecord>(PARAMETER_RECORDS)
            .await;
        let all = all.map_err(|e| internal(call, "list the parameters", &e))?;
        let found = all.into_iter().filter(|(name, record)| {
            meant(name) && filters.iter().all(|filter| filter.passes(name, record))
        });
        listing
            .page(found, |(name, _)| name)
            .map_err(bad_page_token)
    }
}
