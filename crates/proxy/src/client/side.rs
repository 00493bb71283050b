//! An HTTP/1 client's side of an exchange with an HTTP/2 instance.

use super::{Client, ClientIo};
use crate::buffer::Buffer;
use crate::client2::intake::{fields_to_trailers, trailers_to_fields};
use crate::deadline::Deadline;
use crate::h1::body::{Decoder, Encoder};
use crate::h1::response::Response;
use crate::h1::{Framing, HEAD_BYTES_MAX, Version, rewrite};
use crate::upstream2::downstream::{Downstream, Gone, NoPart, Part};
use crate::visit::Caller;
use crate::visit::intake::Intake;
use crate::visit::sticky::Cookie;
use crate::worker::Worker;
use bytes::Bytes;
use http::HeaderMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// A connection with a request whose head was read.
pub(super) struct Side<'a, C> {
    client: &'a mut Client<C>,
    decoder: Decoder,
    version: Version,
    persistent: bool,
    encoder: Encoder,
    out: Buffer,
    ended: bool,
}

impl<'a, C: ClientIo> Side<'a, C> {
    pub(super) fn new(client: &'a mut Client<C>, intake: &Intake) -> Side<'a, C> {
        let mut out = Buffer::default();
        if intake.expects_continue && client.inbox.is_empty() {
            out.tail()
                .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        Side {
            decoder: Decoder::new(intake.framing),
            version: intake.version,
            persistent: intake.persistent && !client.visitor.worker.retiring(),
            client,
            encoder: Encoder::Raw,
            out,
            ended: false,
        }
    }

    /// Whether the connection may take another request after the response.
    pub(super) fn persistent(&self) -> bool {
        self.persistent
    }

    fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let stream = &mut self.client.stream;
        ready!(self.out.poll_write_to(context, stream)).map_err(|_| Gone)?;
        Pin::new(stream).poll_flush(context).map_err(|_| Gone)
    }
}

impl<C: ClientIo> Caller for Side<'_, C> {
    fn worker(&self) -> &Rc<Worker> {
        &self.client.visitor.worker
    }

    fn deadline(&self) -> &Deadline {
        &self.client.deadline
    }

    fn set_cookie(&mut self, cookie: Option<Cookie>) {
        self.client.cookie = cookie;
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.client.poll_gone(context)
    }
}

impl<C: ClientIo> Downstream for Side<'_, C> {
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Result<Part, NoPart>> {
        loop {
            if self.decoder.ended() {
                let trailers = fields_to_trailers(self.decoder.trailers());
                let trailers = Some(trailers).filter(|trailers| !trailers.is_empty());
                return Poll::Ready(Ok(Part::End(trailers)));
            }
            if self.client.inbox.is_empty() {
                match ready!(self.client.poll_fill(context)) {
                    Ok(0) | Err(_) => return Poll::Ready(Err(NoPart::Gone)),
                    Ok(_) => {}
                }
            }
            let input = self.client.inbox.unread();
            let decoded = self.decoder.decode(input);
            let (read, data) = decoded.map_err(|_| NoPart::Malformed)?;
            let data = Bytes::copy_from_slice(&input[data]);
            self.client.inbox.consume(read);
            if !data.is_empty() {
                return Poll::Ready(Ok(Part::Data(data)));
            }
        }
    }

    fn grant(&mut self, _: usize) {
        // The client is held back by nothing being read from it.
    }

    fn inform(&mut self, response: &Response<'_, '_>) {
        if self.version == Version::Http11 && self.out.len() < HEAD_BYTES_MAX {
            rewrite::interim_head(response, self.out.tail());
        }
    }

    fn begin(&mut self, response: &Response<'_, '_>, over: bool) -> Result<(), Gone> {
        let client = rewrite::Client {
            version: self.version,
            persistent: self.persistent,
        };
        let delivery = rewrite::response_head(response, client, self.out.tail());
        if let Some(cookie) = self.client.cookie {
            cookie.add_to_head(self.out.tail());
        }
        self.encoder = delivery.encoder;
        self.persistent = delivery.persistent;
        self.ended = over && response.framing != Framing::Chunked;
        Ok(())
    }

    fn poll_data(
        &mut self,
        context: &mut Context<'_>,
        piece: &mut Bytes,
    ) -> Poll<Result<(), Gone>> {
        if !piece.is_empty() {
            // Earlier pieces are written when this is called, so no more than one waits here.
            self.encoder.data(piece, self.out.tail());
            piece.clear();
        }
        self.poll_out(context)
    }

    fn poll_end(
        &mut self,
        context: &mut Context<'_>,
        trailers: Option<&HeaderMap>,
    ) -> Poll<Result<(), Gone>> {
        if !self.ended {
            self.ended = true;
            let fields = trailers.map_or(Vec::new(), trailers_to_fields);
            self.encoder.end(&fields, self.out.tail());
        }
        self.poll_out(context)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.poll_out(context)
    }
}
