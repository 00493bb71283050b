//! A data plane that acknowledges at once and remembers what it was told.

use apron_control::dataplane::{DataPlane, DataPlaneError};
use apron_link::proxy::RouteTable;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Mutex;

#[derive(Default)]
struct State {
    table: RouteTable,
    outstanding: BTreeMap<String, u32>,
}

/// The remembering data plane.
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
    fn generation(&self) -> u64 {
        self.state.lock().unwrap().table.generation
    }

    async fn publish(&self, table: RouteTable) -> Result<(), DataPlaneError> {
        let mut state = self.state.lock().unwrap();
        assert!(
            table.generation > state.table.generation,
            "tables are numbered upwards"
        );
        state.table = table;
        Ok(())
    }

    fn draining(&self) -> Option<BTreeMap<String, u32>> {
        let state = self.state.lock().unwrap();
        let routed = |id: &String| {
            state
                .table
                .routes
                .iter()
                .any(|r| r.upstreams.iter().any(|u| u.instance == *id))
        };
        let left = state
            .outstanding
            .iter()
            .filter(|(id, count)| **count > 0 && !routed(id));
        Some(left.map(|(id, count)| (id.clone(), *count)).collect())
    }
}
