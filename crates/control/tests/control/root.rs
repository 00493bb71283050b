//! The root user, who calls everything and waits for nothing.

use apron_aws::{Model, model};
use apron_testkit::{Answer, Client, Life};
use serde_json::Value;

/// Whoever calls everything. What a test calls often it adds itself.
pub struct Root<'a> {
    pub life: &'a Life,
    pub client: Client,
}

impl<'a> Root<'a> {
    pub fn of(life: &'a Life) -> Root<'a> {
        Root {
            life,
            client: life.root(),
        }
    }

    pub fn call(&self, model: &Model, operation: &str, input: Value) -> Answer {
        self.life
            .wait_for(self.client.call(model, operation, &input))
    }

    pub fn iam(&self, operation: &str, input: Value) -> Answer {
        self.call(model::iam(), operation, input)
    }
}
