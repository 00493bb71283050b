//! The images of a repository: list and describe.

use super::manifest::Manifest;
use super::{Ecr, PAGE_ENTRIES_DEFAULT};
use crate::endpoint::{Call, PageToken};
use apron_aws::ApiError;
use apron_domain::Millis;
use apron_oci::{Digest, ManifestEntry, Reference};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const LIST_KIND: &str = "ecr-images";
const DESCRIBE_KIND: &str = "ecr-image-details";

/// How a caller names an image: by digest, by tag, or by both.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageId {
    /// The digest of the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// A tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_tag: Option<String>,
}

/// Why no image has that name: ECR's failure code and text.
pub(super) struct NoImage {
    pub code: &'static str,
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    registry_id: Option<String>,
    repository_name: String,
    image_ids: Option<Vec<ImageId>>,
    next_token: Option<String>,
    max_results: Option<u32>,
    filter: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    tag_status: Option<String>,
    image_status: Option<String>,
}

impl Listing {
    /// Whether the filter takes images that are tagged, or untagged ones. Every image is active here.
    fn takes(&self, tagged: bool) -> bool {
        let filter = self.filter.as_ref();
        let status = filter.and_then(|filter| filter.tag_status.as_deref());
        let state = filter.and_then(|filter| filter.image_status.as_deref());
        matches!(
            (status, tagged),
            (None | Some("ANY"), _) | (Some("TAGGED"), true) | (Some("UNTAGGED"), false)
        ) && matches!(state, None | Some("ANY" | "ACTIVE"))
    }

    fn limit(&self) -> usize {
        self.max_results.unwrap_or(PAGE_ENTRIES_DEFAULT) as usize
    }
}

impl Ecr {
    pub(super) async fn list_images(&self, call: &Call) -> Result<Value, ApiError> {
        let input: Listing = call.input()?;
        self.repository(call, input.registry_id.as_deref(), &input.repository_name)
            .await?;
        let after = input
            .next_token
            .as_deref()
            .map(|text| PageToken::decode::<2>(LIST_KIND, text))
            .transpose();
        let after = after.map_err(|e| self.bad_page_token(e))?;
        let mut entries: Vec<(String, String)> = Vec::new();
        for manifest in self.manifests(call, &input.repository_name).await? {
            let digest = manifest.digest.as_str().to_owned();
            match manifest.tags.is_empty() {
                true if input.takes(false) => entries.push((digest, String::new())),
                false if input.takes(true) => {
                    entries.extend(manifest.tags.into_iter().map(|tag| (digest.clone(), tag)))
                }
                _ => {}
            }
        }
        entries.sort_unstable();
        entries.retain(|(digest, tag)| after.as_ref().is_none_or(|[d, t]| (digest, tag) > (d, t)));
        let more = entries.len() > input.limit();
        entries.truncate(input.limit());
        let next = entries
            .last()
            .filter(|_| more)
            .map(|(d, t)| PageToken::after([d, t]).encode(LIST_KIND));
        let image_id = |(digest, tag): (String, String)| ImageId {
            image_digest: Some(digest),
            image_tag: Some(tag).filter(|tag| !tag.is_empty()),
        };
        let ids: Vec<ImageId> = entries.into_iter().map(image_id).collect();
        Ok(json!({"imageIds": ids, "nextToken": next}))
    }

    pub(super) async fn describe_images(&self, call: &Call) -> Result<Value, ApiError> {
        let input: Listing = call.input()?;
        let name = &input.repository_name;
        self.repository(call, input.registry_id.as_deref(), name)
            .await?;
        let mut entries = self.manifests(call, name).await?;
        entries.retain(|entry| input.takes(!entry.tags.is_empty()));
        let mut next = None;
        match &input.image_ids {
            Some(_) if input.next_token.is_some() || input.max_results.is_some() => {
                return Err(self.invalid(
                    "imageIds",
                    "must not be given together with nextToken or maxResults",
                ));
            }
            Some(ids) => {
                let wanted = self.wanted(call, name, ids).await?;
                entries.retain(|entry| wanted.contains(entry.digest.as_str()));
            }
            None => {
                let after = input
                    .next_token
                    .as_deref()
                    .map(|text| PageToken::decode::<1>(DESCRIBE_KIND, text));
                let after = after
                    .transpose()
                    .map_err(|e| self.bad_page_token(e))?
                    .map(|[digest]| digest);
                entries.retain(|entry| {
                    after
                        .as_deref()
                        .is_none_or(|digest| entry.digest.as_str() > digest)
                });
                let more = entries.len() > input.limit();
                entries.truncate(input.limit());
                let last = entries.last().filter(|_| more);
                next =
                    last.map(|last| PageToken::after([last.digest.as_str()]).encode(DESCRIBE_KIND));
            }
        }
        let mut details = Vec::with_capacity(entries.len());
        for entry in &entries {
            details.push(self.detail(call, name, entry).await?);
        }
        Ok(json!({"imageDetails": details, "nextToken": next}))
    }

