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

/// Where a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole one at the beginning of the inbox, so many bytes.
    Kept(usize),
    /// So many bytes were read into the scratch space, with nothing before them: usually a whole head. What cannot be used
    /// at once goes into the inbox.
    Read(usize),
}

impl Answered {
    /// Reads until there may be a whole head.
    pub fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
        stream: &mut TcpStream,
    ) -> Poll<Result<Found, NoHead>> {
        loop {
            if !self.inbox.is_empty()
                && let Some(length) = self.search()?
            {
                return Poll::Ready(Ok(Found::Kept(length)));
            }
            let read = match ready!(poll_read(context, stream, scratch)) {
                Ok(0) => return lost("connection closed before a response"),
                Ok(read) => read,
                Err(error) => return lost(&error.to_string()),
            };
            if self.inbox.is_empty() {
                return Poll::Ready(Ok(Found::Read(read)));
            }
            self.inbox.append(&scratch[..read]);
        }
    }

    /// Looks for the end of a head in the inbox.
    fn search(&mut self) -> Result<Option<usize>, NoHead> {
        match find_end(self.inbox.unread(), self.searched) {
            Search::Complete(length) => {
                self.searched = 0;
                Ok(Some(length))
            }
            Search::Partial(from) => {
                self.searched = from;
                Ok(None)
            }
            Search::TooLong => Err(NoHead::Misunderstood("the response head is too long")),
            Search::BareLf => Err(NoHead::Misunderstood(
                "a line of the response head ends in LF alone",
            )),
        }
    }
}

fn lost(error: &str) -> Poll<Result<Found, NoHead>> {
    Poll::Ready(Err(NoHead::Lost(error.to_owned())))
}
