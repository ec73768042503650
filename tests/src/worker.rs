//! A worker of a third party: HTTP and the contracts, nothing else.

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::client::Client;
use crate::orders::artifact;
use crate::{lane, wait};

/// How long one look into a topic waits on the server, in seconds.
const LOOK_SECONDS: u32 = 5;

/// A worker of one service.
#[derive(Clone, Debug)]
pub struct Worker {
    client: Client,
    /// The base URL of the host that serves the bus.
    bus: String,
    service: String,
}

/// A directive that is locked for this worker.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message's body.
    pub directive: Value,
    /// The address of the lock.
    pub location: String,
    /// What the broker knows of the message.
    pub broker: Value,
    /// All headers; the message's own properties are among them.
    pub headers: HeaderMap,
    /// Where it was found.
    pub topic: String,
}

impl Delivery {
    /// A text of the directive; empty when there is none.
    pub fn text(&self, name: &str) -> &str {
        self.directive[name].as_str().unwrap_or_default()
    }

    /// The attempt's number.
    pub fn attempt_no(&self) -> u64 {
        self.directive["attempt_no"].as_u64().unwrap_or_default()
    }

    /// The attempt's fence, a secret.
    pub fn lease_id(&self) -> &str {
        self.text("lease_id")
    }

    /// The attempt's token, a secret.
    pub fn token(&self) -> &str {
        self.text("callback_token")
    }

    /// A property of the message; strings are in quotes on this bus.
    pub fn property(&self, name: &str) -> Value {
        let text = self
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
    }

    /// What every callback of this attempt begins with.
    fn callback(&self) -> Value {
        json!({
            "jobId": self.directive["jobId"],
            "stepId": self.directive["stepId"],
            "attempt_no": self.directive["attempt_no"],
            "lease_id": self.directive["lease_id"],
            "timestamp": "2026-11-23T12:00:00Z",
        })
    }

    /// An ACK of this attempt.
    pub fn ack(&self) -> Value {
        let mut body = self.callback();
        body["status"] = "ACKED".into();
        body
    }

    /// A heartbeat of this attempt.
    pub fn heartbeat(&self, percent: u8) -> Value {
        let mut body = self.callback();
        body["progress"] = json!({ "percent": percent, "message": "at work" });
        body
    }

    /// A RESULT that claims success.
    pub fn success(&self, artifacts: &[Value]) -> Value {
        let mut body = self.callback();
        body["status"] = "SUCCEEDED".into();
        body["artifact_refs"] = artifacts.into();
        body
    }

    /// A RESULT that admits failure.
    pub fn failure(&self, class: &str, code: &str) -> Value {
        let mut body = self.callback();
        body["status"] = "FAILED".into();
        body["failure_class"] = class.into();
        body["error"] = json!({ "code": code, "message": "it did not work", "details": {} });
        body
    }
}

impl Worker {
    /// A worker of this service.
    pub fn new(client: &Client, service: &str) -> Self {
        Self {
            client: client.clone(),
            bus: client.base().to_owned(),
            service: service.to_owned(),
        }
    }

    /// The same on the bus of another host.
    #[must_use]
    pub fn on(self, base: &str) -> Self {
        let bus = base.to_owned();
        Self { bus, ..self }
    }

