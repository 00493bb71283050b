//! Keeps a proxy running: starts it again when it ends, replaces it when another program is installed.
//!
//! A replacement takes over before the one it replaces is asked to retire: until it has acknowledged the routes, nothing is
//! given up, and if it never does, the old one goes on. The old one finishes what it has within a limit.

use super::child::Process;
use super::state::{Known, State};
use super::{ProxyConfig, ProxyError, Sockets, listeners::Listeners};
use crate::clock::{Clock, Machine};
use crate::dataplane::link::ProxyLink;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Pause before a proxy that ended soon after its start is started again; doubled each time.
const RESTART_FIRST: Duration = Duration::from_millis(20);

/// Longest such pause.
const RESTART_MAX: Duration = Duration::from_secs(5);

/// A proxy that ran this long is started again at once.
const RAN_LONG: Duration = Duration::from_secs(10);

/// How long a replacement may take until it has acknowledged the routes.
const TAKES_OVER_WITHIN: Duration = Duration::from_secs(30);

/// How long a proxy that is to retire may take to be heard of before it is asked by a signal, as one of another
/// version of the messages has to be.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// How much longer than its limit a retiring proxy may run before it is killed.
const OVERDUE: Duration = Duration::from_secs(10);

/// Asks for a look whether another program is installed. Asking again before the look is asking once.
#[derive(Clone, Default)]
pub struct Upgrades(Arc<Notify>);

impl Upgrades {
    /// Has the supervisor look.
    pub fn look(&self) {
        self.0.notify_one();
    }
}

struct Supervisor {
    config: ProxyConfig,
    listeners: Listeners,
    link: Arc<ProxyLink>,
    running: Option<Process>,
    retiring: Vec<(Process, Known)>,
    pause: Duration,
    looks: u64,
    refusal: Option<String>,
}

/// Starts the proxy if none runs, and keeps one running for ever; replaces it if it runs another program than the
/// installed one, now and whenever it is asked to look.
pub fn supervise(
    config: ProxyConfig,
    sockets: Sockets,
    link: Arc<ProxyLink>,
) -> Result<Upgrades, ProxyError> {
    let mut supervisor = Supervisor {
        config,
        listeners: sockets.listeners,
        link,
        running: sockets.running,
        retiring: sockets.retiring,
        pause: RESTART_FIRST,
        looks: 0,
        refusal: None,
    };
    supervisor.know_the_running();
    if supervisor.running.is_none() {
        supervisor.running = Some(supervisor.start()?);
    }
    supervisor.write_down()?;
    let upgrades = Upgrades::default();
    upgrades.look();
    tokio::spawn(supervisor.run(upgrades.clone()));
    Ok(upgrades)
}

/// What a supervisor waits for.
enum Event {
    Ended(String),
    RetiredEnded,
    Overdue,
    Look,
}

impl Supervisor {
    fn know_the_running(&self) {
        let now = Machine.now().0;
        for (process, known) in &self.retiring {
            let left = known.by_ms.unwrap_or_default().saturating_sub(now);
            self.link.retire(process.pid, Duration::from_millis(left));
        }
        let alive = self
            .running
            .iter()
            .chain(self.retiring.iter().map(|r| &r.0));
        for process in alive {
            tracing::info!(pid = process.pid, "proxy goes on");
            self.link.expect(process.pid);
        }
    }

    fn start(&self) -> Result<Process, ProxyError> {
        let process = Process::start(&self.config, &self.listeners)?;
        self.link.expect(process.pid);
        tracing::info!(pid = process.pid, "proxy started");
        Ok(process)
    }

    fn write_down(&self) -> Result<(), ProxyError> {
        let state = State {
            running: self.running.as_ref().map(Process::known),
            retiring: self
                .retiring
                .iter()
                .map(|(_, known)| known.clone())
                .collect(),
            https: self.config.https.clone(),
            http: self.config.http.clone(),
            workers: self.config.workers,
            looks: self.looks,
            refusal: self.refusal.clone(),
        };
        state.write(&self.config)
    }

    fn write_down_or_log(&self) {
        if let Err(error) = self.write_down() {
            tracing::error!(%error, "the running proxies are not written down: the next control plane will not know them");
        }
    }

    async fn run(mut self, upgrades: Upgrades) {
        let mut began = tokio::time::Instant::now();
        loop {
            match self.event(&upgrades).await {
                Event::Ended(how) => {
                    tracing::error!(how, "proxy ended, starting it again");
                    self.forget_the_running();
                    self.restart(began.elapsed() >= RAN_LONG).await;
                    began = tokio::time::Instant::now();
                }
                Event::RetiredEnded => self.forget_the_retired(),
                Event::Overdue => self.kill_overdue(),
                Event::Look => {
                    let before = self.running.as_ref().map(|process| process.pid);
                    self.refusal = self.upgrade().await.err();
                    if let Some(why) = &self.refusal {
                        tracing::error!(
                            why,
                            "the installed proxy does not serve; the running one goes on"
                        );
                    }
                    self.looks += 1;
                    self.write_down_or_log();
                    if self.running.as_ref().map(|process| process.pid) != before {
                        began = tokio::time::Instant::now();
                    }
                }
            }
        }
    }

