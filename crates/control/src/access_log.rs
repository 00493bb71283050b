//! The services' access logs: lines that the proxy tells become events of the services' log groups.
//!
//! Lines wait in memory for the log store within a bound. What is beyond it, and what the proxy itself had to drop, is
//! counted and told in the log in place of the lines.

use crate::chronicle::Chronicle;
use apron_domain::{Millis, ServiceId};
use apron_link::proxy::AccessLog;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use time::OffsetDateTime;
use tokio::sync::mpsc;

/// Lines that wait for the log store; about 50 MB, some seconds of a machine's full load.
const LINES_MAX: usize = 200_000;

/// Messages that wait, of whatever length.
const MESSAGES_MAX: usize = 4096;

/// Messages written together.
const BATCH_MAX: usize = 64;

/// Bound of what is still being written when the day of a line is taken from its time: times beyond are the last day.
const DAY_MAX: &str = "9999-12-31";

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    lost: AtomicU64,
}

/// Where the link puts what the proxy tells.
#[derive(Clone, Debug)]
pub struct Intake {
    sender: mpsc::Sender<AccessLog>,
    counts: Arc<Counts>,
}

/// Where the writer takes it.
#[derive(Debug)]
pub struct Outlet {
    receiver: mpsc::Receiver<AccessLog>,
    counts: Arc<Counts>,
}

/// A bounded queue of lines.
pub fn queue() -> (Intake, Outlet) {
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    let counts = Arc::new(Counts::default());
    let intake = Intake {
        sender,
        counts: counts.clone(),
    };
    (intake, Outlet { receiver, counts })
}

impl Intake {
    /// Takes lines, or counts them as lost when too many wait. Never waits.
    pub fn put(&self, log: AccessLog) {
        let lines = count(&log);
        let lost = log.lost + lines as u64;
        let waiting = self.counts.waiting.fetch_add(lines, Relaxed) + lines;
        if waiting > LINES_MAX || self.sender.try_send(log).is_err() {
            self.counts.waiting.fetch_sub(lines, Relaxed);
            self.counts.lost.fetch_add(lost, Relaxed);
        }
    }
}

impl Outlet {
    /// Writes what comes for ever.
    pub async fn write(mut self, chronicle: Arc<Chronicle>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while self.receiver.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let lines: usize = batch.iter().map(count).sum();
            let lost = self.counts.lost.swap(0, Relaxed);
            write_batch(&chronicle, std::mem::take(&mut batch), lost).await;
            self.counts.waiting.fetch_sub(lines, Relaxed);
        }
    }
}

fn count(log: &AccessLog) -> usize {
    log.services.iter().map(|service| service.lines.len()).sum()
}

/// The lines of one service and day.
type Streams = BTreeMap<(ServiceId, String), Vec<(Millis, String)>>;

async fn write_batch(chronicle: &Chronicle, batch: Vec<AccessLog>, mut lost: u64) {
    let mut streams = Streams::new();
    for log in batch {
        lost += log.lost;
        sort_in(&mut streams, log);
    }
    if lost > 0 {
        tracing::warn!(
            lost,
            "lines of access logs are lost: more requests were finished than could be written down"
        );
        for lines in streams.values_mut() {
            let at = lines.first().map_or(Millis(0), |(at, _)| *at);
            let text = format!(
                "[AppRunner] {lost} lines of the services' access logs are missing about here: more requests were finished \
                 than could be written down"
            );
            lines.insert(0, (at, text));
        }
    }
    for ((service, day), lines) in streams {
        chronicle.access(&service, &day, lines).await;
    }
}

fn sort_in(streams: &mut Streams, log: AccessLog) {
    for service in log.services {
        let Ok(id) = ServiceId::parse(&service.service) else {
            tracing::warn!(service = service.service, "access log of no service");
            continue;
        };
        // Lines come in the order of their ends: a day is a run of them.
        let mut today: Option<(u64, &mut Vec<(Millis, String)>)> = None;
        for (at, line) in service.lines {
            let number = at / DAY_MS;
            let stream = match today.take() {
                Some((day, stream)) if day == number => stream,
                _ => streams.entry((id.clone(), day(at))).or_default(),
            };
            stream.push((Millis(at), line));
            today = Some((number, stream));
        }
    }
}

const DAY_MS: u64 = 86_400_000;

/// The day (UTC) of a time, as in the names of streams.
fn day(at_ms: u64) -> String {
    let seconds = i64::try_from(at_ms / 1000).unwrap_or(i64::MAX);
    match OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(time) => format!(
            "{:04}-{:02}-{:02}",
            time.year(),
            u8::from(time.month()),
            time.day()
        ),
        Err(_) => DAY_MAX.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apron_link::proxy::ServiceLines;

    const SERVICE: &str = "0123456789abcdef0123456789abcdef";

    fn log(lines: &[(u64, &str)], lost: u64) -> AccessLog {
        AccessLog {
            services: vec![ServiceLines {
                service: SERVICE.to_owned(),
                lines: lines.iter().map(|(at, l)| (*at, (*l).to_owned())).collect(),
            }],
            lost,
        }
    }

    #[test]
    fn lines_go_to_the_stream_of_their_day() {
        let mut streams = Streams::new();
        sort_in(
            &mut streams,
            log(&[(86_399_999, "a"), (86_400_000, "b")], 0),
        );
        sort_in(&mut streams, log(&[(86_400_001, "c")], 0));
        let days: Vec<_> = streams
            .iter()
            .map(|((_, day), lines)| (day.as_str(), lines.len()))
            .collect();
        assert_eq!(days, [("1970-01-01", 1), ("1970-01-02", 2)]);
        assert_eq!(day(u64::MAX), DAY_MAX);
        assert_eq!(day(1_764_103_000_000), "2025-11-25");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let (intake, outlet) = queue();
        let many: Vec<_> = (0..1000).map(|at| (at, "line")).collect();
        for _ in 0..LINES_MAX / 1000 + 3 {
            intake.put(log(&many, 1));
        }
        assert_eq!(outlet.counts.waiting.load(Relaxed), LINES_MAX);
        assert_eq!(outlet.counts.lost.load(Relaxed), 3 * 1001);
    }

    #[tokio::test]
    async fn losses_are_told_in_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let logs = apron_telemetry::Logs::open(dir.path()).await.unwrap();
        let chronicle = Chronicle::new(logs.clone());
        chronicle.introduce_as(&ServiceId::parse(SERVICE).unwrap(), "web");
        write_batch(&chronicle, vec![log(&[(5, "GET /")], 7)], 3).await;
        let limits = apron_telemetry::ReadLimits {
            events: 10,
            bytes: 1 << 20,
        };
        let page = logs
            .read(
                &format!("/aws/apprunner/web/{SERVICE}/service"),
                "access/1970-01-01",
                apron_telemetry::ReadRange::default(),
                apron_telemetry::Position::Head,
                limits,
            )
            .await
            .unwrap();
        let messages: Vec<_> = page.events.iter().map(|e| e.message.as_str()).collect();
        assert_eq!(messages.len(), 2);
        assert!(messages[0].contains("10 lines"), "{messages:?}");
        assert_eq!(messages[1], "GET /");
    }
}
