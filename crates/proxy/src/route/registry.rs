//! Services and instances by their ids, across tables: an instance keeps its count of requests when the table changes.
//! The work of a change is in proportion to the change.

use super::claims::Claims;
use super::{Route, Table};
use crate::instance::Instance;
use crate::service::Service;
use apron_link::proxy::{self as wire, Draining, Upstream};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of a service's trouble that clients are told.
const TROUBLE_BYTES_MAX: usize = 1_024;

/// Everything that is in the table, and instances that left it while they had requests.
#[derive(Debug, Default)]
pub struct Registry {
    table: Table,
    services: HashMap<String, Known>,
    instances: HashMap<Upstream, Counted>,
    ids: HashMap<String, Arc<Instance>>,
    hosts: Claims,
    leaving: Vec<Arc<Instance>>,
}

/// What a service's route was made of.
#[derive(Debug)]
struct Known {
    route: Arc<Route>,
    hosts: Vec<String>,
    upstreams: Vec<Upstream>,
}

/// An instance and the number of routes it is in.
#[derive(Debug)]
struct Counted {
    instance: Arc<Instance>,
    routes: usize,
}

impl Registry {
    /// Makes the whole table the one in the registry. Answers the services whose waiting requests are to look again.
    pub fn replace(&mut self, table: &wire::RouteTable) -> Vec<Arc<Service>> {
        let stays: HashSet<&str> = table.routes.iter().map(|it| it.service.as_str()).collect();
        let known = self.services.keys();
        let gone: Vec<String> = known
            .filter(|id| !stays.contains(id.as_str()))
            .cloned()
            .collect();
        self.change(table.generation, &table.routes, &gone)
    }

    /// Puts `routes` in the place of those of the same services and takes the routes of `removed` services out. Instances
    /// that are in no route any more are marked departed; from when no worker picks by an older table,
    /// [`Registry::draining`] tells which of them still have requests. Answers the services it touched.
    pub fn change(
        &mut self,
        generation: u64,
        routes: &[wire::Route],
        removed: &[String],
    ) -> Vec<Arc<Service>> {
        self.table.generation = generation;
        let mut touched = Vec::with_capacity(routes.len() + removed.len());
        let mut let_go = Vec::new();
        for id in removed {
            if let Some(known) = self.services.remove(id) {
                known.hosts.iter().for_each(|host| self.vacate(host, id));
                self.table.services.remove(id);
                let_go.extend(known.upstreams);
                touched.push(Arc::clone(&known.route.service));
            }
        }
        for route in routes {
            touched.push(self.put(route, &mut let_go));
        }
        // Only now, so that an instance that is in the old and in the new route never counts as gone.
        let_go.iter().for_each(|upstream| self.let_go(upstream));
        touched
    }

    /// The table as it is now; a copy costs nothing.
    pub fn table(&self) -> Table {
        self.table.clone()
    }

    fn put(&mut self, route: &wire::Route, let_go: &mut Vec<Upstream>) -> Arc<Service> {
        let id = &route.service;
        let before = self.services.remove(id);
        let service = match &before {
            Some(known) => Arc::clone(&known.route.service),
            None => Arc::new(Service::new(id.clone())),
        };
        let upstreams = route.upstreams.iter();
        let instances: Vec<_> = upstreams.map(|upstream| self.hold(upstream)).collect();
        for instance in &instances {
            instance.set_throttled(route.throttle_idle);
        }
        let made = Arc::new(made(route, Arc::clone(&service), instances));
        self.table.services.insert(id, Arc::clone(&made));
        let hosts: Vec<String> = route
            .hosts
            .iter()
            .map(|it| it.to_ascii_lowercase())
            .collect();
        self.services.insert(
            id.clone(),
            Known {
                route: Arc::clone(&made),
                hosts: hosts.clone(),
                upstreams: route.upstreams.clone(),
            },
        );
        for host in &hosts {
            self.hosts.claim(host, id);
            if self.hosts.owner(host) == Some(id) {
                self.table.hosts.insert(host, Arc::clone(&made));
            }
        }
        if let Some(before) = before {
            let given_up = before.hosts.iter().filter(|host| !hosts.contains(host));
            given_up.for_each(|host| self.vacate(host, id));
            let_go.extend(before.upstreams);
        }
        service
    }

    /// A service gives a host name up.
    fn vacate(&mut self, host: &str, id: &str) {
        self.hosts.give_up(host, id);
        let owner = self.hosts.owner(host);
        match owner.and_then(|owner| self.services.get(owner)) {
            Some(next) => self.table.hosts.insert(host, Arc::clone(&next.route)),
            None => self.table.hosts.remove(host),
        }
    }

    /// The instance, which is in one more route now.
    fn hold(&mut self, upstream: &Upstream) -> Arc<Instance> {
        if let Some(counted) = self.instances.get_mut(upstream) {
            counted.routes += 1;
            return Arc::clone(&counted.instance);
        }
        let matches =
            |it: &Arc<Instance>| it.id == upstream.instance && it.address == upstream.address;
        let instance = match self.leaving.iter().position(matches) {
            Some(index) => self.leaving.swap_remove(index),
            None => Arc::new(Instance::new(upstream.instance.clone(), upstream.address)),
        };
        instance.set_departed(false);
        self.ids.insert(instance.id.clone(), Arc::clone(&instance));
        let counted = Counted {
            instance: Arc::clone(&instance),
            routes: 1,
        };
        self.instances.insert(upstream.clone(), counted);
        instance
    }

