//! WebSockets of HTTP/2 clients (RFC 8441): a stream that was opened with an extended CONNECT becomes a tunnel to an
//! instance, which is asked in HTTP/1.1's way.

use super::stream::Stream;
use crate::buffer::Buffer;
use crate::client::tunnel::Raw;
use crate::h1::field::Header;
use crate::service::Finished;
use crate::tunnel::frames::Frames;
use crate::tunnel::{Closed, End, Tunnel};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::{Reason as Code, RecvStream, SendStream};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::TcpStream;

/// What the answer to a handshake is derived from, with the key (RFC 6455 section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a handshake's nonce.
const NONCE_BYTES: usize = 16;

/// The proxy's half of a handshake with an instance (RFC 6455 section 4.1).
#[derive(Debug)]
pub(super) struct Handshake {
    /// The value of `Sec-WebSocket-Key`.
    pub(super) key: String,
    accept: String,
}

impl Handshake {
    /// A handshake with what `random` begins with as its nonce.
    pub(super) fn new(random: &[u8; 32]) -> Handshake {
        let key = STANDARD.encode(&random[..NONCE_BYTES]);
        let hashed = [key.as_bytes(), ACCEPT_SUFFIX].concat();
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &hashed);
        Handshake {
            key,
            accept: STANDARD.encode(hash),
        }
    }

    /// Whether these fields of an answer complete it.
    pub(super) fn is_completed_by(&self, fields: &[Header<'_>]) -> bool {
        let mut answers = fields
            .iter()
            .filter(|field| field.is("sec-websocket-accept"));
        let right = answers
            .next()
            .is_some_and(|field| field.value == self.accept.as_bytes());
        right && answers.next().is_none()
    }
}

/// The client's end.
struct Piped<'a> {
    body: &'a mut RecvStream,
    sending: &'a mut SendStream<Bytes>,
    /// Bytes that were read and not yet granted anew.
    ungranted: usize,
}

fn lost(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl End for Piped<'_> {
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            // What was read before has been taken: this is asked for then only.
            let granted = std::mem::take(&mut self.ungranted);
            let flow = self.body.flow_control();
            flow.release_capacity(granted).map_err(lost)?;
            match ready!(self.body.poll_data(context)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.ungranted = data.len();
                    return Poll::Ready(Ok(Some(data)));
                }
                Some(Err(error)) => return Poll::Ready(Err(lost(error))),
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, piece: &mut Bytes) -> Poll<io::Result<()>> {
        while !piece.is_empty() {
            self.sending.reserve_capacity(piece.len());
            if self.sending.capacity() == 0 {
                match ready!(self.sending.poll_capacity(context)) {
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => return Poll::Ready(Err(lost(error))),
                    None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                }
            }
            let part = piece.split_to(self.sending.capacity().min(piece.len()));
            self.sending.send_data(part, false).map_err(lost)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_end(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.sending.send_data(Bytes::new(), true).map_err(lost))
    }
}

/// Moves bytes between the client and an instance until both sides have ended.
pub(super) async fn tunnel(
    stream: &mut Stream,
    mut sending: SendStream<Bytes>,
    (mut upstream, mut inbox): (TcpStream, Buffer),
    idle: Duration,
    finished: &mut Finished,
) {
    let worker = Rc::clone(&stream.visitor.worker);
    let tunnel = Tunnel {
        client: Piped {
            body: &mut stream.body,
            sending: &mut sending,
            ungranted: 0,
        },
        instance: Raw::new(&worker, &mut upstream, &mut inbox),
        frames: Some(Frames::default()),
        worker,
        deadline: &stream.deadline,
        idle,
    };
    if tunnel.run(finished).await == Closed::Broken {
        // RFC 8441 section 5: what is a reset of a connection there is this here.
        sending.send_reset(Code::CANCEL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_handshake_is_checked() {
        // The nonce of RFC 6455 section 1.3.
        let mut random = [0; 32];
        random[..NONCE_BYTES].copy_from_slice(b"the sample nonce");
        let handshake = Handshake::new(&random);
        assert_eq!(handshake.key, "dGhlIHNhbXBsZSBub25jZQ==");
        let answer = |value| Header {
            name: b"Sec-WebSocket-Accept",
            value,
        };
        let right = answer(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(handshake.is_completed_by(&[right]));
        assert!(!handshake.is_completed_by(&[right, right]));
        assert!(!handshake.is_completed_by(&[answer(b"x")]));
        assert!(!handshake.is_completed_by(&[]));
    }
}
