//! Services in memory, as the last commit left them: reads through the API, of which there are most by far, neither wait for
//! the database's thread nor take records apart.
//!
//! The database stays the truth. A write transaction tells the shelf before its commit, and until it tells how it ended
//! everybody reads from the database: what one reader saw there, no later one misses here. It tells that under the number it
//! began with; there is one writer, so numbers are the order of commits. What arrives out of order, or may or may not have been
//! committed, empties the shelf, which is then filled again by reading. What was read while something was committed is not put
//! on it.
//!
//! What another handle of the same state commits is not seen here: the control plane has one, and holds a lock that keeps other
//! processes from having any.

use apron_domain::service::ServiceSummary;
use apron_domain::{Millis, Service, ServiceId, ServiceStatus};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Services in each half. The younger half becomes the older one when it is full, and the older one goes: a service that is
/// asked for moves back. At some 3 KiB each this is 12 MiB at most.
const HALF: usize = 2_048;

/// A place in the order of lists.
type Place = (Millis, ServiceId);

/// Services as the last commit left them.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with everything that is committed.
    generation: u64,
    /// Transactions that are being committed.
    committing: usize,
    /// The number of the last transaction that is on the shelf.
    last: u64,
    /// Every service that is not deleted, if they are known.
    summaries: Option<BTreeMap<Place, ServiceSummary>>,
    young: HashMap<ServiceId, Arc<Service>>,
    old: HashMap<ServiceId, Arc<Service>>,
}

/// What a transaction does to services.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Services as they are stored.
    pub(crate) stored: Vec<Service>,
    /// Whether services that were deleted before were dropped.
    pub(crate) dropped: bool,
}

impl Touched {
    /// Whether it is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.stored.is_empty() && !self.dropped
    }
}

impl Shelf {
    /// A service, if it is here.
    pub(crate) fn get(&self, id: &ServiceId) -> Option<Arc<Service>> {
        let state = self.read();
        if state.committing > 0 {
            return None;
        }
        if let Some(service) = state.young.get(id) {
            return Some(Arc::clone(service));
        }
        let service = Arc::clone(state.old.get(id)?);
        let generation = state.generation;
        drop(state);
        self.keep(generation, &service);
        Some(service)
    }

    /// A page of what is not deleted, oldest first, behind `after`; none while it is not known.
    pub(crate) fn page(&self, after: Option<&Place>, limit: usize) -> Option<Vec<ServiceSummary>> {
        let state = self.read();
        if state.committing > 0 {
            return None;
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = state.summaries.as_ref()?.range((from, Bound::Unbounded));
        Some(behind.take(limit).map(|(_, one)| one.clone()).collect())
    }

    /// Whether what lists show has to be read anew.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.read();
        state.committing == 0 && state.summaries.is_none()
    }

    /// Of what is read from the database later on, this says whether something was committed in between.
    pub(crate) fn generation(&self) -> u64 {
        self.read().generation
    }

    /// Takes what was read, unless something was committed since that generation.
    pub(crate) fn keep(&self, generation: u64, service: &Arc<Service>) {
        let mut state = self.write();
        if state.generation == generation && state.committing == 0 {
            state.put(Arc::clone(service));
        }
    }

    /// Takes all summaries, as a transaction of this number read them: nothing else was committed meanwhile.
    pub(crate) fn fill(&self, number: u64, summaries: Vec<ServiceSummary>) {
        let mut state = self.write();
        // What was committed before it and arrives later is out of order then.
        state.last = state.last.max(number);
        let placed = summaries.into_iter().map(|one| (place(&one), one));
        state.summaries = Some(placed.collect());
    }

    /// A transaction that touches services is about to be committed.
    pub(crate) fn committing(&self) {
        self.write().committing += 1;
    }

    /// What it did to them; none when it failed, or may have.
    pub(crate) fn committed(&self, number: u64, touched: Option<Touched>) {
        let mut state = self.write();
        state.committing -= 1;
        state.generation += 1;
        match touched {
            Some(touched) if number > state.last => {
                if touched.dropped {
                    // Which ones is not known; lists do not show what may be dropped.
                    state.young.clear();
                    state.old.clear();
                }
                for service in touched.stored {
                    state.changed(service);
                }
            }
            _ => state.clear(),
        }
        state.last = state.last.max(number);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, service: Arc<Service>) {
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&service.id);
        self.young.insert(service.id.clone(), service);
    }

    fn changed(&mut self, service: Service) {
        if let Some(summaries) = &mut self.summaries {
            let summary = service.summary();
            match service.status {
                ServiceStatus::Deleted => summaries.remove(&place(&summary)),
                _ => summaries.insert(place(&summary), summary),
            };
        }
        self.put(Arc::new(service));
    }

    fn clear(&mut self) {
        self.summaries = None;
        self.young.clear();
        self.old.clear();
    }
}

