//! Messages over a kept WebSocket (RFC 6455).

use super::Visit;
use crate::http::{Connection, Target};
use anyhow::{Result, bail, ensure};

/// The key of RFC 6455 section 1.3 and what a server makes of it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const TEXT: u8 = 1;
const CLOSE: u8 = 8;

/// One client.
pub(super) struct Visitor {
    target: Target,
    socket: Option<Connection>,
    sent: u64,
}

impl Visitor {
    pub(super) fn new(target: Target) -> Visitor {
        Visitor {
            target,
            socket: None,
            sent: 0,
        }
    }

    fn open(&self) -> Result<Connection> {
        let mut connection = self.target.connect()?;
        let headers = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ];
        connection.send_head("GET", "/ws", &headers)?;
        let (status, headers) = connection.receive_switch()?;
        let accept = headers
            .iter()
            .find(|(name, _)| name == "sec-websocket-accept")
            .map(|(_, value)| value.as_str());
        ensure!(
            status == 101 && accept == Some(ACCEPT),
            "no WebSocket: {status} {headers:?}"
        );
        Ok(connection)
    }
}

impl Visit for Visitor {
    fn once(&mut self) -> Result<Option<String>> {
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.open()?,
        };
        self.sent += 1;
        let message = format!("message {}", self.sent);
        send(&mut socket, TEXT, message.as_bytes())?;
        match receive(&mut socket)? {
            (TEXT, payload) => ensure!(payload == message.as_bytes(), "another message came back"),
            // The application or the platform goes away in order: the next message goes over a new socket.
            (CLOSE, payload) if payload.starts_with(&1001_u16.to_be_bytes()) => {
                send(&mut socket, CLOSE, &payload)?;
                return Ok(None);
            }
            (opcode, payload) => bail!("a frame of kind {opcode} with {payload:?}"),
        }
        self.socket = Some(socket);
        Ok(None)
    }
}

/// Sends a frame of less than 126 bytes, masked with zeros.
fn send(socket: &mut Connection, opcode: u8, payload: &[u8]) -> Result<()> {
    let length = u8::try_from(payload.len())?;
    let mut frame = vec![0x80 | opcode, 0x80 | length, 0, 0, 0, 0];
    frame.extend(payload);
    socket.send(&frame)
}

fn receive(socket: &mut Connection) -> Result<(u8, Vec<u8>)> {
    let head = socket.receive_exact(2)?;
    ensure!(head[1] < 126, "a frame that was never sent");
    let payload = socket.receive_exact(usize::from(head[1]))?;
    Ok((head[0] & 0x0f, payload))
}
