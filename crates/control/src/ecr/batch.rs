//! Many images in one call, each with its own outcome: get and delete.

use super::Ecr;
use super::images::{ImageId, NoImage};
use super::manifest::{Manifest, is_index};
use crate::endpoint::Call;
use apron_aws::ApiError;
use apron_oci::Digest;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    registry_id: Option<String>,
    repository_name: String,
    image_ids: Vec<ImageId>,
    accepted_media_types: Option<Vec<String>>,
}

fn failure(id: &ImageId, none: &NoImage) -> Value {
    json!({"imageId": id, "failureCode": none.code, "failureReason": none.reason})
}

impl Ecr {
    pub(super) async fn batch_get_image(&self, call: &Call) -> Result<Value, ApiError> {
        let input: Batch = call.input()?;
        let name = &input.repository_name;
        self.repository(call, input.registry_id.as_deref(), name)
            .await?;
        let (mut images, mut failures) = (Vec::new(), Vec::new());
        for id in &input.image_ids {
            match self.find(call, name, id).await? {
                Ok(digest) => match self
                    .image(
                        call,
                        name,
                        id,
                        &digest,
                        input.accepted_media_types.as_deref(),
                    )
                    .await?
                {
                    Ok(image) => images.push(image),
                    Err(none) => failures.push(failure(id, &none)),
                },
                Err(none) => failures.push(failure(id, &none)),
            }
        }
        Ok(json!({"images": images, "failures": failures}))
    }

    async fn image(
        &self,
        call: &Call,
        name: &str,
        id: &ImageId,
        digest: &Digest,
        accepted: Option<&[String]>,
    ) -> Result<Result<Value, NoImage>, ApiError> {
        let none = |reason: &str| {
            Ok(Err(NoImage {
                code: "ImageNotFound",
                reason: reason.to_owned(),
            }))
        };
        let bytes = self.content.manifest_bytes(digest.as_str()).await;
        let bytes = bytes.map_err(|e| self.content_failure(call, "read the manifest", &e))?;
        let Some((media_type, bytes)) = bytes else {
            return none("Requested image not found");
        };
        if accepted.is_some_and(|accepted| !accepted.contains(&media_type)) {
            return none("Requested image has none of the accepted media types");
        }
        Ok(Ok(json!({
            "registryId": self.settings.account,
            "repositoryName": name,
            "imageId": {"imageDigest": digest.as_str(), "imageTag": id.image_tag},
            "imageManifest": String::from_utf8_lossy(&bytes),
            "imageManifestMediaType": media_type,
        })))
    }

    pub(super) async fn batch_delete_image(&self, call: &Call) -> Result<Value, ApiError> {
        let input: Batch = call.input()?;
        let name = &input.repository_name;
        self.repository(call, input.registry_id.as_deref(), name)
            .await?;
        let (mut gone, mut failures): (Vec<ImageId>, Vec<Value>) = (Vec::new(), Vec::new());
        for id in &input.image_ids {
            let outcome = match self.find(call, name, id).await? {
                Ok(digest) => self.delete_image(call, name, id, &digest).await?,
                Err(none) => Err(none),
            };
            match outcome {
                Ok(ids) => gone.extend(ids),
                Err(none) => failures.push(failure(id, &none)),
            }
        }
        Ok(json!({"imageIds": gone, "failures": failures}))
    }

    /// Takes a tag away, or the image with all its tags. An image goes with its last tag.
    async fn delete_image(
        &self,
        call: &Call,
        name: &str,
        id: &ImageId,
        digest: &Digest,
    ) -> Result<Result<Vec<ImageId>, NoImage>, ApiError> {
        let manifests = self.manifests(call, name).await?;
        let tags: Vec<String> = manifests
            .iter()
            .find(|m| m.digest == *digest)
            .map(|m| m.tags.clone())
            .unwrap_or_default();
        let gone = |tag: Option<String>| ImageId {
            image_digest: Some(digest.as_str().to_owned()),
            image_tag: tag,
        };
        let indexes: Vec<&Digest> = manifests
            .iter()
            .filter(|m| is_index(&m.media_type))
            .map(|m| &m.digest)
            .collect();
        let listed_by = self.listed_by(call, &indexes, digest).await?;
        if let Some(tag) = &id.image_tag
            && (tags.len() > 1 || !listed_by.is_empty())
        {
            let removed = self.content.delete_tag(name, tag).await;
            removed.map_err(|e| self.content_failure(call, "remove the tag", &e))?;
            return Ok(Ok(vec![gone(Some(tag.clone()))]));
        }
        if !listed_by.is_empty() {
            let reason = format!(
                "Requested image referenced by manifest list: [{}]",
                listed_by.join(", ")
            );
            return Ok(Err(NoImage {
                code: "ImageReferencedByManifestList",
                reason,
            }));
        }
        let removed = self.content.delete_manifest(name, digest).await;
        removed.map_err(|e| self.content_failure(call, "remove the image", &e))?;
        match tags.is_empty() {
            true => Ok(Ok(vec![gone(None)])),
            false => Ok(Ok(tags.into_iter().map(|tag| gone(Some(tag))).collect())),
        }
    }

    /// The indexes of the repository that list a manifest.
    async fn listed_by(
        &self,
        call: &Call,
        indexes: &[&Digest],
        digest: &Digest,
    ) -> Result<Vec<String>, ApiError> {
        let mut found = Vec::new();
        for index in indexes {
            let bytes = self.content.manifest_bytes(index.as_str()).await;
            let bytes = bytes.map_err(|e| self.content_failure(call, "read the manifest", &e))?;
            if bytes.is_some_and(|(_, bytes)| Manifest::read(&bytes).lists(digest.as_str())) {
                found.push(index.as_str().to_owned());
            }
        }
        Ok(found)
    }
}
