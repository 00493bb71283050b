//! The client's side of an exchange with an HTTP/2 instance, whichever version of HTTP the client speaks.

use crate::h1::response::Response;
use crate::visit::Caller;
use bytes::Bytes;
use http::HeaderMap;
use std::task::{Context, Poll};

/// A part of a request's body.
#[derive(Clone, Debug)]
pub enum Part {
    /// Data.
    Data(Bytes),
    /// The end, perhaps with trailer fields.
    End(Option<HeaderMap>),
}

/// Why there is no further part of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPart {
    /// The client has left.
    Gone,
    /// The body breaks its framing.
    Malformed,
}

/// The client has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// A client whose request is being answered.
pub trait Downstream: Caller {
    /// The next part of the request's body. Not to be called after its end.
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Result<Part, NoPart>>;

    /// So many bytes of the body are on their way to the instance: the client may send as many more.
    fn grant(&mut self, bytes: usize);

    /// Passes an interim response on.
    fn inform(&mut self, response: &Response<'_, '_>);

    /// Begins the final response; `over` says that it has no body.
    fn begin(&mut self, response: &Response<'_, '_>, over: bool) -> Result<(), Gone>;

    /// Passes on what the client takes of `piece`, and off it. Ready when nothing is left of it.
    fn poll_data(&mut self, context: &mut Context<'_>, piece: &mut Bytes)
    -> Poll<Result<(), Gone>>;

    /// Ends the response. Ready when the end is on its way; not to be called after that.
    fn poll_end(
        &mut self,
        context: &mut Context<'_>,
        trailers: Option<&HeaderMap>,
    ) -> Poll<Result<(), Gone>>;

    /// Sends what is at hand, before a response has begun.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Gone>>;
}
