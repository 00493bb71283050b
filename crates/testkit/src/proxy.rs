//! A data plane that acknowledges at once and remembers what it was told.

use apron_control::dataplane::board::Board;
use apron_control::dataplane::link::News;
use apron_control::dataplane::{DataPlane, DataPlaneError, Update};
use apron_link::proxy::{Route, RouteTable, ServiceStatistics};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::sync::mpsc;

/// News that wait for the control plane.
const NEWS_MAX: usize = 1 << 16;

/// What the proxy calls itself.
const PID: u32 = 1;

#[derive(Default)]
struct State {
    board: Board,
    /// The table as a proxy has it: made of the first one and the changes since.
    table: RouteTable,
    outstanding: BTreeMap<String, u32>,
    news: Option<mpsc::Sender<News>>,
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

    /// The route of a host.
    pub fn route(&self, host: &str) -> Option<Route> {
        let mut routes = self.table().routes.into_iter();
        routes.find(|route| route.hosts.iter().any(|h| h == host))
    }

    /// Connects to a control plane, which reads what is told by the receiver.
    pub fn connect(&self) -> mpsc::Receiver<News> {
        let (sender, receiver) = mpsc::channel(NEWS_MAX);
        self.state.lock().unwrap().news = Some(sender);
        self.tell(News::Connected { pid: PID });
        receiver
    }

    /// Ends the connection.
    pub fn disconnect(&self) {
        self.tell(News::Disconnected { pid: PID });
    }

    /// Whether everything told so far has been read.
    pub fn is_heard(&self) -> bool {
        let state = self.state.lock().unwrap();
        state
            .news
            .as_ref()
            .is_none_or(|sender| sender.capacity() == sender.max_capacity())
    }

    /// Says that a service has more requests than its instances may be given.
    pub fn want(&self, service: &str, outstanding: u32, waiting: u32) {
        let service = service.to_owned();
        self.tell(News::Wanted {
            service,
            outstanding,
            waiting,
        });
    }

    /// Tells the load of a service, as once a second.
    pub fn report(&self, service: &str, outstanding: u32, peak: u32) {
        self.tell(News::Statistics(vec![ServiceStatistics {
            service: service.to_owned(),
            outstanding,
            peak,
            ..ServiceStatistics::default()
        }]));
    }

    fn tell(&self, news: News) {
        if let Some(sender) = &self.state.lock().unwrap().news {
            // A control plane that was killed reads no more.
            let _ = sender.try_send(news);
        }
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
