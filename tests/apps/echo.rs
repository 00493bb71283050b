//! The application of the end-to-end tests: a small HTTP server on the standard library alone, linked statically.
//!
//! `MODE` (environment) chooses how it behaves: `ok`, `crash` (prints and exits with 42), `wrong-port` (listens on
//! 5000 whatever `PORT` says), `sick` (health check answers 500). It ends when it is asked to (SIGTERM) and nothing
//! is under way. Paths:
//! `/` what it is; `/health`; `/slow?ms=N` answers after N ms; `/drip?chunks=N&ms=M` N chunks, M ms apart;
//! `POST /upload` length and checksum of the body; `/exit?code=N`; `/eat?mb=N` uses memory; `/write?mb=N` uses disk;
//! `/reach?addr=A` tries a connection; `/read?path=P`; `/env?name=N`; `/ws` is a WebSocket that gives every message back
//! and is closed with 1001 when the application is asked to end.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

static STOP: AtomicBool = AtomicBool::new(false);
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

const SIGTERM: i32 = 15;

unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
}

extern "C" fn on_term(_: i32) {
    STOP.store(true, Ordering::SeqCst);
}

fn env(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn main() {
    let mode = env("MODE", "ok");
    println!("echo {} starts in mode {mode}", env("VERSION", "none"));
    if mode == "crash" {
        eprintln!("fatal: cannot open the database");
        std::process::exit(42);
    }
    // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler.
    unsafe { signal(SIGTERM, on_term) };
    let port = if mode == "wrong-port" {
        "5000".to_owned()
    } else {
        env("PORT", "8080")
    };
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).expect("the port is free");
    println!("listening on {port}");
    std::thread::spawn(end_when_asked);
    for stream in listener.incoming().flatten() {
        let mode = mode.clone();
        std::thread::spawn(move || serve(stream, &mode));
    }
}

