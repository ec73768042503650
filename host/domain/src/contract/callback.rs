//! What a service says back: ACK, heartbeat and RESULT.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Ref;
use crate::id::{AttemptKey, AttemptNo, JobId, LeaseId, StepId};
use crate::job::Failure;
use crate::plugin::Report;

/// The three callbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackKind {
    /// The directive arrived.
    Ack,
    /// Work goes on.
    Heartbeat,
    /// Work has ended.
    Result,
}

/// An ACK, `ack.v1`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Ack {
    /// The job.
    #[serde(rename = "jobId")]
    pub job_id: JobId,
    /// The step.
    #[serde(rename = "stepId")]
    pub step_id: StepId,
    /// The attempt.
    pub attempt_no: AttemptNo,
    /// Its fence.
    pub lease_id: LeaseId,
}

/// A heartbeat, `heartbeat.v1`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Heartbeat {
    /// The job.
    #[serde(rename = "jobId")]
    pub job_id: JobId,
    /// The step.
    #[serde(rename = "stepId")]
    pub step_id: StepId,
    /// The attempt.
    pub attempt_no: AttemptNo,
    /// Its fence.
    pub lease_id: LeaseId,
    /// How far the work is.
    #[serde(default)]
    pub progress: Option<Progress>,
}

/// How far the work is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// For a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ResultStatus {
    /// Done.
    Succeeded,
    /// Not done.
    Failed,
}

/// Whether another attempt may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailureClass {
    /// It may.
    Retryable,
    /// It will not.
    NonRetryable,
}

/// A RESULT, `result.v1`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct WorkResult {
    /// The job.
    #[serde(rename = "jobId")]
    pub job_id: JobId,
    /// The step.
    #[serde(rename = "stepId")]
    pub step_id: StepId,
    /// The attempt.
    pub attempt_no: AttemptNo,
    /// Its fence.
    pub lease_id: LeaseId,
    /// How it ended.
    pub status: ResultStatus,
    /// Whether another attempt may help; the schema asks for it when the status is FAILED.
    #[serde(default)]
    pub failure_class: Option<FailureClass>,
    /// What went wrong; the schema asks for it when the status is FAILED.
    #[serde(default)]
    pub error: Option<WorkError>,
    /// Where the main artifact was delivered.
    #[serde(default)]
    pub output_ref: Option<Ref>,
    /// What was written.
    #[serde(default)]
    pub artifact_refs: Vec<Ref>,
}

/// What went wrong in a service.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct WorkError {
    /// A stable code.
    pub code: String,
    /// For a person.
    pub message: String,
    /// More.
    #[serde(default)]
    pub details: Value,
}

impl WorkResult {
    /// What the job needs to know of it. A service that names only where it delivered its work has one artifact.
    pub fn report(self) -> Report {
        match self.status {
            ResultStatus::Succeeded => {
                let mut artifact_refs = self.artifact_refs;
                if artifact_refs.is_empty() {
                    artifact_refs.extend(self.output_ref.clone());
                }
                Report::Succeeded {
                    artifact_refs,
                    output_ref: self.output_ref,
                }
            }
            ResultStatus::Failed => {
                let error = self.error.unwrap_or_else(|| WorkError {
                    code: "UNSPECIFIED".to_owned(),
                    message: "the service gave no reason".to_owned(),
                    details: Value::Null,
                });
                Report::Failed {
                    retryable: self.failure_class == Some(FailureClass::Retryable),
                    failure: Failure::new(error.code, error.message),
                    details: error.details,
                }
            }
        }
    }
}

macro_rules! keyed {
    ($($type:ty),*) => {$(
        impl $type {
            /// The attempt it is about.
            pub fn key(&self) -> AttemptKey {
                AttemptKey { no: self.attempt_no, lease_id: self.lease_id }
            }
        }
    )*};
}
keyed!(Ack, Heartbeat, WorkResult);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_that_only_names_its_output_has_one_artifact() {
        let result: WorkResult = serde_json::from_value(serde_json::json!({
            "jobId": "018f0000-0000-7000-8000-000000000001", "stepId": "ocr", "attempt_no": 1,
            "lease_id": "018f0000-0000-4000-8000-000000000002", "status": "SUCCEEDED",
            "output_ref": "file:///out/ocr.txt",
        }))
        .expect("a RESULT");
        let output = Ref::Uri("file:///out/ocr.txt".to_owned());
        let expected = Report::Succeeded {
            artifact_refs: vec![output.clone()],
            output_ref: Some(output),
        };
        assert_eq!(result.report(), expected);
    }
}
