//! Manifests of a repository: read, store, remove.

use super::Server;
use super::answer::{Failure, HeaderSet};
use crate::manifest::MANIFEST_BYTES_MAX;
use crate::store::PutManifest;
use crate::{Digest, OciError, Reference};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, StatusCode, header};
use std::sync::Arc;

const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

impl Server {
    /// `GET` and `HEAD /v2/<name>/manifests/<reference>`
    pub(super) async fn manifest_get(
        &self,
        name: &str,
        reference: &str,
    ) -> Result<Response, Failure> {
        let wanted = parse(reference)?;
        let unknown = || Failure::manifest_unknown(reference);
        let digest = self
            .store
            .resolve(name, &wanted)
            .await?
            .ok_or_else(unknown)?;
        let found = self.store.manifest_bytes(digest.as_str()).await?;
        let (media_type, bytes) = found.ok_or_else(unknown)?;
        Ok(HeaderSet::new()
            .digest(&digest)
            .with(header::CONTENT_TYPE, media_type)
            .with(header::CONTENT_LENGTH, bytes.len().to_string())
            .with(header::ETAG, format!("\"{digest}\""))
            .body(StatusCode::OK, Body::from(bytes)))
    }

    /// `PUT /v2/<name>/manifests/<reference>`
    pub(super) async fn manifest_put(
        self: &Arc<Self>,
        parts: &Parts,
        name: &str,
        reference: &str,
        body: &mut Body,
    ) -> Result<Response, Failure> {
        let wanted = parse(reference)?;
        let media_type = parts.headers.get(header::CONTENT_TYPE);
        let media_type = media_type
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let bytes = self
            .read_small(body, "the manifest", MANIFEST_BYTES_MAX)
            .await?;
        // A task of its own: once it has begun, the push is finished and reported even if the client goes away.
        let (server, name, reference) = (Arc::clone(self), name.to_owned(), reference.to_owned());
        let task = async move {
            server
                .store_manifest(&name, &reference, wanted, media_type, bytes)
                .await
        };
        match tokio::spawn(task).await {
            Ok(response) => response,
            Err(error) => {
                let error = OciError::io("finish storing a manifest", std::io::Error::other(error));
                Err(Failure::from(error))
            }
        }
    }

    async fn store_manifest(
        &self,
        name: &str,
        reference: &str,
        wanted: Reference,
        media_type: Option<String>,
        bytes: Bytes,
    ) -> Result<Response, Failure> {
        let actual = Digest::of(&bytes);
        let put = {
            let _only = self.lock_puts(name).await;
            match &wanted {
                Reference::Digest(expected) if *expected != actual => {
                    let expected = expected.clone();
                    return Err(OciError::DigestMismatch { expected, actual }.into());
                }
                Reference::Digest(_) => {}
                Reference::Tag(tag) => {
                    let present = self.store.resolve(name, &wanted).await?;
                    if present.is_some_and(|present| present != actual) {
                        self.gate
                            .may_overwrite_tag(name, tag)
                            .await
                            .map_err(Failure::tag)?;
                    }
                }
            }
            self.store
                .put_manifest(name, wanted.tag(), media_type.as_deref(), bytes)
                .await?
        };
        self.gate
            .pushed(name, wanted.tag(), put.digest.as_str())
            .await;
        Ok(stored(name, reference, &put))
    }

    /// `DELETE /v2/<name>/manifests/<reference>`: a digest removes the manifest, a tag only itself.
    pub(super) async fn manifest_delete(
        &self,
        name: &str,
        reference: &str,
    ) -> Result<Response, Failure> {
        let removed = match parse(reference)? {
            Reference::Tag(tag) => self.store.delete_tag(name, &tag).await?,
            Reference::Digest(digest) => self.store.delete_manifest(name, &digest).await?,
        };
        match removed {
            true => Ok(HeaderSet::new().empty(StatusCode::ACCEPTED)),
            false => Err(Failure::manifest_unknown(reference)),
        }
    }
}

fn parse(reference: &str) -> Result<Reference, Failure> {
    Reference::parse(reference).map_err(|error| match error {
        OciError::InvalidDigest(_) => Failure::digest(error),
        other => Failure::new(StatusCode::BAD_REQUEST, "TAG_INVALID", other.to_string()),
    })
}

fn stored(name: &str, reference: &str, put: &PutManifest) -> Response {
    let mut headers = HeaderSet::new()
        .location(format!("/v2/{name}/manifests/{reference}"))
        .digest(&put.digest);
    if let Some(subject) = &put.subject {
        headers = headers.with(OCI_SUBJECT, subject.as_str());
    }
    headers.empty(StatusCode::CREATED)
}
