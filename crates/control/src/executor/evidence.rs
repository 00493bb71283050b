//! Why a candidate did not make it, with what a person needs to see.

use crate::engine::Engine;
use crate::fleet::describe;
use apron_compute::{Exit, InstanceState};
use apron_domain::{Failure, FailureKind, InstanceId};

/// Whether an instance's application runs or may still come to run.
pub fn is_alive(engine: &Engine, id: &InstanceId) -> bool {
    engine
        .fleet
        .status(id)
        .is_some_and(|s| !matches!(s.state, InstanceState::Exited(_)))
}

/// How an instance's application ended, if it has.
pub fn exit(engine: &Engine, id: &InstanceId) -> Option<Exit> {
    match engine.fleet.status(id)?.state {
        InstanceState::Exited(exit) => Some(exit),
        _ => None,
    }
}

/// The failure of a candidate whose application ended before it was healthy.
pub fn ended(engine: &Engine, id: &InstanceId, exit: &Exit) -> Failure {
    let kind = FailureKind::ApplicationExit { code: exit.code };
    Failure::new(kind, describe(exit)).with_evidence(last_words(engine, id))
}

/// The failure of a candidate that is not healthy.
pub fn unhealthy(engine: &Engine, id: &InstanceId, detail: &str) -> Failure {
    Failure::new(
        FailureKind::HealthCheck,
        format!("the last probe found: {detail}"),
    )
    .with_evidence(last_words(engine, id))
}

fn last_words(engine: &Engine, id: &InstanceId) -> Vec<String> {
    let tail = engine.fleet.tail(id);
    match tail.is_empty() {
        true => vec![format!("instance {id} printed nothing")],
        false => std::iter::once(format!("last output of instance {id}:"))
            .chain(tail)
            .collect(),
    }
}