fn place(summary: &ServiceSummary) -> Place {
    (summary.created_at, summary.id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use apron_domain::ServiceConfig;
    use apron_domain::service::{HealthCheck, ImageSource, InstanceSize, RepositoryType, Scaling};

    fn service(number: usize, updated_at: u64) -> Service {
        let image = ImageSource {
            identifier: "localhost:7400/app".to_owned(),
            repository_type: RepositoryType::Ecr,
            access_role_arn: None,
            port: 80,
            start_command: None,
            environment: BTreeMap::new(),
            secrets: BTreeMap::new(),
        };
        let scaling = Scaling {
            arn: "arn".to_owned(),
            name: "DefaultConfiguration".to_owned(),
            revision: 1,
            max_concurrency: 100,
            min_size: 1,
            max_size: 25,
        };
        Service {
            id: ServiceId::parse(&format!("{number:032x}")).unwrap(),
            name: format!("service-{number}"),
            label: "abcdefghij".to_owned(),
            status: ServiceStatus::Running,
            config: ServiceConfig {
                image,
                instance_role_arn: None,
                code: None,
                auto_deployments: false,
                size: InstanceSize::default(),
                health: HealthCheck::default(),
                scaling,
                encryption_key: None,
            },
            deployed: None,
            previous: None,
            last_revision: 0,
            tried_commit: None,
            push_pending: false,
            tags: BTreeMap::new(),
            created_at: Millis(number as u64),
            updated_at: Millis(updated_at),
            deleted_at: None,
        }
    }

    fn commit(shelf: &Shelf, number: u64, stored: Option<Service>) {
        shelf.committing();
        let stored = stored.map(|service| Touched {
            stored: vec![service],
            dropped: false,
        });
        shelf.committed(number, stored);
    }

    fn updated_at(shelf: &Shelf, number: usize) -> Option<u64> {
        let found = shelf.get(&service(number, 0).id);
        found.map(|service| service.updated_at.0)
    }

    #[test]
    fn the_later_commit_stands_whoever_tells_first() {
        let shelf = Shelf::default();
        shelf.fill(1, Vec::new());
        commit(&shelf, 3, Some(service(1, 30)));
        assert_eq!(updated_at(&shelf, 1), Some(30));
        assert_eq!(shelf.page(None, 9).unwrap().len(), 1);
        commit(&shelf, 2, Some(service(1, 20)));
        assert_eq!(updated_at(&shelf, 1), None);
        assert_eq!(shelf.page(None, 9), None);
    }

    #[test]
    fn what_is_dropped_is_gone_and_lists_stay_known() {
        let shelf = Shelf::default();
        shelf.fill(1, Vec::new());
        commit(&shelf, 2, Some(service(1, 10)));
        shelf.committing();
        let dropped = Touched {
            stored: Vec::new(),
            dropped: true,
        };
        shelf.committed(3, Some(dropped));
        assert_eq!(updated_at(&shelf, 1), None);
        assert!(!shelf.is_empty());
        assert_eq!(shelf.page(None, 9).unwrap().len(), 1);
    }

    #[test]
    fn what_may_have_failed_empties_it() {
        let shelf = Shelf::default();
        commit(&shelf, 1, Some(service(1, 10)));
        commit(&shelf, 2, None);
        assert_eq!(updated_at(&shelf, 1), None);
        assert!(shelf.is_empty());
        shelf.fill(3, vec![service(1, 10).summary()]);
        assert_eq!(shelf.page(None, 9).unwrap().len(), 1);
    }

    #[test]
    fn nothing_is_read_or_kept_during_a_commit() {
        let shelf = Shelf::default();
        commit(&shelf, 1, Some(service(1, 10)));
        let before = shelf.generation();
        shelf.committing();
        assert_eq!(updated_at(&shelf, 1), None);
        shelf.keep(shelf.generation(), &Arc::new(service(2, 10)));
        let stored = vec![service(1, 20)];
        shelf.committed(
            2,
            Some(Touched {
                stored,
                dropped: false,
            }),
        );
        assert_eq!(
            (updated_at(&shelf, 1), updated_at(&shelf, 2)),
            (Some(20), None)
        );
        shelf.keep(before, &Arc::new(service(1, 10)));
        assert_eq!(updated_at(&shelf, 1), Some(20));
    }

    #[test]
    fn what_nobody_asks_for_goes() {
        let shelf = Shelf::default();
        for number in 0..3 * HALF {
            shelf.keep(0, &Arc::new(service(number, 1)));
            assert_eq!(updated_at(&shelf, 0), Some(1), "asked for all the time");
        }
        assert_eq!(updated_at(&shelf, 1), None);
        let state = shelf.read();
        assert!(state.young.len() + state.old.len() <= 2 * HALF);
    }
}
