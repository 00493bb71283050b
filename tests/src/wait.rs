//! Waiting for something to happen, with a deadline. The only place of the harness that lets time pass.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Asks `look` until it has something, for at most `limit`. The error names `what` and what was seen last.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    let mut last = None;
    loop {
        match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        if started.elapsed() > limit {
            match last {
                Some(error) => bail!("waited {} s for {what}; last: {error:#}", limit.as_secs()),
                None => bail!("waited {} s for {what}", limit.as_secs()),
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Like [`until`], for something that is either so or not.
pub fn until_true(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<bool>,
) -> Result<()> {
    until(what, limit, || Ok(look()?.then_some(())))
}

/// Spreads out what a client sends, or places a fault at a moment within a course of events. Never used to wait for an
/// effect.
pub fn pace(duration: Duration) {
    std::thread::sleep(duration);
}
