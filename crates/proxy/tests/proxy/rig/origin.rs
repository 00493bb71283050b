//! Applications: a thread per connection, in this process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// An application.
pub struct Origin {
    pub address: SocketAddr,
    /// Connections accepted so far.
    pub connections: Arc<AtomicUsize>,
    /// Requests that are being handled by [`Origin::http`].
    pub busy: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
}

/// A request as the application got it.
#[derive(Debug, Default)]
pub struct Received {
    pub head: String,
    pub body: Vec<u8>,
    pub trailers: String,
}

impl Received {
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        fields
            .filter(|(it, _)| it.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .next()
    }
}

impl Origin {
    /// Handles every connection with `handle` on a thread of its own.
    pub fn raw(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Origin::on(listener, handle)
    }

    pub fn on(listener: TcpListener, handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Origin {
        let origin = Origin {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            busy: Arc::default(),
            stopped: Arc::default(),
        };
        let (handle, count, stopped) = (
            Arc::new(handle),
            Arc::clone(&origin.connections),
            Arc::clone(&origin.stopped),
        );
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stopped.load(SeqCst) {
                    return;
                }
                count.fetch_add(1, SeqCst);
                stream.set_nodelay(true).unwrap();
                let handle = Arc::clone(&handle);
                std::thread::spawn(move || handle(stream));
            }
        });
        origin
    }

    /// Answers every request with what `answer` writes: a whole response.
    pub fn http(
        answer: impl Fn(&Received, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Origin {
        let busy = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&busy);
        let mut origin = Origin::raw(move |mut stream| {
            let mut read = Vec::new();
            while let Ok(Some(request)) = receive(&mut stream, &mut read) {
                counted.fetch_add(1, SeqCst);
                let answered = answer(&request, &mut stream);
                counted.fetch_sub(1, SeqCst);
                if answered.is_err() {
                    return;
                }
            }
        });
        origin.busy = busy;
        origin
    }

    /// Answers every request with this text.
    pub fn saying(text: &'static str) -> Origin {
        Origin::http(move |_, stream| respond(stream, text.as_bytes()))
    }

    /// Answers with the head it got, and the length of the body in a field.
    pub fn mirror() -> Origin {
        Origin::http(|request, stream| {
            let (length, body) = (request.head.len(), request.body.len());
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nx-body-bytes: {body}\r\n\r\n"
            );
            stream.write_all(format!("{head}{}", request.head).as_bytes())
        })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stopped.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// Writes a response with this body.
pub fn respond(stream: &mut impl Write, body: &[u8]) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat())
}

/// Reads a whole request; `None` at the end of the connection.
pub fn receive(stream: &mut impl Read, read: &mut Vec<u8>) -> std::io::Result<Option<Received>> {
    let Some(head) = until(stream, read, b"\r\n\r\n")? else {
        return Ok(None);
    };
    let mut request = Received {
        head: String::from_utf8(head).unwrap(),
        ..Received::default()
    };
    if request.header("transfer-encoding").is_some() {
        loop {
            let Some(line) = until(stream, read, b"\r\n")? else {
                return Ok(None);
            };
            let size =
                usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            if size == 0 {
                break;
            }
            let Some(chunk) = exactly(stream, read, size + 2)? else {
                return Ok(None);
            };
            request.body.extend_from_slice(&chunk[..size]);
        }
        loop {
            let Some(line) = until(stream, read, b"\r\n")? else {
                return Ok(None);
            };
            if line == b"\r\n" {
                break;
            }
            request
                .trailers
                .push_str(std::str::from_utf8(&line).unwrap());
        }
    } else if let Some(length) = request.header("content-length") {
        let length = length.parse().unwrap();
        let Some(body) = exactly(stream, read, length)? else {
            return Ok(None);
        };
        request.body = body;
    }
    Ok(Some(request))
}

fn until(
    stream: &mut impl Read,
    read: &mut Vec<u8>,
    end: &[u8],
) -> std::io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(at) = read.windows(end.len()).position(|window| window == end) {
            return Ok(Some(read.drain(..at + end.len()).collect()));
        }
        if !more(stream, read)? {
            return Ok(None);
        }
    }
}

fn exactly(
    stream: &mut impl Read,
    read: &mut Vec<u8>,
    count: usize,
) -> std::io::Result<Option<Vec<u8>>> {
    while read.len() < count {
        if !more(stream, read)? {
            return Ok(None);
        }
    }
    Ok(Some(read.drain(..count).collect()))
}

fn more(stream: &mut impl Read, read: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut bytes = [0; 65_536];
    let count = stream.read(&mut bytes)?;
    read.extend_from_slice(&bytes[..count]);
    Ok(count > 0)
}
