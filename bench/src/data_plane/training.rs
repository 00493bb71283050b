//! What a build of the proxy that counts is made to do, so that its profile tells what production does: the works that are
//! measured, and what they leave out. The next build keeps what was done here together and fast, and moves the rest away; a
//! kind of request that is missing here is slower for it.

mod application;
mod clients;

use super::contender::Contender;
use super::work::{self, WORKS};
use super::{application as measured, load};
use anyhow::{Context as _, Result, ensure};
use apron_e2e::run;
use apron_link::proxy::UpstreamProtocol;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// How often each measured work is run.
const ROUNDS: u32 = 2;

/// Requests of each kind that is not measured, and of each kind with large bodies.
const REQUESTS: usize = 8_000;
const LARGE_REQUESTS: usize = 200;

/// Connections of each kind.
const CONNECTIONS: usize = 8;

/// Bytes of a small and of a large upload.
const SMALL_BYTES: usize = 1_000;
const LARGE_BYTES: usize = 300_000;

/// Runs everything against `program`, which writes its profile when it is asked to end.
pub fn train(program: &Path) -> Result<()> {
    println!("    measured works");
    let contender = Contender::instrumented(program, measured::start()?, UpstreamProtocol::Http1)?;
    for _ in 0..ROUNDS {
        for (work, ..) in WORKS {
            work::measure(work, &contender)?;
        }
    }
    contender.end()?;
    let application = application::start()?;
    for (protocol, title) in [
        (UpstreamProtocol::Http1, "bodies, streams, upgrades"),
        (
            UpstreamProtocol::H2c,
            "the same with HTTP/2 to the instance",
        ),
    ] {
        println!("    {title}");
        let contender = Contender::instrumented(program, application, protocol)?;
        bodies(&contender)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(own_clients(&contender, protocol))?;
        contender.end()?;
    }
    Ok(())
}

/// Uploads that come back, and answers of unknown length, over every protocol of clients.
fn bodies(contender: &Contender) -> Result<()> {
    let (small, large) = (body(SMALL_BYTES)?, body(LARGE_BYTES)?);
    let plain = format!("http://localhost:{}", contender.plain.port());
    let https = format!("https://localhost:{}", contender.https.port());
    for (base, words) in [
        (&plain, &["--h1"][..]),
        (&https, &["--h1"]),
        (&https, &["-m", "8"]),
    ] {
        h2load(words, REQUESTS, None, &format!("{base}/stream"))?;
        for (requests, body) in [(REQUESTS, &small), (LARGE_REQUESTS, &large)] {
            h2load(words, requests, Some(body.path()), &format!("{base}/echo"))?;
        }
    }
    Ok(())
}

fn body(bytes: usize) -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(&vec![b'0'; bytes])?;
    Ok(file)
}

fn h2load(words: &[&str], requests: usize, upload: Option<&Path>, url: &str) -> Result<()> {
    let mut command = Command::new("h2load");
    command
        .args(["-c", &CONNECTIONS.to_string()])
        .args(["-n", &requests.to_string()])
        .args(words);
    if let Some(file) = upload {
        command.arg("-d").arg(file);
    }
    let output = run::ok(command.arg(url))?;
    let line = output.lines().find(|line| line.starts_with("status codes"));
    let line = line.with_context(|| format!("h2load did not report: {output}"))?;
    ensure!(
        line.starts_with(&format!("status codes: {requests} 2xx, ")),
        "of {requests} requests to {url}: {line}"
    );
    Ok(())
}

/// What no usual client does many times a second: chunked uploads and, where the instance can, upgraded connections.
async fn own_clients(contender: &Contender, protocol: UpstreamProtocol) -> Result<()> {
    let plain = load::Target {
        address: contender.plain,
        tls: None,
        path: "/collect",
    };
    let https = load::Target {
        address: contender.https,
        tls: Some(load::tls("http/1.1")?),
        path: "/collect",
    };
    for target in [plain, https] {
        let each = REQUESTS / CONNECTIONS;
        clients::chunked_uploads(&target, CONNECTIONS, each, SMALL_BYTES).await?;
        if protocol == UpstreamProtocol::Http1 {
            clients::tunnels(&target, CONNECTIONS, each, SMALL_BYTES).await?;
        }
    }
    Ok(())
}
