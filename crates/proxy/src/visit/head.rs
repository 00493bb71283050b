//! Waiting for the head of an instance's response.

use crate::buffer::{Buffer, poll_read};
use crate::h1::head::{Search, find_end};
use std::task::{Context, Poll, ready};
use tokio::net::TcpStream;

/// Why there is no head.
#[derive(Debug)]
pub enum NoHead {
    /// The connection ended or broke.
    Lost(String),
    /// What came cannot be a head.
    Misunderstood(&'static str),
}

/// What an instance sent and how far it was searched.
#[derive(Debug, Default)]
pub struct Answered {
    /// What has not been understood yet.
    pub inbox: Buffer,
    searched: usize,
}

impl Answered {
    /// Reads until `inbox` begins with a whole head; answers its length.
    pub fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
        stream: &mut TcpStream,
    ) -> Poll<Result<usize, NoHead>> {
        loop {
            match find_end(self.inbox.unread(), self.searched) {
                Search::Complete(length) => {
                    self.searched = 0;
                    return Poll::Ready(Ok(length));
                }
                Search::Partial(from) => self.searched = from,
                Search::TooLong => return misunderstood("the response head is too long"),
                Search::BareLf => {
                    return misunderstood("a line of the response head ends in LF alone");
                }
            }
            match ready!(poll_read(context, stream, scratch)) {
                Ok(0) => return lost("connection closed before a response"),
                Ok(read) => self.inbox.tail().extend_from_slice(&scratch[..read]),
                Err(error) => return lost(&error.to_string()),
            }
        }
    }
}

fn lost(error: &str) -> Poll<Result<usize, NoHead>> {
    Poll::Ready(Err(NoHead::Lost(error.to_owned())))
}

fn misunderstood(error: &'static str) -> Poll<Result<usize, NoHead>> {
    Poll::Ready(Err(NoHead::Misunderstood(error)))
}