    /// The instance is in one route less.
    fn let_go(&mut self, upstream: &Upstream) {
        let Some(counted) = self.instances.get_mut(upstream) else {
            return;
        };
        counted.routes -= 1;
        if counted.routes == 0
            && let Some(Counted { instance, .. }) = self.instances.remove(upstream)
        {
            instance.set_departed(true);
            // What it has left to do, and its end, it does at full speed.
            instance.brake.give_up();
            if self
                .ids
                .get(&instance.id)
                .is_some_and(|it| Arc::ptr_eq(it, &instance))
            {
                self.ids.remove(&instance.id);
            }
            self.leaving.push(instance);
        }
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
        self.services.values().map(|known| &known.route.service)
    }

    /// An instance that is in the table, by its id.
    pub fn instance(&self, id: &str) -> Option<&Arc<Instance>> {
        self.ids.get(id)
    }

    /// The route of a service.
    pub fn route(&self, service: &str) -> Option<&Arc<Route>> {
        Some(&self.services.get(service)?.route)
    }
}

fn made(route: &wire::Route, service: Arc<Service>, instances: Vec<Arc<Instance>>) -> Route {
    let time = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
    Route {
        service,
        state: route.state,
        instances,
        max_concurrency: route.max_concurrency.max(1),
        can_grow: route.can_grow,
        trouble: route.trouble.as_deref().map(|text| bounded(text).into()),
        protocol: route.protocol,
        timeout: time(route.request_timeout_ms),
        idle_timeout: time(route.idle_timeout_ms),
        sticky: route.sticky,
        access_log: route.access_log,
    }
}

fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(TROUBLE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{RouteState, RouteTable};

    fn route(service: &str, host: &str, instances: &[&str]) -> wire::Route {
        let upstream = |id: &&str| Upstream {
            instance: (*id).into(),
            address: "127.0.0.1:1".parse().unwrap(),
        };
        wire::Route {
            service: service.into(),
            hosts: vec![host.into()],
            state: RouteState::Serving,
            upstreams: instances.iter().map(upstream).collect(),
            max_concurrency: 10,
            ..wire::Route::default()
        }
    }

    fn put(registry: &mut Registry, generation: u64, instances: &[&str]) -> Table {
        registry.replace(&RouteTable {
            generation,
            certificates: Vec::new(),
            routes: vec![route("s", "A.test", instances)],
        });
        registry.table()
    }

    #[test]
    fn instances_keep_their_requests_across_tables() {
        let mut registry = Registry::default();
        let first = put(&mut registry, 1, &["a", "b"]);
        let [a, b] = &first.by_host("a.test").unwrap().instances[..] else {
            panic!()
        };
        assert!(a.try_acquire(10));
        let second = put(&mut registry, 2, &["b"]);
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
        let third = put(&mut registry, 3, &["a"]);
        assert!(Arc::ptr_eq(
            &third.by_host("a.test").unwrap().instances[0],
            a
        ));
        assert!(!a.departed());
        assert!(registry.draining().is_empty());
        put(&mut registry, 4, &[]);
        assert!(a.release());
        assert_eq!(registry.drained(), ["a"]);
        assert!(registry.drained().is_empty());
    }

    #[test]
    fn a_change_touches_what_is_in_it() {
        let mut registry = Registry::default();
        let routes = vec![route("s", "s.test", &["a"]), route("t", "t.test", &["b"])];
        registry.change(1, &routes, &[]);
        let before = registry.table();
        let touched = registry.change(2, &[route("s", "s.test", &["a", "c"])], &[]);
        assert_eq!(touched.len(), 1);
        let after = registry.table();
        assert_eq!((before.generation, after.generation), (1, 2));
        assert_eq!(before.by_host("s.test").unwrap().instances.len(), 1);
        assert_eq!(after.by_host("s.test").unwrap().instances.len(), 2);
        let same = |table: &Table| Arc::as_ptr(table.by_host("t.test").unwrap());
        assert_eq!(same(&before), same(&after));
        assert!(registry.draining().is_empty());
        // The service goes; its host name has gone to another meanwhile and stays there.
        registry.change(3, &[route("t", "s.test", &["b"])], &["s".into()]);
        let last = registry.table();
        assert_eq!(last.by_host("s.test").unwrap().service.id, "t");
        assert!(last.by_host("t.test").is_none() && last.by_service("s").is_none());
    }

    #[test]
    fn an_instance_in_two_routes_departs_with_the_last() {
        let mut registry = Registry::default();
        let routes = vec![route("s", "s.test", &["a"]), route("t", "t.test", &["a"])];
        registry.change(1, &routes, &[]);
        let a = Arc::clone(&registry.table().by_service("s").unwrap().instances[0]);
        registry.change(2, &[], &["s".into()]);
        assert!(!a.departed());
        registry.change(3, &[route("t", "t.test", &[])], &[]);
        assert!(a.departed());
    }
}
