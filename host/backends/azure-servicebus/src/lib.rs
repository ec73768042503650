//! The bus in Azure Service Bus, through Microsoft's own crate.
//!
//! What it promises: `publish` returns once the namespace has the message, and never waits longer than
//! [`PUBLISH_TIMEOUT`]. A retry of one publish keeps its `MessageId`, so duplicate detection may drop the copy; a new
//! attempt has a new one, so it can never eat a directive that was sent anew on purpose.
//!
//! The crate signs each request anew with a token of one hour, so none expires in flight. It knows but
//! `https://{namespace}.servicebus.windows.net`; [`endpoint`] leads it to the address in the connection string, which
//! may be a local one.
//!
//! On failure: what may pass, or can be put right by an operator, is [`Error::Unavailable`] and tried again by the
//! dispatcher; what no namespace will ever take is [`Error::Refused`]. A namespace that refuses the key is also
//! remembered, and the host is not ready until a publish succeeds again.

mod connection;
mod dead_queues;
mod endpoint;
mod manage;
mod message;
pub mod sas;
mod subscription;
pub mod topology;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_messaging_servicebus::service_bus::TopicClient;
use lucius_domain::id::ServiceName;
use lucius_domain::routing::Lane;
use lucius_ports::bus::{Bus, Error, Message};
use lucius_ports::clock::Clock;

use crate::endpoint::Endpoint;
use crate::manage::Manager;

pub use connection::{Connection, ConnectionError};
pub use subscription::LaneSubscription;

/// How long one publish may take.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_secs(20);

/// The largest message of the Standard tier; a larger one that is refused is taken to be refused for its size.
const STANDARD_MESSAGE_BYTES: usize = 256 << 10;

/// A namespace, or what speaks like one.
pub struct ServiceBus {
    topics: HashMap<Lane, TopicClient>,
    http: Arc<Endpoint>,
    manager: Manager,
    clock: Arc<dyn Clock>,
    /// Why the last publish was refused for good reasons that only an operator can put right.
    misconfigured: Mutex<Option<String>>,
}

impl fmt::Debug for ServiceBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBus")
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

impl ServiceBus {
    /// A client. Nothing is asked of the namespace yet. The clock dates the tokens of management calls.
    ///
    /// # Errors
    /// The HTTP client does not start.
    pub fn open(connection: &Connection, clock: Arc<dyn Clock>) -> Result<Arc<Self>, Error> {
        let cannot = |error: &dyn std::fmt::Display| Error::Unavailable(error.to_string());
        let http = Arc::new(Endpoint::new(connection).map_err(|error| cannot(&error))?);
        let manager = Manager::new(connection.clone()).map_err(|error| cannot(&error))?;
        let mut topics = HashMap::new();
        for lane in Lane::all() {
            let client = TopicClient::new(
                Arc::clone(&http) as _,
                connection.namespace.as_str(),
                lane.topic(),
                connection.key_name.as_str(),
                connection.key.clone(),
            );
            topics.insert(lane, client.map_err(|error| cannot(&error))?);
        }
        Ok(Arc::new(Self {
            topics,
            http,
            manager,
            clock,
            misconfigured: Mutex::default(),
        }))
    }

    /// One service's subscription in one lane.
    pub fn subscription(&self, lane: Lane, service: &ServiceName) -> LaneSubscription {
        LaneSubscription::new(self.topic(lane), service)
    }

    fn topic(&self, lane: Lane) -> &TopicClient {
        &self.topics[&lane] // made for every lane
    }

    fn misconfigured(&self) -> MutexGuard<'_, Option<String>> {
        self.misconfigured
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Bus for ServiceBus {
    async fn publish(&self, message: &Message) -> Result<(), Error> {
        let sender = self.topic(message.lane).topic_sender();
        let sending = sender.send_message(&message.body, Some(message::options(message)));
        let sent = tokio::time::timeout(PUBLISH_TIMEOUT, sending).await;
        let Ok(sent) = sent else {
            return Err(Error::Unavailable(format!(
                "no answer within {} s",
                PUBLISH_TIMEOUT.as_secs()
            )));
        };
        let verdict = match &sent {
            Ok(()) => Verdict::Taken,
            Err(error) => verdict(error, message),
        };
        *self.misconfigured() = match &verdict {
            Verdict::Misconfigured(reason) => {
                tracing::error!(%reason, "the bus cannot be used as it is set up");
                Some(reason.clone())
            }
            Verdict::Taken | Verdict::Later(_) | Verdict::Never(_) => None,
        };
        match verdict {
            Verdict::Taken => Ok(()),
            Verdict::Later(reason) | Verdict::Misconfigured(reason) => {
                Err(Error::Unavailable(reason))
            }
            Verdict::Never(reason) => Err(Error::Refused(reason)),
        }
    }

    async fn check(&self) -> Result<(), Error> {
        if let Some(reason) = self.misconfigured().clone() {
            return Err(Error::Unavailable(reason));
        }
        self.http.reach().await.map_err(Error::Unavailable)
    }
}

/// What an answer to a publish means.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Taken,
    /// It may work later, or may have worked already.
    Later(String),
    /// It works once an operator has done something.
    Misconfigured(String),
    /// This message will never be taken.
    Never(String),
}

fn verdict(error: &azure_core::Error, message: &Message) -> Verdict {
    let ErrorKind::HttpResponse { status, .. } = error.kind() else {
        return Verdict::Later(reason(error));
    };
    let (topic, bytes) = (message.lane.topic(), message.body.len());
    match u16::from(*status) {
        401 => Verdict::Misconfigured(format!(
            "the namespace does not accept the key ({status}): correct LUCIUS_SERVICEBUS_CONNECTION; it needs the right Send"
        )),
        404 | 410 => Verdict::Misconfigured(format!(
            "there is no topic {topic} ({status}): create it with `lucius azure apply`"
        )),
        413 => Verdict::Never(format!(
            "the directive has {bytes} bytes, more than a message may"
        )),
        // Also said of a namespace that is full, which passes.
        403 if bytes > STANDARD_MESSAGE_BYTES => Verdict::Never(format!(
            "the directive has {bytes} bytes, more than a message may"
        )),
        400 => Verdict::Never(format!("{topic} takes no such message ({status})")),
        _ => Verdict::Later(format!("{topic} answered {status}")),
    }
}

/// What went wrong below HTTP, with its causes.
fn reason(error: &azure_core::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
