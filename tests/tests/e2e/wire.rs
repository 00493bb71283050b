//! Other protocols than plain requests, with the libraries people use: gRPC and WebSocket; and
//! a real browser.

use anyhow::{Context, Result, bail, ensure};
use apron_e2e::api::LOGS;
use apron_e2e::service::{Service, create_input};
use apron_e2e::{Platform, assets, run};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Runs a client of the application and expects it to come to its end.
fn client(platform: &Platform, script: &str, service: &Service, more: &[&str]) -> Result<()> {
    let mut command = platform.client(assets::wire_python()?);
    command
        .arg(assets::checkout().join("tests/apps").join(script))
        .arg(platform.https_port().to_string())
        .arg(&service.url)
        .arg(platform.ca())
        .args(more);
    let said = run::ok(&mut command)?;
    ensure!(said.trim_end().ends_with("done"), "{said}");
    Ok(())
}

#[test]
fn grpc_calls_of_every_kind_pass() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push_wire("grpc")?;
    let mut input = create_input("grpc", &image);
    input["HealthCheckConfiguration"] = json!({ "Protocol": "TCP", "Interval": 1, "Timeout": 1 });
    input["Tags"] = json!([{ "Key": "apron:upstream-protocol", "Value": "h2c" }]);
    let service = platform.create_service_from(&input)?;
    if let Err(error) = service.settle_as(&platform, "RUNNING") {
        let group = format!("/aws/apprunner/{}/{}/application", service.name, service.id);
        let said = platform.call(LOGS, "FilterLogEvents", &json!({ "logGroupName": group }))?;
        bail!("{error:#}\n{said:#}");
    }
    client(&platform, "grpc_client.py", &service, &[])?;
    service.operate(&platform, "PauseService")?;
    service.settle_as(&platform, "PAUSED")?;
    client(&platform, "grpc_client.py", &service, &["paused"])
}

#[test]
fn websockets_pass() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push_wire("websocket")?;
    let service = platform.running_service("websocket", &image)?;
    client(&platform, "websocket_client.py", &service, &[])
}

/// Carries connections to a Unix socket on to a port of this machine, for as long as the test's process lives.
fn offer(path: &Path, port: u16) -> Result<()> {
    let listener = UnixListener::bind(path).context("could not offer the relay")?;
    std::thread::spawn(move || {
        for inner in listener.incoming().flatten() {
            let Ok(outer) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
                continue;
            };
            outer.set_nodelay(true).ok();
            let (Ok(inner_too), Ok(outer_too)) = (inner.try_clone(), outer.try_clone()) else {
                continue;
            };
            std::thread::spawn(move || carry(inner, outer, |to| to.shutdown(Shutdown::Write)));
            std::thread::spawn(move || {
                carry(outer_too, inner_too, |to| to.shutdown(Shutdown::Write))
            });
        }
    });
    Ok(())
}

/// Carries one direction to its end, and passes the end on.
fn carry<R: Read, W: Write>(mut from: R, mut to: W, end: impl FnOnce(&W) -> std::io::Result<()>) {
    // A connection that breaks is the browser's to judge.
    std::io::copy(&mut from, &mut to).ok();
    end(&to).ok();
}

#[test]
fn a_browser_works_with_streams_events_uploads_and_websockets() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push_wire("page")?;
    let service = platform.running_service("page", &image)?;
    let script = platform.dir().join("browser.mjs");
    std::fs::copy(assets::checkout().join("tests/apps/browser.mjs"), &script)?;
    std::os::unix::fs::symlink(
        assets::find("browser")?.join("node_modules"),
        platform.dir().join("node_modules"),
    )?;
    let relay = platform.dir().join("relay.sock");
    offer(&relay, platform.https_port())?;
    // A browser gives up its connections when a network interface of the machine comes or goes, as those of instances do:
    // it has a network of its own, out of which the relay leads.
    let mut command = platform.client("unshare");
    command
        .args([
            "--net",
            "sh",
            "-c",
            "ip link set lo up && exec node \"$@\"",
            "sh",
        ])
        .arg(&script)
        .arg(assets::chromium())
        .arg(platform.https_port().to_string())
        .arg(&service.url)
        .arg(platform.dir().join("profile"))
        .arg(&relay);
    let said = run::ok(&mut command).with_context(|| {
        let group = format!("/aws/apprunner/{}/{}/service", service.name, service.id);
        let log = platform.call(LOGS, "FilterLogEvents", &json!({ "logGroupName": group }));
        format!("the service's log: {log:#?}")
    })?;
    ensure!(said.trim_end().ends_with("done"), "{said}");
    Ok(())
}
