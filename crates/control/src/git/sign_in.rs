//! Who asks, by HTTP's basic authentication: an access key id and its secret, with a session token where there is one.

use super::{GitDoor, Refusal};
use crate::endpoint::Caller;
use apron_aws::sigv4::AuthFailure;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap};

/// Characters of an `Authorization` header we look at; a session token with its policies is some thousands.
const AUTHORIZATION_CHARS_MAX: usize = 32 << 10;

/// What stands between an access key id and a session token in a user name: no id has it, and CodeCommit's credential helper
/// writes it so.
const TOKEN_MARK: char = '%';

const HOW: &str = "sign in with an access key id as user name and its secret access key as password; with temporary \
                   credentials the user name is the access key id, a % and the session token";

/// What a client signs in with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub access_key_id: String,
    pub session_token: Option<String>,
    pub secret: String,
}

impl GitDoor {
    /// Who asks.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let refused = |text: &str| Refusal(StatusCode::UNAUTHORIZED, text.to_owned());
        let header = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        let given = header.and_then(given).ok_or_else(|| refused(HOW))?;
        let identities = self.engine.authorizer.identities();
        let token = given.session_token.as_deref();
        let found = identities.find(&given.access_key_id, token, self.engine.clock.now());
        let wrong =
            || refused("the access key id, its secret access key or the session token is wrong");
        let principal = found.map_err(|failure| match failure {
            AuthFailure::ExpiredToken => refused("the session token has expired"),
            _ => wrong(),
        })?;
        let same = aws_lc_rs::constant_time::verify_slices_are_equal(
            principal.secret.reveal().as_bytes(),
            given.secret.as_bytes(),
        );
        same.map(|()| principal.caller).map_err(|_| wrong())
    }
}

/// Reads basic authentication (RFC 7617).
pub(super) fn given(header: &str) -> Option<Given> {
    let (scheme, encoded) = header
        .get(..AUTHORIZATION_CHARS_MAX.min(header.len()))?
        .split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, secret) = text.split_once(':')?;
    let (access_key_id, session_token) = match user.split_once(TOKEN_MARK) {
        Some((id, token)) => (id, Some(token.to_owned())),
        None => (user, None),
    };
    Some(Given {
        access_key_id: access_key_id.to_owned(),
        session_token,
        secret: secret.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permanent_and_temporary_credentials_are_read() {
        let header = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        let read = |text: &str| {
            given(&header(text)).map(|it| (it.access_key_id, it.session_token, it.secret))
        };
        let some = |id: &str, token: Option<&str>, secret: &str| {
            Some((id.to_owned(), token.map(str::to_owned), secret.to_owned()))
        };
        assert_eq!(read("AKIA:a:b"), some("AKIA", None, "a:b"));
        assert_eq!(read("AKIA:a%b"), some("AKIA", None, "a%b"));
        assert_eq!(read("ASIA%t/+=:s"), some("ASIA", Some("t/+="), "s"));
        assert_eq!(read("ASIA%:s"), some("ASIA", Some(""), "s"));
        for bad in ["", "Bearer x", "Basic !", &header("none")] {
            assert_eq!(given(bad), None, "{bad}");
        }
    }
}
