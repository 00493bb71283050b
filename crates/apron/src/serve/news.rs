//! What the proxy tells: connections into the log, unreachable instances to the reconciler.

use apron_control::dataplane::link::News;
use apron_control::platform::Platform;
use std::sync::Arc;
use tokio::sync::mpsc::Receiver;

/// Reads for ever.
pub async fn read(mut news: Receiver<News>, platform: Arc<Platform>) {
    while let Some(message) = news.recv().await {
        match message {
            News::Connected { pid } => tracing::info!(pid, "proxy connected"),
            News::Disconnected { pid } => tracing::warn!(pid, "proxy disconnected"),
            News::Unreachable { instance, error } => {
                tracing::warn!(instance, error, "instance is unreachable");
                platform.engine().fleet.poke();
            }
            News::Wanted {
                service, waiting, ..
            } => {
                tracing::debug!(service, waiting, "requests wait for an instance");
                platform.engine().fleet.poke();
            }
            News::Statistics(statistics) => {
                tracing::trace!(services = statistics.len(), "traffic statistics");
            }
        }
    }
}
