//! An HTTP/2 client's side of an exchange with an HTTP/2 instance.

use super::intake;
use super::stream::Stream;
use crate::deadline::Deadline;
use crate::h1::name::allowed_in_trailers;
use crate::h1::response::Response;
use crate::upstream2::downstream::{Downstream, Gone, NoPart, Part};
use crate::visit::Caller;
use crate::visit::sticky::Cookie;
use crate::worker::Worker;
use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// A stream and its response.
pub(super) struct Side<'a> {
    pub(super) stream: &'a mut Stream,
    pub(super) sending: Option<SendStream<Bytes>>,
    over: bool,
}

impl<'a> Side<'a> {
    pub(super) fn new(stream: &'a mut Stream) -> Side<'a> {
        Side {
            stream,
            sending: None,
            over: false,
        }
    }
}

impl Caller for Side<'_> {
    fn worker(&self) -> &Rc<Worker> {
        self.stream.worker()
    }

    fn deadline(&self) -> &Deadline {
        self.stream.deadline()
    }

    fn set_cookie(&mut self, cookie: Option<Cookie>) {
        self.stream.set_cookie(cookie);
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.sending {
            Some(_) if self.over => Poll::Pending,
            Some(sending) => sending.poll_reset(context).map(|_| ()),
            None => self.stream.poll_gone(context),
        }
    }
}

impl Downstream for Side<'_> {
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Result<Part, NoPart>> {
        loop {
            match ready!(self.stream.body.poll_data(context)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => return Poll::Ready(Ok(Part::Data(data))),
                Some(Err(_)) => return Poll::Ready(Err(NoPart::Gone)),
                None => {
                    let trailers = ready!(self.stream.body.poll_trailers(context));
                    let trailers = trailers.map(|trailers| Part::End(trailers.and_then(filtered)));
                    return Poll::Ready(trailers.map_err(|_| NoPart::Gone));
                }
            }
        }
    }

    fn grant(&mut self, bytes: usize) {
        // Failing means that the stream is gone, which whatever is done next with it tells.
        let _ = self.stream.body.flow_control().release_capacity(bytes);
    }

    fn inform(&mut self, response: &Response<'_, '_>) {
        if let Some(response) = intake::response(response) {
            // A client that takes no hints is not a failure.
            let _ = self.stream.respond.send_informational(response);
        }
    }

    fn begin(&mut self, response: &Response<'_, '_>, over: bool) -> Result<(), Gone> {
        let mut response = intake::response(response).ok_or(Gone)?;
        intake::add_cookie(&mut response, self.stream.cookie);
        let sending = self.stream.respond.send_response(response, over);
        self.sending = Some(sending.map_err(|_| Gone)?);
        self.over = over;
        Ok(())
    }

    fn poll_data(
        &mut self,
        context: &mut Context<'_>,
        piece: &mut Bytes,
    ) -> Poll<Result<(), Gone>> {
        let Some(sending) = &mut self.sending else {
            return Poll::Ready(Ok(()));
        };
        while !piece.is_empty() {
            sending.reserve_capacity(piece.len());
            if sending.capacity() == 0 {
                match ready!(sending.poll_capacity(context)) {
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return Poll::Ready(Err(Gone)),
                }
            }
            let part = piece.split_to(sending.capacity().min(piece.len()));
            if sending.send_data(part, false).is_err() {
                return Poll::Ready(Err(Gone));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_end(
        &mut self,
        _: &mut Context<'_>,
        trailers: Option<&HeaderMap>,
    ) -> Poll<Result<(), Gone>> {
        let Some(sending) = self.sending.as_mut().filter(|_| !self.over) else {
            return Poll::Ready(Ok(()));
        };
        self.over = true;
        let sent = match trailers.cloned().and_then(filtered) {
            Some(trailers) => sending.send_trailers(trailers),
            None => sending.send_data(Bytes::new(), true),
        };
        Poll::Ready(sent.map_err(|_| Gone))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        // The connection's own task writes.
        Poll::Ready(Ok(()))
    }
}

/// The trailer fields that may be passed on.
fn filtered(trailers: HeaderMap) -> Option<HeaderMap> {
    let passed: HeaderMap = trailers
        .iter()
        .filter(|(name, _)| allowed_in_trailers(name.as_str().as_bytes()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    (!passed.is_empty()).then_some(passed)
}
