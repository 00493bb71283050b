//! A push: what comes is stored, then deployed while its client waits and reads along.

use super::deploy::{Change, Ending, Pushed, Reader};
use super::packets::{self, Answer, FLUSH};
use super::{DEPLOY_HEADER, GitDoor, PIECES_WAITING_MAX, Refusal, answered, body_of, is_gzip};
use crate::endpoint::Caller;
use apron_builder::git::{FETCH_WITHIN, Repository, Service, Serving};
use axum::body::Body;
use bytes::Bytes;
use flate2::write::GzDecoder;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;
use tokio::sync::mpsc;

/// How long a client may send nothing in the middle of a body.
const BODY_IDLE: Duration = Duration::from_secs(60);

/// Bytes of a request that comes compressed, which pushes do not: what a client says it has.
const INFLATED_BYTES_MAX: usize = 64 << 20;

/// Bytes that are inflated at once: deflate makes at most some thousand of one, so this bounds what is held before it is counted.
const INFLATE_STEP_BYTES: usize = 4 << 10;

/// Bytes that git may answer to a push.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Bytes of git's complaints that a client is told.
const COMPLAINT_BYTES_MAX: u64 = 8 << 10;

/// Bytes of a body that are taken and thrown away once git wants no more of it: only a client that has sent everything
/// reads the answer.
const THROWN_AWAY_BYTES_MAX: usize = 2 << 30;

const RESULT: &str = "application/x-git-receive-pack-result";

/// What a body passes through on its way to git.
#[derive(Default)]
struct Pour {
    inflate: Option<GzDecoder<Vec<u8>>>,
    inflated: usize,
}

impl Pour {
    async fn piece(&mut self, piece: &[u8], to: &mut ChildStdin) -> io::Result<()> {
        let Some(inflate) = &mut self.inflate else {
            return to.write_all(piece).await;
        };
        for step in piece.chunks(INFLATE_STEP_BYTES) {
            inflate.write_all(step)?;
            let plain = std::mem::take(inflate.get_mut());
            self.inflated += plain.len();
            if self.inflated > INFLATED_BYTES_MAX {
                return Err(io::Error::other("the request is too large"));
            }
            to.write_all(&plain).await?;
        }
        Ok(())
    }

    async fn end(self, to: &mut ChildStdin) -> io::Result<()> {
        if let Some(inflate) = self.inflate {
            to.write_all(&inflate.finish()?).await?;
        }
        to.shutdown().await
    }
}

/// Writes a request's body to git, and closes it.
pub(super) async fn feed(mut body: Body, gzip: bool, to: &mut ChildStdin) -> io::Result<()> {
    let mut pour = Pour {
        inflate: gzip.then(|| GzDecoder::new(Vec::new())),
        ..Pour::default()
    };
    loop {
        let frame = tokio::time::timeout(BODY_IDLE, body.frame()).await;
        let Some(frame) = frame.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))? else {
            return pour.end(to).await;
        };
        let Ok(piece) = frame.map_err(io::Error::other)?.into_data() else {
            continue;
        };
        if let Err(error) = pour.piece(&piece, to).await {
            throw_away(body).await;
            return Err(error);
        }
    }
}

/// Reads what is left of a body, within bounds.
async fn throw_away(mut body: Body) {
    let mut bytes = 0;
    while bytes < THROWN_AWAY_BYTES_MAX {
        match tokio::time::timeout(BODY_IDLE, body.frame()).await {
            Ok(Some(Ok(frame))) => bytes += frame.data_ref().map_or(0, Bytes::len),
            _ => return,
        }
    }
}

/// Whether the client wants what it pushes deployed.
fn deploys(headers: &HeaderMap) -> bool {
    headers
        .get(DEPLOY_HEADER)
        .is_none_or(|value| value.as_bytes() != b"off")
}

/// The branches that another commit is the head of now, or that are new.
fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<Change> {
    let moved = |(branch, to): (&String, &String)| {
        let from = before.get(branch).cloned();
        (from.as_ref() != Some(to)).then(|| Change {
            branch: branch.clone(),
            from,
            to: to.clone(),
        })
    };
    after.iter().filter_map(moved).collect()
}

impl GitDoor {
    pub(super) async fn receive(
        self: &Arc<Self>,
        name: String,
        repository: Repository,
        protocol: Option<String>,
        caller: Caller,
        request: Request<Body>,
    ) -> Result<Response<Body>, Refusal> {
        let wanted = deploys(request.headers());
        let (said, changes) = {
            let lock = self.lock(&name);
            let _turn = lock.lock().await;
            let before = repository.branches().await?;
            let said = store(&repository, protocol, request).await?;
            (said, changes(&before, &repository.branches().await?))
        };
        let answer = Answer::parse(&said).filter(|_| wanted && !changes.is_empty());
        let Some(answer) = answer else {
            return Ok(answered(RESULT, Body::from(said)));
        };
        let (sender, pieces) = mpsc::channel(PIECES_WAITING_MAX);
        let pushed = Pushed {
            name,
            repository,
            changes,
            caller,
        };
        let door = self.clone();
        // Whether the client stays or not: what was pushed is deployed.
        tokio::spawn(async move { door.answer(pushed, answer, sender).await });
        Ok(answered(RESULT, body_of(pieces)))
    }

