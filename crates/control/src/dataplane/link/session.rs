//! One connection of a proxy: its greeting, what it tells, and what it is told.
//!
//! Reading and writing go on side by side: a proxy that is busy sending is read while it is being sent to. At most one
//! table is under way; what changes meanwhile is one change behind it.

use super::brakes::{self, Difference};
use super::sessions::SessionId;
use super::{News, ProxyLink};
use apron_link::frame::{Decoder, encode};
use apron_link::proxy::{FromProxy, ToProxy, VERSION};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

/// Longest time a proxy may take to say who it is, to take a message, and to acknowledge a table. One that does not is
/// cut off: it connects again if it is alive.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

struct Reader {
    stream: OwnedReadHalf,
    decoder: Decoder,
    buffer: Vec<u8>,
}

impl Reader {
    /// The next message; none when the proxy closed the connection.
    async fn next(&mut self) -> io::Result<Option<FromProxy>> {
        loop {
            if let Some(message) = self.decoder.next().map_err(io::Error::other)? {
                return Ok(Some(message));
            }
            let count = self.stream.read(&mut self.buffer).await?;
            if count == 0 {
                return Ok(None);
            }
            self.decoder.push(&self.buffer[..count]);
        }
    }
}

/// Talks to a proxy until the connection ends.
pub async fn run(link: Arc<ProxyLink>, stream: UnixStream) {
    let (read, mut write) = stream.into_split();
    let mut reader = Reader {
        stream: read,
        decoder: Decoder::default(),
        buffer: vec![0; READ_BYTES],
    };
    let (pid, generation) = match greet(&mut reader, &mut write).await {
        Ok(greeting) => greeting,
        Err(error) => {
            tracing::warn!(%error, "a proxy was not let in");
            return;
        }
    };
    let (id, wake) = open(&link, pid, generation);
    let ended = tokio::select! {
        ended = listen(&link, id, &mut reader) => ended,
        ended = speak(&link, id, &wake, &mut write) => ended,
    };
    if let Err(error) = ended {
        tracing::warn!(pid, %error, "proxy link broke");
    }
    let closed = link.state().sessions.close(id);
    link.progressed();
    link.tell(News::Disconnected { pid });
    if let Some(session) = closed {
        link.release_all(session.braked.values().flatten()).await;
    }
}

/// Exchanges versions; answers the proxy's process id and the number of the table it has.
async fn greet(reader: &mut Reader, write: &mut OwnedWriteHalf) -> io::Result<(u32, u64)> {
    send(write, &ToProxy::Welcome { version: VERSION }).await?;
    let hello = timeout(ANSWER_WITHIN, reader.next()).await;
    let hello = hello.map_err(|_| io::Error::other("it does not say who it is"))??;
    match hello {
        Some(FromProxy::Hello { version, pid, .. }) if version != VERSION => {
            Err(io::Error::other(format!(
                "proxy {pid} speaks version {version} of the link, this control plane version {VERSION}"
            )))
        }
        Some(FromProxy::Hello {
            pid, generation, ..
        }) => Ok((pid, generation)),
        _ => Err(io::Error::other("its first message is not a hello")),
    }
}

fn open(link: &ProxyLink, pid: u32, generation: u64) -> (SessionId, Arc<Notify>) {
    let opened = {
        let mut state = link.state();
        let is_known = generation <= state.sessions.highest();
        state.board.seen(generation, is_known);
        state.sessions.wake_all();
        state.sessions.open(pid)
    };
    opened.1.notify_one();
    link.tell(News::Connected { pid });
    opened
}

/// Takes in what the proxy tells.
async fn listen(link: &ProxyLink, id: SessionId, reader: &mut Reader) -> io::Result<()> {
    while let Some(message) = reader.next().await? {
        match message {
            FromProxy::Hello { pid, .. } => {
                return Err(io::Error::other(format!("proxy {pid} says hello twice")));
            }
            FromProxy::Applied {
                generation,
                draining,
            } => {
                let mut state = link.state();
                state.sessions.applied(id, generation, draining);
                let followed = state.sessions.followed_by_all();
                state.board.all_follow(followed);
                drop(state);
                link.progressed();
            }
            FromProxy::Drained { instance } => link.state().sessions.drained(id, &instance),
            FromProxy::Wanted {
                service,
                outstanding,
                waiting,
            } => link.tell(News::Wanted {
                service,
                outstanding,
                waiting,
            }),
            FromProxy::Unreachable { instance, error } => {
                link.tell(News::Unreachable { instance, error })
            }
            FromProxy::Statistics(statistics) => link.tell(News::Statistics(statistics)),
            FromProxy::AccessLog(log) => link.access_log.put(log),
        }
    }
    Ok(())
}

