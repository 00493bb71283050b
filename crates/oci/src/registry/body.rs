//! Bodies: reading them in bounded pieces, and streaming files as answers.

use super::Server;
use crate::OciError;
use crate::store::Writer;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

/// How much of an upload is gathered before it is written, in bytes. Two batches per upload are in memory.
const BATCH_BYTES: usize = 256 * 1024;
/// How much of a file is read at once for a download, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// How much of a refused request's body is still read, in bytes.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a refused request's body is still read.
const LINGER_MAX: Duration = Duration::from_secs(10);

/// Part of a body, and why nothing follows when it broke off.
struct Batch {
    bytes: Vec<u8>,
    broken: Option<OciError>,
    ended: bool,
}

impl Server {
    /// Streams a body to the end of an upload. What arrived before the body broke off is kept, so that the client can
    /// go on from there.
    pub(super) async fn receive(
        &self,
        mut writer: Writer,
        body: &mut Body,
    ) -> Result<Writer, OciError> {
        let superseded = writer.superseded();
        let mut batch = tokio::select! {
            batch = self.gather(body) => batch,
            () = superseded.cancelled() => return Err(superseded_error()),
        };
        loop {
            if writer.length() + batch.bytes.len() as u64 > self.bounds.blob_bytes_max {
                self.store.upload_cancel(writer).await?;
                let bound = self.bounds.blob_bytes_max;
                return Err(OciError::TooLarge {
                    what: "the blob".to_owned(),
                    bound,
                });
            }
            let Batch {
                bytes,
                broken,
                ended,
            } = batch;
            if bytes.is_empty() && ended {
                return broken.map_or(Ok(writer), Err);
            }
            let next = async {
                match ended {
                    true => Batch {
                        bytes: Vec::new(),
                        broken,
                        ended,
                    },
                    false => tokio::select! {
                        batch = self.gather(body) => batch,
                        () = superseded.cancelled() => Batch::broken(superseded_error()),
                    },
                }
            };
            // The next batch arrives while this one is written.
            let (written, next) = tokio::join!(self.store.upload_append(writer, bytes), next);
            writer = written?;
            batch = next;
        }
    }

    /// Gathers the next batch of a body.
    async fn gather(&self, body: &mut Body) -> Batch {
        let mut bytes = Vec::new();
        while bytes.len() < BATCH_BYTES {
            let frame = match timeout(self.bounds.body_idle, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    let broken = OciError::UploadBroken(error.to_string());
                    return Batch {
                        bytes,
                        broken: Some(broken),
                        ended: true,
                    };
                }
                Ok(None) => {
                    return Batch {
                        bytes,
                        broken: None,
                        ended: true,
                    };
                }
                Err(_) => {
                    let seconds = self.bounds.body_idle.as_secs();
                    let broken = OciError::UploadBroken(format!("nothing came for {seconds} s"));
                    return Batch {
                        bytes,
                        broken: Some(broken),
                        ended: true,
                    };
                }
            };
            if let Ok(data) = frame.into_data() {
                if bytes.capacity() == 0 {
                    bytes.reserve(BATCH_BYTES + data.len());
                }
                bytes.extend_from_slice(&data);
            }
        }
        Batch {
            bytes,
            broken: None,
            ended: false,
        }
    }

    /// Reads a small body whole.
    pub(super) async fn read_small(
        &self,
        body: &mut Body,
        what: &str,
        bound: u64,
    ) -> Result<Bytes, OciError> {
        let mut bytes = BytesMut::new();
        loop {
            let frame = timeout(self.bounds.body_idle, body.frame())
                .await
                .map_err(|_| {
                    let seconds = self.bounds.body_idle.as_secs();
                    OciError::UploadBroken(format!("nothing came for {seconds} s"))
                })?;
            let Some(frame) = frame else {
                return Ok(bytes.freeze());
            };
            let frame = frame.map_err(|error| OciError::UploadBroken(error.to_string()))?;
            if let Ok(data) = frame.into_data() {
                if (bytes.len() + data.len()) as u64 > bound {
                    return Err(OciError::TooLarge {
                        what: what.to_owned(),
                        bound,
                    });
                }
                bytes.extend_from_slice(&data);
            }
        }
    }
}

impl Batch {
    fn broken(error: OciError) -> Batch {
        Batch {
            bytes: Vec::new(),
            broken: Some(error),
            ended: true,
        }
    }
}

/// Reads on for a while after a request was refused: were the connection closed while the client still sends, it would
/// see a broken connection and not the answer.
pub(super) fn linger(mut body: Body) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(async move {
        let read = async {
            let mut count = 0;
            while let Some(Ok(frame)) = body.frame().await {
                count += frame.data_ref().map_or(0, Bytes::len);
                if count > LINGER_BYTES_MAX {
                    return;
                }
            }
        };
        // Either way the client had its time to read the answer.
        let _ = timeout(LINGER_MAX, read).await;
    });
}

fn superseded_error() -> OciError {
    OciError::UploadBroken("the upload was continued by another request".to_owned())
}

/// Streams `length` bytes of a file from `first` on.
pub(super) fn file_body(mut file: File, first: u64, length: u64) -> Result<Body, OciError> {
    file.seek(SeekFrom::Start(first))
        .map_err(|e| OciError::io("read a blob", e))?;
    let reader = tokio::fs::File::from_std(file).take(length);
    Ok(Body::from_stream(ReaderStream::with_capacity(
        reader, READ_BYTES,
    )))
}
