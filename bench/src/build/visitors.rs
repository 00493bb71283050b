//! Visitors of a service at a steady pace, and how long they wait.

use crate::table::percentile;
use anyhow::{Result, anyhow, ensure};
use apron_e2e::http::Target;
use apron_e2e::wait::pace;
use std::time::{Duration, Instant};

/// Visitors at the same time.
pub const COUNT: usize = 4;

/// Pause between two requests of one visitor, so that the load does not need the whole machine.
const EVERY: Duration = Duration::from_millis(4);

/// How long visitors waited, in milliseconds.
pub struct Visitors {
    /// The middle.
    pub p50: f64,
    /// What one request in a hundred exceeds.
    pub p99: f64,
}

impl Visitors {
    /// Asks for so long.
    pub fn measure(target: &Target, load: Duration) -> Result<Visitors> {
        let ask = |target: Target| -> Result<Vec<f64>> {
            let mut connection = target.connect()?;
            let until = Instant::now() + load;
            let mut times = Vec::new();
            while Instant::now() < until {
                let asked = Instant::now();
                let answer = connection.request("GET", "/", &[], &[])?;
                times.push(asked.elapsed().as_secs_f64() * 1000.0);
                ensure!(answer.status == 200, "answered {}", answer.status);
                if connection.is_closing() {
                    connection = target.connect()?;
                }
                pace(EVERY);
            }
            Ok(times)
        };
        let all = std::thread::scope(|scope| {
            let visitors: Vec<_> = (0..COUNT)
                .map(|_| scope.spawn(|| ask(target.clone())))
                .collect();
            let mut all = Vec::new();
            for visitor in visitors {
                all.extend(visitor.join().map_err(|_| anyhow!("a visitor broke"))??);
            }
            anyhow::Ok(all)
        })?;
        Ok(Visitors {
            p50: percentile(&all, 50),
            p99: percentile(&all, 99),
        })
    }
}
