//! Ending the control plane between two effects of an operation.

use apron_control::engine::{Checkpoints, Point};
use apron_domain::{Operation, Stage};
use async_trait::async_trait;
use std::sync::Mutex;
use tokio::sync::Notify;

/// Where to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// In this stage.
    pub stage: Stage,
    /// Before or after its step.
    pub point: Point,
}

/// Lets operations run until a stop, and holds them there for ever.
#[derive(Default)]
pub struct StopAt {
    stop: Option<Stop>,
    reached: Notify,
    passed: Mutex<Vec<Stop>>,
}

impl StopAt {
    /// Stops there.
    pub fn new(stop: Stop) -> StopAt {
        StopAt {
            stop: Some(stop),
            ..StopAt::default()
        }
    }

    /// Waits until an operation is held.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Every point that operations came to.
    pub fn passed(&self) -> Vec<Stop> {
        self.passed.lock().unwrap().clone()
    }
}

#[async_trait]
impl Checkpoints for StopAt {
    async fn reached(&self, operation: &Operation, point: Point) {
        let here = Stop {
            stage: operation.stage,
            point,
        };
        self.passed.lock().unwrap().push(here);
        if self.stop == Some(here) {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }
}
