//! Messages for one service in one lane.

use lucius_domain::id::{AttemptNo, JobId, ServiceName, StepId, TenantId};
use lucius_domain::routing::{Lane, Mode};
use lucius_ports::bus::Message;
use uuid::Uuid;

/// Where `message` goes.
pub(crate) fn lane() -> Lane {
    Lane::of("acme")
}

/// Who gets it.
pub(crate) fn service() -> ServiceName {
    ServiceName::new("platform-ocr")
}

/// The `n`-th message.
pub(crate) fn message(n: u32) -> Message {
    let job_id = JobId(Uuid::from_u128(u128::from(n)));
    Message {
        message_id: format!("{job_id}:ocr:1"),
        lane: lane(),
        routing_key: "acme".to_owned(),
        service: service(),
        mode: Mode::Default,
        tenant_id: TenantId::new("Acme"),
        job_id,
        step_id: StepId::new("ocr"),
        attempt_no: AttemptNo(1),
        body: format!("{{\"n\":{n}}}"),
    }
}
