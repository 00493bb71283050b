//! Lists: tags, repositories, referrers. Pages go by the last entry of the one before.

use super::Server;
use super::answer::{Failure, HeaderSet};
use super::uploads::query;
use crate::Digest;
use crate::manifest::OCI_INDEX;
use crate::store::ReferrerEntry;
use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderName, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

impl Server {
    /// `GET /v2/<name>/tags/list`
    pub(super) async fn tags(&self, parts: &Parts, name: &str) -> Result<Response, Failure> {
        let tags = self
            .store
            .tags(name)
            .await?
            .into_iter()
            .map(|entry| entry.tag)
            .collect();
        let (page, link) = self.page(parts, tags)?;
        let answer = json!({ "name": name, "tags": page });
        Ok(linked(link).json(StatusCode::OK, &answer))
    }

    /// `GET /v2/_catalog`
    pub(super) async fn catalog(&self, parts: &Parts) -> Result<Response, Failure> {
        let (page, link) = self.page(parts, self.store.repositories().await?)?;
        Ok(linked(link).json(StatusCode::OK, &json!({ "repositories": page })))
    }

    /// `GET /v2/<name>/referrers/<digest>`: an index of the manifests whose subject it is, never 404.
    pub(super) async fn referrers(
        &self,
        parts: &Parts,
        name: &str,
        digest: &str,
    ) -> Result<Response, Failure> {
        let digest = Digest::parse(digest).map_err(Failure::digest)?;
        let wanted = query(parts, "artifactType").filter(|text| !text.is_empty());
        let mut entries = self.store.referrers(name, &digest).await?;
        if let Some(wanted) = &wanted {
            entries.retain(|entry| entry.artifact_type.as_deref() == Some(wanted));
        }
        let names = entries
            .iter()
            .map(|entry| entry.digest.to_string())
            .collect();
        let (page, link) = self.page(parts, names)?;
        entries.retain(|entry| page.iter().any(|name| name == entry.digest.as_str()));
        let manifests: Vec<Value> = entries.iter().map(descriptor).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
        let mut headers = linked(link).with(header::CONTENT_TYPE, OCI_INDEX);
        if wanted.is_some() {
            headers = headers.with(FILTERS_APPLIED, "artifactType");
        }
        Ok(headers.body(StatusCode::OK, Body::from(index.to_string())))
    }

    /// The page that `n` and `last` ask for, of sorted names, and the `Link` header to the next one.
    fn page(
        &self,
        parts: &Parts,
        names: Vec<String>,
    ) -> Result<(Vec<String>, Option<String>), Failure> {
        let asked = query(parts, "n").filter(|text| !text.is_empty());
        let asked = asked
            .map(|text| text.parse::<usize>())
            .transpose()
            .map_err(|_| {
                let message = "the query parameter `n` is not a number";
                Failure::new(
                    StatusCode::BAD_REQUEST,
                    "PAGINATION_NUMBER_INVALID",
                    message,
                )
            })?;
        let count = asked
            .unwrap_or(usize::MAX)
            .min(self.bounds.page_entries_max);
        let last = query(parts, "last").unwrap_or_default();
        let mut rest = names
            .into_iter()
            .filter(|name| last.is_empty() || *name > last);
        let page: Vec<String> = rest.by_ref().take(count).collect();
        let more = rest.next().is_some();
        let link = page.last().filter(|_| more).map(|end| {
            let (path, end) = (parts.uri.path(), utf8_percent_encode(end, NON_ALPHANUMERIC));
            let filter = query(parts, "artifactType").map_or(String::new(), |kind| {
                format!(
                    "&artifactType={}",
                    utf8_percent_encode(&kind, NON_ALPHANUMERIC)
                )
            });
            format!("<{path}?n={count}&last={end}{filter}>; rel=\"next\"")
        });
        Ok((page, link))
    }
}

fn linked(link: Option<String>) -> HeaderSet {
    match link {
        Some(link) => HeaderSet::new().with(header::LINK, link),
        None => HeaderSet::new(),
    }
}

fn descriptor(entry: &ReferrerEntry) -> Value {
    let mut value = json!({
        "mediaType": entry.media_type,
        "digest": entry.digest.as_str(),
        "size": entry.size,
    });
    if let Some(kind) = &entry.artifact_type {
        value["artifactType"] = json!(kind);
    }
    if !entry.annotations.is_empty() {
        value["annotations"] = json!(entry.annotations);
    }
    value
}
