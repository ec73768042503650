//! ACK and RESULT: sent until the host has decided about them.

use tracing::{debug, error, info, warn};

use super::Shared;
use super::backoff::Backoff;
use crate::callback::Answer;
use crate::clock;
use crate::contract::{
    Ack, AttemptResult, CallbackUrls, Directive, Ending, Envelope, ErrorBody, FailureClass,
};
use crate::record;

/// What the host wants of an attempt that has arrived.
pub(super) enum Wanted {
    /// Work on it.
    Yes,
    /// Nothing: it is decided or not current. The message may go.
    No,
    /// Not known, or not to be asked: the message goes back.
    Unclear,
}

/// ACKs the directive, trying again within the patience of the settings.
pub(super) async fn ack(shared: &Shared, directive: &Directive) -> Wanted {
    let ack = Ack {
        envelope: Envelope::of(directive, clock::timestamp()),
        status: "ACKED",
    };
    let url = &directive.callback_urls.ack;
    let patience = shared.timing.ack_patience;
    let answer = until_answered(shared, url, directive, &ack);
    match tokio::time::timeout(patience, answer).await {
        Ok(Answer::Applied) => Wanted::Yes,
        Ok(Answer::JobOver) => {
            info!("the job is over; nothing to do");
            Wanted::No
        }
        Ok(Answer::Superseded { code }) => {
            info!(code, "this attempt is not the current one; nothing to do");
            Wanted::No
        }
        Ok(Answer::Rejected { status, detail } | Answer::Unreadable { status, detail }) => {
            warn!(%status, detail, "the host refuses the ACK; giving the message back");
            Wanted::Unclear
        }
        Err(_) => {
            warn!(
                ?patience,
                "the host did not take the ACK in time; giving the message back"
            );
            Wanted::Unclear
        }
    }
}

/// Whether the host has decided about a RESULT.
pub(super) enum Reported {
    /// It has, by this RESULT or otherwise. The message may go.
    Decided,
    /// It will not hear of it. The message goes back.
    Refused,
}

/// Sends the RESULT until the host has decided about it.
///
/// A host that cannot read a RESULT would otherwise wait for the lease to end and order the same
/// work again, so it is told of a failure instead, which the record then holds.
pub(super) async fn result(
    shared: &Shared,
    directive: &Directive,
    result: &AttemptResult,
) -> Result<Reported, record::Error> {
    match send(shared, directive, result).await {
        Sent::Decided => Ok(Reported::Decided),
        Sent::Refused => Ok(Reported::Refused),
        Sent::Unreadable(why) => {
            error!(
                why,
                "the host cannot read the RESULT; reporting a failure in its place"
            );
            let substitute = AttemptResult {
                envelope: result.envelope.clone(),
                ending: Ending::Failed {
                    failure_class: FailureClass::NonRetryable,
                    error: ErrorBody {
                        code: "RESULT_REFUSED".to_owned(),
                        message: format!("the host refused the worker's RESULT: {why}"),
                        details: None,
                    },
                },
                workspace_ref: result.workspace_ref.clone(),
            };
            shared.record.remember(&substitute).await?;
            match send(shared, directive, &substitute).await {
                Sent::Decided => Ok(Reported::Decided),
                Sent::Refused | Sent::Unreadable(_) => Ok(Reported::Refused),
            }
        }
    }
}

enum Sent {
    Decided,
    Refused,
    Unreadable(String),
}

async fn send(shared: &Shared, directive: &Directive, result: &AttemptResult) -> Sent {
    let CallbackUrls { result: url, .. } = &directive.callback_urls;
    match until_answered(shared, url, directive, result).await {
        Answer::Applied => Sent::Decided,
        Answer::JobOver => {
            info!("the job was over before its RESULT came");
            Sent::Decided
        }
        Answer::Superseded { code } => {
            info!(code, "the host has decided without this RESULT");
            Sent::Decided
        }
        Answer::Rejected { status, detail } => {
            warn!(%status, detail, "the host refuses the RESULT; giving the message back");
            Sent::Refused
        }
        Answer::Unreadable { status, detail } => Sent::Unreadable(format!("{status} {detail}")),
    }
}

async fn until_answered<B: serde::Serialize + Sync>(
    shared: &Shared,
    url: &str,
    directive: &Directive,
    body: &B,
) -> Answer {
    let mut backoff = Backoff::new(&shared.timing);
    loop {
        match shared
            .callbacks
            .post(url, directive.callback_token.as_ref(), body)
            .await
        {
            Ok(answer) => return answer,
            Err(error) => {
                let wait = backoff.wait(error.retry_after);
                debug!(%error, ?wait, "callback not taken; trying again");
                tokio::time::sleep(wait).await;
            }
        }
    }
}
