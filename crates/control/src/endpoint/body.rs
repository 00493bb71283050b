//! Reading a body that somebody else sends: bounded in bytes and in time.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use std::fmt::Display;
use std::time::Duration;

/// Time a client has to send a whole body.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// An error of any kind.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// More than this many bytes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// It ended early or its framing is wrong.
    #[error("the body of the request broke off: {0}")]
    Broken(String),
    /// It took longer than [`BODY_TIME_MAX`].
    #[error("the body of the request did not arrive within {} seconds", BODY_TIME_MAX.as_secs())]
    TooSlow,
}

/// Reads the whole body. One that announces more than the bound is refused unread.
pub(super) async fn read<B>(
    headers: &HeaderMap,
    body: B,
    bytes_max: usize,
) -> Result<Bytes, BodyError>
where
    B: hyper::body::Body + Send,
    B::Data: Send,
    B::Error: Display + Send,
{
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(BodyError::TooLarge(bytes_max));
    }
    let body = body.map_err(|error| BoxError::from(error.to_string()));
    // Boxed, because the compiler cannot prove the unboxed future `Send` for every lifetime of the error.
    let read: BoxFuture<'_, Result<Collected<B::Data>, BoxError>> =
        Box::pin(Limited::new(Box::pin(body), bytes_max).collect());
    match tokio::time::timeout(BODY_TIME_MAX, read).await {
        Err(_) => Err(BodyError::TooSlow),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge(bytes_max)),
        Ok(Err(error)) => Err(BodyError::Broken(error.to_string())),
    }
}
