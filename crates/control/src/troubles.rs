//! Why services cannot start instances at the moment, for those who ask such a service for something.

use apron_domain::ServiceId;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longest text of a trouble, in characters.
const TEXT_CHARS_MAX: usize = 600;

/// The services in trouble. Not stored: after a restart the next attempt to start an instance tells again.
#[derive(Default)]
pub struct Troubles(Mutex<BTreeMap<ServiceId, String>>);

impl Troubles {
    fn all(&self) -> MutexGuard<'_, BTreeMap<ServiceId, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the last attempt to start an instance failed, and how.
    pub fn note(&self, service: &ServiceId, text: &str) {
        let text = text.chars().take(TEXT_CHARS_MAX).collect();
        self.all().insert(service.clone(), text);
    }

    /// An instance became ready, or none is missing, or the service is something else now; `true` when that ends one.
    pub fn clear(&self, service: &ServiceId) -> bool {
        self.all().remove(service).is_some()
    }

    /// Why the service cannot start an instance.
    pub fn of(&self, service: &ServiceId) -> Option<String> {
        self.all().get(service).cloned()
    }
}
