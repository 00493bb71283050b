//! What instances of builds say, to the build that each belongs to.

use apron_compute::ComputeEvent;
use apron_domain::InstanceId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Events that wait for a build; a full queue slows the output of every build.
const EVENTS_MAX: usize = 256;

/// Who listens.
#[derive(Default)]
pub struct Events {
    listeners: Mutex<BTreeMap<InstanceId, mpsc::Sender<ComputeEvent>>>,
}

impl Events {
    /// Hands events on for ever. Called inside a runtime.
    pub fn follow(mut events: mpsc::Receiver<ComputeEvent>) -> Arc<Events> {
        let shared = Arc::new(Events::default());
        let handing = shared.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let listener = handing.listener(event.instance());
                if let Some(listener) = listener {
                    // A build that is gone does not listen any more.
                    let _ = listener.send(event).await;
                }
            }
        });
        shared
    }

    /// Listens to an instance that is about to be made.
    pub fn listen(&self, id: &InstanceId) -> mpsc::Receiver<ComputeEvent> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        self.lock().insert(id.clone(), sender);
        receiver
    }

    /// Nobody listens to it any more.
    pub fn forget(&self, id: &InstanceId) {
        self.lock().remove(id);
    }

    /// Whether somebody listens to it: a build of this process.
    pub fn is_heard(&self, id: &InstanceId) -> bool {
        self.lock().contains_key(id)
    }

    fn listener(&self, id: &InstanceId) -> Option<mpsc::Sender<ComputeEvent>> {
        self.lock().get(id).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<InstanceId, mpsc::Sender<ComputeEvent>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
