//! Requests one after the other over a kept HTTP/1.1 connection.

use super::{Kind, Visit, version};
use crate::http::{Connection, Response, Target};
use crate::wait::pace;
use anyhow::{Result, ensure};
use std::time::Duration;

/// Bytes of an upload, sent in pieces.
const UPLOAD_BYTES: usize = 64 << 10;
/// Pieces of an upload.
const UPLOAD_PIECES: usize = 16;
/// Pause between the pieces of an upload.
const UPLOAD_PACE: Duration = Duration::from_millis(60);

/// One client.
pub(super) struct Visitor {
    target: Target,
    kind: Kind,
    kept: Option<Connection>,
}

impl Visitor {
    pub(super) fn new(target: Target, kind: Kind) -> Visitor {
        let kept = None;
        Visitor { target, kind, kept }
    }

    fn ask(&self, connection: &mut Connection) -> Result<Option<String>> {
        let response = match self.kind {
            Kind::Slow => connection.request("GET", "/slow?ms=1200", &[], &[])?,
            Kind::Drip => connection.request("GET", "/drip?chunks=20&ms=50", &[], &[])?,
            Kind::Upload => upload(connection)?,
            _ => connection.request("GET", "/", &[], &[])?,
        };
        ensure!(
            response.status == 200,
            "answered {}: {}",
            response.status,
            response.text()
        );
        match self.kind {
            Kind::Quick => return version(&response.body),
            Kind::Drip => ensure!(
                response.body == b"drop\n".repeat(20),
                "a part of the response is missing"
            ),
            Kind::Upload => {
                let expected =
                    format!("{{\"length\":{UPLOAD_BYTES},\"sum\":{}}}", UPLOAD_BYTES * 3);
                ensure!(
                    response.text() == expected,
                    "the upload arrived as {}",
                    response.text()
                );
            }
            _ => {}
        }
        Ok(None)
    }
}

impl Visit for Visitor {
    fn once(&mut self) -> Result<Option<String>> {
        let mut connection = match self.kept.take() {
            Some(connection) if !connection.is_closing() => connection,
            _ => self.target.connect()?,
        };
        let version = self.ask(&mut connection)?;
        self.kept = Some(connection);
        Ok(version)
    }
}

fn upload(connection: &mut Connection) -> Result<Response> {
    let length = UPLOAD_BYTES.to_string();
    connection.send_head("POST", "/upload", &[("content-length", &length)])?;
    let piece = vec![3; UPLOAD_BYTES / UPLOAD_PIECES];
    for _ in 0..UPLOAD_PIECES {
        pace(UPLOAD_PACE);
        connection.send(&piece)?;
    }
    connection.receive()
}
