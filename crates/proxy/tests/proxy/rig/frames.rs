//! An HTTP/2 client that sends whatever frames it likes (RFC 9113 section 4).

use super::client::{Wire, tls_config};
use super::{HOST, Rig};
use std::io;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// HPACK's representation of `:status: 200` (RFC 7541 appendix A).
pub const STATUS_200: u8 = 0x88;

/// A frame.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of a RST_STREAM or a GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A connection after the preface.
pub struct Frames(Wire);

impl Frames {
    pub fn connect(rig: &Rig) -> Frames {
        Frames::connect_with(rig, &[])
    }

    /// With settings of its own.
    pub fn connect_with(rig: &Rig, settings: &[(u16, u32)]) -> Frames {
        let mut config = tls_config(&rig.authority.root_pem);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut wire = Wire::negotiated(rig.https, HOST, config).unwrap();
        wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut frames = Frames(wire);
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        frames.send(SETTINGS, 0, 0, &payload).unwrap();
        frames
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.0.try_send(frame(kind, flags, stream, payload))
    }

    /// Sends frames as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.try_send(bytes)
    }

    /// The next frame, if the connection has not ended.
    pub fn next(&mut self) -> Option<Frame> {
        let head = self.0.exactly(9).ok()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = self.0.exactly(length).ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            payload,
        })
    }

    /// The next frame that `wanted` says yes to; settings are acknowledged on the way.
    pub fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                // The connection may be ending.
                let _ = self.send(SETTINGS, ACK, 0, &[]);
            }
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// How a connection that is sent away ends: the code of its GOAWAY, if the end was seen at all.
    pub fn farewell(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    }
}

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// A field as HPACK has it without compression of any kind (RFC 7541 section 6.2.2).
pub fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        integer(text.len(), &mut out);
        out.extend_from_slice(text);
    }
    out
}

/// A length in seven bits or more (RFC 7541 section 5.1).
fn integer(value: usize, out: &mut Vec<u8>) {
    if value < 127 {
        out.push(value as u8);
        return;
    }
    out.push(127);
    let mut left = value - 127;
    while left >= 128 {
        out.push((left % 128) as u8 | 128);
        left /= 128;
    }
    out.push(left as u8);
}

/// The fields of a request to the host of the tests.
pub fn request(method: &str, path: &str) -> Vec<u8> {
    [
        (":method", method),
        (":scheme", "https"),
        (":authority", HOST),
        (":path", path),
    ]
    .map(|(name, value)| literal(name.as_bytes(), value.as_bytes()))
    .concat()
}
