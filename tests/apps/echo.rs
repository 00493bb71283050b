//! The application of the end-to-end tests: a small HTTP server on the standard library alone, linked statically.
//!
//! `MODE` (environment) chooses how it behaves: `ok`, `crash` (prints and exits with 42), `wrong-port` (listens on
//! 5000 whatever `PORT` says), `sick` (health check answers 500). It ends when it is asked to (SIGTERM) and nothing
//! is under way. Paths:
//! `/` what it is; `/health`; `/slow?ms=N` answers after N ms; `/drip?chunks=N&ms=M` N chunks, M ms apart;
//! `POST /upload` length and checksum of the body; `/exit?code=N`; `/eat?mb=N` uses memory; `/write?mb=N` uses disk;
//! `/reach?addr=A` tries a connection; `/read?path=P`; `/env?name=N`.

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

struct Request {
    method: String,
    path: String,
    query: HashMap<String, String>,
    length: usize,
    chunked: bool,
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
        length: 0,
        chunked: false,
    };
    loop {
        let mut header = String::new();
        reader
            .read_line(&mut header)
            .ok()
            .filter(|length| *length > 0)?;
        let header = header.trim().to_ascii_lowercase();
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

fn respond(writer: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    write!(
        writer,
        "HTTP/1.1 {status} -\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
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
