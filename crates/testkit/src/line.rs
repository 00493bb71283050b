//! Calls by clients of their own threads, which may be cut off by the end of the control plane.

use apron_control::apprunner::AppRunner;
use apron_control::endpoint::ApiService;
use apron_control::operator::Operator;
use serde_json::Value;
use std::sync::{Arc, mpsc};
use tokio::runtime::Handle;

use crate::life::call;

/// A client's way to one run of the control plane. It outlives it: calls are then left without an answer.
#[derive(Clone)]
pub struct Line {
    pub(crate) runtime: Handle,
    pub(crate) app_runner: Arc<AppRunner>,
    pub(crate) operator: Arc<Operator>,
}

impl Line {
    /// Calls an operation of the App Runner API or of the operator's, whichever has it, and waits for the answer; the
    /// error is `(code, message)`. `None` when the control plane ended before it answered: nobody knows then what became
    /// of the call.
    pub fn call(&self, operation: &str, input: Value) -> Option<Result<Value, (String, String)>> {
        let (answer, answered) = mpsc::sync_channel(1);
        let operators = matches!(
            operation,
            "RollbackService" | "CancelOperation" | "DescribeOperation" | "CompleteConnection"
        );
        let api: Arc<dyn ApiService> = match operators {
            true => self.operator.clone(),
            false => self.app_runner.clone(),
        };
        let call = call(operation, input);
        self.runtime.spawn(async move {
            let said = api.call(call).await;
            // The client waits for as long as this task lives.
            let _ = answer.send(said.map_err(|error| (error.code, error.message)));
        });
        answered.recv().ok()
    }
}
