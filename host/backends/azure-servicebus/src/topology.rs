//! What a namespace must hold: a topic each lane, and in each topic a subscription each service that gets its
//! service's messages alone.
//!
//! It is looked at and made through the service's own management calls. Nothing that is there is ever changed or
//! removed: what differs is said, for a person to decide.

use std::time::Duration;

use lucius_domain::id::ServiceName;
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;

use crate::connection::Connection;
use crate::manage::{Manager, element};

pub use crate::manage::ManageError;

const SCHEMA: &str = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect";

/// How entities are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// For how long a message stays locked; the service takes at most five minutes.
    pub lock: Duration,
    /// After how many deliveries a message is dead.
    pub max_delivery_count: u32,
    /// For how long a copy of a message is noticed.
    pub duplicate_window: Duration,
}

/// Something in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entity {
    /// A lane's topic.
    Topic(Lane),
    /// A service's subscription in a lane.
    Subscription(Lane, ServiceName),
}

impl Entity {
    /// All that is needed for these services.
    pub fn needed(services: &[ServiceName]) -> Vec<Self> {
        let of_lane = |lane| {
            let subscriptions = services
                .iter()
                .map(move |service| Self::Subscription(lane, service.clone()));
            std::iter::once(Self::Topic(lane)).chain(subscriptions)
        };
        Lane::all().flat_map(of_lane).collect()
    }

    /// Its path in the namespace.
    pub fn path(&self) -> String {
        match self {
            Self::Topic(lane) => lane.topic(),
            Self::Subscription(lane, service) => {
                format!("{}/subscriptions/{service}", lane.topic())
            }
        }
    }
}

/// How an entity was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// As it should be.
    Right,
    /// Not there.
    Missing,
    /// There, and not as it should be.
    Different(Vec<String>),
}

/// Looks at a namespace and makes what is missing.
#[derive(Debug)]
pub struct Management {
    manager: Manager,
    shape: Shape,
}

impl Management {
    /// For a namespace.
    ///
    /// # Errors
    /// The HTTP client does not start.
    pub fn new(connection: Connection, shape: Shape) -> Result<Self, ManageError> {
        let manager = Manager::new(connection)?;
        Ok(Self { manager, shape })
    }

    /// How an entity is.
    ///
    /// # Errors
    /// The namespace does not say.
    pub async fn look(&self, entity: &Entity, now: Timestamp) -> Result<Found, ManageError> {
        let path = entity.path();
        // What is not there is answered with 404, or with a feed that has no entry.
        let read = self.manager.read(&path, "", now);
        let Some(xml) = read.await?.filter(|xml| xml.contains("Description")) else {
            return Ok(Found::Missing);
        };
        let mut different = Vec::new();
        let mut compare = |xml: &str, name: &str, wanted: &str| {
            let found = element(xml, name).unwrap_or("not set");
            if found != wanted {
                different.push(format!("{name} is {found}, not {wanted}"));
            }
        };
        match entity {
            Entity::Topic(_) => compare(&xml, "RequiresDuplicateDetection", "true"),
            Entity::Subscription(_, service) => {
                compare(&xml, "LockDuration", &iso(self.shape.lock));
                let deliveries = self.shape.max_delivery_count.to_string();
                compare(&xml, "MaxDeliveryCount", &deliveries);
                compare(&xml, "RequiresSession", "false");
                let rules = self.manager.read(&format!("{path}/rules"), "", now).await?;
                let rules = rules.unwrap_or_default();
                compare(&rules, "SqlExpression", &escaped(&filter(service)));
            }
        }
        Ok(match different.is_empty() {
            true => Found::Right,
            false => Found::Different(different),
        })
    }

    /// Makes an entity; it does no harm when it is there.
    ///
    /// # Errors
    /// The namespace does not do it.
    pub async fn create(&self, entity: &Entity, now: Timestamp) -> Result<(), ManageError> {
        let path = entity.path();
        let content = match entity {
            Entity::Topic(_) => self.topic(),
            Entity::Subscription(_, service) => self.subscription(service),
        };
        self.manager.put(&path, &content, now).await
    }

    /// The order of the elements is the schema's.
    fn topic(&self) -> String {
        format!(
            "<TopicDescription xmlns=\"{SCHEMA}\"><RequiresDuplicateDetection>true</RequiresDuplicateDetection>\
             <DuplicateDetectionHistoryTimeWindow>{}</DuplicateDetectionHistoryTimeWindow>\
             <EnableBatchedOperations>true</EnableBatchedOperations></TopicDescription>",
            iso(self.shape.duplicate_window)
        )
    }

    /// The filter is made with the subscription, so that it never gets the messages of others.
    fn subscription(&self, service: &ServiceName) -> String {
        format!(
            "<SubscriptionDescription xmlns=\"{SCHEMA}\" xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\">\
             <LockDuration>{}</LockDuration><RequiresSession>false</RequiresSession>\
             <DeadLetteringOnMessageExpiration>true</DeadLetteringOnMessageExpiration>\
             <DefaultRuleDescription><Filter i:type=\"SqlFilter\"><SqlExpression>{}</SqlExpression></Filter>\
             <Action i:type=\"EmptyRuleAction\"/><Name>service</Name></DefaultRuleDescription>\
             <MaxDeliveryCount>{}</MaxDeliveryCount><EnableBatchedOperations>true</EnableBatchedOperations>\
             </SubscriptionDescription>",
            iso(self.shape.lock),
            escaped(&filter(service)),
            self.shape.max_delivery_count,
        )
    }
}

/// The condition of a service's subscription, in the service's SQL.
fn filter(service: &ServiceName) -> String {
    format!("service = '{}'", service.as_str().replace('\'', "''"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A duration as the service writes it: `PT1M`, `PT10M`, `PT1M30S`.
fn iso(duration: Duration) -> String {
    let (minutes, seconds) = (duration.as_secs() / 60, duration.as_secs() % 60);
    match (minutes, seconds) {
        (0, seconds) => format!("PT{seconds}S"),
        (minutes, 0) => format!("PT{minutes}M"),
        (minutes, seconds) => format!("PT{minutes}M{seconds}S"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_the_service_writes_them() {
        for (seconds, text) in [(30, "PT30S"), (60, "PT1M"), (90, "PT1M30S"), (600, "PT10M")] {
            assert_eq!(iso(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(filter(&"a'b".into()), "service = 'a''b'");
    }

    #[test]
    fn every_lane_has_a_topic_and_each_service_a_subscription_in_it() {
        let needed = Entity::needed(&["platform-ocr".into(), "acme".into()]);
        assert_eq!(needed.len(), 48);
        assert_eq!(needed[0].path(), "global-bus-p0");
        assert_eq!(needed[47].path(), "global-bus-p15/subscriptions/acme");
    }
}
