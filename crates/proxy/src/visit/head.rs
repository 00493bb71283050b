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

/// Where a whole head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// At the beginning of the inbox, so many bytes.
    Kept(usize),
    /// At the beginning of the scratch space, where it was read with nothing before it.
    Read {
        /// Bytes of the head.
        length: usize,
        /// Bytes that were read; those after the head are not in the inbox.
        read: usize,
    },
}

impl Answered {
    /// Reads until there is a whole head.
    pub fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
        stream: &mut TcpStream,
    ) -> Poll<Result<Found, NoHead>> {
        if !self.inbox.is_empty()
            && let Some(length) = self.search(None)?
        {
            return Poll::Ready(Ok(Found::Kept(length)));
        }
        loop {
            let read = match ready!(poll_read(context, stream, scratch)) {
                Ok(0) => return lost("connection closed before a response"),
                Ok(read) => read,
                Err(error) => return lost(&error.to_string()),
            };
            if self.inbox.is_empty()
                && let Some(length) = self.search(Some(&scratch[..read]))?
            {
                return Poll::Ready(Ok(Found::Read { length, read }));
            }
            let first = self.inbox.is_empty();
            self.inbox.append(&scratch[..read]);
            if !first && let Some(length) = self.search(None)? {
                return Poll::Ready(Ok(Found::Kept(length)));
            }
        }
    }

    /// Looks for the end of a head in what was just read, or in the inbox.
    fn search(&mut self, read: Option<&[u8]>) -> Result<Option<usize>, NoHead> {
        match find_end(read.unwrap_or(self.inbox.unread()), self.searched) {
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
