//! From a command to a durable job.
//!
//! The order is: envelope, references, protocol, mode and lane, the gates, every step's payload by schema and plugin,
//! the first route, the gates again, and one write. Looking at the gates first makes it cheap to refuse when there is
//! more to do than can be done; a place is taken last, and that makes the limits hold. All that is wrong with an
//! envelope or with the payloads is reported at once. A command that was accepted before is answered with its job even
//! if today's rules would refuse it; that look-up is only made on the way to a refusal, since creating a job finds a
//! duplicate by itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use lucius_domain::canonical;
use lucius_domain::contract::{self, Command};
use lucius_domain::decide::Input;
use lucius_domain::id::{StepId, TenantId};
use lucius_domain::job::{Job, JobSpec, Status, StepSpec};
use lucius_domain::plugin::{Decision, Pin};
use lucius_domain::routing::{Lane, resolve_mode, routing_key};
use lucius_domain::transition::Transition;
use lucius_ports::ledger::{Created, Idempotency};
use serde_json::Value;

use crate::Engine;
use crate::gates::health::Store;
use crate::refusal::{Refusal, Violation};
use crate::registry::{PluginEntry, Protocol, Snapshot, StepEntry};

/// A command that the host has taken on.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The job, as it is now.
    pub job: Arc<Job>,
    /// True when it was accepted before, and nothing new was created.
    pub duplicate: bool,
}

impl Engine {
    /// Accepts a command. When this returns a job, it is durable.
    ///
    /// # Errors
    /// Why not; nothing was created. With LEDGER_UNAVAILABLE it is not known, and the same command may be sent again.
    pub async fn accept(&self, body: Value) -> Result<Accepted, Refusal> {
        if self.is_draining() {
            return Err(Refusal::Draining);
        }
        let command = self.read_command(body)?;
        if let Some(asked) = command.mode {
            // Refused before the look-up of what was accepted: no setting ever made this command valid.
            routing_key(asked, command.tenant_id.as_str(), command.doc_id.as_deref())?;
        }
        if !self.health.ledger_admits() {
            return Err(Refusal::Sick(Store::Ledger));
        }
        let digest = canonical::command_digest(&command);
        let idempotency = Idempotency::key_of(command.idempotency_key.as_deref(), digest);
        let tenant = command.tenant_id.clone();
        match self.create(&command, &idempotency).await {
            Err(Refusal::LedgerUnavailable(error)) => Err(Refusal::LedgerUnavailable(error)),
            Err(refusal) => self.unless_known(&tenant, &idempotency, refusal).await,
            Ok(accepted) => Ok(accepted),
        }
    }

    fn read_command(&self, body: Value) -> Result<Command, Refusal> {
        let (refs, violations): (Vec<_>, Vec<_>) = self
            .schemas
            .violations(contract::COMMAND_ENVELOPE, &body)
            .into_iter()
            .partition(is_overlong_ref);
        if !violations.is_empty() {
            return Err(Refusal::InvalidEnvelope(violations));
        }
        if !refs.is_empty() {
            return Err(Refusal::RefNotAllowed(refs));
        }
        serde_json::from_value(body).map_err(|error| {
            Refusal::InvalidEnvelope(vec![violation("", "TYPE", error.to_string())])
        })
    }

    fn check_refs(&self, command: &Command) -> Result<(), Refusal> {
        let refs = [
            ("/input_ref", &command.input_ref),
            ("/output_ref", &command.output_ref),
        ];
        let refused: Vec<Violation> = refs
            .into_iter()
            .filter_map(|(pointer, reference)| {
                let error = self.settings.refs.check(reference).err()?;
                Some(violation(pointer, "REF_NOT_ALLOWED", error.to_string()))
            })
            .collect();
        if refused.is_empty() {
            Ok(())
        } else {
            Err(Refusal::RefNotAllowed(refused))
        }
    }

