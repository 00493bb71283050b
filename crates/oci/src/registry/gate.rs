//! What the distribution server asks the platform.

use async_trait::async_trait;

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Find out whether the server is there and the credentials are right (`GET /v2/`).
    Ping,
    /// Read manifests, content, tags and referrers.
    Pull,
    /// Write manifests and content.
    Push,
    /// Remove manifests, tags and content.
    Delete,
    /// List all repositories.
    Catalog,
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
    /// Decides about one request. `authorization` is the raw `Authorization` header; `repository` is `None` for
    /// [`Action::Ping`] and [`Action::Catalog`].
    async fn authorize(
        &self,
        authorization: Option<&str>,
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
