//! What a namespace must hold: a topic each lane, and in each topic a subscription each service that gets its
//! service's messages alone.
//!
//! It is looked at and made through the service's own management calls, which are Atom entries over HTTPS. Nothing
//! that is there is ever changed or removed: what differs is said, for a person to decide.

use std::time::Duration;

use lucius_domain::id::ServiceName;
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use reqwest::{Method, StatusCode};

use crate::connection::Connection;
use crate::sas;

const API_VERSION: &str = "api-version=2021-05";
const ATOM: &str = "application/atom+xml;type=entry;charset=utf-8";
const SCHEMA: &str = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect";
const ANSWER: Duration = Duration::from_secs(30);

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

/// Why the namespace does not say, or does not do it.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// The key has not the right.
    #[error(
        "the key \"{key_name}\" may not manage the namespace ({status}): ask its owner for a policy with the right Manage, or to deploy docs/deploy/azure.bicep"
    )]
    Denied {
        /// The policy of the connection string.
        key_name: String,
        /// What was answered.
        status: u16,
    },
    /// Nothing answers.
    #[error(
        "{endpoint} does not answer ({reason}): correct LUCIUS_SERVICEBUS_CONNECTION, or wait until it is reachable"
    )]
    Unreachable {
        /// Where.
        endpoint: String,
        /// What was seen.
        reason: String,
    },
    /// It says no.
    #[error("{path} is answered {status}: {detail}")]
    Refused {
        /// Which entity.
        path: String,
        /// What was answered.
        status: u16,
        /// The service's words.
        detail: String,
    },
}

/// Looks at a namespace and makes what is missing.
#[derive(Debug)]
pub struct Management {
    client: reqwest::Client,
    connection: Connection,
    shape: Shape,
}

impl Management {
    /// For a namespace.
    ///
    /// # Errors
    /// The HTTP client does not start.
    pub fn new(connection: Connection, shape: Shape) -> Result<Self, ManageError> {
        let client = reqwest::Client::builder().timeout(ANSWER).build();
        let client = client.map_err(|error| unreachable(&connection, error))?;
        Ok(Self {
            client,
            connection,
            shape,
        })
    }

    /// How an entity is.
    ///
    /// # Errors
    /// The namespace does not say.
    pub async fn look(&self, entity: &Entity, now: Timestamp) -> Result<Found, ManageError> {
        let path = entity.path();
        // What is not there is answered with 404, or with a feed that has no entry.
        let Some(xml) = self
            .read(&path, now)
            .await?
            .filter(|xml| xml.contains("Description"))
        else {
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
                let rules = self.read(&format!("{path}/rules"), now).await?;
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
        let body = format!(
            "<entry xmlns=\"http://www.w3.org/2005/Atom\"><content type=\"application/xml\">{content}</content></entry>"
        );
        let (status, detail) = self.call(Method::PUT, &path, Some(body), now).await?;
        match status {
            StatusCode::OK | StatusCode::CREATED | StatusCode::CONFLICT => Ok(()),
            status => Err(self.refused(path, status, &detail)),
        }
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

    async fn read(&self, path: &str, now: Timestamp) -> Result<Option<String>, ManageError> {
        let (status, body) = self.call(Method::GET, path, None, now).await?;
        match status {
            StatusCode::OK => Ok(Some(body)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(self.refused(path.to_owned(), status, &body)),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        now: Timestamp,
    ) -> Result<(StatusCode, String), ManageError> {
        let url = format!("{}{path}", self.connection.endpoint);
        let fail = |error| unreachable(&self.connection, error);
        let token = sas::token(&self.connection, &url, now);
        let token = token.map_err(|error| ManageError::Unreachable {
            endpoint: self.connection.endpoint().to_owned(),
            reason: error.to_string(),
        })?;
        let mut request = self
            .client
            .request(method, format!("{url}?{API_VERSION}"))
            .header("Authorization", token);
        if let Some(body) = body {
            request = request.header("Content-Type", ATOM).body(body);
        }
        let answer = request.send().await.map_err(fail)?;
        let status = answer.status();
        Ok((status, answer.text().await.map_err(fail)?))
    }

    fn refused(&self, path: String, status: StatusCode, body: &str) -> ManageError {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ManageError::Denied {
                key_name: self.connection.key_name.clone(),
                status: status.as_u16(),
            },
            status => ManageError::Refused {
                path,
                status: status.as_u16(),
                detail: element(body, "Detail").unwrap_or_default().to_owned(),
            },
        }
    }
}

fn unreachable(connection: &Connection, error: reqwest::Error) -> ManageError {
    ManageError::Unreachable {
        endpoint: connection.endpoint().to_owned(),
        reason: error.without_url().to_string(),
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

/// The text of the first element of this name. The service's answers have no prefixes and no nested ones of these.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
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
