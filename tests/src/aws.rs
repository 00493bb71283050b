//! The real AWS command lines.

use crate::{Platform, assets, run};
use anyhow::{Context, Result};
use serde_json::Value;
use std::process::Command;

impl Platform {
    /// The newest command line of version 1.
    pub fn aws_v1(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.client(assets::aws_v1()?);
        command.args(arguments).args(["--output", "json"]);
        Ok(command)
    }

    /// The distribution's command line of version 2, which does not know `AWS_ENDPOINT_URL` yet.
    pub fn aws_v2(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.client(assets::aws_v2());
        command.args(["--endpoint-url", self.variable("AWS_ENDPOINT_URL")?]);
        command.args(arguments).args(["--output", "json"]);
        Ok(command)
    }

    /// Runs the newest command line; it must succeed.
    pub fn aws(&self, arguments: &[&str]) -> Result<Value> {
        json(&run::ok(&mut self.aws_v1(arguments)?)?)
    }

    /// Runs the newest command line; it must fail. Returns what it said.
    pub fn aws_fails(&self, arguments: &[&str]) -> Result<String> {
        run::fails(&mut self.aws_v1(arguments)?)
    }
}

/// What a command line printed; an operation without output prints nothing.
pub fn json(text: &str) -> Result<Value> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text)
        .with_context(|| format!("the AWS command line printed no JSON: {text}"))
}