    async fn event(&self, upgrades: &Upgrades) -> Event {
        let now = Machine.now().0;
        let due = self.retiring.iter().filter_map(|(_, known)| known.by_ms);
        let due = due
            .min()
            .map(|by_ms| Duration::from_millis(by_ms.saturating_sub(now)) + OVERDUE);
        let running_ended = async {
            match &self.running {
                Some(process) => process.ended().await,
                None => "not started".to_owned(),
            }
        };
        let retired_ended = async {
            let all = self
                .retiring
                .iter()
                .map(|(process, _)| Box::pin(process.ended()));
            let all: Vec<_> = all.collect();
            match all.is_empty() {
                true => std::future::pending().await,
                false => futures_util::future::select_all(all).await,
            }
        };
        let overdue = async {
            match due {
                Some(due) => tokio::time::sleep(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            how = running_ended => Event::Ended(how),
            _ = retired_ended => Event::RetiredEnded,
            () = overdue => Event::Overdue,
            () = upgrades.0.notified() => Event::Look,
        }
    }

    fn forget_the_running(&mut self) {
        if let Some(process) = self.running.take() {
            self.link.gone(process.pid);
        }
    }

    fn forget_the_retired(&mut self) {
        for (process, _) in self
            .retiring
            .extract_if(.., |(process, _)| process.has_ended())
        {
            tracing::info!(pid = process.pid, "replaced proxy has finished");
            self.link.gone(process.pid);
        }
        self.write_down_or_log();
    }

    fn kill_overdue(&self) {
        let now = Machine.now().0;
        let overdue = u64::try_from(OVERDUE.as_millis()).unwrap_or_default();
        for (process, known) in &self.retiring {
            if known.by_ms.is_some_and(|by_ms| by_ms + overdue <= now) {
                tracing::warn!(
                    pid = process.pid,
                    "replaced proxy does not end and is killed"
                );
                process.kill();
            }
        }
    }

    /// Starts a proxy in place of one that ended. When that fails it is tried again by the next round.
    async fn restart(&mut self, ran_long: bool) {
        if ran_long {
            self.pause = RESTART_FIRST;
        } else {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(RESTART_MAX);
        }
        match self.start() {
            Ok(process) => {
                self.running = Some(process);
                self.write_down_or_log();
            }
            Err(error) => {
                tracing::error!(%error, "proxy could not be started, will be tried again")
            }
        }
    }

    /// Replaces the running proxy if another program is installed; the error says why that one does not serve.
    async fn upgrade(&mut self) -> Result<(), String> {
        let Some(old) = &self.running else {
            return Ok(());
        };
        if old.runs(&self.config.program) {
            return Ok(());
        }
        tracing::info!(
            pid = old.pid,
            "another version of the proxy is installed and takes over"
        );
        let new = self.start().map_err(|error| error.to_string())?;
        if let Err(why) = self.takes_over(&new).await {
            new.kill();
            new.ended().await;
            self.link.gone(new.pid);
            return Err(why);
        }
        if let Some(old) = self.running.replace(new) {
            self.retire(old).await;
        }
        Ok(())
    }

    /// Waits until a proxy has acknowledged the routes; the error says why it has not.
    async fn takes_over(&self, new: &Process) -> Result<(), String> {
        let follows = tokio::time::timeout(TAKES_OVER_WITHIN, self.link.follows(new.pid));
        tokio::select! {
            followed = follows => followed.map_err(|_| {
                let seconds = TAKES_OVER_WITHIN.as_secs();
                format!("it has not acknowledged the routes within {seconds} seconds")
            }),
            how = new.ended() => Err(format!("it ended: {how}")),
        }
    }

    async fn retire(&mut self, old: Process) {
        let within = self.config.retire_within;
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        self.link.retire(old.pid, within);
        // Written down before anything else can happen: a control plane that starts now has to know both.
        let known = Known {
            by_ms: Some(Machine.now().0.saturating_add(within_ms)),
            ..old.known()
        };
        self.retiring.push((old, known));
        self.write_down_or_log();
        let Some((old, _)) = self.retiring.last() else {
            return;
        };
        let heard = tokio::time::timeout(HEARD_WITHIN, self.link.heard_to_retire(old.pid));
        let ended = tokio::select! {
            heard = heard => heard.is_ok(),
            _ = old.ended() => true,
        };
        if !ended {
            tracing::warn!(
                pid = old.pid,
                "the replaced proxy does not answer and is asked to end by a signal"
            );
            old.terminate();
        }
    }
}
