//! Starts `apron-proxy` for a measurement: listeners, a certificate for `localhost`, a route to one application.
//!
//! `bench_rig <apron-proxy> <application address> <directory> <workers>` prints `https=<port> plain=<port> pid=<pid>`,
//! With `-` for the program the proxy runs within this process, for tools that count instructions. Either way it
//! leaves certificate and key in the directory for a peer to use, and serves until its input ends.

use anyhow::Context as _;
use apron_link::frame::encode;
use apron_link::proxy::{Certificate, Route, RouteState, RouteTable, ToProxy, Upstream, VERSION};
use apron_proxy::serve::{Options, serve};
use rustix::io::{FdFlags, fcntl_setfd};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Services in the table beside the one that is measured.
const OTHER_SERVICES: usize = 10_000;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, application, directory, workers] = &arguments[..] else {
        anyhow::bail!("usage: bench_rig <apron-proxy> <application address> <directory> <workers>");
    };
    let (directory, workers): (PathBuf, usize) = (directory.into(), workers.parse()?);
    let certificate = certificate()?;
    std::fs::write(directory.join("chain.pem"), &certificate.chain_pem)?;
    std::fs::write(directory.join("key.pem"), &certificate.key_pem)?;
    let (https, plain) = (listeners(workers)?, listeners(workers)?);
    let socket = directory.join("link.sock");
    let _ = std::fs::remove_file(&socket);
    let link = UnixListener::bind(&socket)?;
    let ports = (https[0].local_addr()?.port(), plain[0].local_addr()?.port());
    let mut proxy = match program.as_str() {
        "-" => {
            let (snapshot, redirect) = (directory.join("routes.json"), Vec::new());
            let options = Options {
                link: socket,
                snapshot,
                https,
                redirect,
                plain,
                workers,
                https_port: None,
                connections_max: 10_000,
            };
            std::thread::spawn(|| serve(options));
            None
        }
        program => Some(start(program, &directory, &https, &plain)?),
    };
    let (mut stream, _) = link.accept()?;
    stream.write_all(&encode(&ToProxy::Welcome { version: VERSION })?)?;
    stream.write_all(&encode(&ToProxy::Routes(table(certificate, application)?))?)?;
    let mut reader = stream.try_clone()?;
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let pid = proxy.as_ref().map_or(std::process::id(), Child::id);
    println!("https={} plain={} pid={pid}", ports.0, ports.1);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    if let Some(proxy) = &mut proxy {
        proxy.kill()?;
        proxy.wait()?;
    }
    Ok(())
}

fn start(
    program: &str,
    directory: &Path,
    https: &[TcpListener],
    plain: &[TcpListener],
) -> anyhow::Result<Child> {
    let numbers = |list: &[TcpListener]| {
        list.iter()
            .map(|it| it.as_raw_fd().to_string())
            .collect::<Vec<_>>()
            .join(",")
    };
    let mut command = Command::new(program);
    command
        .arg("--link")
        .arg(directory.join("link.sock"))
        .arg("--snapshot")
        .arg(directory.join("routes.json"));
    command.args([
        "--https-fds",
        &numbers(https),
        "--plain-fds",
        &numbers(plain),
    ]);
    Ok(command
        .args(["--workers", &https.len().to_string()])
        .spawn()?)
}

fn listeners(workers: usize) -> anyhow::Result<Vec<TcpListener>> {
    let mut port = 0;
    let mut listeners = Vec::new();
    for _ in 0..workers {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_reuse_port(true)?;
        let address: std::net::SocketAddr = ([127, 0, 0, 1], port).into();
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        fcntl_setfd(&socket, FdFlags::empty())?;
        port = socket
            .local_addr()?
            .as_socket()
            .context("an address of IP")?
            .port();
        listeners.push(socket.into());
    }
    Ok(listeners)
}

fn certificate() -> anyhow::Result<Certificate> {
    let names = vec!["localhost".to_owned()];
    let certified = rcgen::generate_simple_self_signed(names.clone())?;
    Ok(Certificate {
        id: "measured".into(),
        names,
        chain_pem: certified.cert.pem(),
        key_pem: certified.signing_key.serialize_pem(),
    })
}

fn table(certificate: Certificate, application: &str) -> anyhow::Result<RouteTable> {
    let address = application.parse()?;
    let route = |(service, host): (String, String)| Route {
        upstreams: vec![Upstream {
            instance: format!("instance-of-{service}"),
            address,
        }],
        service,
        hosts: vec![host],
        state: RouteState::Serving,
        max_concurrency: 1000,
        request_timeout_ms: 120_000,
        access_log: true,
        ..Route::default()
    };
    let others = (0..OTHER_SERVICES).map(|index| {
        (
            format!("other-{index}"),
            format!("other-{index}.apron.test"),
        )
    });
    let routes = std::iter::once(("measured".to_owned(), "localhost".to_owned()))
        .chain(others)
        .map(route)
        .collect();
    Ok(RouteTable {
        generation: 1,
        certificates: vec![certificate],
        routes,
    })
}
