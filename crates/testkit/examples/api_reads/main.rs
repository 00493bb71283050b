//! What reading through the API costs: DescribeService and a page of ListServices with few and with many services, over
//! the real listener with kept-alive TLS connections.
//!
//! `api_reads [--seconds N]`. The client is a process of its own, so that the processor time of this one is what the
//! control plane took; it sends requests signed once, which are verified each time. Services are written into the
//! store as paused ones: what many instances cost is not the question here. The last line printed is the result as JSON.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

mod client;
mod seed;

use anyhow::{Context, Result, ensure};
use apron_aws::sigv4::{Authorization, Head, KeyCache, Payload, Secret, verify};
use apron_control::listener::{self, Site};
use apron_link::proxy::Certificate;
use apron_testkit::{ACCESS_KEY_ID, Life, SECRET_ACCESS_KEY, World};
use client::{Plan, Report};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::sync::watch;

/// As the control plane of an installation.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Services of the two sizes that are compared.
const SIZES: [u32; 2] = [10, 10_000];

/// Entries of a page, which the smaller size fills too.
const PAGE: u32 = 10;

/// Different requests of a measurement, at most.
const REQUESTS_MAX: usize = 1_000;

/// Connections while the throughput is measured.
const CONNECTIONS: usize = 4;

/// Verifications of a signature that are timed.
const VERIFICATIONS: u32 = 20_000;

/// How often repositories are asked, as in an installation: it reads every service.
const ASK_EVERY: Duration = Duration::from_secs(60);

/// How long one look lasts at whether the control plane is at rest, and how many there are at most.
const SETTLE_LOOK: Duration = Duration::from_millis(500);
const SETTLE_LOOKS_MAX: u32 = 120;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("client"), None) => {
            let plan = Plan::from_json(&std::io::read_to_string(std::io::stdin())?)?;
            println!("{}", client::main(&plan)?.to_json());
            Ok(())
        }
        (Some("--seconds"), Some(seconds)) => measure(Duration::from_secs(seconds.parse()?)),
        (None, _) => measure(Duration::from_secs(10)),
        _ => anyhow::bail!("usage: api_reads [--seconds N]"),
    }
}

fn measure(time: Duration) -> Result<()> {
    let mut rows = Vec::new();
    for services in SIZES {
        let mut world = World::new();
        world.settings.services_max = services;
        world.ask_every = ASK_EVERY;
        seed::services(&world, services)?;
        let site = Running::begin(&world)?;
        settle(&site.life)?;
        for (what, target, bodies) in [
            ("DescribeService", "DescribeService", site.describes()?),
            ("a page of ListServices", "ListServices", site.pages()?),
        ] {
            eprintln!("==> {what}, {services} services");
            rows.push(site.row(
                &format!("{what}, {services} services"),
                target,
                bodies,
                time,
            )?);
        }
        site.life.kill();
    }
    println!(
        "{}",
        json!({ "rows": rows, "signature_us": signature_us()? })
    );
    Ok(())
}

/// A control plane behind its listener.
struct Running {
    life: Life,
    address: String,
    authority: String,
}

