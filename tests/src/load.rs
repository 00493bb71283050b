//! Continuous load on a service: quick requests over kept connections, HTTP/2, WebSockets, slow answers and slow uploads,
//! all at once. Every request must be answered in full with 200 and every WebSocket message must come back, or the socket be
//! closed in order; whatever else happens is a failure that is written down.

mod http1;
mod http2;
mod websocket;

use crate::Platform;
use crate::Service;
use crate::http::Target;
use crate::wait::pace;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Failures that are kept with their text.
const FAILURES_KEPT_MAX: usize = 20;
/// Pause between quick requests of one connection, so that the load does not need the whole machine.
const QUICK_EVERY: Duration = Duration::from_millis(4);
/// What a client of the load does over and over.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `GET /` over a kept connection.
    Quick,
    /// Four times `GET /` at once over a kept HTTP/2 connection.
    Http2,
    /// A message over a kept WebSocket.
    WebSocket,
    /// A request that takes the application 1.2 seconds.
    Slow,
    /// A response in 20 chunks over a second.
    Drip,
    /// An upload that takes a second to send.
    Upload,
}

/// What has happened so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests answered in full with 200.
    pub answered: u64,
    /// The same by what the client does.
    pub kinds: BTreeMap<String, u64>,
    /// Everything else.
    pub failed: u64,
    /// The first failures with their time since the start.
    pub failures: Vec<String>,
    /// Quick answers by the version that gave them.
    pub versions: BTreeMap<String, u64>,
    /// The longest time between asking and the end of a quick answer.
    pub slowest_quick: Duration,
}

