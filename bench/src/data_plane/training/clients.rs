//! Clients of the training alone.

use super::super::load::{Clients, Target, all, head_length};
use super::super::rig::HOST;
use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

/// Pieces of an upload.
const PIECES: usize = 4;

/// Uploads in pieces whose number is not said before.
pub async fn chunked_uploads(
    target: &Target,
    connections: usize,
    each: usize,
    bytes: usize,
) -> Result<()> {
    let piece = bytes / PIECES;
    let chunk = format!("{piece:x}\r\n{}\r\n", "0".repeat(piece));
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        target.path,
        chunk.repeat(PIECES)
    );
    let mut clients = Clients::asking(request, target, connections).await?;
    clients.run(each).await.map(drop)
}

/// Upgraded connections on which each message comes back before the next is sent.
pub async fn tunnels(target: &Target, connections: usize, each: usize, bytes: usize) -> Result<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let target = target.clone();
        tasks.spawn(async move { tunnel(&target, each, bytes).await });
    }
    all(tasks).await.map(drop)
}

async fn tunnel(target: &Target, messages: usize, bytes: usize) -> Result<()> {
    let mut stream = target.connect().await?;
    let request = format!(
        "GET /tunnel HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    while head_length(&head).is_none() {
        let read = stream.read_buf(&mut head).await?;
        ensure!(read > 0, "the connection ended before it was upgraded");
    }
    ensure!(
        head.starts_with(b"HTTP/1.1 101 ") && head_length(&head) == Some(head.len()),
        "answered {}",
        String::from_utf8_lossy(&head)
    );
    let (message, mut back) = (vec![b'0'; bytes], vec![0; bytes]);
    for _ in 0..messages {
        stream.write_all(&message).await?;
        stream.flush().await?;
        stream.read_exact(&mut back).await?;
        ensure!(back == message, "a message came back changed");
    }
    Ok(())
}
