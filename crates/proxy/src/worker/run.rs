//! A worker's life: follow orders, sweep, accept, leave.

use super::{Worker, accept};
use crate::deadline::SWEEP_INTERVAL;
use crate::shared::{Orders, Shared};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

/// Longest time connections are given when the time to finish is over.
const PARTING_MAX: Duration = Duration::from_millis(1_500);

/// What becomes of the connections of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// TLS, then requests.
    Https,
    /// Requests are redirected to `https`.
    Redirect,
    /// Requests without TLS, for a machine behind something that terminates it.
    Plain,
}

/// A listener of a worker.
pub type Listener = (Purpose, TcpListener);

/// Runs worker number `index` on the present thread until it is told to retire.
pub fn run(shared: Arc<Shared>, index: usize, listeners: Vec<Listener>) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let worker = Worker::new(shared);
        worker.calendar.set(worker.sweep.now_ms());
        // Without any table every request would be refused; connections rather wait in the listeners.
        if worker
            .shared
            .orders
            .clone()
            .wait_for(|orders| orders.sequence > 0)
            .await
            .is_err()
        {
            return Ok(());
        }
        let mut accepting = Vec::new();
        for (purpose, listener) in listeners {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            accepting.push(tokio::task::spawn_local(accept::accept(
                Rc::clone(&worker),
                purpose,
                listener,
            )));
        }
        tokio::task::spawn_local(sweep(Rc::clone(&worker)));
        follow(&worker, index).await;
        for task in &accepting {
            // The listener itself stays open in whoever made it; here only accepting ends.
            task.abort();
        }
        leave(&worker, index).await;
        Ok(())
    })
}

/// Follows orders until one says to retire.
async fn follow(worker: &Rc<Worker>, index: usize) {
    let mut orders = worker.shared.orders.clone();
    loop {
        let retire_by = adopt(worker, index, &mut orders);
        sweep_upstreams(worker);
        if retire_by.is_some() || orders.changed().await.is_err() {
            return;
        }
    }
}

/// Puts the latest order in force and says so; answers by when to leave.
fn adopt(worker: &Worker, index: usize, orders: &mut watch::Receiver<Orders>) -> Option<Instant> {
    let latest = orders.borrow_and_update().clone();
    *worker.table.borrow_mut() = latest.table;
    worker.retiring.set(latest.retire_by.is_some());
    says_it_follows(worker, index, latest.sequence);
    latest.retire_by
}

fn says_it_follows(worker: &Worker, index: usize, sequence: u64) {
    worker.shared.following[index].store(sequence, SeqCst);
    worker.shared.followed.notify_waiters();
}

async fn sweep(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        worker.sweep.run(false);
        worker.calendar.set(worker.sweep.now_ms());
        worker.hand_over_lines();
        sweep_upstreams(&worker);
    }
}

/// Ends upstream connections that are of no more use.
fn sweep_upstreams(worker: &Worker) {
    let now_ms = worker.sweep.now_ms();
    worker.pool.borrow_mut().sweep(now_ms);
    worker.upstreams2.borrow_mut().sweep(now_ms);
}

/// Gives connections that remain a moment for their last words.
async fn part(worker: &Worker) {
    worker.parting.set(true);
    worker.sweep.run(true);
    let by = tokio::time::Instant::now() + PARTING_MAX;
    while worker.connections.get() > 0 {
        if tokio::time::timeout_at(by, worker.left.notified())
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Waits until the connections have ended, within the bound of the order; orders are still followed.
async fn leave(worker: &Rc<Worker>, index: usize) {
    // Wakes idle connections, so that they see that it is time to go.
    worker.sweep.run(true);
    let mut orders = worker.shared.orders.clone();
    while worker.connections.get() > 0 {
        let by = adopt(worker, index, &mut orders).unwrap_or_else(Instant::now);
        tokio::select! {
            () = worker.left.notified() => {}
            changed = orders.changed() => if changed.is_err() { break },
            () = tokio::time::sleep_until(by.into()) => {
                let count = worker.connections.get();
                tracing::warn!(count, "connections remain at the end of the drain and are closed");
                part(worker).await;
                break;
            }
        }
    }
    // Nobody must wait for a worker that has left.
    says_it_follows(worker, index, u64::MAX);
}
