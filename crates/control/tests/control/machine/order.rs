//! Whether answers that several clients got at once can be explained: by some order of their calls, each at one moment
//! between being made and being answered, with operations taking steps of their own in between (linearizability, Herlihy
//! and Wing 1990). A call without an answer may have had its effect or not.

use super::call::{Answer, Call};
use super::model::Model;
use std::collections::HashSet;

/// A call of a client as it went.
#[derive(Clone, Debug)]
pub struct Event {
    pub call: Call,
    /// When it was made and answered, on one clock of all clients.
    pub made: u64,
    /// `None` when the control plane ended before.
    pub answered: Option<(u64, Answer)>,
}

/// How many calls of each client have been placed, and what the account is then.
type Place = (Vec<usize>, Model);

/// What the account can be after these calls, beginning as one of `models`: an error when nothing explains them, with
/// the call nearest to the end that found no place. `unexplained` are ARNs that no answer of a creation gives.
pub fn explain(
    models: &HashSet<Model>,
    clients: &[Vec<Event>],
    unexplained: &[String],
) -> Result<HashSet<Model>, String> {
    let start = vec![0; clients.len()];
    let total: usize = clients.iter().map(Vec::len).sum();
    let mut places: HashSet<Place> = models.iter().map(|m| (start.clone(), m.clone())).collect();
    let mut refusals = Vec::new();
    for _ in 0..total {
        let mut next = HashSet::new();
        refusals.clear();
        for (done, model) in with_steps(places) {
            for client in 0..clients.len() {
                place(
                    clients,
                    client,
                    &done,
                    &model,
                    unexplained,
                    &mut next,
                    &mut refusals,
                );
            }
        }
        places = next;
        if places.is_empty() {
            refusals.sort();
            refusals.dedup();
            return Err(refusals.join("\n"));
        }
    }
    Ok(with_steps(places)
        .into_iter()
        .map(|place| place.1)
        .collect())
}

/// Places the next call of a client, if it may come now and is answered as it was.
fn place(
    clients: &[Vec<Event>],
    client: usize,
    done: &[usize],
    model: &Model,
    unexplained: &[String],
    next: &mut HashSet<Place>,
    refusals: &mut Vec<String>,
) {
    let Some(event) = clients[client].get(done[client]) else {
        return;
    };
    let waiting = clients
        .iter()
        .zip(done)
        .filter_map(|(events, done)| events.get(*done));
    let mut ends = waiting.filter_map(|other| other.answered.as_ref().map(|(at, _)| *at));
    if ends.any(|end| end < event.made) {
        return;
    }
    let mut done = done.to_vec();
    done[client] += 1;
    let mut changed = model.clone();
    match &event.answered {
        Some((_, answer)) => {
            let seen = own_arn(answer);
            let expected = changed.apply(&event.call, &seen);
            if expected == *answer {
                next.insert((done, changed));
            } else {
                refusals.push(format!(
                    "{:?} was answered {answer:?}, not {expected:?}",
                    event.call
                ));
            }
        }
        None => {
            next.insert((done.clone(), model.clone()));
            // What it would have been answered, nobody knows.
            let _ = changed.apply(&event.call, unexplained);
            next.insert((done, changed));
        }
    }
}

/// The ARN that the answer of a creation gives: the first of its list.
fn own_arn(answer: &Answer) -> Vec<String> {
    let first = answer.as_ref().ok().and_then(|seen| seen.get(0)?.as_str());
    first.into_iter().map(str::to_owned).collect()
}

/// These places, and all that operations reach from there by themselves.
fn with_steps(places: HashSet<Place>) -> HashSet<Place> {
    let mut reached = HashSet::new();
    let mut open: Vec<Place> = places.into_iter().collect();
    while let Some((done, model)) = open.pop() {
        if !reached.insert((done.clone(), model.clone())) {
            continue;
        }
        for (arn, service) in &model.services {
            if let Some(step) = service.step() {
                let mut next = model.clone();
                next.services.insert(arn.clone(), step);
                open.push((done.clone(), next));
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::super::model::{INVALID, STATE};
    use super::*;
    use serde_json::json;

    const ARN: &str = "arn:aws:apprunner:us-east-1:111122223333:service/s0/1";
    const DEFAULT: &str = "arn:aws:apprunner:us-east-1:111122223333:autoscalingconfiguration/DefaultConfiguration/1/00000000000000000000000000000001";

    fn event(call: Call, made: u64, answered: u64, answer: Answer) -> Event {
        Event {
            call,
            made,
            answered: Some((answered, answer)),
        }
    }

    fn shown(status: &str, began: bool) -> Answer {
        Ok(json!([
            ARN,
            status,
            "localhost:7400/app:one",
            DEFAULT,
            began,
            false
        ]))
    }

    fn create() -> Call {
        Call::CreateService {
            name: "s0".to_owned(),
            image: 0,
            scaling: None,
            tag: None,
        }
    }

    fn on(operation: &'static str) -> Call {
        Call::OnService(operation, ARN.to_owned())
    }

    fn explained(clients: &[Vec<Event>]) -> bool {
        explain(&HashSet::from([Model::new()]), clients, &[]).is_ok()
    }

    #[test]
    fn of_two_creations_at_once_one_wins_in_either_order_and_never_both() {
        let won = || event(create(), 1, 4, shown("OPERATION_IN_PROGRESS", true));
        let lost = || event(create(), 2, 3, Err(INVALID.to_owned()));
        assert!(explained(&[vec![won()], vec![lost()]]));
        assert!(explained(&[vec![lost()], vec![won()]]));
        assert!(!explained(&[vec![won()], vec![won()]]));
        assert!(!explained(&[vec![lost()], vec![lost()]]));
    }

    #[test]
    fn a_call_after_another_sees_it_and_operations_end_by_themselves() {
        let busy = "OPERATION_IN_PROGRESS";
        let create = event(create(), 1, 2, shown(busy, true));
        let seen = |status: &str| event(on("DescribeService"), 3, 4, shown(status, false));
        assert!(explained(&[vec![create.clone()], vec![seen(busy)]]));
        assert!(explained(&[vec![create.clone()], vec![seen("RUNNING")]]));
        assert!(!explained(&[vec![create.clone()], vec![seen("PAUSED")]]));
        let pause = |at, answer| event(on("PauseService"), at, at + 1, answer);
        let refused = Err(STATE.to_owned());
        let both = [pause(5, shown(busy, true)), pause(7, refused.clone())];
        assert!(explained(&[vec![create.clone()], both.to_vec()]));
        // A service that was seen running is not refused its pause.
        assert!(!explained(&[
            vec![create],
            vec![seen("RUNNING"), pause(5, refused)]
        ]));
    }

    #[test]
    fn a_call_without_an_answer_happened_or_did_not() {
        let cut = Event {
            call: create(),
            made: 1,
            answered: None,
        };
        let list = |seen: Answer| event(Call::ListServices, 2, 3, seen);
        let there = Ok(json!([[ARN, "RUNNING"]]));
        let models = HashSet::from([Model::new()]);
        let arns = [ARN.to_owned()];
        for (seen, fits) in [
            (Ok(json!([])), true),
            (there, true),
            (Ok(json!([["x", "RUNNING"]])), false),
        ] {
            let clients = [vec![cut.clone()], vec![list(seen)]];
            assert_eq!(explain(&models, &clients, &arns).is_ok(), fits);
        }
    }
}
