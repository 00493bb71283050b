//! What the proxy tells: load to the scaler, counters to whoever serves metrics, trouble to the reconciler.

pub mod meters;

use crate::agenda::{Agenda, Task};
use crate::clock::Clock;
use crate::dataplane::link::News;
use crate::scaler::Scaler;
use apron_domain::scaling::Load;
use apron_domain::{InstanceId, Millis, ServiceId};
use apron_link::proxy::ServiceStatistics;
use meters::Meters;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::mpsc::Receiver;

/// Reads the proxy's news.
pub struct Traffic {
    clock: Arc<dyn Clock>,
    agenda: Arc<Agenda>,
    scaler: Arc<Scaler>,
    meters: Arc<Meters>,
    /// Process ids of the proxies that are connected: two while one replaces the other.
    connected: BTreeSet<u32>,
}

impl Traffic {
    /// A reader that hands on to these.
    pub fn new(
        clock: Arc<dyn Clock>,
        agenda: Arc<Agenda>,
        scaler: Arc<Scaler>,
        meters: Arc<Meters>,
    ) -> Traffic {
        Traffic {
            clock,
            agenda,
            scaler,
            meters,
            connected: BTreeSet::new(),
        }
    }

    /// Reads for ever.
    pub async fn read(mut self, mut news: Receiver<News>) {
        while let Some(message) = news.recv().await {
            self.take(message);
        }
    }

    fn take(&mut self, message: News) {
        match message {
            News::Connected { pid } => {
                tracing::info!(pid, "proxy connected");
                self.connected.insert(pid);
                self.scaler.heard(true);
            }
            News::Disconnected { pid } => {
                tracing::warn!(pid, "proxy disconnected");
                self.connected.remove(&pid);
                if self.connected.is_empty() {
                    self.scaler.heard(false);
                }
            }
            News::Unreachable { instance, error } => {
                tracing::warn!(instance, error, "instance is unreachable");
                if let Ok(id) = InstanceId::parse(&instance) {
                    self.agenda.plan(Task::Probe(id), Millis(0));
                }
            }
            News::Wanted {
                service,
                outstanding,
                waiting,
            } => {
                let load = Load {
                    outstanding,
                    waiting,
                    peak: 0,
                };
                self.load(&service, load);
            }
            News::Statistics(all) => {
                let now = self.clock.now();
                for statistics in all {
                    self.statistics(&statistics, now);
                }
            }
        }
    }

    fn load(&self, service: &str, load: Load) {
        match ServiceId::parse(service) {
            Ok(id) => self.scaler.told(&id, load),
            Err(error) => tracing::error!(service, %error, "the proxy names a service oddly"),
        }
    }

    fn statistics(&self, told: &ServiceStatistics, now: Millis) {
        let load = Load {
            outstanding: told.outstanding,
            waiting: told.waiting,
            peak: told.peak,
        };
        self.load(&told.service, load);
        if let Ok(id) = ServiceId::parse(&told.service) {
            self.meters.count(&id, told, now);
        }
    }
}
