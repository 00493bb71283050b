//! Getting a place at an instance: at once, or after waiting in the service's queue.

use super::Caller;
use crate::deadline::Expired;
use crate::reason::Reason;
use crate::route::pick::{Picked, has_place, pick};
use crate::service::{Service, Waiter};
use crate::shared::{Event, REPORT_INTERVAL_MS};
use crate::worker::{Slot, Worker};
use apron_link::proxy::RouteState;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Longest time a request waits for a place at an instance.
pub const QUEUE_MAX: Duration = Duration::from_secs(30);

/// How often a waiting request looks again by itself: an instance that refused a connection becomes eligible
/// again without anybody saying so.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Why a request gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// The client is to be told so.
    Answer(Reason),
    /// The client is gone.
    ClientGone,
}

enum Attempt {
    Place(Slot),
    Wait { wanted: bool },
    Never(Reason),
}

/// Takes a place at an instance of `service`.
pub async fn admit(caller: &mut impl Caller, service: &Arc<Service>) -> Result<Slot, NoPlace> {
    if service.waiting() == 0 {
        match attempt(caller.worker(), service) {
            Attempt::Place(slot) => return Ok(slot),
            Attempt::Never(reason) => return Err(NoPlace::Answer(reason)),
            Attempt::Wait { wanted: true } => report_wanted(caller.worker(), service),
            Attempt::Wait { wanted: false } => {}
        }
    }
    caller.deadline().set_phase(Some(QUEUE_MAX));
    let queued = Box::pin(wait(caller, service)).await;
    caller.deadline().set_phase(None);
    queued
}

async fn wait(caller: &mut impl Caller, service: &Arc<Service>) -> Result<Slot, NoPlace> {
    let Some(mut waiter) = service.enqueue() else {
        return Err(NoPlace::Answer(Reason::QueueFull));
    };
    loop {
        wake_up(caller, service, &mut waiter).await?;
        match attempt(caller.worker(), service) {
            Attempt::Place(slot) => return Ok(slot),
            Attempt::Never(reason) => return Err(NoPlace::Answer(reason)),
            Attempt::Wait { wanted } => {
                if wanted {
                    report_wanted(caller.worker(), service);
                }
            }
        }
    }
}

/// Waits until there may be a place. Fails when it takes too long or the client leaves.
async fn wake_up(
    caller: &mut impl Caller,
    service: &Arc<Service>,
    waiter: &mut Waiter<'_>,
) -> Result<(), NoPlace> {
    let woken = waiter.register();
    // What changed between the last attempt and the registration would otherwise be missed.
    if may_have_place(caller.worker(), service) {
        service.wake_one();
    }
    let mut look_again = std::pin::pin!(tokio::time::sleep(LOOK_AGAIN));
    std::future::poll_fn(|context| {
        if Pin::new(&mut *woken).poll(context).is_ready()
            || look_again.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Ok(()));
        }
        if caller.poll_gone(context).is_ready() {
            return Poll::Ready(Err(NoPlace::ClientGone));
        }
        match caller.deadline().expired(context) {
            Some(Expired::Phase) => Poll::Ready(Err(NoPlace::Answer(Reason::QueueTimeout))),
            Some(Expired::Total) => Poll::Ready(Err(NoPlace::Answer(Reason::RequestTimeout))),
            None => Poll::Pending,
        }
    })
    .await
}

/// Tells the control plane that requests wait, if it was not told within the last second.
fn report_wanted(worker: &Worker, service: &Arc<Service>) {
    if service.may_report(worker.sweep.precise_ms(), REPORT_INTERVAL_MS) {
        // A full channel means that there is more trouble than can be told; the next second tells it again.
        let _ = worker
            .shared
            .events
            .try_send(Event::Wanted(Arc::clone(service)));
    }
}

fn attempt(worker: &Rc<Worker>, service: &Arc<Service>) -> Attempt {
    let turn = worker.turn();
    worker.route(|table| {
        let Some(route) = table.by_service(&service.id) else {
            return Attempt::Never(Reason::UnknownHost);
        };
        if route.state == RouteState::Paused {
            return Attempt::Never(Reason::Paused);
        }
        match pick(route, worker.sweep.now_ms(), turn) {
            Picked::Instance(instance) => Attempt::Place(Slot::new(worker, route, instance)),
            Picked::Busy => Attempt::Wait { wanted: false },
            Picked::None => Attempt::Wait { wanted: true },
        }
    })
}

fn may_have_place(worker: &Worker, service: &Service) -> bool {
    worker.route(|table| match table.by_service(&service.id) {
        Some(route) => route.state == RouteState::Paused || has_place(route, worker.sweep.now_ms()),
        None => true,
    })
}
