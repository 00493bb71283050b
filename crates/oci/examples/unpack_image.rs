//! Measures how an image gets from a client to directories that can be mounted: pushed over loopback into an empty
//! content store, then unpacked, everything synced to disk.
//!
//! ```text
//! unpack_image <oci-layout-directory> <tag> <empty-work-directory> [--runs <number>]
//! ```
//!
//! The last line of the output is JSON: `{"measurement":"unpack","runs":…,"rows":[{"who":…,"p50_ms":…,"p95_ms":…}]}`.

use apron_oci::{
    Action, ContentStore, Digest, Gate, Reference, Refusal, RegistryBounds, UnpackBounds, Visitor,
    registry, remove_tree, unpack, unpack_unsynced,
};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn Error>;

const REPOSITORY: &str = "measured";
const RUNS: usize = 5;

/// Lets everybody do everything.
struct Open;

#[async_trait]
impl Gate for Open {
    async fn authorize(&self, _: Visitor<'_>, _: Option<&str>, _: Action) -> Result<(), Refusal> {
        Ok(())
    }

    async fn may_overwrite_tag(&self, _: &str, _: &str) -> Result<(), Refusal> {
        Ok(())
    }

    async fn pushed(&self, _: &str, _: Option<&str>, _: &str) {}
}

/// An image in an OCI layout: its manifest and the files of its parts.
struct Source {
    manifest: Vec<u8>,
    parts: Vec<(Digest, PathBuf)>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (layout, tag, work, runs) = match arguments.as_slice() {
        [layout, tag, work] => (layout, tag, work, RUNS),
        [layout, tag, work, option, runs] if option == "--runs" => {
            (layout, tag, work, runs.parse()?)
        }
        _ => {
            return Err(
                "usage: unpack_image <oci-layout> <tag> <work-directory> [--runs <n>]".into(),
            );
        }
    };
    let source = read_layout(Path::new(layout), tag)?;
    let mut took = Vec::new();
    for run in 0..runs {
        let one = measure(&source, &Path::new(work).join(run.to_string())).await?;
        let Took {
            pushed,
            unpacked,
            unsynced,
        } = one;
        println!(
            "run {run}: push {pushed:.0} ms, unpack {unpacked:.0} ms, unsynced {unsynced:.0} ms"
        );
        took.push(one);
    }
    // Only now: file systems without a journal make files slowly where others were just removed.
    for run in 0..runs {
        remove_tree(&Path::new(work).join(run.to_string()))?;
    }
    let row = |who: &str, part: fn(&Took) -> f64| row(who, took.iter().map(part).collect());
    let rows = [
        row("apron: push over HTTP + unpack, synced", |took| {
            took.pushed + took.unpacked
        }),
        row("apron: push over HTTP, synced", |took| took.pushed),
        row("apron: unpack, synced", |took| took.unpacked),
        row("apron: unpack, not synced", |took| took.unsynced),
    ];
    println!(
        "{}",
        json!({ "measurement": "unpack", "runs": runs, "rows": rows })
    );
    Ok(())
}

/// Milliseconds of one run's parts.
struct Took {
    pushed: f64,
    unpacked: f64,
    unsynced: f64,
}

/// Pushes once and unpacks twice.
async fn measure(source: &Source, work: &Path) -> Result<Took, Failure> {
    let store = ContentStore::open(&work.join("store"))?;
    let router = registry(
        Arc::clone(&store),
        Arc::new(Open),
        RegistryBounds::default(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                if let Err(error) = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                {
                    eprintln!("connection: {error}");
                }
            });
        }
    });
    let begun = Instant::now();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(TcpStream::connect(address).await?))
            .await?;
    tokio::spawn(connection);
    for (digest, path) in &source.parts {
        let target = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={digest}");
        send(&mut sender, Method::POST, &target, std::fs::read(path)?).await?;
    }
    let target = format!("/v2/{REPOSITORY}/manifests/v1");
    send(&mut sender, Method::PUT, &target, source.manifest.clone()).await?;
    let pushed = milliseconds(begun);
    server.abort();

    let digest = store.resolve(REPOSITORY, &Reference::parse("v1")?).await?;
    let digest = digest.ok_or("the pushed tag is not there")?;
    let begun = Instant::now();
    unpack_all(&store, &digest, &work.join("layers"), true).await?;
    let unpacked = milliseconds(begun);
    let begun = Instant::now();
    unpack_all(&store, &digest, &work.join("unsynced"), false).await?;
    Ok(Took {
        pushed,
        unpacked,
        unsynced: milliseconds(begun),
    })
}

/// Unpacks all layers of an image, at the same time.
async fn unpack_all(
    store: &Arc<ContentStore>,
    digest: &Digest,
    directory: &Path,
    synced: bool,
) -> Result<(), Failure> {
    let image = store.image(digest.as_str()).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for layer in image.layers {
        let (store, destination) = (Arc::clone(store), directory.join(layer.diff_id.hex()));
        tasks.spawn(async move {
            let bounds = UnpackBounds::default();
            match synced {
                true => unpack(&store, &layer, &destination, &bounds).await,
                false => unpack_unsynced(&store, &layer, &destination, &bounds).await,
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn send(
    sender: &mut SendRequest<Full<Bytes>>,
    method: Method,
    target: &str,
    body: Vec<u8>,
) -> Result<(), Failure> {
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "loopback");
    sender.ready().await?;
    let response = sender
        .send_request(request.body(Full::new(Bytes::from(body)))?)
        .await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    match status.is_success() {
        true => Ok(()),
        false => Err(format!("{target}: {status} {}", String::from_utf8_lossy(&body)).into()),
    }
}

fn read_layout(layout: &Path, tag: &str) -> Result<Source, Failure> {
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
    let entries = index["manifests"]
        .as_array()
        .ok_or("the layout has no manifests")?;
    let entry = entries
        .iter()
        .find(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == tag)
        .ok_or("the layout has no such tag")?;
    let blob = |descriptor: &Value| -> Result<(Digest, PathBuf), Failure> {
        let digest = Digest::parse(
            descriptor["digest"]
                .as_str()
                .ok_or("a descriptor has no digest")?,
        )?;
        let path = layout.join("blobs/sha256").join(digest.hex());
        Ok((digest, path))
    };
    let manifest = std::fs::read(blob(entry)?.1)?;
    let value: Value = serde_json::from_slice(&manifest)?;
    let mut parts = vec![blob(&value["config"])?];
    for layer in value["layers"]
        .as_array()
        .ok_or("the manifest has no layers")?
    {
        parts.push(blob(layer)?);
    }
    Ok(Source { manifest, parts })
}

fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}

fn row(who: &str, mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let at = |share: usize| {
        let index = (values.len() * share).div_ceil(100).saturating_sub(1);
        values.get(index).copied().unwrap_or(f64::NAN)
    };
    json!({ "who": who, "p50_ms": at(50), "p95_ms": at(95) })
}
