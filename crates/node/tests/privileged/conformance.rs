//! The suite every backend passes.

use crate::machine::{Machine, on_a_machine};
use apron_compute::conformance::{EXIT_CODE, LAST_WORDS, MADE, Program, REMOVED, Subject, all};
use apron_compute::{Compute, InstanceClass, InstanceSpec};
use apron_domain::Digest;
use apron_node::Node;
use std::sync::Arc;

struct Real {
    node: Arc<Node>,
    machine: Arc<Machine>,
}

impl Subject for Real {
    fn compute(&self) -> &dyn Compute {
        &*self.node
    }

    fn instance(&self, program: Program) -> Option<InstanceSpec> {
        Some(match program {
            Program::Serves => self.machine.server(),
            Program::Crashes => self
                .machine
                .script(&format!("echo {LAST_WORDS}; exit {EXIT_CODE}")),
            Program::Builds => {
                let (directory, _) = MADE.rsplit_once('/')?;
                let mut spec = self.machine.script(&format!(
                    "mkdir {directory}; echo built > {MADE}; rm {REMOVED}"
                ));
                spec.class = InstanceClass::Build;
                spec
            }
            Program::Absent => {
                let mut spec = self.machine.server();
                spec.start_command = Some("/app/absent".to_owned());
                spec
            }
        })
    }

    fn unknown_image(&self) -> Digest {
        Digest::parse(&format!("sha256:{}", "0".repeat(64))).unwrap()
    }
}

#[test]
fn privileged_the_local_backend_keeps_the_contract() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        all(&Real { node, machine }, &mut events).await;
    });
}