/// Load that runs until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// The usual mix: four quick clients, two slow, one drip, two uploads.
    pub fn start(platform: &Platform, service: &Service) -> Result<Load> {
        use Kind::{Drip, Quick, Slow, Upload};
        Self::start_mix(
            platform,
            service,
            &[Quick, Quick, Quick, Quick, Slow, Slow, Drip, Upload, Upload],
        )
    }

    /// Every kind of client there is.
    pub fn start_every_kind(platform: &Platform, service: &Service) -> Result<Load> {
        use Kind::{Drip, Http2, Quick, Slow, Upload, WebSocket};
        Self::start_mix(
            platform,
            service,
            &[Quick, Quick, Http2, WebSocket, Slow, Drip, Upload],
        )
    }

    /// Load of the given clients.
    pub fn start_mix(platform: &Platform, service: &Service, kinds: &[Kind]) -> Result<Load> {
        Ok(Self::on(&service.target(platform)?, kinds))
    }

    /// Load of the given clients on any target.
    pub fn on(target: &Target, kinds: &[Kind]) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let started = Instant::now();
        let clients = kinds
            .iter()
            .map(|kind| {
                let client = Client {
                    kind: *kind,
                    target: target.clone(),
                    stop: Arc::clone(&stop),
                    tally: Arc::clone(&tally),
                    started,
                };
                std::thread::spawn(move || client.run())
            })
            .collect();
        Load {
            stop,
            tally,
            clients,
        }
    }

    /// What has happened so far.
    pub fn tally(&self) -> Tally {
        self.tally
            .lock()
            .map(|tally| tally.clone())
            .unwrap_or_default()
    }

    /// Lets requests under way finish, then says what happened.
    pub fn finish(mut self) -> Result<Tally> {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client
                .join()
                .map_err(|_| anyhow::anyhow!("a client of the load broke"))?;
        }
        Ok(self.tally())
    }

    /// Like [`Load::finish`]; fails when any request failed, or too few were made to mean anything.
    pub fn finish_without_failure(self) -> Result<Tally> {
        let tally = self.finish()?;
        ensure!(
            tally.failed == 0,
            "{} of {} requests failed:\n{}",
            tally.failed,
            tally.failed + tally.answered,
            tally.failures.join("\n")
        );
        ensure!(
            tally.answered > 50,
            "only {} requests were made",
            tally.answered
        );
        Ok(tally)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

struct Client {
    kind: Kind,
    target: Target,
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    started: Instant,
}

/// One client's way of asking, with the connection it keeps. After an error it begins anew.
trait Visit {
    /// Asks once; answers the version that answered, where the answer says it.
    fn once(&mut self) -> Result<Option<String>>;
}

impl Client {
    fn run(&self) {
        let mut visit = match self.visit() {
            Ok(visit) => visit,
            Err(error) => return self.record(Err(error), Duration::ZERO),
        };
        while !self.stop.load(Ordering::SeqCst) {
            let asked = Instant::now();
            let outcome = visit.once();
            self.record(outcome, asked.elapsed());
            if matches!(self.kind, Kind::Quick | Kind::Http2 | Kind::WebSocket) {
                pace(QUICK_EVERY);
            }
        }
    }

    fn visit(&self) -> Result<Box<dyn Visit>> {
        let target = self.target.clone();
        Ok(match self.kind {
            Kind::Http2 => Box::new(http2::Visitor::new(target)?),
            Kind::WebSocket => Box::new(websocket::Visitor::new(target)),
            kind => Box::new(http1::Visitor::new(target, kind)),
        })
    }

    fn record(&self, outcome: Result<Option<String>>, took: Duration) {
        let Ok(mut tally) = self.tally.lock() else {
            return;
        };
        match outcome {
            Ok(version) => {
                tally.answered += 1;
                *tally.kinds.entry(format!("{:?}", self.kind)).or_default() += 1;
                if let Some(version) = version {
                    *tally.versions.entry(version).or_default() += 1;
                    tally.slowest_quick = tally.slowest_quick.max(took);
                }
            }
            Err(error) => {
                tally.failed += 1;
                if tally.failures.len() < FAILURES_KEPT_MAX {
                    let at = self.started.elapsed().as_millis();
                    tally
                        .failures
                        .push(format!("after {at} ms, {:?}: {error:#}", self.kind));
                }
            }
        }
    }
}

/// The version in what the application says of itself.
fn version(body: &[u8]) -> Result<Option<String>> {
    let body: serde_json::Value = serde_json::from_slice(body).context("no JSON")?;
    Ok(body["version"].as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{assets, wait};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};
    use std::process::{Child, Command, Stdio};

    /// The test application without any platform.
    fn bare() -> Result<(Child, Target)> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let child = Command::new(assets::find("echo")?)
            .env("PORT", port.to_string())
            .env("VERSION", "v1")
            .stdout(Stdio::null())
            .spawn()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let target = Target {
            address,
            host: "localhost".to_owned(),
            tls: None,
        };
        wait::until_true("the application to listen", Duration::from_secs(5), || {
            Ok(target.request("GET", "/health", &[], &[])?.status == 200)
        })?;
        Ok((child, target))
    }

    #[test]
    fn load_on_a_healthy_application_has_no_failure() -> Result<()> {
        let (mut child, target) = bare()?;
        let load = Load::on(
            &target,
            &[Kind::Quick, Kind::Slow, Kind::Drip, Kind::Upload],
        );
        wait::until_true("requests of every kind", Duration::from_secs(20), || {
            Ok(load.tally().answered > 200)
        })?;
        let tally = load.finish_without_failure();
        child.kill()?;
        child.wait()?;
        ensure!(tally?.versions.keys().eq(["v1"]));
        Ok(())
    }

    #[test]
    fn a_request_that_is_cut_is_noticed() -> Result<()> {
        let (mut child, target) = bare()?;
        let load = Load::on(&target, &[Kind::Slow]);
        // The slow request is under way when the application is killed.
        wait::pace(Duration::from_millis(300));
        child.kill()?;
        child.wait()?;
        wait::until_true("a failure", Duration::from_secs(5), || {
            Ok(load.tally().failed > 0)
        })?;
        ensure!(load.finish_without_failure().is_err());
        Ok(())
    }
}
