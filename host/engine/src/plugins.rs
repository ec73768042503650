//! Asking plugins, and believing nothing they say before it is checked.
//!
//! A plugin may route only to services that its registry entry grants, and may ask for waits only within limits. An
//! answer outside of that is a fault of the plugin, as a trap is.

use std::sync::Arc;

use lucius_domain::id::{AttemptNo, Digest, TenantId};
use lucius_domain::job::{Failure, Job, Phase};
use lucius_domain::plugin::{
    Context, Decision, Dispatch, Function, Given, Pin, Report, Route, Settle,
};
use lucius_domain::retry::MAX_RETRY_DELAY_MS;
use lucius_domain::transition::Question;
use lucius_ports::plugin::{Answer, Answered, Call, Fault};
use serde_json::{Value, json};

use crate::Engine;
use crate::refusal::{Refusal, Violation};
use crate::registry::{Broken, PluginEntry};

/// The code of a failure that is the plugin's own.
pub const PLUGIN_FAULT: &str = "PLUGIN_FAULT";

/// The code of a failure of a job whose payload breaks every version of its plugin.
pub const PAYLOAD_BREAKS_PLUGINS: &str = "PAYLOAD_BREAKS_PLUGINS";

/// The longest ACK wait or lease a plugin may ask for, in milliseconds: a day.
const MAX_WAIT_MS: u64 = 24 * 60 * 60 * 1_000;

const ANOTHER_QUESTION: &str = "answered another question";

/// What a plugin said about an attempt.
struct Consulted {
    plugin: Arc<PluginEntry>,
    input: Digest,
    answer: Answer,
    fuel: u64,
}

/// Why there is no answer.
enum Unanswered {
    /// The plugin is asked again.
    Later(Failure),
    /// No version of the plugin can answer.
    Never(Failure),
}

/// What a payload is in full, or all that is wrong with it.
pub(crate) struct Validated {
    pub(crate) payload: Result<Value, Vec<Violation>>,
    pub(crate) decision: Decision,
}

impl Engine {
    /// Asks a plugin about a tenant's payload. `base` is where the payload stands in the command.
    pub(crate) async fn validate(
        &self,
        tenant: &TenantId,
        plugin: &PluginEntry,
        payload: Value,
        base: &str,
    ) -> Result<Validated, Refusal> {
        let config = plugin.config.clone();
        let call = Call::Validate {
            payload: payload.clone(),
            config,
        };
        let input_digest = digest_of(&call);
        let (answer, fuel) = match self.ask(tenant, plugin, call).await {
            Ok(answered) => answered,
            Err(Broken {
                also: Some(also), ..
            }) => return Err(breaks_all(plugin, &also, base)),
            Err(Broken { fault, also: None }) => {
                return Err(Refusal::PluginFault {
                    plugin: plugin.pin.to_string(),
                    fault: fault.to_string(),
                });
            }
        };
        let Answer::Validated(outcome) = answer else {
            return Err(wrong_answer(plugin));
        };
        let changed = outcome
            .as_ref()
            .is_ok_and(|normalized| *normalized != payload);
        let decision = Decision {
            function: Function::Validate,
            plugin: plugin.pin.clone(),
            input_digest,
            input: changed.then_some(payload),
            output: json!({ "valid": outcome.is_ok() }),
            fuel,
        };
        let payload = outcome.map_err(|violations| {
            let ours = violations.into_iter();
            ours.map(|violation| Violation::from_plugin(violation, base, &plugin.pin))
                .collect()
        });
        Ok(Validated { payload, decision })
    }

    /// Answers a question of a transition: by the step's plugin, or as the protocol declares when it has none.
    pub(crate) async fn answer(
        &self,
        job: &Job,
        question: Question,
    ) -> lucius_domain::decide::Input {
        use lucius_domain::decide::Input;
        match question {
            Question::Route { step, attempt } => {
                let (decision, outcome) = self.route(job, step, attempt).await;
                Input::Route {
                    lease_id: self.ports.ids.lease_id(),
                    decision,
                    outcome,
                }
            }
            Question::Settle { step, attempt } => {
                let (decision, outcome) = self.settle(job, step, attempt).await;
                Input::Settle { decision, outcome }
            }
        }
    }

