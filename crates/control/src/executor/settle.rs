//! Waiting until every candidate of a deployment is healthy.

use super::{StepError, evidence};
use crate::clock::random;
use crate::engine::Engine;
use crate::prober;
use apron_domain::operation::Outcome;
use apron_domain::trial::{Trial, Verdict};
use apron_domain::{InstanceId, Operation};
use std::time::Duration;

/// Longest time between two looks at the candidates: an application that ends is noticed by its event sooner.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Longest time to wait for what an application printed before its end.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(500);

/// Probes the candidates until all are healthy, one has failed, or the time for it is over. The trials live in memory
/// only: after a restart they begin again, which at worst probes once more.
pub async fn settle(
    engine: &Engine,
    operation: &Operation,
    candidates: &[InstanceId],
) -> Result<Outcome, StepError> {
    for id in candidates {
        engine.fleet.refresh_one(id).await?;
    }
    let mut trials = Vec::with_capacity(candidates.len());
    for id in candidates {
        trials.push(stand_trial(engine, operation, id));
    }
    let outcomes = futures_util::future::join_all(trials).await;
    let worst = outcomes.into_iter().max_by_key(|outcome| match outcome {
        Outcome::Failed(_) => 2,
        Outcome::Waiting => 1,
        _ => 0,
    });
    Ok(match worst.unwrap_or(Outcome::Done) {
        Outcome::Done => enough(engine, operation),
        other => other,
    })
}

/// The candidates are healthy. If the load grew meanwhile there have to be more before they take it over.
fn enough(engine: &Engine, operation: &Operation) -> Outcome {
    let target = engine.scaler.target(&operation.service).unwrap_or(0);
    let target = target.min(operation.config.scaling.max_size);
    let present = u32::try_from(operation.candidates.len()).unwrap_or(u32::MAX);
    let new_id = |_| InstanceId::from_random(random(engine.chance.as_ref()));
    match target.saturating_sub(present) {
        0 => Outcome::Done,
        missing => Outcome::Short((0..missing).map(new_id).collect()),
    }
}

async fn stand_trial(engine: &Engine, operation: &Operation, id: &InstanceId) -> Outcome {
    let check = &operation.config.health;
    let mut trial = Trial::default();
    loop {
        if let Some(exit) = evidence::exit(engine, id) {
            engine.fleet.heard_end(id, LAST_WORDS_WITHIN).await;
            return Outcome::Failed(evidence::ended(engine, id, &exit));
        }
        if is_cancelled(engine, operation).await {
            return Outcome::Waiting;
        }
        let now = engine.clock.now();
        if now.since(operation.stage_since) >= engine.settings.patience.settle_ms {
            return overdue(engine, operation, id, &trial);
        }
        match trial.verdict(check, now) {
            Verdict::Healthy => return Outcome::Done,
            Verdict::Unhealthy => {
                return Outcome::Failed(evidence::unhealthy(engine, id, &trial.detail));
            }
            Verdict::ProbeAt(at) if at > now => {
                engine
                    .fleet
                    .changed(Duration::from_millis(at.since(now)).min(LOOK_EVERY))
                    .await;
            }
            Verdict::ProbeAt(_) => {
                let answer = prober::probe(engine, id, check).await;
                trial = trial.probed(
                    answer.healthy,
                    answer.answered,
                    answer.detail,
                    engine.clock.now(),
                );
            }
        }
    }
}

fn overdue(engine: &Engine, operation: &Operation, id: &InstanceId, trial: &Trial) -> Outcome {
    let seconds = engine.settings.patience.settle_ms / 1000;
    let detail = match trial.detail.is_empty() {
        true => format!("not healthy within {seconds} seconds"),
        false => format!(
            "{}; not healthy within {seconds} seconds of the start",
            trial.detail
        ),
    };
    tracing::info!(operation = %operation.id, instance = %id, %detail, "candidate is overdue");
    Outcome::Failed(evidence::unhealthy(engine, id, &detail))
}

/// Whether to stop waiting because the operator cancelled: the executor ends the operation. A store that does not answer now
/// answers the next time.
pub(super) async fn is_cancelled(engine: &Engine, operation: &Operation) -> bool {
    let asked = engine.store.operation_is_cancelled(&operation.id).await;
    asked.unwrap_or(false)
}
