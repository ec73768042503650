//! What clients and workers were told, compared with what the host says afterwards.
//!
//! The checker knows the promises and none of the host's code. Whatever happened to the host in between, an answer
//! that was given is true for ever: an accepted command is one job, a callback that counted is in the job's events, a
//! cancelled job is cancelled. And the events of a job tell one story without gaps, which ends as the job does and
//! agrees with what came out of the bus.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::client::Client;
use crate::worker::Delivery;

/// An attempt: job, step, number.
type Attempt = (String, String, u64);

/// Everything that was said, by and to everyone.
#[derive(Debug, Default)]
pub struct History {
    told: Mutex<Told>,
}

#[derive(Clone, Debug, Default)]
struct Told {
    /// Commands that were answered with 202, by their idempotency key: the command, and the job.
    accepted: BTreeMap<String, (Value, String)>,
    /// Callbacks that were answered with `applied: true`; of a RESULT, whether it said that the work is done.
    applied: BTreeMap<Attempt, BTreeSet<Applied>>,
    /// Leases of the directives that came out of the bus.
    received: BTreeMap<Attempt, BTreeSet<String>>,
    /// Jobs whose cancel was answered with 202.
    cancelled: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Applied {
    Ack,
    Result { done: bool },
}

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Jobs.
    pub jobs: usize,
    /// Events.
    pub events: usize,
    /// Callbacks that counted.
    pub callbacks: usize,
    /// Directives that came out of the bus, each counted once.
    pub directives: usize,
}

fn attempt_of(delivery: &Delivery) -> Attempt {
    let text = |name| delivery.text(name).to_owned();
    (text("jobId"), text("stepId"), delivery.attempt_no())
}

