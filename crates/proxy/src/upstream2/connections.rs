//! A worker's HTTP/2 connections to instances.

use super::{
    CONNECTION_WINDOW_BYTES, IDLE_KEPT, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use crate::h1::HEAD_BYTES_MAX;
use crate::instance::Instance;
use crate::visit::admit::NoPlace;
use crate::visit::connect::CONNECT_MAX;
use crate::visit::{Caller, Record};
use crate::worker::{Slot, Worker};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared, WeakShared};
use h2::client::{Builder, SendRequest};
use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio::net::TcpStream;

/// Connections by their instance.
#[derive(Default)]
pub struct Connections {
    shelves: HashMap<usize, Shelf>,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections")
            .field("instances", &self.shelves.len())
            .finish_non_exhaustive()
    }
}

struct Shelf {
    instance: Arc<Instance>,
    connections: Vec<Rc<Connection>>,
    /// A connection that is being made; whoever waits for one drives it, and it is given up when nobody does.
    attempt: Option<WeakShared<Attempt>>,
}

/// Ends when there is another connection, or with what went wrong.
type Attempt = LocalBoxFuture<'static, Result<(), Rc<str>>>;

struct Connection {
    requests: SendRequest<Bytes>,
    streams: Cell<u32>,
    /// Streams whose bodies wait for the instance to take more.
    blocked: Cell<u32>,
    idle_since_ms: Cell<u64>,
    ended: Cell<bool>,
}

/// Room for one request on a connection, given back when it is dropped.
pub struct Room {
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    /// For sending the request.
    pub requests: SendRequest<Bytes>,
}

fn key(instance: &Arc<Instance>) -> usize {
    Arc::as_ptr(instance).addr()
}

impl Connection {
    /// Whether it takes another request. An idle one always does: what a peer allows may be told with its first answer.
    /// One on which a body waits does not: if the window of the whole connection is what it waits for, bodies of other
    /// clients would wait behind it.
    fn has_room(&self) -> bool {
        let streams = self.streams.get();
        let allowed = self.requests.current_max_send_streams();
        streams == 0
            || (self.blocked.get() == 0
                && streams < STREAMS_MAX
                && usize::try_from(streams).is_ok_and(|now| now < allowed))
    }

    /// Whether it has ended or the instance has said that it takes no more requests.
    fn is_over(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.ended.get()
            || matches!(
                self.requests.clone().poll_ready(&mut context),
                Poll::Ready(Err(_))
            )
    }
}

impl Connections {
    fn shelf(&mut self, instance: &Arc<Instance>) -> &mut Shelf {
        self.shelves.entry(key(instance)).or_insert_with(|| Shelf {
            instance: Arc::clone(instance),
            connections: Vec::new(),
            attempt: None,
        })
    }

    /// Takes room for a request: on the oldest connection that has some, so that others can become idle and end.
    fn take(&mut self, worker: &Rc<Worker>, instance: &Arc<Instance>) -> Option<Room> {
        let shelf = self.shelves.get_mut(&key(instance))?;
        shelf.connections.retain(|connection| !connection.is_over());
        let connection = shelf.connections.iter().find(|it| it.has_room())?;
        connection.streams.set(connection.streams.get() + 1);
        Some(Room {
            worker: Rc::clone(worker),
            connection: Rc::clone(connection),
            requests: connection.requests.clone(),
        })
    }

    /// Ends connections that are idle for too long or whose instance has left the table. Those that still have requests
    /// end after the last of them.
    pub fn sweep(&mut self, now_ms: u64) {
        let kept_ms = u64::try_from(IDLE_KEPT.as_millis()).unwrap_or(u64::MAX);
        self.shelves.retain(|_, shelf| {
            if shelf.instance.departed() {
                return false;
            }
            shelf.connections.retain(|connection| {
                let idle = connection.streams.get() == 0
                    && now_ms >= connection.idle_since_ms.get().saturating_add(kept_ms);
                !idle && !connection.ended.get()
            });
            let attempted = shelf.attempt.as_ref().and_then(WeakShared::upgrade);
            !shelf.connections.is_empty() || attempted.is_some()
        });
    }
}