    /// Looks into one topic and waits there for so many seconds.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn try_peek(&self, topic: &str, seconds: u32) -> reqwest::Result<Option<Delivery>> {
        let (service, base) = (&self.service, &self.bus);
        let head = format!("{base}/bus/{topic}/subscriptions/{service}/messages/head");
        let request = self
            .client
            .request(Method::POST, &format!("{head}?timeout={seconds}"));
        let answer = self.client.try_send(request).await?;
        // 503: the host is about to end.
        if matches!(answer.status, 204 | 503) {
            return Ok(None);
        }
        let answer = answer.expect(201);
        let broker = serde_json::from_str(answer.header("brokerproperties")).unwrap_or_default();
        let location = reqwest::Url::parse(&head)
            .ok()
            .and_then(|url| url.join(answer.header("location")).ok());
        let location = location.map(String::from).unwrap_or_default();
        let Answer {
            headers,
            body: directive,
            ..
        } = answer;
        Ok(Some(Delivery {
            directive,
            location,
            broker,
            headers,
            topic: topic.to_owned(),
        }))
    }

    /// The next directive in one topic.
    pub async fn next_in(&self, topic: &str) -> Delivery {
        let awaited = format!("a directive for {} in {topic}", self.service);
        let look = async || match self.try_peek(topic, LOOK_SECONDS).await {
            Ok(delivery) => delivery,
            Err(error) => panic!("the bus does not answer: {error:?}"),
        };
        wait::until(&awaited, look).await
    }

    /// The next directive for a tenant whose jobs travel in mode DEFAULT.
    pub async fn next(&self, tenant: &str) -> Delivery {
        self.next_in(&lane::topic(&lane::norm(tenant))).await
    }

    /// The directive of this very attempt. After a crash of the host a message may come again that was completed just
    /// before it; those on the way are completed once more, as every worker has to be ready to.
    pub async fn next_attempt(&self, tenant: &str, job: &str, attempt_no: u64) -> Delivery {
        loop {
            let delivery = self.next(tenant).await;
            if delivery.text("jobId") == job && delivery.attempt_no() == attempt_no {
                return delivery;
            }
            self.complete(&delivery).await.expect(200);
        }
    }

    /// Nothing, or a directive that is there now.
    pub async fn now(&self, tenant: &str) -> Option<Delivery> {
        let peeked = self.try_peek(&lane::topic(&lane::norm(tenant)), 0).await;
        peeked.unwrap_or_else(|error| panic!("the bus does not answer: {error:?}"))
    }

    /// Sends an ACK with the attempt's token.
    pub async fn ack(&self, delivery: &Delivery) -> Answer {
        self.call("ack", delivery, &delivery.ack()).await
    }

    /// Sends a heartbeat with the attempt's token.
    pub async fn heartbeat(&self, delivery: &Delivery, percent: u8) -> Answer {
        self.call("heartbeat", delivery, &delivery.heartbeat(percent))
            .await
    }

    /// Sends a RESULT with the attempt's token.
    pub async fn result(&self, delivery: &Delivery, result: &Value) -> Answer {
        self.call("result", delivery, result).await
    }

    /// Sends any body to one of the directive's callback addresses.
    ///
    /// # Panics
    /// The directive has no such address.
    pub async fn call(&self, which: &str, delivery: &Delivery, body: &Value) -> Answer {
        let url = delivery.directive["callback_urls"][which].as_str();
        let url = url.unwrap_or_else(|| panic!("no {which} address in {}", delivery.directive));
        self.client
            .callback(url, body, Some(delivery.token()))
            .await
    }

    /// Takes the message off the bus.
    pub async fn complete(&self, delivery: &Delivery) -> Answer {
        self.client
            .send(self.client.request(Method::DELETE, &delivery.location))
            .await
    }

    /// Gives the message back.
    pub async fn abandon(&self, delivery: &Delivery) -> Answer {
        self.client
            .send(self.client.request(Method::PUT, &delivery.location))
            .await
    }

    /// Does a directive as it should be done: ACK, RESULT, complete. Each is answered with 200.
    pub async fn finish(&self, delivery: &Delivery, result: &Value) {
        self.ack(delivery).await.expect(200);
        self.result(delivery, result).await.expect(200);
        self.complete(delivery).await.expect(200);
    }

    /// Takes the tenant's next directive and does it with success.
    pub async fn succeed(&self, tenant: &str) -> Delivery {
        let delivery = self.next(tenant).await;
        let made = artifact(delivery.text("stepId"));
        self.finish(&delivery, &delivery.success(&[made])).await;
        delivery
    }

    /// Takes the tenant's next directive and fails it.
    pub async fn fail(&self, tenant: &str, class: &str, code: &str) -> Delivery {
        let delivery = self.next(tenant).await;
        self.finish(&delivery, &delivery.failure(class, code)).await;
        delivery
    }
}
