//! Answers of registries: bounded bodies, and errors in their words.

use super::PullError;
use super::remote::BODY_IDLE;
use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::timeout;

/// How much of an error answer is read, in bytes.
const ERROR_BYTES_MAX: u64 = 16 * 1024;

/// An answer whose body has not been read.
pub(super) struct Answer {
    pub(super) host: String,
    /// Method and path, for messages.
    pub(super) request: String,
    pub(super) response: Response<Incoming>,
}

impl Answer {
    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.response
            .headers()
            .get(name)?
            .to_str()
            .ok()
            .map(str::to_owned)
    }

    /// The whole body of an answer that has to be small.
    pub(super) async fn read(self, bound: u64) -> Result<Bytes, PullError> {
        let Answer {
            host,
            request,
            response,
        } = self;
        let bad = |reason| PullError::BadAnswer {
            host,
            request,
            reason,
        };
        match read_bounded(response.into_body(), bound).await {
            Ok((bytes, true)) => Ok(bytes),
            Ok((_, false)) => Err(bad(format!("it is larger than {bound} bytes"))),
            Err(reason) => Err(bad(reason)),
        }
    }

    /// The answer as an error: status and text.
    pub(super) async fn refused(self) -> PullError {
        let status = self.response.status();
        let body = read_bounded(self.response.into_body(), ERROR_BYTES_MAX).await;
        let text = body.map_or_else(|reason| reason, |(bytes, _)| error_text(&bytes));
        let answer = match text.is_empty() {
            true => status.canonical_reason().unwrap_or("no text").to_owned(),
            false => text,
        };
        PullError::Refused {
            host: self.host,
            request: self.request,
            status: status.as_u16(),
            answer,
        }
    }
}

/// Reads a body up to a bound; tells whether that was all.
async fn read_bounded(mut body: Incoming, bound: u64) -> Result<(Bytes, bool), String> {
    let mut bytes = BytesMut::new();
    loop {
        let frame = timeout(BODY_IDLE, body.frame())
            .await
            .map_err(|_| format!("nothing came for {} s", BODY_IDLE.as_secs()))?;
        let Some(frame) = frame else {
            return Ok((bytes.freeze(), true));
        };
        if let Ok(data) = frame.map_err(|e| e.to_string())?.into_data() {
            bytes.extend_from_slice(&data);
            if bytes.len() as u64 > bound {
                return Ok((bytes.freeze(), false));
            }
        }
    }
}

/// The errors of an error document, or the start of other text.
fn error_text(bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Document {
        errors: Vec<Line>,
    }
    #[derive(Deserialize)]
    struct Line {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    if let Ok(document) = serde_json::from_slice::<Document>(bytes) {
        let lines = document
            .errors
            .iter()
            .map(|line| format!("{}: {}", line.code, line.message));
        return excerpt_long(&lines.collect::<Vec<_>>().join("; "));
    }
    excerpt_long(String::from_utf8_lossy(bytes).trim())
}

fn excerpt_long(text: &str) -> String {
    const CHARS: usize = 500;
    text.chars()
        .filter(|c| !c.is_control())
        .take(CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_documents_become_text() {
        let document =
            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"not here"},{"code":"X"}]}"#;
        assert_eq!(error_text(document), "MANIFEST_UNKNOWN: not here; X: ");
        assert_eq!(error_text(b"  <html>\n oops"), "<html> oops");
    }
}
