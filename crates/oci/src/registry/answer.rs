//! Answers and error documents (OCI distribution specification, error codes).

use super::gate::Refusal;
use crate::{Digest, OciError};
use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde_json::json;

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The headers of an answer; every answer names the API's version.
pub(super) struct HeaderSet(HeaderMap);

impl HeaderSet {
    pub(super) fn new() -> HeaderSet {
        let mut headers = HeaderMap::new();
        headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
        HeaderSet(headers)
    }

    /// Adds a header. Values come from checked names, digests and numbers; one that could not be sent is left out.
    pub(super) fn with(mut self, name: HeaderName, value: impl AsRef<str>) -> HeaderSet {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.0.insert(name, value);
        }
        self
    }

    pub(super) fn digest(self, digest: &Digest) -> HeaderSet {
        self.with(CONTENT_DIGEST, digest.as_str())
    }

    pub(super) fn location(self, path: String) -> HeaderSet {
        self.with(header::LOCATION, path)
    }

    /// An answer without a body.
    pub(super) fn empty(self, status: StatusCode) -> Response {
        self.body(status, Body::empty())
    }

    pub(super) fn json(self, status: StatusCode, value: &impl Serialize) -> Response {
        let bytes = serde_json::to_vec(value).unwrap_or_default();
        self.with(header::CONTENT_TYPE, "application/json")
            .body(status, Body::from(bytes))
    }

    pub(super) fn body(self, status: StatusCode, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = self.0;
        response
    }
}

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    code: &'static str,
    pub(super) message: String,
    detail: Option<String>,
    /// Further headers: what to authenticate with, how many bytes the resource has.
    headers: Vec<(HeaderName, String)>,
}

impl Failure {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
    ) -> Failure {
        Failure {
            status,
            code,
            message: message.into(),
            detail: None,
            headers: Vec::new(),
        }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, "UNSUPPORTED", message)
    }

    pub(super) fn unsupported(method: &Method) -> Failure {
        let message = format!("{method} is not supported here");
        Failure::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
    }

    pub(super) fn name(error: OciError) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "NAME_INVALID", error.to_string())
    }

    pub(super) fn digest(error: OciError) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", error.to_string())
    }

    pub(super) fn blob_unknown(digest: &Digest) -> Failure {
        let message = format!("blob {digest} is not in the repository");
        Failure::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", message).about(digest)
    }

    pub(super) fn manifest_unknown(reference: &str) -> Failure {
        let message = format!("manifest {reference} is not in the repository");
        Failure::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message)
    }

    /// A refusal to move a tag, in ECR's code for immutable tags.
    pub(super) fn tag(refusal: Refusal) -> Failure {
        match refusal {
            Refusal::Denied(message) => {
                Failure::new(StatusCode::BAD_REQUEST, "TAG_INVALID", message)
            }
            other => Failure::from(other),
        }
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Failure {
        self.headers.push((name, value.into()));
        self
    }

    fn about(mut self, digest: &Digest) -> Failure {
        self.detail = Some(digest.as_str().to_owned());
        self
    }

    pub(super) fn into_response(self) -> Response {
        let mut headers = HeaderSet::new();
        for (name, value) in self.headers {
            headers = headers.with(name, value);
        }
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(digest) = self.detail {
            error["detail"] = json!({ "digest": digest });
        }
        headers.json(self.status, &json!({ "errors": [error] }))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        match refusal {
            Refusal::Unauthenticated { realm } => {
                let message = "credentials are missing or wrong";
                let quoted = realm.replace(['"', '\\'], "");
                Failure::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message).header(
                    header::WWW_AUTHENTICATE,
                    format!("Basic realm=\"{quoted}\""),
                )
            }
            Refusal::Denied(message) => Failure::new(StatusCode::FORBIDDEN, "DENIED", message),
            Refusal::UnknownRepository(message) => {
                Failure::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", message)
            }
        }
    }
}

impl From<OciError> for Failure {
    fn from(error: OciError) -> Failure {
        let (status, code) = match &error {
            OciError::InvalidDigest(_) | OciError::DigestMismatch { .. } => {
                (StatusCode::BAD_REQUEST, "DIGEST_INVALID")
            }
            OciError::InvalidName(_) => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
            OciError::BlobUnknown(_) => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
            OciError::ManifestUnknown(_) => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
            OciError::ManifestBlobUnknown(_) => (StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN"),
            OciError::ManifestInvalid(_)
            | OciError::NotAnImage { .. }
            | OciError::Architecture { .. } => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
            OciError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
            OciError::UploadUnknown(_) => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            OciError::UploadOffset { .. } => {
                (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID")
            }
            OciError::UploadBroken(_) => (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
            OciError::TooManyUploads(_) => (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
            OciError::DiskFull { .. } => (StatusCode::INSUFFICIENT_STORAGE, "UNKNOWN"),
            OciError::Io { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
        };
        let failure = Failure::new(status, code, error.to_string());
        match &error {
            OciError::ManifestBlobUnknown(digest) | OciError::BlobUnknown(digest) => {
                failure.about(digest)
            }
            _ => failure,
        }
    }
}
