//! The conversation with a shim: its messages become states and events.

use super::Instance;
use super::files::{InstanceFiles, exit_from_wire, reachable};
use super::shim;
use crate::Clock;
use apron_compute::{ComputeEvent, Exit, OutputStream};
use apron_domain::Millis;
use apron_link::frame::{Decoder, encode};
use apron_link::instance::{FromShim, Stream, ToShim, VERSION};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// Bytes read from a shim at once.
const READ_BYTES: usize = 64 << 10;

/// What is told of an instance whose shim ended without a word.
pub const LOST: &str = "instance lost: its shim ended";

/// What a conversation needs besides the instance.
#[derive(Clone)]
pub struct Surroundings {
    /// The directories.
    pub files: InstanceFiles,
    /// Where events go.
    pub events: mpsc::Sender<ComputeEvent>,
    /// For the time of an end that the shim could not stamp.
    pub clock: Clock,
}

/// Why a conversation ended.
enum End {
    /// The application ended or never ran.
    Exited(Exit),
    /// The shim said something that cannot be understood, or nothing more.
    Broken(String),
}

/// Talks to the shim until the instance has ended and its end was taken over.
pub async fn attend(
    instance: Arc<Instance>,
    surroundings: Surroundings,
    mut commands: mpsc::Receiver<ToShim>,
) {
    let mut stream = None;
    let end = match connect(&instance, &surroundings).await {
        Ok(connected) => {
            converse(
                &instance,
                &surroundings,
                &mut commands,
                stream.insert(connected),
            )
            .await
        }
        Err(text) => End::Broken(text),
    };
    let exit = match end {
        End::Exited(exit) => exit,
        End::Broken(text) => lost(&instance, &surroundings, text).await,
    };
    instance.ended(exit.clone());
    report(&instance, &surroundings.events, exit).await;
    if let Some(mut stream) = stream {
        let _ = send(&mut stream, &ToShim::Leave).await;
    }
}

/// Tells the control plane of an end.
pub async fn report(instance: &Instance, events: &mpsc::Sender<ComputeEvent>, exit: Exit) {
    // Nobody listens any more: the next control plane finds the end on disk.
    let _ = events
        .send(ComputeEvent::Exited {
            id: instance.id.clone(),
            exit,
        })
        .await;
}

async fn connect(instance: &Instance, surroundings: &Surroundings) -> Result<UnixStream, String> {
    let directory = surroundings.files.directory(instance.id.as_str());
    let socket = reachable(&directory).map_err(|error| error.to_string())?;
    UnixStream::connect(socket.path())
        .await
        .map_err(|error| format!("connect to its shim: {error}"))
}

/// What one read brought and is not told yet.
#[derive(Default)]
struct Told {
    events: VecDeque<ComputeEvent>,
    /// The last line among them.
    taken: Option<u64>,
    end: Option<End>,
}

/// Takes messages until the end. While the control plane is slow to take events nothing further is read, which slows
/// the shim and in the end the application's writes; commands go through all the same.
async fn converse(
    instance: &Instance,
    surroundings: &Surroundings,
    commands: &mut mpsc::Receiver<ToShim>,
    stream: &mut UnixStream,
) -> End {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; READ_BYTES];
    let mut told = Told::default();
    loop {
        if told.events.is_empty() {
            if acknowledge(stream, told.taken.take()).await.is_err() && told.end.is_none() {
                return End::Broken(LOST.to_owned());
            }
            if let Some(end) = told.end.take() {
                return end;
            }
        }
        tokio::select! {
            permit = surroundings.events.reserve(), if !told.events.is_empty() => {
                if let (Some(event), Ok(permit)) = (told.events.pop_front(), permit) {
                    permit.send(event);
                }
            }
            Some(command) = commands.recv() => {
                if send(stream, &command).await.is_err() {
                    return End::Broken(LOST.to_owned());
                }
            }
            read = stream.read(&mut buffer), if told.events.is_empty() => match read {
                Ok(0) => return End::Broken(LOST.to_owned()),
                Ok(count) => {
                    decoder.push(&buffer[..count]);
                    told.end = take_all(instance, surroundings, &mut decoder, &mut told);
                }
                // With commands it had not read, its end looks like this.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return End::Broken(LOST.to_owned()),
                Err(error) => return End::Broken(format!("{LOST}: {error}")),
            },
        }
    }
}

