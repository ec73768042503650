//! The dead-letter queues of the namespace. How many messages each holds is told by the feed of a topic's subscriptions,
//! which needs the right *Manage*; a message is taken out of one as of any subscription.

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lucius_domain::id::ServiceName;
use lucius_domain::routing::Lane;
use lucius_ports::bus::{Error, Subscription as _};
use lucius_ports::dead_queues::{DeadMessage, DeadQueue, DeadQueues};

use crate::ServiceBus;
use crate::manage::{ManageError, element};

/// How many subscriptions one answer tells of; the service's own most.
const PAGE: usize = 100;
/// How many topics are asked at once.
const AT_ONCE: usize = 4;

impl ServiceBus {
    /// A topic's subscriptions whose dead-letter queue holds anything.
    async fn dead_in(&self, lane: Lane) -> Result<Vec<DeadQueue>, Error> {
        let path = format!("{}/subscriptions", lane.topic());
        let mut queues = Vec::new();
        for skip in (0..).step_by(PAGE) {
            let options = format!("&$skip={skip}&$top={PAGE}");
            let read = self.manager.read(&path, &options, self.clock.now());
            let feed = read.await.map_err(refusal)?.unwrap_or_default();
            let entries: Vec<&str> = feed.split("<entry").skip(1).collect();
            queues.extend(entries.iter().filter_map(|entry| dead_queue(lane, entry)));
            if entries.len() < PAGE {
                break;
            }
        }
        Ok(queues)
    }
}

/// What is refused for good, until an operator gives the right; all else may pass.
fn refusal(error: ManageError) -> Error {
    match error {
        ManageError::Denied { .. } => Error::Refused(error.to_string()),
        ManageError::Unreachable { .. } | ManageError::Refused { .. } => {
            Error::Unavailable(error.to_string())
        }
    }
}

/// The queue of an entry of the feed, if it holds anything.
fn dead_queue(lane: Lane, entry: &str) -> Option<DeadQueue> {
    // The service gives the counts a prefix of its own choice; another count ends in the same words.
    let (_, rest) = entry
        .split_once(":DeadLetterMessageCount>")
        .or_else(|| entry.split_once("<DeadLetterMessageCount>"))?;
    let messages = rest.split('<').next()?.parse().ok()?;
    (messages > 0).then_some(DeadQueue {
        lane,
        service: element(entry, "title")?.into(),
        messages,
    })
}

#[async_trait]
impl DeadQueues for ServiceBus {
    async fn dead_queues(&self) -> Result<Vec<DeadQueue>, Error> {
        let looks = Lane::all().map(|lane| self.dead_in(lane));
        let found: Vec<_> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        let mut queues = found.concat();
        queues.sort_by(|a, b| (a.lane, &a.service).cmp(&(b.lane, &b.service)));
        Ok(queues)
    }

    async fn take_dead(
        &self,
        lane: Lane,
        service: &ServiceName,
    ) -> Result<Option<DeadMessage>, Error> {
        let taken = self.subscription(lane, service).take_dead_letter().await?;
        Ok(taken.map(|received| DeadMessage {
            body: received.body,
            message_id: received.message_id,
            delivery_count: received.delivery_count,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(prefix: &str, dead: u64) -> String {
        format!(
            " xml:base=\"https://a/\"><title type=\"text\">platform-ocr</title><content><CountDetails>\
             <{prefix}ActiveMessageCount>9</{prefix}ActiveMessageCount>\
             <{prefix}TransferDeadLetterMessageCount>7</{prefix}TransferDeadLetterMessageCount>\
             <{prefix}DeadLetterMessageCount>{dead}</{prefix}DeadLetterMessageCount></CountDetails></content></entry>"
        )
    }

    #[test]
    fn the_dead_are_counted_and_no_others() {
        let lane = Lane::of("x");
        for prefix in ["d2p1:", ""] {
            let found = dead_queue(lane, &entry(prefix, 3));
            let found = found.map(|it| (it.service.to_string(), it.messages));
            assert_eq!(found, Some(("platform-ocr".to_owned(), 3)), "{prefix}");
            assert_eq!(dead_queue(lane, &entry(prefix, 0)), None);
        }
    }
}
