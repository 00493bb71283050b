//! The route table with the order in which it changed, so that what is different since any number is found without
//! looking at the rest.

use super::Update;
use apron_link::proxy::{Certificate, Route, RouteChange, RouteTable};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Changes remembered, in entries; a proxy that is further behind gets the whole table.
const CHANGES_MAX: usize = 1 << 15;

/// Something that changes as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    Route(String),
    Certificate(String),
}

/// The table.
#[derive(Debug, Default)]
pub struct Board {
    generation: u64,
    complete: bool,
    routes: BTreeMap<String, Route>,
    certificates: BTreeMap<String, Certificate>,
    /// What changed in which table, oldest first.
    changes: VecDeque<(u64, Entry)>,
    /// Changes up to this table are not remembered any more.
    forgotten: u64,
    /// Instances in the table.
    instances: BTreeSet<String>,
    /// Instances that left, with the table that was the first without them.
    left: BTreeMap<String, u64>,
}

impl Board {
    /// The number of the newest table; none before the first whole update.
    pub fn generation(&self) -> Option<u64> {
        self.complete.then_some(self.generation)
    }

    /// Learns that a table of this number exists somewhere: the tables to come, and the present one unless it `is_known`
    /// to be that very table, get higher ones.
    pub fn seen(&mut self, generation: u64, is_known: bool) {
        if generation > self.generation || (generation == self.generation && !is_known) {
            self.generation = generation + u64::from(self.complete);
        }
    }

    /// Puts in an update; answers the number of the newest table, which is a new one if anything is different.
    pub fn put(&mut self, update: Update) -> u64 {
        let next = self.generation + 1;
        let entries = match update {
            Update::Whole {
                routes,
                certificates,
            } => self.put_whole(routes, certificates, next),
            Update::Service { service, route } => self.put_route(service, route, next),
            Update::Certificates(certificates) => self.put_certificates(certificates),
        };
        if !entries.is_empty() {
            self.generation = next;
            self.changes.extend(entries.into_iter().map(|e| (next, e)));
        }
        while self.changes.len() > CHANGES_MAX {
            self.forgotten = self.changes.pop_front().map_or(next, |(number, _)| number);
        }
        self.generation
    }

    fn put_whole(
        &mut self,
        routes: Vec<Route>,
        certificates: Vec<Certificate>,
        next: u64,
    ) -> Vec<Entry> {
        if !self.complete {
            // The first table is a new one even when it is empty.
            self.complete = true;
            self.generation = next;
        }
        let named: BTreeSet<&String> = routes.iter().map(|route| &route.service).collect();
        let gone = self.routes.keys().filter(|known| !named.contains(known));
        let gone: Vec<String> = gone.cloned().collect();
        let mut entries = self.put_certificates(certificates);
        for service in gone {
            entries.extend(self.put_route(service, None, next));
        }
        for route in routes {
            entries.extend(self.put_route(route.service.clone(), Some(route), next));
        }
        entries
    }

    fn put_route(&mut self, service: String, route: Option<Route>, next: u64) -> Vec<Entry> {
        if self.routes.get(&service) == route.as_ref() {
            return Vec::new();
        }
        let new = route.as_ref().map_or(&[][..], |route| &route.upstreams);
        let is_new = |id: &String| new.iter().any(|upstream| upstream.instance == *id);
        let old = self.routes.get(&service).map(|route| &route.upstreams);
        for upstream in old.into_iter().flatten() {
            if !is_new(&upstream.instance) {
                self.instances.remove(&upstream.instance);
                self.left.insert(upstream.instance.clone(), next);
            }
        }
        for upstream in new {
            self.instances.insert(upstream.instance.clone());
            self.left.remove(&upstream.instance);
        }
        match route {
            Some(route) => self.routes.insert(service.clone(), route),
            None => self.routes.remove(&service),
        };
        vec![Entry::Route(service)]
    }

    fn put_certificates(&mut self, certificates: Vec<Certificate>) -> Vec<Entry> {
        let named: BTreeMap<String, Certificate> = certificates
            .into_iter()
            .map(|certificate| (certificate.id.clone(), certificate))
            .collect();
        let gone = self
            .certificates
            .keys()
            .filter(|id| !named.contains_key(*id));
        let different = named
            .iter()
            .filter(|(id, certificate)| self.certificates.get(*id) != Some(certificate))
            .map(|(id, _)| id);
        let entries = gone
            .chain(different)
            .cloned()
            .map(Entry::Certificate)
            .collect();
        self.certificates = named;
        entries
    }

    /// The whole table; none before the first whole update.
    pub fn table(&self) -> Option<RouteTable> {
        self.complete.then(|| RouteTable {
            generation: self.generation,
            certificates: self.certificates.values().cloned().collect(),
            routes: self.routes.values().cloned().collect(),
        })
    }

    /// The route of a service.
    pub fn route(&self, service: &str) -> Option<&Route> {
        self.routes.get(service)
    }

    /// Every route, by service.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.values()
    }

    /// What makes the newest table of the one with number `base`; none when that is too long ago.
    pub fn change_since(&self, base: u64) -> Option<RouteChange> {
        if base < self.forgotten {
            return None;
        }
        let first = self.changes.partition_point(|(number, _)| *number <= base);
        let entries: BTreeSet<&Entry> = self.changes.range(first..).map(|(_, e)| e).collect();
        let mut change = RouteChange {
            base,
            generation: self.generation,
            ..RouteChange::default()
        };
        for entry in entries {
            match entry {
                Entry::Route(service) => match self.routes.get(service) {
                    Some(route) => change.routes.push(route.clone()),
                    None => change.removed.push(service.clone()),
                },
                Entry::Certificate(id) => match self.certificates.get(id) {
                    Some(certificate) => change.certificates.push(certificate.clone()),
                    None => change.removed_certificates.push(id.clone()),
                },
            }
        }
        Some(change)
    }

    /// Whether an instance is in the table.
    pub fn has(&self, instance: &str) -> bool {
        self.instances.contains(instance)
    }

    /// The first table without an instance that was in one; zero when that is forgotten or was never so.
    pub fn left_at(&self, instance: &str) -> u64 {
        self.left.get(instance).copied().unwrap_or_default()
    }

    /// Every proxy routes by this table or a later one: instances that had left by then are forgotten.
    pub fn all_follow(&mut self, generation: u64) {
        if !self.left.is_empty() {
            self.left.retain(|_, left_at| *left_at > generation);
        }
    }
}

#[cfg(test)]
mod tests;
