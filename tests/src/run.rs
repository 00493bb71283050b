//! Running real clients.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest time any client may take.
const CLIENT_MAX: Duration = Duration::from_secs(240);
/// Time between two looks at a running client.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a client said and how it ended.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a client and returns how it went, success or not. One that takes too long is ended.
pub fn output(command: &mut Command, input: Option<&str>) -> Result<Output> {
    let text = format!("{command:?}");
    command.stdin(if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start {text}"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // A client that ends without reading says why on its own outputs.
        stdin.write_all(input.as_bytes()).ok();
    }
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let status = wait(&mut child, &text)?;
    Ok(Output {
        status,
        stdout: collect(stdout),
        stderr: collect(stderr),
    })
}

fn wait(child: &mut Child, text: &str) -> Result<ExitStatus> {
    let deadline = Instant::now() + CLIENT_MAX;
    loop {
        if let Some(status) = child
            .try_wait()
            .with_context(|| format!("could not wait for {text}"))?
        {
            return Ok(status);
        }
        if Instant::now() > deadline {
            child.kill().ok();
            child.wait().ok();
            bail!("{text} did not end within {} s", CLIENT_MAX.as_secs());
        }
        crate::wait::pace(LOOK_EVERY);
    }
}

fn drain<R: Read + Send + 'static>(pipe: Option<R>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes).ok();
        }
        bytes
    })
}

fn collect(reader: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
}

/// Runs a client that must succeed and returns its standard output.
pub fn ok(command: &mut Command) -> Result<String> {
    ok_with_input(command, None)
}

/// Like [`ok`], with `input` on standard input.
pub fn ok_with_input(command: &mut Command, input: Option<&str>) -> Result<String> {
    let done = output(command, input)?;
    if !done.status.success() {
        bail!(
            "{command:?} ended with {}\n{}{}",
            done.status,
            done.stdout,
            done.stderr
        );
    }
    Ok(done.stdout)
}

/// Runs a client that must fail and returns everything it said.
pub fn fails(command: &mut Command) -> Result<String> {
    let done = output(command, None)?;
    if done.status.success() {
        bail!(
            "{command:?} succeeded, which it must not\n{}{}",
            done.stdout,
            done.stderr
        );
    }
    Ok(format!("{}{}", done.stdout, done.stderr))
}
