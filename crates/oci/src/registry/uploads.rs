//! Uploads: whole in one request, in chunks, or mounted from another repository.

use super::Server;
use super::answer::{Failure, HeaderSet};
use super::gate::Action;
use super::range;
use crate::reference::check_repository;
use crate::store::Writer;
use crate::{Digest, OciError};
use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderName, StatusCode, header};
use percent_encoding::percent_decode_str;

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

impl Server {
    /// `POST /v2/<name>/blobs/uploads/`: opens an upload; with `digest` the body is the whole content, with `mount`
    /// and `from` content of another repository is taken over.
    pub(super) async fn upload_start(
        &self,
        parts: &Parts,
        name: &str,
        body: &mut Body,
    ) -> Result<Response, Failure> {
        if let Some(digest) = query(parts, "mount")
            && let Some(from) = query(parts, "from")
            && let Some(response) = self.mount(parts, name, &from, &digest).await?
        {
            return Ok(response);
        }
        let whole = query(parts, "digest")
            .map(|text| Digest::parse(&text))
            .transpose();
        let whole = whole.map_err(Failure::digest)?;
        let session = self.store.upload_begin(name).await?;
        let id = session.id.clone();
        let Some(digest) = whole else {
            return Ok(progress(name, &id, 0).empty(StatusCode::ACCEPTED));
        };
        let writer = self.receive(session.writer().await?, body).await?;
        self.store.upload_finish(writer, &digest).await?;
        Ok(created(name, &digest))
    }

    /// Takes over content of another repository; `None` when that does not have it or the client may not read it,
    /// and it has to be uploaded.
    async fn mount(
        &self,
        parts: &Parts,
        name: &str,
        from: &str,
        digest: &str,
    ) -> Result<Option<Response>, Failure> {
        let digest = Digest::parse(digest).map_err(Failure::digest)?;
        if check_repository(from).is_err()
            || self
                .authorize(parts, Some(from), Action::ReadLayer)
                .await
                .is_err()
        {
            return Ok(None);
        }
        let mounted = self.store.layer_mount(from, name, &digest).await?;
        Ok(mounted.then(|| created(name, &digest)))
    }

    /// `GET /v2/<name>/blobs/uploads/<id>`: how far an upload is. Whoever asks has given up an earlier request, so
    /// that one is ended first and the answer stays true.
    pub(super) async fn upload_status(&self, name: &str, id: &str) -> Result<Response, Failure> {
        let writer = self.store.upload_find(name, id).await?.writer().await?;
        Ok(progress(name, id, writer.length()).empty(StatusCode::NO_CONTENT))
    }

    /// `PATCH /v2/<name>/blobs/uploads/<id>`: the next chunk.
    pub(super) async fn upload_chunk(
        &self,
        parts: &Parts,
        name: &str,
        id: &str,
        body: &mut Body,
    ) -> Result<Response, Failure> {
        let writer = self.chunk(parts, name, id, body).await?;
        Ok(progress(name, id, writer.length()).empty(StatusCode::ACCEPTED))
    }

    /// `PUT /v2/<name>/blobs/uploads/<id>?digest=…`: the last chunk, which may be empty or everything.
    pub(super) async fn upload_end(
        &self,
        parts: &Parts,
        name: &str,
        id: &str,
        body: &mut Body,
    ) -> Result<Response, Failure> {
        let digest = query(parts, "digest").ok_or_else(|| {
            let message = "the query parameter `digest` is missing";
            Failure::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message)
        })?;
        let digest = Digest::parse(&digest).map_err(Failure::digest)?;
        let writer = self.chunk(parts, name, id, body).await?;
        self.store.upload_finish(writer, &digest).await?;
        Ok(created(name, &digest))
    }

    /// `DELETE /v2/<name>/blobs/uploads/<id>`
    pub(super) async fn upload_delete(&self, name: &str, id: &str) -> Result<Response, Failure> {
        let writer = self.store.upload_find(name, id).await?.writer().await?;
        self.store.upload_cancel(writer).await?;
        Ok(HeaderSet::new().empty(StatusCode::NO_CONTENT))
    }

    async fn chunk(
        &self,
        parts: &Parts,
        name: &str,
        id: &str,
        body: &mut Body,
    ) -> Result<Writer, Failure> {
        let announced = announced(parts)?;
        let writer = self.store.upload_find(name, id).await?.writer().await?;
        let have = writer.length();
        if let Some((start, _)) = announced.filter(|(start, _)| *start != have) {
            return Err(Failure::from(OciError::UploadOffset { start, have })
                .header(header::RANGE, have_range(have))
                .header(header::LOCATION, upload_path(name, id)));
        }
        let writer = self.receive(writer, body).await?;
        match announced {
            Some((_, last)) if last + 1 != writer.length() => {
                let (end, have) = (last + 1, writer.length());
                let message = format!("the chunk ends at byte {have}, its header says {end}");
                Err(
                    Failure::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", message)
                        .header(header::RANGE, have_range(have))
                        .header(header::LOCATION, upload_path(name, id)),
                )
            }
            _ => Ok(writer),
        }
    }
}

/// The chunk that `Content-Range` announces.
fn announced(parts: &Parts) -> Result<Option<(u64, u64)>, Failure> {
    let Some(value) = parts.headers.get(header::CONTENT_RANGE) else {
        return Ok(None);
    };
    let chunk = value
        .to_str()
        .ok()
        .and_then(range::chunk)
        .filter(|(_, last)| *last < u64::MAX);
    match chunk {
        Some(chunk) => Ok(Some(chunk)),
        None => {
            let message = "Content-Range is not of the form <first>-<last>";
            Err(Failure::new(
                StatusCode::BAD_REQUEST,
                "BLOB_UPLOAD_INVALID",
                message,
            ))
        }
    }
}

/// A parameter of the query.
pub(super) fn query(parts: &Parts, name: &str) -> Option<String> {
    let query = parts.uri.query()?;
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        (decode(key) == name).then(|| decode(value))
    })
}

fn upload_path(name: &str, id: &str) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

/// The bytes an upload has; `0-0` while it has none, as Docker's clients expect.
fn have_range(length: u64) -> String {
    format!("0-{}", length.saturating_sub(1))
}

fn progress(name: &str, id: &str, length: u64) -> HeaderSet {
    HeaderSet::new()
        .location(upload_path(name, id))
        .with(header::RANGE, have_range(length))
        .with(UPLOAD_UUID, id)
}

fn created(name: &str, digest: &Digest) -> Response {
    HeaderSet::new()
        .location(format!("/v2/{name}/blobs/{digest}"))
        .digest(digest)
        .empty(StatusCode::CREATED)
}