fn end_when_asked() {
    while !(STOP.load(Ordering::SeqCst) && UNDER_WAY.load(Ordering::SeqCst) == 0) {
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("asked to stop, goodbye");
    std::process::exit(0);
}

#[derive(Default)]
struct Request {
    method: String,
    path: String,
    query: HashMap<String, String>,
    length: usize,
    chunked: bool,
    websocket_key: String,
}

impl Request {
    fn number(&self, name: &str) -> u64 {
        self.query
            .get(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(0)
    }

    fn text(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}

fn serve(stream: TcpStream, mode: &str) {
    stream.set_nodelay(true).ok();
    let Ok(mut writer) = stream.try_clone() else {
        return;
    };
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_head(&mut reader) {
        UNDER_WAY.fetch_add(1, Ordering::SeqCst);
        let outcome = answer(&request, &mut reader, &mut writer, mode);
        UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
        println!("\"{} {}\"", request.method, request.path);
        if outcome.is_err() {
            return;
        }
    }
}

fn read_head(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader
        .read_line(&mut line)
        .ok()
        .filter(|length| *length > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = query
        .map(|(name, value)| (name.to_owned(), value.replace("%2F", "/")))
        .collect();
    let mut request = Request {
        method,
        path: path.to_owned(),
        query,
        ..Request::default()
    };
    loop {
        let mut header = String::new();
        reader
            .read_line(&mut header)
            .ok()
            .filter(|length| *length > 0)?;
        let text = header.trim();
        let header = text.to_ascii_lowercase();
        if header.starts_with("sec-websocket-key:") {
            request.websocket_key = text[18..].trim().to_owned();
        }
        if header.is_empty() {
            return Some(request);
        }
        if let Some(length) = header.strip_prefix("content-length:") {
            request.length = length.trim().parse().ok()?;
        }
        request.chunked |= header.starts_with("transfer-encoding:") && header.contains("chunked");
    }
}

fn answer(
    request: &Request,
    reader: &mut BufReader<TcpStream>,
    writer: &mut TcpStream,
    mode: &str,
) -> std::io::Result<()> {
    let (length, sum) = read_body(request, reader)?;
    match request.path.as_str() {
        "/health" if mode == "sick" => respond(writer, 500, "the database is down\n"),
        "/health" => respond(writer, 200, "fine\n"),
        "/slow" => {
            std::thread::sleep(Duration::from_millis(request.number("ms")));
            respond(writer, 200, &identity())
        }
        "/drip" => drip(request, writer),
        "/ws" => websocket(&request.websocket_key, reader, writer),
        "/upload" => respond(
            writer,
            200,
            &format!("{{\"length\":{length},\"sum\":{sum}}}"),
        ),
        "/exit" => {
            println!("exiting on request");
            std::process::exit(i32::try_from(request.number("code")).unwrap_or(1));
        }
        "/eat" => respond(writer, 200, &eat(request.number("mb"))),
        "/write" => respond(writer, 200, &fill_disk(request.number("mb"))),
        "/reach" => respond(writer, 200, &reach(request.text("addr"))),
        "/read" => match std::fs::read_to_string(request.text("path")) {
            Ok(text) => respond(writer, 200, &text),
            Err(error) => respond(writer, 404, &error.to_string()),
        },
        "/env" => respond(writer, 200, &env(request.text("name"), "")),
        "/" => respond(writer, 200, &identity()),
        _ => respond(writer, 404, "no such path\n"),
    }
}

fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!(
        "{{\"version\":\"{}\",\"environment\":\"{}\",\"instance\":\"{}\",\"pid\":{}}}",
        env("VERSION", "none"),
        env("APP_ENV", "none"),
        host.trim(),
        std::process::id()
    )
}

/// Answers with one write, as servers do that gather what they send.
fn respond(writer: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} -\r\nContent-Length: {length}\r\n\r\n{body}");
    writer.write_all(answer.as_bytes())
}

fn drip(request: &Request, writer: &mut TcpStream) -> std::io::Result<()> {
    write!(
        writer,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    )?;
    for _ in 0..request.number("chunks") {
        std::thread::sleep(Duration::from_millis(request.number("ms")));
        write!(writer, "5\r\ndrop\n\r\n")?;
    }
    write!(writer, "0\r\n\r\n")
}

/// Reads the body and returns its length and the sum of its bytes.
fn read_body(
    request: &Request,
    reader: &mut BufReader<TcpStream>,
) -> std::io::Result<(usize, u64)> {
    if !request.chunked {
        return read_counted(reader, request.length);
    }
    let (mut length, mut sum) = (0, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        let (more, bytes) = read_counted(reader, size)?;
        reader.read_line(&mut String::new())?;
        if size == 0 {
            return Ok((length, sum));
        }
        length += more;
        sum += bytes;
    }
}

fn read_counted(reader: &mut BufReader<TcpStream>, length: usize) -> std::io::Result<(usize, u64)> {
    let mut left = length;
    let mut sum = 0;
    let mut buffer = [0; 16 << 10];
    while left > 0 {
        let wanted = left.min(buffer.len());
        let got = reader.read(&mut buffer[..wanted])?;
        if got == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        sum += buffer[..got]
            .iter()
            .map(|byte| u64::from(*byte))
            .sum::<u64>();
        left -= got;
    }
    Ok((length, sum))
}

fn eat(megabytes: u64) -> String {
    let mut eaten = Vec::new();
    for _ in 0..megabytes {
        eaten.push(vec![1_u8; 1 << 20]);
    }
    format!(
        "ate {} MB",
        eaten.iter().filter(|block| block[7] == 1).count()
    )
}

fn fill_disk(megabytes: u64) -> String {
    let block = vec![7_u8; 1 << 20];
    let mut written = 0;
    let outcome = std::fs::File::create("/filler").and_then(|mut file| {
        for _ in 0..megabytes {
            file.write_all(&block)?;
            written += 1;
        }
        file.sync_all()
    });
    std::fs::remove_file("/filler").ok();
    match outcome {
        Ok(()) => format!("wrote {written} MB"),
        Err(error) => format!("stopped after {written} MB: {error}"),
    }
}

fn reach(address: &str) -> String {
    let started = Instant::now();
    let Some(target) = address
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
    else {
        return format!("cannot resolve {address}");
    };
    match TcpStream::connect_timeout(&target, Duration::from_secs(2)) {
        Ok(_) => format!("connected after {} ms", started.elapsed().as_millis()),
        Err(error) => format!("not connected: {error}"),
    }
}

/// How often an idle WebSocket looks whether the application is asked to end.
const LOOK: Duration = Duration::from_millis(20);

/// Longest time the other side may take to answer a Close.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Accepts a WebSocket (RFC 6455) and serves it to its end. The connection is closed afterwards, hence always an error.
fn websocket(
    key: &str,
    reader: &mut BufReader<TcpStream>,
    writer: &mut TcpStream,
) -> std::io::Result<()> {
    let accept = base64(&sha1(
        format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
    ));
    write!(
        writer,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    reader.get_ref().set_read_timeout(Some(LOOK))?;
    let mut closed_at: Option<Instant> = None;
    loop {
        if STOP.load(Ordering::SeqCst) && closed_at.is_none() {
            closed_at = Some(Instant::now());
            send_frame(writer, CLOSE, &1001_u16.to_be_bytes())?;
        }
        match reader.fill_buf() {
            Ok([]) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if closed_at.is_some_and(|at| at.elapsed() > CLOSE_WITHIN) {
                    return Err(std::io::ErrorKind::TimedOut.into());
                }
                continue;
            }
            Err(error) => return Err(error),
        }
        let (opcode, payload) = read_frame(reader)?;
        match opcode {
            CLOSE => {
                if closed_at.is_none() {
                    send_frame(writer, CLOSE, &payload)?;
                }
                return Err(std::io::ErrorKind::ConnectionAborted.into());
            }
            // After a Close nothing but its answer may be sent.
            _ if closed_at.is_some() => {}
            TEXT | BINARY => send_frame(writer, opcode, &payload)?,
            PING => send_frame(writer, PONG, &payload)?,
            _ => {}
        }
    }
}

/// Reads one frame; fragments are given back as they came.
fn read_frame(reader: &mut BufReader<TcpStream>) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    read_patiently(reader, &mut head)?;
    let length = match head[1] & 0x7f {
        126 => {
            let mut bytes = [0; 2];
            read_patiently(reader, &mut bytes)?;
            usize::from(u16::from_be_bytes(bytes))
        }
        127 => {
            let mut bytes = [0; 8];
            read_patiently(reader, &mut bytes)?;
            usize::try_from(u64::from_be_bytes(bytes)).map_err(std::io::Error::other)?
        }
        length => usize::from(length),
    };
    if length > 16 << 20 {
        return Err(std::io::Error::other("a frame over 16 MiB"));
    }
    let mut mask = [0; 4];
    if head[1] & 0x80 != 0 {
        read_patiently(reader, &mut mask)?;
    }
    let mut payload = vec![0; length];
    read_patiently(reader, &mut payload)?;
    for (index, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[index % 4];
    }
    Ok((head[0] & 0x0f, payload))
}

/// Reads everything in spite of the socket's short timeout.
fn read_patiently(reader: &mut BufReader<TcpStream>, into: &mut [u8]) -> std::io::Result<()> {
    let mut filled = 0;
    while filled < into.len() {
        match reader.read(&mut into[filled..]) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn send_frame(writer: &mut TcpStream, opcode: u8, payload: &[u8]) -> std::io::Result<()> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..126 => frame.push(length as u8),
        length @ 126..0x1_0000 => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    writer.write_all(&frame)
}

/// SHA-1 (RFC 3174), which the WebSocket handshake asks for.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((message.len() as u64 * 8).to_be_bytes());
    let mut state: [u32; 5] = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];
    for block in padded.chunks_exact(64) {
        let mut words = [0_u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        for t in 16..80 {
            words[t] = (words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (t, word) in words.iter().enumerate() {
            let (mix, constant) = match t {
                0..20 => ((b & c) | (!b & d), 0x5a827999),
                20..40 => (b ^ c ^ d, 0x6ed9eba1),
                40..60 => ((b & c) | (b & d) | (c & d), 0x8f1bbcdc),
                _ => (b ^ c ^ d, 0xca62c1d6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(mix).wrapping_add(e);
            let next = next.wrapping_add(*word).wrapping_add(constant);
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        for (value, add) in state.iter_mut().zip([a, b, c, d, e]) {
            *value = value.wrapping_add(add);
        }
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let value = (0..3).fold(0_u32, |value, index| {
            value << 8 | u32::from(group.get(index).copied().unwrap_or(0))
        });
        for index in 0..4 {
            let symbol = ALPHABET[(value >> (18 - 6 * index) & 63) as usize] as char;
            text.push(if index <= group.len() { symbol } else { '=' });
        }
    }
    text
}
