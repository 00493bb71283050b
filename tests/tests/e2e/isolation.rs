//! What an application may use and reach.

use anyhow::{Context, Result, ensure};
use apron_e2e::images::EchoImage;
use apron_e2e::{Platform, Service, run, wait};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

fn ask(service: &Service, platform: &Platform, path: &str) -> Result<String> {
    let response = service.get(platform, path)?;
    ensure!(
        response.status == 200,
        "{path} answers {}: {}",
        response.status,
        response.text()
    );
    Ok(response.text())
}

#[test]
fn an_instance_reaches_no_other_and_nothing_of_the_host() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let one = platform.running_service("echo-one", &image)?;
    let two = platform.running_service("echo-two", &image)?;
    let reach =
        |from: &Service, address: &str| ask(from, &platform, &format!("/reach?addr={address}"));
    // Itself, to know that the question works.
    let own = reach(&one, "127.0.0.1:8080")?;
    ensure!(own.starts_with("connected"), "{own}");

    let address = address_of(&two, &platform)?;
    let other = reach(&one, &format!("{address}:8080"))?;
    ensure!(
        other.starts_with("not connected"),
        "another instance at {address}: {other}"
    );
    let gateway = gateway_of(&one, &platform)?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = listener.local_addr()?.port();
    let host = reach(&one, &format!("{gateway}:{port}"))?;
    ensure!(
        host.starts_with("not connected"),
        "a service of the host at {gateway}: {host}"
    );
    for port in [platform.api_port(), platform.https_port()] {
        let loopback = reach(&one, &format!("127.0.0.1:{port}"))?;
        ensure!(loopback.starts_with("not connected"), "{loopback}");
    }
    for path in [platform.run_dir(), platform.data_dir()] {
        let encoded = path.display().to_string().replace('/', "%2F");
        let read = one.get(&platform, &format!("/read?path={encoded}%2Fapron.toml"))?;
        ensure!(read.status == 404, "{}", read.text());
    }
    Ok(())
}

#[test]
fn others_on_the_machine_read_nothing_of_the_platforms_data() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    platform.running_service("echo", &image)?;
    let mut open = Vec::new();
    for entry in std::fs::read_dir(platform.data_dir())? {
        let entry = entry?;
        if entry.metadata()?.permissions().mode() & 0o077 != 0 {
            open.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    open.sort();
    ensure!(
        open == ["apron.toml", "ca.pem", "identity.json"],
        "others may read {open:?}"
    );
    // The layers, for one, with whatever programs of root's they have.
    let nobody = format!("ls {}/node/layers", platform.data_dir().display());
    let said = run::fails(Command::new("su").args(["nobody", "-s", "/bin/sh", "-c", &nobody]))?;
    ensure!(said.contains("Permission denied"), "{said}");
    Ok(())
}

/// The address of an instance, from its own routing table (`/proc/net/fib_trie`).
fn address_of(service: &Service, platform: &Platform) -> Result<String> {
    let table = ask(service, platform, "/read?path=%2Fproc%2Fnet%2Ffib_trie")?;
    let network = platform.slot.network();
    let prefix = network
        .strip_suffix(".0.0/16")
        .context("the network is a /16")?
        .to_owned()
        + ".";
    let lines: Vec<&str> = table.lines().collect();
    lines
        .windows(2)
        .filter(|pair| pair[1].contains("/32 host LOCAL"))
        .filter_map(|pair| pair[0].split_whitespace().last())
        .find(|address| address.starts_with(&prefix))
        .map(str::to_owned)
        .with_context(|| format!("no address in {table}"))
}

/// The default gateway of an instance (`/proc/net/route`, little-endian hexadecimal).
fn gateway_of(service: &Service, platform: &Platform) -> Result<Ipv4Addr> {
    let table = ask(service, platform, "/read?path=%2Fproc%2Fnet%2Froute")?;
    let gateway = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| fields.get(1) == Some(&"00000000"))
        .and_then(|fields| {
            fields
                .get(2)
                .and_then(|text| u32::from_str_radix(text, 16).ok())
        })
        .with_context(|| format!("no default route in {table}"))?;
    Ok(Ipv4Addr::from(gateway.swap_bytes()))
}

#[test]
fn memory_and_disk_are_bounded_and_running_out_is_said() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let service = platform.running_service("echo", &image)?;
    let before = service.identity(&platform)?["instance"].clone();
    // 512 MB is the limit of this size.
    ensure!(
        service
            .get(&platform, "/eat?mb=700")
            .is_ok_and(|answer| answer.status >= 500),
        "it had 700 MB"
    );
    wait::until_true(
        "the instance to be replaced",
        Duration::from_secs(10),
        || Ok(service.identity(&platform)?["instance"] != before),
    )?;
    wait::until_true("the events to say why", Duration::from_secs(10), || {
        let events = service.events(&platform)?.join("\n");
        ensure!(events.contains("memory"), "{events}");
        Ok(true)
    })
}

#[test]
fn an_application_sees_only_itself() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let service = platform.running_service("echo", &image)?;
    let identity = service.identity(&platform)?;
    ensure!(
        identity["pid"].as_u64().is_some_and(|pid| pid < 10),
        "its own process ids: {identity}"
    );
    ensure!(identity["environment"] == "apprunner");
    ensure!(ask(&service, &platform, "/env?name=PORT")? == "8080");
    let status = ask(&service, &platform, "/read?path=%2Fproc%2Fself%2Fstatus")?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim().to_owned())
            .unwrap_or_default()
    };
    ensure!(
        field("Uid:").starts_with("1000"),
        "USER is not honoured: {}",
        field("Uid:")
    );
    ensure!(
        field("CapEff:") == "0000000000000000",
        "{}",
        field("CapEff:")
    );
    ensure!(
        field("NoNewPrivs:") == "1" && field("Seccomp:") == "2",
        "{status}"
    );
    let masked = service.get(&platform, "/read?path=%2Fproc%2Fkcore")?;
    ensure!(
        masked.body.is_empty() || masked.status == 404,
        "/proc/kcore can be read"
    );
    Ok(())
}