/// What a sender does next.
enum Turn {
    Send(Box<ToProxy>),
    Brake(Difference),
    /// Nothing to send; `true` while an acknowledgement is due.
    Wait(bool),
}

/// Sends what there is to send, for ever.
async fn speak(
    link: &ProxyLink,
    id: SessionId,
    wake: &Notify,
    write: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let mut sent_at = Instant::now();
    loop {
        match turn(link, id)? {
            Turn::Send(message) => {
                send(write, &message).await?;
                sent_at = Instant::now();
                link.progressed();
            }
            Turn::Brake(difference) => brake(link, difference, write).await?,
            Turn::Wait(false) => wake.notified().await,
            Turn::Wait(true) => timeout_at(sent_at + ANSWER_WITHIN, wake.notified())
                .await
                .map_err(|_| io::Error::other("it does not acknowledge its route table"))?,
        }
    }
}

fn turn(link: &ProxyLink, id: SessionId) -> io::Result<Turn> {
    let mut state = link.state();
    let can_brake = link.compute.get().is_some();
    let super::State { board, sessions } = &mut *state;
    let Some(session) = sessions.get(id) else {
        return Err(io::Error::other("the session was closed"));
    };
    if let Some((within_ms, told @ false)) = &mut session.retire {
        *told = true;
        return Ok(Turn::Send(Box::new(ToProxy::Retire {
            within_ms: *within_ms,
        })));
    }
    if session.acknowledged != session.sent {
        return Ok(Turn::Wait(true));
    }
    let Some(newest) = board.generation().filter(|newest| *newest > session.sent) else {
        let next = can_brake.then(|| brakes::next(&mut state, id)).flatten();
        return Ok(next.map_or(Turn::Wait(false), Turn::Brake));
    };
    let message = match session.sent {
        0 => board.table().map(ToProxy::Routes),
        base => board.change_since(base).map(ToProxy::Change),
    };
    let behind = || io::Error::other("the proxy is too far behind and has to begin anew");
    let message = message.ok_or_else(behind)?;
    match &message {
        ToProxy::Routes(table) => brakes::told(session, table.routes.iter().map(|r| &r.service)),
        ToProxy::Change(change) => {
            let changed = change.routes.iter().map(|route| &route.service);
            brakes::told(session, changed.chain(&change.removed));
        }
        _ => {}
    }
    session.sent = newest;
    Ok(Turn::Send(Box::new(message)))
}

/// Gives the proxy brakes, and releases those it has given up.
async fn brake(
    link: &ProxyLink,
    difference: Difference,
    write: &mut OwnedWriteHalf,
) -> io::Result<()> {
    link.release_all(difference.gone.iter()).await;
    for instance in &difference.new {
        if let Some((message, brake)) = link.brake_of(instance).await {
            send_with(write, &message, brake.file.as_fd()).await?;
        }
    }
    Ok(())
}

/// Sends a message whose last byte carries an open file (unix(7), `SCM_RIGHTS`).
async fn send_with(
    write: &mut OwnedWriteHalf,
    message: &ToProxy,
    file: BorrowedFd<'_>,
) -> io::Result<()> {
    let bytes = encode(message).map_err(io::Error::other)?;
    let Some((last, head)) = bytes.split_last() else {
        return Ok(());
    };
    let sent = timeout(ANSWER_WITHIN, async {
        write.write_all(head).await?;
        let stream: &UnixStream = write.as_ref();
        loop {
            stream.writable().await?;
            match stream.try_io(Interest::WRITABLE, || send_byte(stream, *last, file)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
    });
    sent.await
        .map_err(|_| io::Error::other("it does not read"))?
}

fn send_byte(stream: &UnixStream, byte: u8, file: BorrowedFd<'_>) -> io::Result<()> {
    let files = [file];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other("there is no room for a file in a message"));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(stream, &[IoSlice::new(&[byte])], &mut control, flags)?;
    Ok(())
}

async fn send(write: &mut OwnedWriteHalf, message: &ToProxy) -> io::Result<()> {
    let bytes = encode(message).map_err(io::Error::other)?;
    let sent = timeout(ANSWER_WITHIN, write.write_all(&bytes)).await;
    sent.map_err(|_| io::Error::other("it does not read"))?
}
