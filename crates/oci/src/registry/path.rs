//! The paths of the distribution API.

use super::answer::Failure;
use super::gate::Action;
use crate::reference::check_repository;
use http::Method;
use percent_encoding::percent_decode_str;

/// What a path names. Repository names in it are valid; digests and references are not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Base,
    Catalog,
    Tags { name: String },
    Referrers { name: String, digest: String },
    Blob { name: String, digest: String },
    Uploads { name: String },
    Upload { name: String, id: String },
    Manifest { name: String, reference: String },
}

impl Endpoint {
    pub(super) fn parse(path: &str) -> Result<Endpoint, Failure> {
        let decoded = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| Failure::not_found("the path is not UTF-8"))?;
        let rest = decoded.strip_prefix("/v2").unwrap_or(&decoded);
        let segments: Vec<&str> = rest.split('/').skip(1).collect();
        let endpoint = match segments.as_slice() {
            [] | [""] => return Ok(Endpoint::Base),
            ["_catalog"] => return Ok(Endpoint::Catalog),
            [name @ .., "tags", "list"] => Endpoint::Tags {
                name: name.join("/"),
            },
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                Endpoint::Uploads {
                    name: name.join("/"),
                }
            }
            [name @ .., "blobs", "uploads", id] => Endpoint::Upload {
                name: name.join("/"),
                id: (*id).to_owned(),
            },
            [name @ .., "blobs", digest] => Endpoint::Blob {
                name: name.join("/"),
                digest: (*digest).to_owned(),
            },
            [name @ .., "manifests", reference] => Endpoint::Manifest {
                name: name.join("/"),
                reference: (*reference).to_owned(),
            },
            [name @ .., "referrers", digest] => Endpoint::Referrers {
                name: name.join("/"),
                digest: (*digest).to_owned(),
            },
            _ => return Err(Failure::not_found("there is no such resource")),
        };
        check_repository(endpoint.repository().unwrap_or_default()).map_err(Failure::name)?;
        Ok(endpoint)
    }

    pub(super) fn repository(&self) -> Option<&str> {
        match self {
            Endpoint::Base | Endpoint::Catalog => None,
            Endpoint::Tags { name }
            | Endpoint::Referrers { name, .. }
            | Endpoint::Blob { name, .. }
            | Endpoint::Uploads { name }
            | Endpoint::Upload { name, .. }
            | Endpoint::Manifest { name, .. } => Some(name),
        }
    }

    /// What a request with this method is about to do. `whole`: it brings the digest of what it sends.
    pub(super) fn action(&self, method: &Method, whole: bool) -> Action {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match self {
            Endpoint::Base => Action::Ping,
            Endpoint::Catalog => Action::Catalog,
            Endpoint::Uploads { .. } if whole => Action::UploadWhole,
            Endpoint::Uploads { .. } => Action::StartUpload,
            Endpoint::Upload { .. } if *method == Method::PUT => Action::EndUpload,
            Endpoint::Upload { .. } => Action::UploadPart,
            Endpoint::Tags { .. } | Endpoint::Referrers { .. } => Action::List,
            Endpoint::Manifest { .. } if reads => Action::ReadManifest,
            Endpoint::Blob { .. } if *method == Method::HEAD => Action::CheckLayer,
            Endpoint::Blob { .. } if reads => Action::ReadLayer,
            _ if *method == Method::DELETE => Action::Delete,
            _ => Action::PutManifest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expect: Option<Endpoint>) {
        assert_eq!(Endpoint::parse(path).ok(), expect, "{path}");
    }

    #[test]
    fn paths() {
        let name = || "a/b".to_owned();
        check("/v2", Some(Endpoint::Base));
        check("/v2/", Some(Endpoint::Base));
        check("/v2/_catalog", Some(Endpoint::Catalog));
        check("/v2/a/b/tags/list", Some(Endpoint::Tags { name: name() }));
        check(
            "/v2/a/b/blobs/uploads/",
            Some(Endpoint::Uploads { name: name() }),
        );
        check(
            "/v2/a/b/blobs/uploads",
            Some(Endpoint::Uploads { name: name() }),
        );
        check(
            "/v2/a/b/blobs/uploads/x",
            Some(Endpoint::Upload {
                name: name(),
                id: "x".into(),
            }),
        );
        check(
            "/v2/a/b/blobs/sha256%3Ax",
            Some(Endpoint::Blob {
                name: name(),
                digest: "sha256:x".into(),
            }),
        );
        check(
            "/v2/a/b/manifests/v1",
            Some(Endpoint::Manifest {
                name: name(),
                reference: "v1".into(),
            }),
        );
        check(
            "/v2/a/b/referrers/d",
            Some(Endpoint::Referrers {
                name: name(),
                digest: "d".into(),
            }),
        );
        check(
            "/v2/tags/tags/list",
            Some(Endpoint::Tags {
                name: "tags".into(),
            }),
        );
    }

    #[test]
    fn bad_paths() {
        for path in [
            "/v2/tags/list",
            "/v2/../manifests/x",
            "/v2/a/..%2Fb/manifests/x",
            "/v2/A/manifests/x",
            "/v2/a//manifests/x",
            "/v2/a/other/x",
            "/v2/_layers/manifests/x",
            "/v2/%ff/manifests/x",
        ] {
            check(path, None);
        }
    }
}
