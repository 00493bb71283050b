//! A data plane that acknowledges at once and remembers what it was told.

use apron_control::dataplane::board::Board;
use apron_control::dataplane::{DataPlane, DataPlaneError, Update};
use apron_link::proxy::RouteTable;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Mutex;

#[derive(Default)]
struct State {
    board: Board,
    /// The table as a proxy has it: made of the first one and the changes since.
    table: RouteTable,
    outstanding: BTreeMap<String, u32>,
}

/// The remembering data plane. It outlives the control planes that use it, as the proxy does.
#[derive(Default)]
pub struct RememberingProxy {
    state: Mutex<State>,
}

impl RememberingProxy {
    /// The table in force.
    pub fn table(&self) -> RouteTable {
        self.state.lock().unwrap().table.clone()
    }

    /// The instances that take requests of a host.
    pub fn upstreams(&self, host: &str) -> Vec<String> {
        let table = self.table();
        let route = table
            .routes
            .iter()
            .find(|route| route.hosts.iter().any(|h| h == host));
        route
            .map(|r| r.upstreams.iter().map(|u| u.instance.clone()).collect())
            .unwrap_or_default()
    }

    /// Lets an instance have requests that are not answered yet.
    pub fn set_outstanding(&self, instance: &str, count: u32) {
        self.state
            .lock()
            .unwrap()
            .outstanding
            .insert(instance.to_owned(), count);
    }
}

#[async_trait]
impl DataPlane for RememberingProxy {
    fn put(&self, update: Update) -> u64 {
        let mut state = self.state.lock().unwrap();
        let generation = state.board.put(update);
        if state.table.generation == 0 {
            state.table = state
                .board
                .table()
                .expect("the first update is a whole one");
        } else if let Some(change) = state.board.change_since(state.table.generation) {
            state.table.apply(&change);
        }
        generation
    }

    async fn in_force(&self, generation: u64) -> Result<(), DataPlaneError> {
        let newest = self.table().generation;
        assert!(newest >= generation, "table {generation} was never put in");
        Ok(())
    }

    fn busy(&self, instance: &str) -> bool {
        let state = self.state.lock().unwrap();
        let outstanding = state.outstanding.get(instance).copied();
        state.board.has(instance) || outstanding.is_some_and(|count| count > 0)
    }
}
