//! What services say back. The fence is `(attempt_no, lease_id)`: a callback counts only if it names the attempt
//! that is under way. One that does not count is answered, put on record, and changes nothing.

use std::sync::Arc;

use lucius_domain::canonical;
use lucius_domain::contract::{self, Ack, CallbackKind, Heartbeat, Schema, WorkResult};
use lucius_domain::decide::{Input, Rejection};
use lucius_domain::event::{Event, IgnoreReason};
use lucius_domain::id::{AttemptKey, Digest, JobId, StepId};
use lucius_domain::job::Job;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Engine;
use crate::drive::{DriveError, Driven};
use crate::refusal::{Refusal, Violation};

impl Engine {
    /// Takes an ACK. True when it counts, or says again what counted; false when the
    /// attempt or its job is over.
    ///
    /// # Errors
    /// Why it does not count, or what is wrong with it.
    pub async fn ack(&self, body: Value, token: Option<&str>) -> Result<bool, Refusal> {
        let ack: Ack = self.read(contract::ACK, body)?;
        let key = ack.key();
        let caller = self.admit(ack.job_id, &ack.step_id, key, token).await?;
        self.bring(caller, key, CallbackKind::Ack, |step| Input::Ack {
            step,
            key,
        })
        .await
    }

    /// Takes a heartbeat, which renews the lease. The answer is as for [`Engine::ack`].
    ///
    /// # Errors
    /// As [`Engine::ack`].
    pub async fn heartbeat(&self, body: Value, token: Option<&str>) -> Result<bool, Refusal> {
        let heartbeat: Heartbeat = self.read(contract::HEARTBEAT, body)?;
        let key = heartbeat.key();
        let caller = self
            .admit(heartbeat.job_id, &heartbeat.step_id, key, token)
            .await?;
        let progress = heartbeat.progress;
        self.bring(caller, key, CallbackKind::Heartbeat, |step| {
            Input::Heartbeat {
                step,
                key,
                progress: progress.clone(),
            }
        })
        .await
    }

    /// Takes a RESULT: it is durable, with what follows from it, when this returns. The
    /// answer is as for [`Engine::ack`].
    ///
    /// # Errors
    /// As [`Engine::ack`].
    pub async fn result(&self, mut body: Value, token: Option<&str>) -> Result<bool, Refusal> {
        let digest = result_digest(&mut body);
        let result: WorkResult = self.read(contract::RESULT, body)?;
        let key = result.key();
        let caller = self
            .admit(result.job_id, &result.step_id, key, token)
            .await?;
        let report = result.report();
        self.bring(caller, key, CallbackKind::Result, |step| Input::Result {
            step,
            key,
            report: report.clone(),
            digest,
        })
        .await
    }

    fn read<T: DeserializeOwned>(&self, schema: Schema, body: Value) -> Result<T, Refusal> {
        let violations = self.schemas.violations(schema, &body);
        if !violations.is_empty() {
            return Err(Refusal::InvalidCallback(violations));
        }
        let names_a_job = body
            .get("jobId")
            .and_then(Value::as_str)
            .and_then(JobId::parse);
        if names_a_job.is_none() {
            return Err(Refusal::JobNotFound);
        }
        serde_json::from_value(body).map_err(|error| {
            Refusal::InvalidCallback(vec![Violation {
                pointer: String::new(),
                code: "TYPE".to_owned(),
                message: error.to_string(),
                source: "schema".to_owned(),
            }])
        })
    }

    /// Finds the job and checks that the caller was given the directive of that very attempt.
    async fn admit(
        &self,
        id: JobId,
        step_id: &StepId,
        key: AttemptKey,
        token: Option<&str>,
    ) -> Result<(Arc<Job>, usize), Refusal> {
        let token = token.ok_or(Refusal::TokenMissing)?;
        let job = self
            .ports
            .ledger
            .load(id)
            .await?
            .ok_or(Refusal::JobNotFound)?;
        if !self
            .tokens
            .verify(token, &job.spec.tenant_id, id, step_id, key)
        {
            tracing::warn!(jobId = %id, stepId = %step_id, attempt = %key.no, "callback token refused");
            return Err(Refusal::TokenRefused);
        }
        tracing::Span::current().record("tenant", job.spec.tenant_id.as_str());
        // A token of this job is only made for a step that it has.
        let step = job.step_index(step_id).ok_or(Refusal::JobNotFound)?;
        Ok((job, step))
    }

    async fn bring(
        &self,
        (job, step): (Arc<Job>, usize),
        key: AttemptKey,
        callback: CallbackKind,
        input: impl Fn(usize) -> Input + Send + Sync,
    ) -> Result<bool, Refusal> {
        let id = job.id;
        match self.drive(id, Some(job), || input(step)).await? {
            Driven::Changed(_) => Ok(true),
            Driven::NotFound => Err(Refusal::JobNotFound),
            Driven::Rejected(job, rejection) => {
                let reason = ignored(rejection);
                let attempt_no = key.no;
                let event = Event::CallbackIgnored {
                    step,
                    attempt_no,
                    callback,
                    reason,
                };
                match self.drive_note(id, job, &event).await {
                    Ok(_) => {}
                    // The answer does not depend on the record, and a crowd of equal callbacks is on record anyway.
                    Err(DriveError::Contended) => {
                        tracing::debug!(jobId = %id, ?reason, "a callback is answered and not kept");
                    }
                    Err(error @ DriveError::Ledger(_)) => return Err(error.into()),
                }
                match reason {
                    // The answer is the one that the first of them got.
                    IgnoreReason::Repeated => Ok(true),
                    IgnoreReason::Decided | IgnoreReason::JobTerminal => Ok(false),
                    IgnoreReason::Stale => Err(Refusal::StaleAttempt),
                    IgnoreReason::Conflicting => Err(Refusal::CallbackConflict),
                }
            }
        }
    }
}

fn ignored(rejection: Rejection) -> IgnoreReason {
    match rejection {
        Rejection::Ignored(reason) => reason,
        Rejection::Terminal => IgnoreReason::JobTerminal,
        Rejection::NotFailed
        | Rejection::Cancelling
        | Rejection::SameGeneration
        | Rejection::NotWaiting
        | Rejection::NotesFull => IgnoreReason::Stale,
    }
}

/// What makes two RESULTs the same: all they say, but when they said it and how it is traced.
fn result_digest(body: &mut Value) -> Digest {
    const LEFT_OUT: [&str; 2] = ["timestamp", "traceparent"];
    // Taken out and put back: a RESULT may be large, and a copy of it is of no other use.
    let mut out = |name: &str| Some((name.to_owned(), body.as_object_mut()?.remove(name)?));
    let left_out: Vec<_> = LEFT_OUT.into_iter().filter_map(&mut out).collect();
    let digest = Digest::of(canonical::to_string(body).as_bytes());
    if let Value::Object(members) = body {
        members.extend(left_out);
    }
    digest
}