    async fn create(
        &self,
        command: &Command,
        idempotency: &Idempotency,
    ) -> Result<Accepted, Refusal> {
        self.check_refs(command)?;
        if !self.health.bus_admits(&*self.ports.bus).await {
            return Err(Refusal::Sick(Store::Bus));
        }
        self.budgets
            .check(&command.tenant_id, self.ports.clock.now())?;
        let snapshot = self.registry.live();
        let protocol = snapshot
            .protocol_for(&command.request_type)
            .ok_or_else(|| {
                let served: Vec<&str> =
                    snapshot.request_types().map(|name| name.as_str()).collect();
                Refusal::UnsupportedRequestType {
                    asked: command.request_type.to_string(),
                    served: served.join(", "),
                }
            })?;
        let tenant_limit = snapshot.tenant_limit(&command.tenant_id);
        let mut spec = self.without_steps(command, &snapshot, protocol)?;
        self.gates
            .look_for_place(&spec, idempotency, tenant_limit)?;
        let decisions = self
            .resolve_steps(command, &snapshot, protocol, &mut spec)
            .await?;
        let now = spec.created_at;
        let id = self.ports.ids.job_id(now);

        let mut transition = Transition::create(id, Arc::new(spec), decisions);
        self.answer_first_route(&mut transition).await?;
        let Some(change) = transition.finish() else {
            // A created job always has its first event.
            return Err(Refusal::Contended);
        };
        let spec = &change.job.spec;
        let pins: Vec<&Pin> = spec.steps.iter().flat_map(|it| &it.plugin).collect();
        if let Some(pause) = self.pauses.refusing(spec, &pins, now).await? {
            return Err(Refusal::paused(pause));
        }
        let place = self
            .gates
            .take_place(&change.job, idempotency, tenant_limit)?;
        match self
            .ports
            .ledger
            .create(change.clone(), idempotency.clone())
            .await?
        {
            Created::New => {
                place.created();
                self.announce(&change);
                Ok(Accepted {
                    job: change.job,
                    duplicate: false,
                })
            }
            known @ (Created::Duplicate(_) | Created::KeyReused(_)) => {
                place.not_created();
                answer_known(known)
            }
        }
    }

    /// What the command says of the job as a whole, and where it goes.
    fn without_steps(
        &self,
        command: &Command,
        snapshot: &Snapshot,
        protocol: &Protocol,
    ) -> Result<JobSpec, Refusal> {
        let tenant = snapshot.tenants.get(&command.tenant_id);
        let tenant_mode = tenant.and_then(|tenant| tenant.mode);
        let mode = resolve_mode(command.mode, tenant_mode, self.settings.default_mode);
        let (tenant_id, doc_id) = (command.tenant_id.as_str(), command.doc_id.as_deref());
        let routing_key = routing_key(mode.resolved_mode, tenant_id, doc_id)?;
        let lane = Lane::of(&routing_key);
        Ok(JobSpec {
            tenant_id: command.tenant_id.clone(),
            request_type: command.request_type.clone(),
            protocol_id: protocol.protocol_id.clone(),
            generation: snapshot.generation,
            doc_id: command.doc_id.clone(),
            mode,
            routing_key,
            lane,
            priority: command.priority.unwrap_or(5),
            input_ref: command.input_ref.clone(),
            output_ref: command.output_ref.clone(),
            correlation_id: command.correlation_id.clone(),
            traceparent: command.traceparent.clone(),
            created_at: self.ports.clock.now(),
            steps: Vec::new(),
        })
    }

    /// Follows every step of the protocol to what it stands for, and checks every payload.
    async fn resolve_steps(
        &self,
        command: &Command,
        snapshot: &Snapshot,
        protocol: &Protocol,
        spec: &mut JobSpec,
    ) -> Result<Vec<(usize, Decision)>, Refusal> {
        let mut violations = unknown_steps(command, protocol);
        let mut decisions = Vec::new();
        for (index, step) in protocol.steps.iter().enumerate() {
            let plugin = snapshot.deciding(step, &command.tenant_id);
            let plugin = plugin.map(|plugin| &**plugin);
            let Checked {
                payload,
                decision,
                wrong,
            } = self.check_payload(command, step, plugin).await?;
            violations.extend(wrong);
            decisions.extend(decision.map(|decision| (index, decision)));
            spec.steps.push(StepSpec {
                step_id: step.step_id.clone(),
                step_type: step.step_type.clone(),
                service: step.service.clone(),
                plugin: plugin.map(|plugin| plugin.pin.clone()),
                payload,
                timing: protocol.timing(index, spec.mode.resolved_mode, &self.settings.timing),
            });
        }
        match violations.is_empty() {
            true => Ok(decisions),
            false => Err(Refusal::InvalidPayload(violations)),
        }
    }

    /// Checks the payload of one step, by its schema and then by its plugin.
    async fn check_payload(
        &self,
        command: &Command,
        step: &StepEntry,
        plugin: Option<&PluginEntry>,
    ) -> Result<Checked, Refusal> {
        let (payload, base) = command.step_payload(step.step_id.as_str());
        let tenant = &command.tenant_id;
        let mut wrong = match &step.payload_schema {
            Some(schema) => schema.violations(&payload, &base),
            None if payload.is_object() => Vec::new(),
            None => vec![violation(&base, "TYPE", "must be an object".to_owned())],
        };
        let mut checked = Checked {
            payload,
            decision: None,
            wrong: Vec::new(),
        };
        match plugin {
            None => {}
            Some(plugin) if wrong.is_empty() => {
                let validated = self
                    .validate(tenant, plugin, checked.payload, &base)
                    .await?;
                checked.decision = Some(validated.decision);
                checked.payload = validated.payload.unwrap_or_else(|found| {
                    wrong.extend(found);
                    Value::Null
                });
            }
            Some(plugin) => {
                if let Some((rest, faulty)) = without_faulty(&checked.payload, &wrong, &base) {
                    // Only for what else the client could mend: that the payload is refused is settled, so a fault
                    // of the plugin, which is in the log, changes nothing.
                    let second = self.validate(tenant, plugin, rest, &base).await;
                    let found = second.ok().and_then(|it| it.payload.err());
                    wrong.extend(found.unwrap_or_default().into_iter().filter(|it| {
                        member_of(&it.pointer, &base).is_some_and(|name| !faulty.contains(&name))
                    }));
                }
            }
        }
        checked.wrong = wrong;
        Ok(checked)
    }

