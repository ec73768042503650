//! Jobs to be created, with something in every optional place.

use std::sync::Arc;

use lucius_domain::contract::Ref;
use lucius_domain::id::{Digest, Generation, JobId, PluginVersion};
use lucius_domain::job::{JobSpec, StepSpec};
use lucius_domain::plugin::{Decision, Function, Pin};
use lucius_domain::retry::Timing;
use lucius_domain::routing::{DecisionSource, Lane, Mode, ModeDecision};
use lucius_domain::time::Timestamp;
use serde_json::json;

use crate::ledger::Idempotency;

/// When the first job of a case is accepted.
pub const START: Timestamp = Timestamp(1_800_000_000_000);

/// The lane with this number, modulo 16.
pub fn lane(number: u64) -> Lane {
    let number = u8::try_from(number % 16).expect("a remainder of 16 fits");
    Lane::new(number).expect("there are 16 lanes")
}

/// A job to be created.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Whose it is.
    pub tenant: String,
    /// What is asked for.
    pub request_type: String,
    /// How it is routed.
    pub mode: Mode,
    /// Its lane.
    pub lane: Lane,
    /// How many steps it has.
    pub steps: usize,
    /// When it is accepted.
    pub created_at: Timestamp,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            tenant: "acme".to_owned(),
            request_type: "OCR->EMBEDDING->SIS".to_owned(),
            mode: Mode::Default,
            lane: lane(3),
            steps: 3,
            created_at: START,
        }
    }
}

impl Draft {
    /// The spec, with something in every optional place.
    pub fn spec(&self) -> Arc<JobSpec> {
        let full = json!({
            "uri": "s3://in/Größe 1.pdf", "checksum": "sha256:00", "size_bytes": u64::MAX,
            "metadata": { "pages": 3, "ratio": 0.1, "none": null }, "x-own": [1, "zwei"],
        });
        Arc::new(JobSpec {
            tenant_id: self.tenant.as_str().into(),
            request_type: self.request_type.as_str().into(),
            protocol_id: "ocr-embedding-sis.v1".into(),
            generation: Generation(7),
            doc_id: Some("doc \"1\"\n".to_owned()),
            mode: ModeDecision {
                resolved_mode: self.mode,
                decision_source: DecisionSource::Request,
                decision_reason: "the command asks for it".to_owned(),
            },
            routing_key: self.tenant.to_lowercase(),
            lane: self.lane,
            priority: 5,
            input_ref: serde_json::from_value(full).expect("a full reference is a reference"),
            output_ref: Ref::Uri("file:///out/".to_owned()),
            correlation_id: Some("group-1".to_owned()),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            created_at: self.created_at,
            steps: (0..self.steps).map(step_spec).collect(),
        })
    }

    /// A key that belongs to this job alone.
    pub fn key(&self, id: JobId) -> Idempotency {
        Idempotency::key_of(None, Digest::of(id.0.as_bytes()))
    }
}

fn step_spec(index: usize) -> StepSpec {
    let name = ["ocr", "embedding", "sis"][index % 3];
    StepSpec {
        step_id: format!("{name}-{index}").as_str().into(),
        step_type: name.to_uppercase().as_str().into(),
        service: format!("platform-{name}").as_str().into(),
        plugin: (index != 1).then(pin),
        payload: json!({ "page_range": "1-3", "temperature": 0.7, "max": 9_007_199_254_740_993_u64 }),
        timing: Timing::default(),
    }
}

fn pin() -> Pin {
    let version = PluginVersion::from("1.0.0");
    Pin {
        id: "ocr".into(),
        version,
        digest: Digest::of(b"component"),
    }
}

/// A plugin's decision, with something in every place.
pub fn decision(function: Function) -> Decision {
    Decision {
        function,
        plugin: pin(),
        input_digest: Digest::of(b"input"),
        input: Some(json!({ "raw": [1, 2.5, null] })),
        output: json!({ "ok": true }),
        fuel: 12_345,
    }
}

/// A job id whose order is that of `at` and then of `serial`.
pub fn job_id(at: Timestamp, serial: u64) -> JobId {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&serial.to_be_bytes());
    let millis = u64::try_from(at.0).unwrap_or(0);
    JobId(uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid())
}