impl History {
    /// A command with an idempotency key was answered with 202.
    ///
    /// # Panics
    /// The same command was another job before (I5).
    pub fn accepted(&self, order: &Value, job: &str) {
        let key = order["idempotency_key"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let told = (order.clone(), job.to_owned());
        let earlier = self.told().accepted.insert(key, told);
        if let Some((_, earlier)) = earlier {
            assert_eq!(earlier, job, "I5: one command became two jobs");
        }
    }

    /// A directive came out of the bus.
    pub fn received(&self, delivery: &Delivery) {
        let lease = delivery.lease_id().to_owned();
        self.told()
            .received
            .entry(attempt_of(delivery))
            .or_default()
            .insert(lease);
    }

    /// An ACK was answered with `applied: true`.
    pub fn acknowledged(&self, delivery: &Delivery) {
        self.told()
            .applied
            .entry(attempt_of(delivery))
            .or_default()
            .insert(Applied::Ack);
    }

    /// A RESULT was answered with `applied: true`.
    pub fn decided(&self, delivery: &Delivery, done: bool) {
        let said = Applied::Result { done };
        self.told()
            .applied
            .entry(attempt_of(delivery))
            .or_default()
            .insert(said);
    }

    /// A cancel was answered with 202.
    pub fn cancelled(&self, job: &str) {
        self.told().cancelled.insert(job.to_owned());
    }

    /// How many commands were accepted so far.
    pub fn jobs(&self) -> usize {
        self.told().accepted.len()
    }

    /// The jobs that were accepted so far.
    pub fn job_ids(&self) -> Vec<String> {
        self.told()
            .accepted
            .values()
            .map(|(_, job)| job.clone())
            .collect()
    }

    /// Compares all of it with what the host says now. Every job must be over.
    ///
    /// # Panics
    /// Something that was told is not so, or a job's events do not tell one story.
    pub async fn compare(&self, client: &Client) -> Compared {
        let told = self.told().clone();
        let jobs: BTreeSet<&String> = told.accepted.values().map(|(_, job)| job).collect();
        assert_eq!(
            jobs.len(),
            told.accepted.len(),
            "I5: two commands became one job"
        );
        let mut compared = Compared {
            jobs: jobs.len(),
            callbacks: told.applied.values().map(BTreeSet::len).sum(),
            directives: told.received.len(),
            ..Compared::default()
        };
        for (order, job) in told.accepted.values() {
            let again = client.post("/v1/commands", order).await.expect(202).body;
            assert_eq!(
                again["jobId"],
                job.as_str(),
                "I4: an accepted command is forgotten"
            );
            assert_eq!(
                again["duplicate"], true,
                "I4: an accepted command is forgotten"
            );
            let (shown, events) = (client.job(job).await, client.events(job).await);
            compared.events += events.len();
            let story = Story::of(job, &events);
            story.ends_as(&shown);
            if told.cancelled.contains(job) {
                assert_eq!(
                    shown["state"], "CANCELLED",
                    "a cancel that was answered is lost: {job}"
                );
            }
            told.agrees(&story);
        }
        compared
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    /// I7, I8, I10, I12: the job's story has all that was said about it, and the bus carried what it says.
    fn agrees(&self, story: &Story) {
        let of_job = |attempt: &Attempt| attempt.0 == story.job;
        for (attempt, said) in self.applied.iter().filter(|(attempt, _)| of_job(attempt)) {
            let result = story.results.get(attempt);
            for said in said {
                let holds = match said {
                    Applied::Ack => story.acked.contains(attempt) || result.is_some(),
                    Applied::Result { done } => result == Some(done),
                };
                assert!(holds, "I12: {said:?} of {attempt:?} counted and is lost");
            }
        }
        for (attempt, leases) in self.received.iter().filter(|(attempt, _)| of_job(attempt)) {
            assert!(
                story.created.contains(attempt),
                "the bus carried {attempt:?}, of which no event tells"
            );
            assert_eq!(leases.len(), 1, "I10: {attempt:?} came with two leases");
        }
        for attempt in &story.sent {
            assert!(
                self.received.contains_key(attempt),
                "I8: {attempt:?} is sent and never came out of the bus"
            );
        }
    }
}

/// What the events of one job tell.
#[derive(Debug, Default)]
struct Story {
    job: String,
    created: BTreeSet<Attempt>,
    sent: BTreeSet<Attempt>,
    acked: BTreeSet<Attempt>,
    /// Whether the RESULT said that the work is done.
    results: BTreeMap<Attempt, bool>,
    /// The attempt that is under way.
    open: Option<Attempt>,
    /// The state that the job ended in, until a redrive.
    ended: Option<&'static str>,
    latest: BTreeMap<String, u64>,
}

impl Story {
    fn of(job: &str, events: &[Value]) -> Self {
        let mut story = Self {
            job: job.to_owned(),
            ..Self::default()
        };
        for (seq, event) in (1..).zip(events) {
            assert_eq!(
                event["seq"], seq,
                "I19: the events of {job} have a gap: {events:?}"
            );
            story.goes_on(event);
        }
        assert_eq!(
            events.first().map(|event| &event["type"]),
            Some(&"accepted".into())
        );
        story
    }

    fn goes_on(&mut self, event: &Value) {
        let kind = event["type"].as_str().unwrap_or_default();
        let step = event["step_id"].as_str().unwrap_or_default().to_owned();
        let attempt = (
            self.job.clone(),
            step.clone(),
            event["attempt_no"].as_u64().unwrap_or_default(),
        );
        let after_the_end = matches!(kind, "callback_ignored" | "redriven" | "migrated");
        assert!(
            self.ended.is_none() || after_the_end,
            "I1: {event} after the job was {:?}",
            self.ended
        );
        match kind {
            "attempt_created" => {
                assert_eq!(
                    self.open, None,
                    "I2: {event} while another attempt is under way"
                );
                let latest = self.latest.entry(step).or_default();
                *latest += 1;
                assert_eq!(*latest, attempt.2, "I10: {event}");
                self.created.insert(attempt.clone());
                self.open = Some(attempt);
            }
            "directive_sent" => {
                self.of_the_open_one(event, &attempt, |story, attempt| story.sent.insert(attempt))
            }
            "acked" => self.of_the_open_one(event, &attempt, |story, attempt| {
                story.acked.insert(attempt)
            }),
            "result_received" => {
                let done = event["report"]["status"] == "SUCCEEDED";
                self.of_the_open_one(event, &attempt, |story, attempt| {
                    story.results.insert(attempt, done).is_none()
                });
            }
            "retry_scheduled" | "step_succeeded" | "step_failed" | "step_cancelled" => {
                self.open = None
            }
            "job_succeeded" => self.ends("SUCCEEDED"),
            "job_failed" => self.ends("FAILED_FINAL"),
            "job_cancelled" => self.ends("CANCELLED"),
            "redriven" => {
                assert_eq!(self.ended.take(), Some("FAILED_FINAL"), "{event}");
            }
            _ => {}
        }
    }

    /// I11: what moves the job is about the attempt that is under way, and comes once.
    fn of_the_open_one(
        &mut self,
        event: &Value,
        attempt: &Attempt,
        take: impl FnOnce(&mut Self, Attempt) -> bool,
    ) {
        assert_eq!(self.open.as_ref(), Some(attempt), "I11: {event}");
        assert!(take(self, attempt.clone()), "I12: {event} again");
    }

    fn ends(&mut self, state: &'static str) {
        self.open = None;
        self.ended = Some(state);
    }

    /// I3, I19.
    fn ends_as(&self, shown: &Value) {
        let ended = self.ended.unwrap_or("no end");
        assert_eq!(
            shown["state"], ended,
            "I19: the events of {} tell another end",
            self.job
        );
        assert_eq!(
            shown["attempts_total"],
            self.created.len(),
            "I19: {}",
            self.job
        );
    }
}
