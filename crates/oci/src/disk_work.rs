//! Work on the disk, in the threads where it may block.

use crate::error::OciError;

/// Runs the work to its end, even when the caller goes away meanwhile. When the runtime is ending, and the work is not
/// begun any more, there is never an answer: no caller takes the end of the process for a fault of an image.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OciError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) if error.is_cancelled() => std::future::pending().await,
        Err(error) => Err(OciError::io(
            "finish disk work",
            std::io::Error::other(error),
        )),
    }
}
