//! Downloading content into the store, going on where a connection broke.

use super::PullError;
use super::answer::Answer;
use super::remote::{BODY_IDLE, Get, Remote};
use crate::manifest::{Descriptor, Manifest};
use crate::store::Ingest;
use crate::{ContentStore, Digest, OciError, disk_work};
use bytes::Bytes;
use http::{StatusCode, header};
use http_body_util::BodyExt;
use tokio::time::timeout;

/// How much is gathered before it is written, in bytes.
const BATCH_BYTES: usize = 256 * 1024;
/// How often a download goes on after a break without having got anything new.
const BREAKS_MAX: u32 = 4;

impl Remote {
    /// Fetches content into the store unless it is there.
    pub(super) async fn download(
        &self,
        store: &ContentStore,
        wanted: &Descriptor,
    ) -> Result<(), PullError> {
        if store.blob_refresh(&wanted.digest)? {
            return Ok(());
        }
        let path = format!("blobs/{}", wanted.digest);
        let mut ingest = store.ingest()?;
        let mut breaks = 0;
        while ingest.length() < wanted.size || breaks == 0 {
            let before = ingest.length();
            let broken;
            (ingest, broken) = self.go_on(&path, wanted, ingest).await?;
            let Some(reason) = broken else {
                break;
            };
            breaks = if ingest.length() > before {
                1
            } else {
                breaks + 1
            };
            if breaks > BREAKS_MAX {
                return Err(self.bad_answer(&path, format!("it breaks off: {reason}")));
            }
        }
        let expected = wanted.digest.clone();
        blocking(move || ingest.commit(&expected))
            .await
            .map_err(|error| match error {
                OciError::DigestMismatch { .. } => self.bad_answer(&path, error.to_string()),
                other => other.into(),
            })
    }

    /// Asks for what is missing and writes it. Tells why it broke off, if it did.
    async fn go_on(
        &self,
        path: &str,
        wanted: &Descriptor,
        mut ingest: Ingest,
    ) -> Result<(Ingest, Option<String>), PullError> {
        let first_byte = ingest.length();
        let mut answer = self
            .get(&Get {
                path,
                accept: "",
                first_byte,
            })
            .await?;
        if first_byte > 0 && !continues_at(&answer, first_byte) {
            ingest.restart()?;
        }
        loop {
            let (batch, end) = gather(&mut answer).await;
            if ingest.length() + batch.len() as u64 > wanted.size {
                let reason = format!("it has more than the {} bytes it should have", wanted.size);
                return Err(self.bad_answer(path, reason));
            }
            ingest = blocking(move || ingest.write(&batch).map(|()| ingest)).await?;
            match end {
                None => {}
                Some(Ok(())) if ingest.length() == wanted.size => return Ok((ingest, None)),
                Some(Ok(())) => {
                    let reason = format!("{} of {} bytes came", ingest.length(), wanted.size);
                    return Ok((ingest, Some(reason)));
                }
                Some(Err(reason)) => return Ok((ingest, Some(reason))),
            }
        }
    }
}

impl ContentStore {
    /// Checks that a manifest with a stored configuration is an image for this platform.
    pub(super) async fn check_runnable(
        &self,
        digest: &Digest,
        manifest: &Manifest,
        config: &Digest,
    ) -> Result<(), OciError> {
        let bytes = self
            .small_blob(config, crate::image::CONFIG_BYTES_MAX)
            .await?;
        crate::image::assemble(digest, manifest, &bytes).map(|_| ())
    }

    /// Stores a manifest without a repository.
    pub(super) async fn store_manifest(
        &self,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<(), OciError> {
        let mut ingest = self.ingest()?;
        let digest = digest.clone();
        blocking(move || {
            ingest.write(&bytes)?;
            ingest.commit(&digest)
        })
        .await
    }
}

/// Whether the answer begins at the byte that was asked for.
fn continues_at(answer: &Answer, first_byte: u64) -> bool {
    let range = answer.response.headers().get(header::CONTENT_RANGE);
    let range = range
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    answer.response.status() == StatusCode::PARTIAL_CONTENT
        && range.starts_with(&format!("bytes {first_byte}-"))
}

/// Gathers the next batch of an answer, and how the answer ended if it did.
async fn gather(answer: &mut Answer) -> (Vec<u8>, Option<Result<(), String>>) {
    let mut batch = Vec::new();
    while batch.len() < BATCH_BYTES {
        match timeout(BODY_IDLE, answer.response.body_mut().frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    batch.extend_from_slice(&data);
                }
            }
            Ok(Some(Err(error))) => return (batch, Some(Err(error.to_string()))),
            Ok(None) => return (batch, Some(Ok(()))),
            Err(_) => {
                let reason = format!("nothing came for {} s", BODY_IDLE.as_secs());
                return (batch, Some(Err(reason)));
            }
        }
    }
    (batch, None)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OciError> + Send + 'static,
) -> Result<T, OciError> {
    disk_work::run(work).await?
}
