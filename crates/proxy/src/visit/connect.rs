//! A connection to the instance at which a place was taken.

use super::admit::NoPlace;
use super::{Caller, Record};
use crate::worker::Slot;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Longest time a connection to an instance may take to be made.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Most times a request is sent again: it is idempotent, has no body, and its connection broke before an answer. Once for
/// an idle connection that was just being closed and once for an instance that went away; a request that ends every
/// instance it meets must not meet them all.
pub const REPEATS_MAX: u32 = 2;

/// A connection to an instance.
#[derive(Debug)]
pub struct Upstream {
    /// The connection.
    pub stream: TcpStream,
    /// It carried requests before, so the instance may close it at any moment without having seen this one.
    pub reused: bool,
}

/// Takes an idle connection to the instance or makes one; `None` if the instance does not take connections.
/// `repeatable` requests may meet a connection that is just being closed, as they can be sent again.
pub async fn connect(
    caller: &mut impl Caller,
    slot: &Slot,
    repeatable: bool,
    fresh: bool,
    record: &mut Record,
) -> Result<Option<Upstream>, NoPlace> {
    if !fresh {
        let worker = caller.worker();
        let now_ms = worker.sweep.now_ms();
        let idle = worker
            .pool
            .borrow_mut()
            .take(&slot.instance, now_ms, !repeatable);
        if let Some(stream) = idle {
            return Ok(Some(Upstream {
                stream,
                reused: true,
            }));
        }
    }
    let begin = Instant::now();
    let connected = Box::pin(connect_anew(caller, slot)).await;
    record.connecting += begin.elapsed();
    let error = match connected? {
        Ok(stream) => {
            slot.connected();
            return Ok(Some(Upstream {
                stream,
                reused: false,
            }));
        }
        Err(error) => error,
    };
    let worker = caller.worker();
    slot.instance.health.refused(worker.sweep.precise_ms());
    worker.report_unreachable(&slot.instance, format!("connect: {error}"));
    Ok(None)
}

async fn connect_anew(
    caller: &mut impl Caller,
    slot: &Slot,
) -> Result<std::io::Result<TcpStream>, NoPlace> {
    let mut connecting = std::pin::pin!(tokio::time::timeout(
        CONNECT_MAX,
        TcpStream::connect(slot.instance.address)
    ));
    let connected = std::future::poll_fn(|context| {
        if let Poll::Ready(connected) = connecting.as_mut().poll(context) {
            return Poll::Ready(Ok(connected));
        }
        if caller.poll_gone(context).is_ready() {
            return Poll::Ready(Err(NoPlace::ClientGone));
        }
        match caller.deadline().expired(context) {
            Some(expired) => Poll::Ready(Err(NoPlace::Answer(expired.into()))),
            None => Poll::Pending,
        }
    });
    Ok(match connected.await? {
        Ok(connected) => connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream)),
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    })
}