impl Running {
    fn begin(world: &World) -> Result<Running> {
        // Fails when another part of the process has installed one: it is the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let certificate = Certificate {
            id: "measurement".to_owned(),
            names: vec!["localhost".to_owned()],
            chain_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        };
        let life = Life::begin(world);
        let site = Site {
            endpoint: life.endpoint(),
            registry: None,
            git: None,
            hooks: None,
            issuer: None,
        };
        let (_, tls) = watch::channel(listener::tls(&certificate)?);
        let address = life.wait_for(async {
            let bound = listener::bind("127.0.0.1:0".parse()?).await?;
            let address = bound.local_addr()?.to_string();
            tokio::spawn(listener::serve(bound, tls, site));
            anyhow::Ok(address)
        })?;
        Ok(Running {
            life,
            address,
            authority: certificate.chain_pem,
        })
    }

    fn list(&self, input: Value) -> Result<Value> {
        let answer = self.life.call("ListServices", input);
        answer.map_err(|(code, message)| anyhow::anyhow!("{code}: {message}"))
    }

    /// One request per service.
    fn describes(&self) -> Result<Vec<String>> {
        let list = self.list(json!({ "MaxResults": 999 }))?;
        let services = list["ServiceSummaryList"].as_array().context("no list")?;
        let body = |one: &Value| json!({ "ServiceArn": one["ServiceArn"] }).to_string();
        Ok(services.iter().map(body).collect())
    }

    /// One request per page.
    fn pages(&self) -> Result<Vec<String>> {
        let mut bodies = Vec::new();
        let mut input = json!({ "MaxResults": PAGE });
        loop {
            bodies.push(input.to_string());
            let token = self.list(input)?["NextToken"].clone();
            if token.is_null() || bodies.len() == REQUESTS_MAX {
                return Ok(bodies);
            }
            input = json!({ "MaxResults": PAGE, "NextToken": token });
        }
    }

    fn row(&self, who: &str, target: &str, bodies: Vec<String>, time: Duration) -> Result<Value> {
        let plan = |connections| Plan {
            address: self.address.clone(),
            authority: self.authority.clone(),
            target: format!("AppRunner.{target}"),
            bodies: bodies.clone(),
            connections,
            milliseconds: time.as_millis() as u64,
        };
        let (alone, _) = self.load(&plan(1))?;
        let (together, spent) = self.load(&plan(CONNECTIONS))?;
        Ok(json!({
            "who": who,
            "p50_ms": alone.p50_ms,
            "p99_ms": alone.p99_ms,
            "per_second": together.requests as f64 / time.as_secs_f64(),
            "per_core_second": together.requests as f64 / spent.as_secs_f64(),
            "processor_us": spent.as_secs_f64() * 1e6 / together.requests as f64,
        }))
    }

    /// Runs a client; what it saw, and the processor time it cost this process.
    fn load(&self, plan: &Plan) -> Result<(Report, Duration)> {
        let before = processor_time();
        let mut child = Command::new(std::env::current_exe()?)
            .arg("client")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("no input")?;
        stdin.write_all(plan.to_json().to_string().as_bytes())?;
        drop(stdin);
        let said = child.wait_with_output()?;
        ensure!(said.status.success(), "the client failed");
        let report = Report::from_json(&String::from_utf8(said.stdout)?)?;
        Ok((report, processor_time() - before))
    }
}

/// Waits until nothing of the start is left to do: the control plane reads every service then, some of them several times.
fn settle(life: &Life) -> Result<()> {
    for _ in 0..SETTLE_LOOKS_MAX {
        let before = processor_time();
        // Within the runtime, whose clock it needs.
        life.wait_for(async { tokio::time::sleep(SETTLE_LOOK).await });
        if processor_time() - before < SETTLE_LOOK / 50 {
            return Ok(());
        }
    }
    anyhow::bail!("the control plane does not come to rest")
}

/// Processor time of this process so far, in user and kernel.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// What the signature of one such request costs: reading it, and proving it.
fn signature_us() -> Result<f64> {
    let body = json!({ "ServiceArn": format!("arn:aws:apprunner:us-east-1:111122223333:service/service-7/{:032x}", 7) });
    let body = body.to_string();
    let headers = client::signed("AppRunner.DescribeService", &body)?;
    let head = Head {
        method: "POST",
        path: "/",
        query: "",
        headers: &headers,
    };
    let (secret, keys) = (Secret::new(SECRET_ACCESS_KEY), KeyCache::default());
    let before = processor_time();
    for _ in 0..VERIFICATIONS {
        let authorization = Authorization::parse(head).map_err(|_| anyhow::anyhow!("not read"))?;
        ensure!(authorization.access_key_id == ACCESS_KEY_ID);
        verify(
            &authorization,
            head,
            body.as_bytes(),
            &secret,
            Payload::Signed,
            &keys,
        )
        .map_err(|_| anyhow::anyhow!("not proved"))?;
    }
    Ok((processor_time() - before).as_secs_f64() * 1e6 / f64::from(VERIFICATIONS))
}