    async fn route(
        &self,
        job: &Job,
        step: usize,
        attempt: AttemptNo,
    ) -> (Option<Decision>, Result<Route, Failure>) {
        let spec = &job.spec.steps[step];
        let Some(pin) = job.plugin(step) else {
            let service = spec.service.clone();
            let dispatch = Dispatch {
                service,
                payload: None,
                ack_ms: None,
                lease_ms: None,
            };
            return (None, Ok(Route::Dispatch(dispatch)));
        };
        let call = |context| Call::Route { context };
        match self.consult(job, pin, step, attempt, call).await {
            Ok(Consulted {
                plugin,
                input,
                answer: Answer::Routed(route),
                fuel,
            }) => {
                let decision = on_record(Function::Route, pin, input, &route, fuel);
                (Some(decision), check_route(route, &plugin))
            }
            Ok(_) => (None, Err(fault_of(pin, ANOTHER_QUESTION))),
            Err(Unanswered::Later(failure)) => (None, Err(failure)),
            Err(Unanswered::Never(failure)) => (None, Ok(Route::Fail { failure })),
        }
    }

    async fn settle(
        &self,
        job: &Job,
        step: usize,
        attempt: AttemptNo,
    ) -> (Option<Decision>, Result<Settle, Failure>) {
        let Some(report) = reported(job, step) else {
            let failure = Failure::new(PLUGIN_FAULT, "there is no RESULT to settle");
            return (None, Err(failure));
        };
        let Some(pin) = job.plugin(step) else {
            return (None, Ok(Settle::by_default(report)));
        };
        let call = |context| Call::Settle {
            context,
            report: report.clone(),
        };
        match self.consult(job, pin, step, attempt, call).await {
            Ok(Consulted {
                answer: Answer::Settled(settle),
                input,
                fuel,
                ..
            }) => {
                let decision = on_record(Function::Settle, pin, input, &settle, fuel);
                (Some(decision), check_settle(settle, report, pin))
            }
            Ok(_) => (None, Err(fault_of(pin, ANOTHER_QUESTION))),
            Err(Unanswered::Later(failure)) => (None, Err(failure)),
            Err(Unanswered::Never(failure)) => (None, Ok(Settle::Fail { failure })),
        }
    }

    /// Puts a question about an attempt to the plugin that the job has pinned.
    async fn consult(
        &self,
        job: &Job,
        pin: &Pin,
        step: usize,
        attempt: AttemptNo,
        call: impl FnOnce(Box<Context>) -> Call,
    ) -> Result<Consulted, Unanswered> {
        let plugin = self.pinned(job, pin).await.map_err(Unanswered::Later)?;
        let context = job
            .plugin_context(step, attempt, plugin.config.clone())
            .ok_or_else(|| fault_of(pin, "was asked about a step that does not exist"))
            .map_err(Unanswered::Later)?;
        let call = call(Box::new(context));
        let input = digest_of(&call);
        let answered = self.ask(&job.spec.tenant_id, &plugin, call).await;
        let (answer, fuel) = answered.map_err(|broken| match broken {
            Broken { fault, also: None } => Unanswered::Later(failure_of(pin, &fault)),
            Broken {
                fault,
                also: Some(also),
            } => Unanswered::Never(Failure::new(
                PAYLOAD_BREAKS_PLUGINS,
                format!("plugins {pin} and {also} both break down on it: {fault}"),
            )),
        })?;
        Ok(Consulted {
            plugin,
            input,
            answer,
            fuel,
        })
    }

    /// The plugin as it is in the generation that the job holds.
    async fn pinned(&self, job: &Job, pin: &Pin) -> Result<Arc<PluginEntry>, Failure> {
        let generation = self.generation(job.generation()).await;
        let generation = generation.map_err(|reason| {
            let what = format!(
                "cannot be loaded: {reason}; move the job to a generation that is there with lucius jobs migrate"
            );
            fault_of(pin, &what)
        })?;
        let plugin = generation.plugin(pin).cloned();
        plugin.ok_or_else(|| fault_of(pin, "is not in the job's registry generation"))
    }

    /// Puts a question to a plugin, on the tenant's account.
    pub(crate) async fn call(
        &self,
        tenant: &TenantId,
        plugin: &PluginEntry,
        call: Call,
    ) -> Result<(Answer, u64), Fault> {
        let digest = &plugin.pin.digest;
        let answered = self.ports.runtime.call(digest, plugin.limits, call).await;
        let cost = match &answered {
            Ok(answered) => answered.fuel,
            Err(fault) => {
                tracing::warn!(plugin = %plugin.pin, code = fault.code(), "plugin {fault}");
                cost_of(fault, plugin)
            }
        };
        self.budgets.spend(tenant, cost, self.ports.clock.now());
        answered.map(|Answered { answer, fuel, .. }| (answer, fuel))
    }
}

/// What a call is charged that did not say what it used: all it could have, if it ran.
pub(crate) fn cost_of(fault: &Fault, plugin: &PluginEntry) -> u64 {
    match fault {
        Fault::Fuel { .. } | Fault::Deadline { .. } | Fault::Trap(_) | Fault::Answer(_) => {
            plugin.limits.fuel
        }
        Fault::NotLoaded | Fault::Busy(_) => 0,
    }
}