    /// Routes until the first attempt is in the outbox, or nothing is left to do. A command whose first route the
    /// plugin refuses, or cannot answer, is not accepted.
    async fn answer_first_route(&self, transition: &mut Transition) -> Result<(), Refusal> {
        while let Some(question) = transition.question() {
            let step = transition.job().progress.current;
            let input = self.answer(transition.job(), question).await;
            if let Input::Route {
                outcome: Err(failure),
                ..
            } = &input
            {
                let pin = transition.job().spec.steps[step].plugin.as_ref();
                return Err(Refusal::PluginFault {
                    plugin: pin.map(ToString::to_string).unwrap_or_default(),
                    fault: failure.message.clone(),
                });
            }
            if transition.apply(input).is_err() {
                return Err(Refusal::Contended);
            }
            if let Status::FailedFinal { failure } = &transition.job().progress.status {
                return Err(Refusal::RouteRejected {
                    step_id: transition.job().spec.steps[step].step_id.to_string(),
                    code: failure.code.clone(),
                    message: failure.message.clone(),
                });
            }
        }
        Ok(())
    }

    /// A command that was accepted before is not refused.
    async fn unless_known(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
        refusal: Refusal,
    ) -> Result<Accepted, Refusal> {
        match self.ports.ledger.find(tenant, idempotency).await? {
            Some(known) => answer_known(known),
            None => Err(refusal),
        }
    }
}

fn answer_known(known: Created) -> Result<Accepted, Refusal> {
    match known {
        Created::Duplicate(job) => Ok(Accepted {
            job,
            duplicate: true,
        }),
        Created::KeyReused(job) => Err(Refusal::KeyReused(job)),
        Created::New => Err(Refusal::Contended),
    }
}

/// What became of one step's payload; it is of use only when nothing is wrong.
struct Checked {
    payload: Value,
    decision: Option<Decision>,
    wrong: Vec<Violation>,
}

/// The payload without the members that a schema found fault with, and their names; nothing when it is the payload
/// as a whole.
fn without_faulty(
    payload: &Value,
    wrong: &[Violation],
    base: &str,
) -> Option<(Value, BTreeSet<String>)> {
    let names = wrong.iter().map(|it| member_of(&it.pointer, base));
    let faulty = names.collect::<Option<BTreeSet<_>>>()?;
    let mut rest = payload.as_object()?.clone();
    rest.retain(|name, _| !faulty.contains(name));
    Some((Value::Object(rest), faulty))
}

/// The member of the payload at `base` that a JSON Pointer leads into.
fn member_of(pointer: &str, base: &str) -> Option<String> {
    let token = pointer.strip_prefix(base)?.strip_prefix('/')?;
    let token = token.split('/').next().unwrap_or(token);
    Some(token.replace("~1", "/").replace("~0", "~"))
}

/// Payloads for steps that the protocol does not have; most likely a misspelt step id.
fn unknown_steps(command: &Command, protocol: &Protocol) -> Vec<Violation> {
    let steps = match command.payload.get("steps") {
        None => return Vec::new(),
        Some(Value::Object(steps)) => steps,
        Some(_) => {
            let message = "must be an object with one payload for each step".to_owned();
            return vec![violation("/payload/steps", "TYPE", message)];
        }
    };
    let known: Vec<&StepId> = protocol.steps.iter().map(|step| &step.step_id).collect();
    let unknown = steps
        .keys()
        .filter(|name| !known.iter().any(|step| step.as_str() == *name));
    unknown
        .map(|name| {
            let steps: Vec<&str> = known.iter().map(|step| step.as_str()).collect();
            let (_, pointer) = command.step_payload(name);
            let message = format!(
                "{} has no such step; its steps are {}",
                protocol.protocol_id,
                steps.join(", ")
            );
            violation(&pointer, "UNKNOWN_STEP", message)
        })
        .collect()
}

/// The schema bounds references too; an overlong one is a matter of references all the same.
fn is_overlong_ref(violation: &Violation) -> bool {
    let place = violation.pointer.trim_end_matches("/uri");
    violation.code == "MAXLENGTH" && matches!(place, "/input_ref" | "/output_ref")
}

fn violation(pointer: &str, code: &str, message: String) -> Violation {
    let (pointer, code, source) = (pointer.to_owned(), code.to_owned(), "schema".to_owned());
    Violation {
        pointer,
        code,
        message,
        source,
    }
}