    /// Deploys what was pushed, with its log for the client, and ends with a report of what became of it.
    async fn answer(&self, pushed: Pushed, answer: Answer, sender: mpsc::Sender<Bytes>) {
        let say = |bytes: Vec<u8>| async {
            // Who went away is not told.
            let _ = sender.send(Bytes::from(bytes)).await;
        };
        say(answer.progress).await;
        let reader = Reader(sender.clone());
        let report = match Box::pin(self.deploy(&pushed, &reader)).await {
            Ending::Deployed | Ending::Stored => answer.report,
            Ending::Failed(reason) => {
                self.set_back(&pushed, &reader).await;
                let branches = pushed.changes.iter().map(|change| change.branch.as_str());
                packets::refusal(branches, &reason)
            }
        };
        say(report).await;
        say(FLUSH.to_vec()).await;
        if let Err(error) = pushed.repository.pack().await {
            tracing::warn!(%error, repository = pushed.name, "a repository could not be packed");
        }
    }

    /// A commit that does not serve is not the branch's head: the same push again is tried again.
    async fn set_back(&self, pushed: &Pushed, reader: &Reader) {
        let lock = self.lock(&pushed.name);
        let _turn = lock.lock().await;
        for change in &pushed.changes {
            let back =
                pushed
                    .repository
                    .set_back(&change.branch, &change.to, change.from.as_deref());
            if let Err(error) = back.await {
                tracing::info!(%error, branch = change.branch, "a branch stays where it is");
                let text = format!("Branch {} has moved meanwhile and stays.", change.branch);
                reader.say(&text).await;
            }
        }
    }
}

/// Hands a push to git; answers what git answers.
async fn store(
    repository: &Repository,
    protocol: Option<String>,
    request: Request<Body>,
) -> Result<Vec<u8>, Refusal> {
    let gzip = is_gzip(request.headers());
    let mut serving = repository.serve(Service::Receive, protocol.as_deref())?;
    let Serving {
        request: input,
        answer,
        complaints,
        ..
    } = &mut serving;
    let (mut said, mut complaint) = (Vec::new(), Vec::new());
    let mut answer = answer.take(ANSWER_BYTES_MAX);
    let mut complaints = complaints.take(COMPLAINT_BYTES_MAX);
    let work = async {
        tokio::join!(
            feed(request.into_body(), gzip, input),
            answer.read_to_end(&mut said),
            complaints.read_to_end(&mut complaint),
        )
    };
    let done = tokio::time::timeout(FETCH_WITHIN, work).await;
    let (fed, ..) = done.map_err(|_| {
        let text = "the push did not arrive in time";
        Refusal(StatusCode::REQUEST_TIMEOUT, text.to_owned())
    })?;
    let whole = serving.ended().await?;
    if said.is_empty() && (!whole || fed.is_err()) {
        let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
        tracing::info!(complaint, "a push was not taken");
        let text = format!("the push was not taken: {complaint}");
        return Err(Refusal(StatusCode::BAD_REQUEST, text));
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::process::Stdio;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const PIECES: usize = 64;

    /// Feeds a git that wants nothing; answers what became of it, and how many pieces were taken.
    async fn feed_the_deaf(pieces: Vec<Bytes>, gzip: bool) -> (io::Error, usize) {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        let pieces = pieces.into_iter().map(move |piece| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(piece)
        });
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let mut command = tokio::process::Command::new("true");
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let fed = feed(body, gzip, &mut input).await;
        assert!(child.wait().await.unwrap().success());
        (fed.unwrap_err(), taken.load(Ordering::SeqCst))
    }

    fn compressed(plain: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::fast();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    /// git ends in the middle of a push that is too large: the client is heard to its end, so that it hears why.
    #[tokio::test]
    async fn a_body_that_git_does_not_want_is_read_to_its_end() {
        let plain = vec![Bytes::from(vec![0; 64 << 10]); PIECES];
        let (error, taken) = feed_the_deaf(plain, false).await;
        assert_eq!((error.kind(), taken), (io::ErrorKind::BrokenPipe, PIECES));

        let whole = compressed(&vec![0; 16 << 20]);
        let pieces: Vec<Bytes> = whole.chunks(1 << 10).map(Bytes::copy_from_slice).collect();
        let count = pieces.len();
        let (error, taken) = feed_the_deaf(pieces, true).await;
        assert_eq!((error.kind(), taken), (io::ErrorKind::BrokenPipe, count));
    }

    #[tokio::test]
    async fn what_does_not_inflate_is_read_to_its_end() {
        let noise = vec![Bytes::from_static(b"no gzip at all"); PIECES];
        let (error, taken) = feed_the_deaf(noise, true).await;
        assert_eq!((error.kind(), taken), (io::ErrorKind::InvalidInput, PIECES));
    }

    #[tokio::test]
    async fn a_small_body_that_becomes_too_large_is_refused() {
        let mut child = tokio::process::Command::new("cat");
        let child = child.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = child.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let bomb = compressed(&vec![0; INFLATED_BYTES_MAX + (1 << 20)]);
        let fed = feed(Body::from(bomb), true, &mut input).await;
        assert_eq!(fed.unwrap_err().to_string(), "the request is too large");
        drop(input);
        assert!(child.wait().await.unwrap().success());
    }
}