fn reported(job: &Job, step: usize) -> Option<&Report> {
    let state = job.progress.steps.get(step)?;
    if let Phase::Settling { report, .. } = &state.phase {
        Some(report)
    } else {
        None
    }
}

/// Whether an answer to a question is one that this host would take from a plugin.
pub(crate) fn check_answer(
    answer: &Answer,
    call: &Call,
    plugin: &PluginEntry,
) -> Result<(), String> {
    let checked = match (answer, call) {
        (Answer::Validated(_), Call::Validate { .. }) => return Ok(()),
        (Answer::Routed(route), Call::Route { .. }) => check_route(route.clone(), plugin).map(drop),
        (Answer::Settled(settle), Call::Settle { report, .. }) => {
            check_settle(settle.clone(), report, &plugin.pin).map(drop)
        }
        (Answer::Validated(_) | Answer::Routed(_) | Answer::Settled(_), _) => {
            return Err(ANOTHER_QUESTION.to_owned());
        }
    };
    checked.map_err(|failure| failure.message)
}

fn check_route(route: Route, plugin: &PluginEntry) -> Result<Route, Failure> {
    let Route::Dispatch(dispatch) = &route else {
        return Ok(route);
    };
    if !plugin.services.contains(&dispatch.service) {
        let what = format!(
            "routed to service \"{}\", which is not granted",
            dispatch.service
        );
        return Err(fault_of(&plugin.pin, &what));
    }
    let waits = [dispatch.ack_ms, dispatch.lease_ms];
    if waits
        .into_iter()
        .flatten()
        .any(|ms| ms == 0 || ms > MAX_WAIT_MS)
    {
        return Err(fault_of(
            &plugin.pin,
            "asked for a wait outside of 1 ms to 24 h",
        ));
    }
    if dispatch
        .payload
        .as_ref()
        .is_some_and(|payload| !payload.is_object())
    {
        return Err(fault_of(
            &plugin.pin,
            "gave a payload that is not an object",
        ));
    }
    Ok(route)
}

fn check_settle(settle: Settle, report: &Report, pin: &Pin) -> Result<Settle, Failure> {
    match &settle {
        Settle::Accept if matches!(report, Report::Failed { .. }) => {
            Err(fault_of(pin, "accepted an attempt that failed"))
        }
        Settle::Retry {
            delay_ms: Some(delay_ms),
            ..
        } if *delay_ms > MAX_RETRY_DELAY_MS => {
            Err(fault_of(pin, "asked for a retry delay of more than 24 h"))
        }
        Settle::Accept | Settle::Retry { .. } | Settle::Fail { .. } => Ok(settle),
    }
}

fn on_record(
    function: Function,
    pin: &Pin,
    input_digest: Digest,
    output: &impl serde::Serialize,
    fuel: u64,
) -> Decision {
    // Plain data with text keys always serializes.
    let output = serde_json::to_value(output).unwrap_or(Value::Null);
    Decision {
        function,
        plugin: pin.clone(),
        input_digest,
        input: None,
        output,
        fuel,
    }
}

fn failure_of(pin: &Pin, fault: &Fault) -> Failure {
    Failure::new(
        PLUGIN_FAULT,
        format!("plugin {pin} {fault} ({})", fault.code()),
    )
}

fn fault_of(pin: &Pin, what: &str) -> Failure {
    Failure::new(PLUGIN_FAULT, format!("plugin {pin} {what}"))
}

/// The digest of what a call gives to the plugin.
pub(crate) fn digest_of(call: &Call) -> Digest {
    let given = match call {
        Call::Validate { payload, config } => Given::Validate { payload, config },
        Call::Route { context } => Given::Route(context),
        Call::Settle { context, report } => Given::Settle(context, report),
    };
    given.digest()
}

/// The payload is at fault: two versions of the plugin break down on it.
fn breaks_all(plugin: &PluginEntry, also: &Pin, base: &str) -> Refusal {
    let pin = &plugin.pin;
    Refusal::InvalidPayload(vec![Violation {
        pointer: base.to_owned(),
        code: PAYLOAD_BREAKS_PLUGINS.to_owned(),
        message: format!("plugins {pin} and {also} both break down on this payload: change it"),
        source: format!("plugin:{pin}"),
    }])
}

fn wrong_answer(plugin: &PluginEntry) -> Refusal {
    Refusal::PluginFault {
        plugin: plugin.pin.to_string(),
        fault: ANOTHER_QUESTION.to_owned(),
    }
}