/// Acts on every whole message; gives the end when there is one.
fn take_all(
    instance: &Instance,
    surroundings: &Surroundings,
    decoder: &mut Decoder,
    told: &mut Told,
) -> Option<End> {
    loop {
        match decoder.next::<FromShim>() {
            Ok(Some(message)) => {
                if let Some(end) = take(instance, surroundings, message, told) {
                    return Some(end);
                }
            }
            Ok(None) => return None,
            Err(error) => {
                return Some(End::Broken(format!(
                    "its shim cannot be understood: {error}"
                )));
            }
        }
    }
}

fn take(
    instance: &Instance,
    surroundings: &Surroundings,
    message: FromShim,
    told: &mut Told,
) -> Option<End> {
    let id = instance.id.clone();
    let event = match message {
        FromShim::Hello {
            version: VERSION, ..
        } => return None,
        FromShim::Hello { version, .. } => {
            return Some(End::Broken(format!(
                "its shim speaks version {version} of the messages, the platform version {VERSION}"
            )));
        }
        FromShim::Started { at_ms, init_pid } => {
            instance.started(Millis(at_ms), init_pid);
            ComputeEvent::Started { id }
        }
        FromShim::Output {
            sequence,
            stream,
            at_ms,
            line,
        } => {
            told.taken = Some(sequence);
            let stream = match stream {
                Stream::Stdout => OutputStream::Stdout,
                Stream::Stderr => OutputStream::Stderr,
            };
            ComputeEvent::Output {
                id,
                stream,
                at: Millis(at_ms),
                line,
            }
        }
        FromShim::Dropped { lines } => {
            let line = format!(
                "[apron] {lines} lines of output were lost while they could not be delivered"
            );
            ComputeEvent::Output {
                id,
                stream: OutputStream::Stderr,
                at: (surroundings.clock)(),
                line,
            }
        }
        FromShim::Exited(exit) => return Some(End::Exited(exit_from_wire(exit))),
    };
    told.events.push_back(event);
    None
}

async fn acknowledge(stream: &mut UnixStream, taken: Option<u64>) -> std::io::Result<()> {
    match taken {
        Some(sequence) => send(stream, &ToShim::Ack { sequence }).await,
        None => Ok(()),
    }
}

async fn send(stream: &mut UnixStream, command: &ToShim) -> std::io::Result<()> {
    let bytes = encode(command).map_err(std::io::Error::other)?;
    stream.write_all(&bytes).await
}

/// Finds out how an instance ended whose shim is gone or useless, and records it.
async fn lost(instance: &Instance, surroundings: &Surroundings, text: String) -> Exit {
    let (files, id) = (surroundings.files.clone(), instance.id.to_string());
    let at = (surroundings.clock)();
    let work = move || {
        if let Err(error) = shim::end(&files.directory(&id)) {
            tracing::error!(instance = id, %error, "a shim cannot be ended");
        }
        if let Some(exit) = files.exit(&id) {
            return exit;
        }
        let exit = Exit {
            code: None,
            signal: None,
            out_of_memory: false,
            error: Some(text),
            at,
        };
        if let Err(error) = files.record_exit(&id, &exit) {
            tracing::warn!(instance = id, %error, "the end of an instance could not be recorded");
        }
        exit
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Exit {
            code: None,
            signal: None,
            out_of_memory: false,
            error: Some(format!("{LOST}: {error}")),
            at,
        })
}
