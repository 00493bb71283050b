//! The application behind every proxy: answers `/` with 198 bytes and [`LARGE`] with 1 MiB, on a thread of its own.

use super::load::head_length;
use anyhow::{Context as _, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The path of the large answer.
pub const LARGE: &str = "/large";

/// Bytes of the small and of the large answer.
const SMALL_BYTES: usize = 198;
pub const LARGE_BYTES: usize = 1 << 20;

/// Starts the application; it serves until the process ends.
pub fn start() -> Result<SocketAddr> {
    on_a_thread(accept)
}

/// Has `serve` serve a new listener on a thread of its own until the process ends; answers where.
pub fn on_a_thread<F: Future>(
    serve: impl FnOnce(TcpListener) -> F + Send + 'static,
) -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime for the application")?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            // One that was made for it is always taken.
            if let Ok(listener) = TcpListener::from_std(listener) {
                serve(listener).await;
            }
        });
    });
    Ok(address)
}

async fn accept(listener: TcpListener) {
    let answers = Arc::new([answer(SMALL_BYTES), answer(LARGE_BYTES)]);
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&answers)));
        }
    }
}

fn answer(bytes: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nserver: measured\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         content-type: application/json\r\ncontent-length: {bytes}\r\n\r\n"
    );
    let mut answer = head.into_bytes();
    answer.resize(answer.len() + bytes, b'0');
    answer
}

async fn serve(mut stream: TcpStream, answers: Arc<[Vec<u8>; 2]>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut read = Vec::with_capacity(4 << 10);
    let large = format!("GET {LARGE} ");
    loop {
        while let Some(length) = head_length(&read) {
            let index = usize::from(read.starts_with(large.as_bytes()));
            read.drain(..length);
            if stream.write_all(&answers[index]).await.is_err() {
                return;
            }
        }
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
