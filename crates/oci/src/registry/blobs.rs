//! Content of a repository: look, read, remove.

use super::Server;
use super::answer::{Failure, HeaderSet};
use super::body::file_body;
use super::range::{Wanted, wanted};
use crate::Digest;
use axum::response::Response;
use http::request::Parts;
use http::{StatusCode, header};

impl Server {
    /// `HEAD /v2/<name>/blobs/<digest>`
    pub(super) async fn blob_head(&self, name: &str, digest: &str) -> Result<Response, Failure> {
        let digest = Digest::parse(digest).map_err(Failure::digest)?;
        match self.store.layer_size(name, &digest).await? {
            Some(size) => Ok(blob_headers(&digest)
                .with(header::CONTENT_LENGTH, size.to_string())
                .empty(StatusCode::OK)),
            None => Err(Failure::blob_unknown(&digest)),
        }
    }

    /// `GET /v2/<name>/blobs/<digest>`, with ranges
    pub(super) async fn blob_get(
        &self,
        parts: &Parts,
        name: &str,
        digest: &str,
    ) -> Result<Response, Failure> {
        let digest = Digest::parse(digest).map_err(Failure::digest)?;
        let Some((file, size)) = self.store.layer_open(name, &digest).await? else {
            return Err(Failure::blob_unknown(&digest));
        };
        let range = parts
            .headers
            .get(header::RANGE)
            .and_then(|value| value.to_str().ok());
        let (status, first, length) = match wanted(range, size) {
            Wanted::All => (StatusCode::OK, 0, size),
            Wanted::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
            Wanted::Nothing => {
                let message = format!("the range is not within the blob's {size} bytes");
                let status = StatusCode::RANGE_NOT_SATISFIABLE;
                return Err(Failure::new(status, "SIZE_INVALID", message)
                    .header(header::CONTENT_RANGE, format!("bytes */{size}")));
            }
        };
        let mut headers = blob_headers(&digest).with(header::CONTENT_LENGTH, length.to_string());
        if status == StatusCode::PARTIAL_CONTENT {
            let last = first + length - 1;
            headers = headers.with(
                header::CONTENT_RANGE,
                format!("bytes {first}-{last}/{size}"),
            );
        }
        Ok(headers.body(status, file_body(file, first, length)?))
    }

    /// `DELETE /v2/<name>/blobs/<digest>`
    pub(super) async fn blob_delete(&self, name: &str, digest: &str) -> Result<Response, Failure> {
        let digest = Digest::parse(digest).map_err(Failure::digest)?;
        match self.store.layer_delete(name, &digest).await? {
            true => Ok(HeaderSet::new().empty(StatusCode::ACCEPTED)),
            false => Err(Failure::blob_unknown(&digest)),
        }
    }
}

fn blob_headers(digest: &Digest) -> HeaderSet {
    HeaderSet::new()
        .digest(digest)
        .with(header::CONTENT_TYPE, "application/octet-stream")
        .with(header::ACCEPT_RANGES, "bytes")
        .with(header::ETAG, format!("\"{digest}\""))
}
