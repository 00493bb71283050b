//! What the distribution server asks the platform.

use async_trait::async_trait;
use http::Extensions;

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Find out whether the server is there and the credentials are right (`GET /v2/`).
    Ping,
    /// Read a manifest.
    ReadManifest,
    /// Read content, or take it over into another repository.
    ReadLayer,
    /// Find out whether content is there.
    CheckLayer,
    /// List tags and referrers.
    List,
    /// Open an upload of content.
    StartUpload,
    /// Send content of an upload, ask how far it is, or give it up.
    UploadPart,
    /// End an upload.
    EndUpload,
    /// Send content whole in one request.
    UploadWhole,
    /// Write a manifest.
    PutManifest,
    /// Remove manifests, tags and content.
    Delete,
    /// List all repositories.
    Catalog,
}

/// Who makes a request, as far as the request says.
#[derive(Clone, Copy, Debug)]
pub struct Visitor<'a> {
    /// The raw `Authorization` header.
    pub authorization: Option<&'a str>,
    /// What the listener has noted about the request, for example the address it came from.
    pub extensions: &'a Extensions,
}

/// Why the platform refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The credentials are missing or wrong: the answer is 401 and asks for basic credentials of `realm`, for
    /// example the registry's URL.
    Unauthenticated {
        /// Shown to people by some clients; no quotes or control characters.
        realm: String,
    },
    /// The credentials do not allow it, or the tag cannot be moved; the text is for people.
    Denied(String),
    /// There is no such repository; the text is for people.
    UnknownRepository(String),
}

/// The platform's side of the distribution server: who may do what, and what happens after a push.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Decides about one request. `repository` is `None` for [`Action::Ping`] and [`Action::Catalog`].
    async fn authorize(
        &self,
        visitor: Visitor<'_>,
        repository: Option<&str>,
        action: Action,
    ) -> Result<(), Refusal>;

    /// Decides whether a tag that points to another manifest now may be moved. [`Refusal::Denied`] becomes
    /// `TAG_INVALID`, as ECR answers for immutable tags.
    async fn may_overwrite_tag(&self, repository: &str, tag: &str) -> Result<(), Refusal>;

    /// A manifest was stored durably; `tag` is the tag that points to it now, if it was pushed by tag. Called before
    /// the client gets its answer, and again when a client repeats a push.
    async fn pushed(&self, repository: &str, tag: Option<&str>, digest: &str);
}