    /// The digests of the images that were asked for; each must exist.
    async fn wanted(
        &self,
        call: &Call,
        name: &str,
        ids: &[ImageId],
    ) -> Result<BTreeSet<String>, ApiError> {
        let mut wanted = BTreeSet::new();
        for id in ids {
            match self.find(call, name, id).await? {
                Ok(digest) => wanted.insert(digest.as_str().to_owned()),
                Err(NoImage {
                    code: "ImageNotFound" | "ImageTagDoesNotMatchDigest",
                    ..
                }) => {
                    let text =
                        |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
                    let message = format!(
                        "The image with imageId {{imageDigest:'{}', imageTag:'{}'}} does not exist within the repository \
                         with name '{name}' in the registry with id '{}'",
                        text(&id.image_digest),
                        text(&id.image_tag),
                        self.settings.account
                    );
                    return Err(self.error("ImageNotFoundException", message));
                }
                Err(other) => return Err(self.error("InvalidParameterException", other.reason)),
            };
        }
        Ok(wanted)
    }

    pub(super) async fn manifests(
        &self,
        call: &Call,
        name: &str,
    ) -> Result<Vec<ManifestEntry>, ApiError> {
        let found = self.content.manifests(name).await;
        found.map_err(|e| self.content_failure(call, "list the images", &e))
    }

    /// The manifest an image id names, or why there is none.
    pub(super) async fn find(
        &self,
        call: &Call,
        repository: &str,
        id: &ImageId,
    ) -> Result<Result<Digest, NoImage>, ApiError> {
        let refused = |code, reason: &str| {
            Ok(Err(NoImage {
                code,
                reason: reason.to_owned(),
            }))
        };
        let digest = match id.image_digest.as_deref().map(Digest::parse).transpose() {
            Ok(digest) => digest,
            Err(_) => {
                let reason = "Invalid request parameters: image digest should satisfy the regex \
                              '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'";
                return refused("InvalidImageDigest", reason);
            }
        };
        let reference = match (&id.image_tag, &digest) {
            (Some(tag), _) if apron_oci::check_tag(tag).is_err() => {
                let reason = "Invalid request parameters: image tag should satisfy the regex \
                              '[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}'";
                return refused("InvalidImageTag", reason);
            }
            (Some(tag), _) => Reference::Tag(tag.clone()),
            (None, Some(digest)) => Reference::Digest(digest.clone()),
            (None, None) => {
                return refused(
                    "MissingDigestAndTag",
                    "Invalid request parameters: both tag and digest cannot be null",
                );
            }
        };
        let found = self.content.resolve(repository, &reference).await;
        let found = found.map_err(|e| self.content_failure(call, "find the image", &e))?;
        match (found, digest) {
            (None, _) => refused("ImageNotFound", "Requested image not found"),
            (Some(found), Some(digest)) if found != digest => refused(
                "ImageTagDoesNotMatchDigest",
                "Requested image tag does not match the requested image digest",
            ),
            (Some(found), _) => Ok(Ok(found)),
        }
    }

    async fn detail(
        &self,
        call: &Call,
        name: &str,
        entry: &ManifestEntry,
    ) -> Result<Value, ApiError> {
        let bytes = self.content.manifest_bytes(entry.digest.as_str()).await;
        let bytes = bytes.map_err(|e| self.content_failure(call, "read the manifest", &e))?;
        let manifest = bytes
            .map(|(_, bytes)| Manifest::read(&bytes))
            .unwrap_or_default();
        Ok(json!({
            "registryId": self.settings.account,
            "repositoryName": name,
            "imageDigest": entry.digest.as_str(),
            "imageTags": Some(&entry.tags).filter(|tags| !tags.is_empty()),
            "imageSizeInBytes": Some(manifest.size()).filter(|size| *size > 0),
            "imagePushedAt": Millis(entry.pushed_at_ms).as_seconds(),
            "imageManifestMediaType": entry.media_type,
            "artifactMediaType": entry.artifact_type.as_deref().or(manifest.artifact_type()),
            "subjectManifestDigest": manifest.subject(),
            "imageStatus": "ACTIVE",
        }))
    }
}
