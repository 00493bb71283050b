//! Services and instances by their ids, across tables: an instance keeps its count of requests when the table changes.

use super::{Route, Table};
use crate::instance::Instance;
use crate::service::Service;
use apron_link::proxy::{Draining, RouteTable, Upstream};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Everything that is in the table, and instances that left it while they had requests.
#[derive(Debug, Default)]
pub struct Registry {
    services: HashMap<String, Arc<Service>>,
    instances: HashMap<Upstream, Arc<Instance>>,
    leaving: Vec<Arc<Instance>>,
}

impl Registry {
    /// Makes the workers' form of a table. Instances that are not in it are marked departed; from when no worker
    /// picks by an older table, [`Registry::draining`] tells which of them still have requests.
    pub fn compile(&mut self, table: &RouteTable) -> Table {
        let mut services = HashMap::new();
        let mut instances = HashMap::new();
        let mut compiled = Table {
            generation: table.generation,
            ..Table::default()
        };
        for route in &table.routes {
            let service = self.services.get(&route.service).cloned();
            let service = service.unwrap_or_else(|| Arc::new(Service::new(route.service.clone())));
            services.insert(route.service.clone(), Arc::clone(&service));
            let upstreams = route.upstreams.iter().map(|upstream| {
                let instance = instances
                    .entry(upstream.clone())
                    .or_insert_with(|| self.instance(upstream));
                Arc::clone(instance)
            });
            let shared = Arc::new(Route {
                service,
                state: route.state,
                instances: upstreams.collect(),
                max_concurrency: route.max_concurrency.max(1),
                timeout: (route.request_timeout_ms > 0)
                    .then(|| Duration::from_millis(route.request_timeout_ms)),
            });
            compiled
                .services
                .insert(route.service.as_str().into(), Arc::clone(&shared));
            for host in &route.hosts {
                compiled
                    .hosts
                    .insert(host.to_ascii_lowercase().into(), Arc::clone(&shared));
            }
        }
        let before = std::mem::replace(&mut self.instances, instances);
        self.leaving.extend(
            before
                .into_iter()
                .filter(|(key, _)| !self.instances.contains_key(key))
                .map(|(_, it)| it),
        );
        for instance in &self.leaving {
            instance.set_departed(true);
        }
        self.services = services;
        compiled
    }

    fn instance(&mut self, upstream: &Upstream) -> Arc<Instance> {
        let matches =
            |it: &Arc<Instance>| it.id == upstream.instance && it.address == upstream.address;
        if let Some(index) = self.leaving.iter().position(matches) {
            let back = self.leaving.swap_remove(index);
            back.set_departed(false);
            return back;
        }
        let known = self.instances.get(upstream).cloned();
        known
            .unwrap_or_else(|| Arc::new(Instance::new(upstream.instance.clone(), upstream.address)))
    }

    /// The instances that left the table and still have requests. Those that have none are forgotten.
    pub fn draining(&mut self) -> Vec<Draining> {
        self.drained();
        let draining = |it: &Arc<Instance>| Draining {
            instance: it.id.clone(),
            outstanding: it.outstanding(),
        };
        self.leaving.iter().map(draining).collect()
    }

    /// Takes out the instances that left the table and have no request any more, by their ids.
    pub fn drained(&mut self) -> Vec<String> {
        let drained = self
            .leaving
            .extract_if(.., |instance| instance.outstanding() == 0);
        drained.map(|instance| instance.id.clone()).collect()
    }

    /// All services of the table.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apron_link::proxy::RouteState;

    fn table(generation: u64, instances: &[&str]) -> RouteTable {
        let upstream = |id: &&str| Upstream {
            instance: (*id).into(),
            address: "127.0.0.1:1".parse().unwrap(),
        };
        let route = apron_link::proxy::Route {
            service: "s".into(),
            hosts: vec!["A.test".into()],
            state: RouteState::Serving,
            upstreams: instances.iter().map(upstream).collect(),
            max_concurrency: 10,
            ..apron_link::proxy::Route::default()
        };
        RouteTable {
            generation,
            certificates: Vec::new(),
            routes: vec![route],
        }
    }

    #[test]
    fn instances_keep_their_requests_across_tables() {
        let mut registry = Registry::default();
        let first = registry.compile(&table(1, &["a", "b"]));
        let [a, b] = &first.by_host("a.test").unwrap().instances[..] else {
            panic!()
        };
        assert!(a.try_acquire(10));
        let second = registry.compile(&table(2, &["b"]));
        assert!(Arc::ptr_eq(
            &second.by_service("s").unwrap().instances[0],
            b
        ));
        assert_eq!(
            registry.draining(),
            [Draining {
                instance: "a".into(),
                outstanding: 1
            }]
        );
        assert!(registry.drained().is_empty());
        // It comes back while it drains, as after a rollback.
        let third = registry.compile(&table(3, &["a"]));
        assert!(Arc::ptr_eq(
            &third.by_host("a.test").unwrap().instances[0],
            a
        ));
        assert!(!a.departed());
        assert!(registry.draining().is_empty());
        registry.compile(&table(4, &[]));
        assert!(a.release());
        assert_eq!(registry.drained(), ["a"]);
        assert!(registry.drained().is_empty());
    }
}
