//! Getting a place at an instance: at once, or after waiting in the service's queue.

use super::{Caller, Record};
use crate::deadline::Expired;
use crate::reason::Reason;
use crate::route::Route;
use crate::route::pick::{Ask, Picked, has_place, pick};
use crate::service::{Service, WAITING_GROWING_MAX, WAITING_MAX, Waiter};
use crate::shared::Event;
use crate::worker::{Slot, Worker};
use apron_link::proxy::RouteState;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Longest time a request waits for a place at an instance when no more instances can be started.
pub const QUEUE_MAX: Duration = Duration::from_secs(30);

/// Longest time it waits while more can: that may take an application as long as App Runner lets a request take.
pub const QUEUE_GROWING_MAX: Duration = Duration::from_secs(120);

/// How often the request that waits longest looks again by itself: an instance that rested becomes eligible again without
/// anybody saying so.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How often the others look whether they are the one that waits longest now.
const LOOK_AGAIN_BEHIND: Duration = Duration::from_secs(1);

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
    Wait,
    Never(Reason),
}

/// Takes a place at an instance of the request's service. `route` is the service's in the table in force, if the caller has
/// looked it up without waiting since.
pub async fn admit(
    caller: &mut impl Caller,
    record: &mut Record,
    route: Option<&Arc<Route>>,
) -> Result<Slot, NoPlace> {
    let at_once = (record.service.waiting() == 0).then(|| match route {
        Some(route) => attempt_at(caller.worker(), route, &record.ask),
        None => attempt(caller.worker(), &record.service, &record.ask),
    });
    let admitted = match at_once {
        None | Some(Attempt::Wait) => Box::pin(queue(caller, record)).await,
        Some(now) => taken(caller, &record.service, now),
    };
    if let Ok(slot) = &admitted {
        record.placed(slot);
        if let Some(sticky) = record.sticky {
            let worker = caller.worker();
            let cookie = worker.route(|table| {
                let route = table.by_service(&slot.service.id);
                sticky.cookie(route.map(|route| &**route), &slot.instance)
            });
            caller.set_cookie(cookie);
        }
    }
    admitted
}

fn taken(caller: &impl Caller, service: &Arc<Service>, attempt: Attempt) -> Result<Slot, NoPlace> {
    match attempt {
        Attempt::Place(slot) => Ok(slot),
        Attempt::Never(reason) => Err(never(caller.worker(), service, reason)),
        Attempt::Wait => Err(NoPlace::Answer(Reason::QueueTimeout)),
    }
}

/// A request that is refused because there is no instance asks for one all the same.
fn never(worker: &Worker, service: &Arc<Service>, reason: Reason) -> NoPlace {
    if matches!(
        reason,
        Reason::Trouble | Reason::QueueFull | Reason::QueueOverflow
    ) {
        service.ask();
        want(worker, service);
    }
    NoPlace::Answer(reason)
}

/// Tells the control plane, if it does not know, that there are more requests than the instances may be given.
fn want(worker: &Worker, service: &Arc<Service>) {
    if service.begins_to_want() {
        let told = worker
            .shared
            .events
            .try_send(Event::Wanted(Arc::clone(service)));
        if told.is_err() {
            // There is more trouble than can be told; the next request that waits tells it again.
            service.forget_wanting();
        }
    }
}

async fn queue(caller: &mut impl Caller, record: &mut Record) -> Result<Slot, NoPlace> {
    let begin = Instant::now();
    let can_grow = caller.worker().route(|table| {
        let route = table.by_service(&record.service.id);
        route.is_some_and(|route| route.can_grow)
    });
    let longest = if can_grow {
        QUEUE_GROWING_MAX
    } else {
        QUEUE_MAX
    };
    caller.deadline().set_phase(Some(longest));
    let queued = wait(caller, record, can_grow).await;
    caller.deadline().set_phase(None);
    record.queued += begin.elapsed();
    queued
}

async fn wait(caller: &mut impl Caller, record: &Record, can_grow: bool) -> Result<Slot, NoPlace> {
    let service = &record.service;
    let (max, full) = match can_grow {
        true => (WAITING_GROWING_MAX, Reason::QueueOverflow),
        false => (WAITING_MAX, Reason::QueueFull),
    };
    let Some(mut waiter) = service.enqueue(max) else {
        return Err(never(caller.worker(), service, full));
    };
    want(caller.worker(), service);
    loop {
        wake_up(caller, service, &mut waiter).await?;
        match attempt(caller.worker(), service, &record.ask) {
            Attempt::Wait => {}
            now => {
                // An instance that recovers has many places and wakes one request.
                if service.waiting() > 1 && may_have_place(caller.worker(), service) {
                    service.wake_one();
                }
                return taken(caller, service, now);
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
    waiter.register();
    // What changed between the last attempt and the registration would otherwise be missed.
    if may_have_place(caller.worker(), service) {
        service.wake_one();
    }
    let pause = |first| if first { LOOK_AGAIN } else { LOOK_AGAIN_BEHIND };
    let mut look_again = std::pin::pin!(tokio::time::sleep(pause(waiter.is_first())));
    std::future::poll_fn(|context| {
        if waiter.poll_woken(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        while look_again.as_mut().poll(context).is_ready() {
            if waiter.is_first() {
                return Poll::Ready(Ok(()));
            }
            look_again.set(tokio::time::sleep(LOOK_AGAIN_BEHIND));
        }
        if caller.poll_gone(context).is_ready() {
            return Poll::Ready(Err(NoPlace::ClientGone));
        }
        match caller.deadline().expired(context) {
            Some(Expired::Phase) => Poll::Ready(Err(NoPlace::Answer(Reason::QueueTimeout))),
            Some(expired) => Poll::Ready(Err(NoPlace::Answer(expired.into()))),
            None => Poll::Pending,
        }
    })
    .await
}

fn attempt(worker: &Rc<Worker>, service: &Arc<Service>, ask: &Ask) -> Attempt {
    worker.route(|table| match table.by_service(&service.id) {
        Some(route) => attempt_at(worker, route, ask),
        None => Attempt::Never(Reason::UnknownHost),
    })
}

fn attempt_at(worker: &Rc<Worker>, route: &Arc<Route>, ask: &Ask) -> Attempt {
    if route.state == RouteState::Paused {
        return Attempt::Never(Reason::Paused);
    }
    match pick(route, ask, worker.sweep.now_ms(), worker.turn()) {
        Picked::Instance { instance, probe } => {
            Attempt::Place(Slot::new(worker, route, instance, probe))
        }
        Picked::None if route.trouble.is_some() => Attempt::Never(Reason::Trouble),
        Picked::Busy | Picked::None => Attempt::Wait,
    }
}

fn may_have_place(worker: &Worker, service: &Service) -> bool {
    worker.route(|table| match table.by_service(&service.id) {
        Some(route) => {
            route.state == RouteState::Paused
                || (route.instances.is_empty() && route.trouble.is_some())
                || has_place(route, worker.sweep.now_ms())
        }
        None => true,
    })
}
