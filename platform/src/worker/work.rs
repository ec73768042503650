//! The work of one attempt: places, service, delivery; every ending becomes an [`Ending`].

use std::panic;
use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::Shared;
use crate::clock;
use crate::contract::{AttemptResult, Directive, Ending, Envelope, ErrorBody, Ref};
use crate::service::{Delivery, Done, Failure, Progress, Task};
use crate::workspace::Places;

/// Works on the attempt and says how it ended. Dropping the future stops the work.
pub(super) async fn perform(
    shared: &Arc<Shared>,
    directive: &Arc<Directive>,
    progress: Progress,
) -> AttemptResult {
    let (workspace_ref, ending) =
        match Places::open(&shared.roots, directive, shared.service.places_results()).await {
            Err(failure) => (None, failed(failure)),
            Ok(places) => {
                let workspace_ref = places.workspace.uri().ok().map(Ref::bare);
                let ended = match run(shared, directive, &places, progress).await {
                    Ok(done) => deliver(done, directive, &places).await,
                    Err(failure) => Err(failure),
                };
                (workspace_ref, ended.unwrap_or_else(failed))
            }
        };
    AttemptResult {
        envelope: Envelope::of(directive, clock::timestamp()),
        ending,
        workspace_ref,
    }
}

/// Runs the service in a task of its own, so that its panic ends the attempt and nothing else.
async fn run(
    shared: &Arc<Shared>,
    directive: &Arc<Directive>,
    places: &Places,
    progress: Progress,
) -> Result<Done, Failure> {
    let cancel = CancellationToken::new();
    let _cancelled_when_dropped = cancel.clone().drop_guard();
    let task = Task {
        directive: Arc::clone(directive),
        workspace: places.workspace.clone(),
        refs: places.reader.clone(),
        cancel,
    };
    let service = Arc::clone(&shared.service);
    let mut running = JoinSet::new();
    running.spawn(async move { service.run(task, progress).await });
    let limit = shared.timing.attempt_limit;
    match tokio::time::timeout(limit, running.join_next()).await {
        Ok(Some(Ok(outcome))) => outcome,
        Ok(Some(Err(crash))) => Err(panicked(crash)),
        Ok(None) => Err(Failure::retryable(
            "WORKER_PANIC",
            "the service ended without an outcome",
        )),
        Err(_) => Err(Failure::retryable(
            "ATTEMPT_TIME_LIMIT",
            format!(
                "the work took longer than {} s; raise attempt_limit",
                limit.as_secs()
            ),
        )),
    }
}

async fn deliver(done: Done, directive: &Directive, places: &Places) -> Result<Ending, Failure> {
    let Done {
        artifacts,
        delivery,
    } = done;
    let output_ref = match delivery {
        Delivery::ByService(output_ref) => output_ref,
        Delivery::FirstArtifact => match (artifacts.first(), &places.output) {
            (Some(main), Some(output)) => {
                let step_id = &directive.step_id;
                Some(output.deliver(main, &places.workspace, step_id).await?)
            }
            (None, _) | (_, None) => None,
        },
    };
    info!(artifacts = artifacts.len(), "work done");
    Ok(Ending::Succeeded {
        output_ref,
        artifact_refs: artifacts.into_iter().map(Ref::from).collect(),
    })
}

fn failed(failure: Failure) -> Ending {
    let Failure {
        class,
        code,
        message,
        details,
    } = failure;
    info!(code = &*code, ?class, message, "work failed");
    let error = ErrorBody {
        code: code.into_owned(),
        message,
        details,
    };
    Ending::Failed {
        failure_class: class,
        error,
    }
}

fn panicked(crash: tokio::task::JoinError) -> Failure {
    let message = match crash.try_into_panic() {
        Ok(payload) => panic_message(payload),
        Err(cancelled) => cancelled.to_string(),
    };
    error!(message, "the service panicked");
    Failure::retryable("WORKER_PANIC", "the service crashed; see the worker's log")
        .with_details(json!({ "panic": message }))
}

fn panic_message(payload: Box<dyn std::any::Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => match payload.downcast::<&'static str>() {
            Ok(text) => (*text).to_owned(),
            // Nobody can read it; dropping it may panic in turn, so it is let go of instead.
            Err(payload) => {
                drop(panic::catch_unwind(panic::AssertUnwindSafe(|| {
                    drop(payload)
                })));
                "a panic without a text".to_owned()
            }
        },
    }
}