/// Says as long as it lives that a body waits on a connection.
pub struct Blocked(Rc<Connection>);

impl Drop for Blocked {
    fn drop(&mut self) {
        self.0.blocked.set(self.0.blocked.get() - 1);
    }
}

impl Room {
    /// Notes that the body waits for the instance to take more.
    pub fn block(&self) -> Blocked {
        let connection = &self.connection;
        connection.blocked.set(connection.blocked.get() + 1);
        Blocked(Rc::clone(connection))
    }

    /// The connection is of no use any more.
    pub fn give_up(&self) {
        self.connection.ended.set(true);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.connection
            .streams
            .set(self.connection.streams.get() - 1);
        self.connection
            .idle_since_ms
            .set(self.worker.sweep.now_ms());
    }
}

/// Room for a request at the instance, on a connection that is there or a new one; `None` if the instance does not take
/// connections.
pub async fn room(
    caller: &mut impl Caller,
    slot: &Slot,
    record: &mut Record,
) -> Result<Option<Room>, NoPlace> {
    loop {
        let worker = Rc::clone(caller.worker());
        let taken = worker.upstreams2.borrow_mut().take(&worker, &slot.instance);
        if taken.is_some() {
            return Ok(taken);
        }
        let attempt = attempt(&worker, &slot.instance);
        let begin = Instant::now();
        let made = wait(caller, attempt).await;
        record.connecting += begin.elapsed();
        if let Err(error) = made? {
            slot.instance.health.refused(worker.sweep.precise_ms());
            worker.report_unreachable(&slot.instance, format!("connect: {error}"));
            return Ok(None);
        }
        slot.wake_waiting();
    }
}

/// The attempt to connect that is under way, or a new one.
fn attempt(worker: &Rc<Worker>, instance: &Arc<Instance>) -> Shared<Attempt> {
    let mut connections = worker.upstreams2.borrow_mut();
    let shelf = connections.shelf(instance);
    if let Some(attempt) = shelf.attempt.as_ref().and_then(WeakShared::upgrade)
        && attempt.peek().is_none()
    {
        return attempt;
    }
    let attempt = connect(Rc::clone(worker), Arc::clone(instance))
        .boxed_local()
        .shared();
    shelf.attempt = attempt.downgrade();
    attempt
}

async fn connect(worker: Rc<Worker>, instance: Arc<Instance>) -> Result<(), Rc<str>> {
    let connecting = async {
        let stream = TcpStream::connect(instance.address).await?;
        stream.set_nodelay(true)?;
        Ok::<_, std::io::Error>(stream)
    };
    let stream = match tokio::time::timeout(CONNECT_MAX, connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(error.to_string().into()),
        Err(_) => return Err("timed out".into()),
    };
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    let made = Box::pin(builder.handshake(stream)).await;
    let (requests, driver) = made.map_err(|error| error.to_string())?;
    instance.health.connected();
    let connection = Rc::new(Connection {
        requests,
        streams: Cell::new(0),
        blocked: Cell::new(0),
        idle_since_ms: Cell::new(worker.sweep.now_ms()),
        ended: Cell::new(false),
    });
    let ending = Rc::downgrade(&connection);
    tokio::task::spawn_local(async move {
        // Requests on it learn from their streams how it ended.
        let _ = driver.await;
        if let Some(connection) = ending.upgrade() {
            connection.ended.set(true);
        }
    });
    let mut connections = worker.upstreams2.borrow_mut();
    connections.shelf(&instance).connections.push(connection);
    Ok(())
}

/// Waits for an attempt, unless the caller leaves or its time is up.
async fn wait(
    caller: &mut impl Caller,
    mut attempt: Shared<Attempt>,
) -> Result<Result<(), Rc<str>>, NoPlace> {
    std::future::poll_fn(|context| {
        if let Poll::Ready(made) = attempt.poll_unpin(context) {
            return Poll::Ready(Ok(made));
        }
        if caller.poll_gone(context).is_ready() {
            return Poll::Ready(Err(NoPlace::ClientGone));
        }
        match caller.deadline().expired(context) {
            Some(expired) => Poll::Ready(Err(NoPlace::Answer(expired.into()))),
            None => Poll::Pending,
        }
    })
    .await
}
