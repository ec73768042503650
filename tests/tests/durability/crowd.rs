//! Many clients and workers at once, for whom the host comes and goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lucius_tests::client::Client;
use lucius_tests::history::History;
use lucius_tests::host::Host;
use lucius_tests::wait;
use tokio::task::JoinSet;

use crate::one_job::Visitor;

/// How many take their jobs from the command to the end, one after the other.
pub(crate) const VISITORS: usize = 12;
/// How long to rest when nobody answers.
const REST: Duration = Duration::from_millis(20);

/// Visitors at work. Dropping it stops them.
pub(crate) struct Crowd {
    pub(crate) history: Arc<History>,
    stop: Arc<AtomicBool>,
    visitors: JoinSet<()>,
}

impl Crowd {
    /// Sets visitors to work on a host, under the address that it will keep.
    pub(crate) fn on(host: &Host) -> Self {
        Self::at(&host.client(), host.namespace())
    }

    /// Sets visitors to work on the hosts behind an address, whose bus another host serves.
    pub(crate) fn at(client: &Client, bus: &str) -> Self {
        let (history, stop) = (
            Arc::new(History::default()),
            Arc::new(AtomicBool::new(false)),
        );
        let mut visitors = JoinSet::new();
        for number in 0..VISITORS {
            let (client, history, stop) = (client.clone(), Arc::clone(&history), Arc::clone(&stop));
            let bus = bus.to_owned();
            visitors.spawn(async move {
                let visitor = Visitor {
                    client,
                    bus,
                    history: &history,
                };
                for round in 0.. {
                    let key = format!("visitor {number} round {round}");
                    while visitor.live(&key).await.is_err() {
                        tokio::time::sleep(REST).await;
                    }
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        Self {
            history,
            stop,
            visitors,
        }
    }

    /// Waits until so many more commands have been accepted.
    pub(crate) async fn accepts(&self, more: usize) {
        let enough = self.history.jobs() + more;
        let awaited = format!("{enough} accepted commands");
        wait::until(&awaited, async || {
            (self.history.jobs() >= enough).then_some(())
        })
        .await;
    }

    /// Lets everyone finish the job that is begun, and compares what was said with what is.
    pub(crate) async fn settle(self, host: &Host) {
        self.settle_with(&host.client()).await;
    }

    /// The same, as any host says it.
    pub(crate) async fn settle_with(mut self, client: &Client) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.visitors.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        let compared = self.history.compare(client).await;
        assert!(compared.jobs >= VISITORS, "{compared:?}");
    }
}
