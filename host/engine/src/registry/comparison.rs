//! What comes of trials on this host: questions that a candidate answered, or that were put to it as well.
//!
//! Nothing here is waited for. Whoever asks a plugin leaves the question behind if there is room, and one worker
//! compares, within a budget that is the trial's own: no tenant pays, and live questions keep their threads. What does
//! not fit is counted as skipped. Of a canary's answers only those that turn something away are compared, since these
//! are what a tenant would notice; a shadow's all are.
//!
//! The counts are this host's own and begin anew at each start. A canary that breaks down or decides otherwise too
//! often is quarantined, which takes it out of service as the breaker does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};

use lucius_domain::id::{Digest, TenantId};
use lucius_domain::plugin::{Function, Route, Settle};
use lucius_domain::time::Timestamp;
use lucius_ports::plugin::{Answer, Call, Fault};
use serde_json::{Value, json};

use super::PluginEntry;
use super::activate::lock;
use super::quarantine::Cause;
use super::replay::{grouped, kind_of_difference, kinds, with_config};
use super::trial::{Mode, Trial};
use crate::Engine;
use crate::plugins::{check_answer, cost_of};

/// How many questions may wait.
const WAITING: usize = 256;
/// How far comparing may run ahead of its budget, in milliseconds.
const AHEAD_MS: i64 = 1_000;
/// How many differences are shown.
const SAMPLES: usize = 5;

/// What a trial came to so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Questions that the candidate was asked, or would have been with budget enough.
    pub asked: u64,
    /// Those on which it agrees, or turned nothing away.
    pub same: u64,
    /// Those on which it does not, by how: `accept -> reject`, `route`, `fault`, ...
    pub differ: BTreeMap<String, u64>,
    /// Those for which there was no budget or no room.
    pub skipped: u64,
    /// A few of the differences.
    pub samples: Vec<Sample>,
}

/// One question on which the two versions do not agree.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Which function.
    pub function: Function,
    /// How they differ.
    pub kind: String,
    /// What the version that decides says, or would have said.
    pub was: Value,
    /// What the candidate says.
    pub now: Value,
}

impl Comparison {
    /// How many differ.
    pub fn differing(&self) -> u64 {
        self.differ.values().sum()
    }
}

impl fmt::Display for Comparison {
    /// `1,200 asked, 1,188 same, 12 differ (9 route, 3 accept -> reject)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = [self.asked, self.same, self.differing()].map(grouped);
        let [asked, same, differ] = numbers;
        write!(
            f,
            "{asked} asked, {same} same, {differ} differ{}",
            kinds(&self.differ)
        )?;
        match self.skipped {
            0 => Ok(()),
            skipped => write!(f, "; {} skipped", grouped(skipped)),
        }
    }
}

/// The trials of this host.
#[derive(Default)]
pub(crate) struct Trials {
    tallies: Mutex<BTreeMap<Key, Tally>>,
    waiting: Mutex<VecDeque<Work>>,
    rung: tokio::sync::Notify,
}

/// What tells trials apart: a canary does not inherit what it said as a shadow.
type Key = (Mode, Digest);

fn key_of(trial: &Trial) -> Key {
    (trial.mode, trial.candidate.pin.digest)
}

#[derive(Default)]
struct Tally {
    comparison: Comparison,
    /// When what was compared so far is paid for.
    paid_at: Timestamp,
}

enum Work {
    /// To compare.
    Question {
        trial: Trial,
        call: Call,
        said: Said,
    },
    /// To take out of service.
    Failed { trial: Trial, reason: String },
}

/// What was said to a question, or what was wrong with that.
type Said = Result<Answer, String>;

impl Trials {
    /// What a trial came to so far.
    pub(crate) fn comparison(&self, trial: &Trial) -> Comparison {
        let tallies = lock(&self.tallies);
        let tally = tallies.get(&key_of(trial));
        tally
            .map(|tally| tally.comparison.clone())
            .unwrap_or_default()
    }

    fn count(&self, trial: &Trial, count: impl FnOnce(&mut Comparison)) {
        let over = {
            let mut tallies = lock(&self.tallies);
            let tally = tallies.entry(key_of(trial)).or_default();
            count(&mut tally.comparison);
            failed(trial, &tally.comparison)
        };
        if let Some(reason) = over {
            let trial = trial.clone();
            self.leave(Work::Failed { trial, reason });
        }
    }

    /// False when there is no room.
    fn leave(&self, work: Work) -> bool {
        let mut waiting = lock(&self.waiting);
        let room = waiting.len() < WAITING;
        if room {
            waiting.push_back(work);
            self.rung.notify_one();
        }
        room
    }

    /// Whether there is budget to compare one more.
    fn affords(&self, trial: &Trial, now: Timestamp) -> bool {
        let mut tallies = lock(&self.tallies);
        let tally = tallies.entry(key_of(trial)).or_default();
        tally.paid_at.0 <= now.0.saturating_add(AHEAD_MS)
    }

    fn pay(&self, trial: &Trial, fuel: u64, now: Timestamp) {
        let ms = u128::from(fuel) * 1_000 / u128::from(trial.fuel_per_second.max(1));
        let mut tallies = lock(&self.tallies);
        let tally = tallies.entry(key_of(trial)).or_default();
        let since = tally.paid_at.max(now);
        tally.paid_at = since.plus_ms(u64::try_from(ms).unwrap_or(u64::MAX));
    }

    /// Forgets what is not tried any more.
    pub(super) fn keep_only(&self, live: &[Trial]) {
        let keys: BTreeSet<Key> = live.iter().map(key_of).collect();
        lock(&self.tallies).retain(|key, _| keys.contains(key));
    }
}

/// Why a canary has to be taken out of service, if it has.
fn failed(trial: &Trial, so_far: &Comparison) -> Option<String> {
    let (asked, differing) = (so_far.asked, so_far.differing());
    let allowed = u128::from(asked) * u128::from(trial.abort.differ_percent);
    let too_many = asked >= trial.abort.after && u128::from(differing) * 100 > allowed;
    (trial.mode == Mode::Canary && too_many).then(|| {
        format!(
            "as a canary it decided otherwise than {}: {so_far}",
            trial.plugin.pin
        )
    })
}

/// Whether a canary's answer lets the job go on as it would without a plugin.
fn turns_nothing_away(answer: &Answer) -> bool {
    match answer {
        Answer::Validated(outcome) => outcome.is_ok(),
        Answer::Routed(Route::Dispatch(_)) => true,
        Answer::Routed(Route::Skip { .. } | Route::Fail { .. }) => false,
        Answer::Settled(Settle::Accept) => true,
        Answer::Settled(Settle::Retry { .. } | Settle::Fail { .. }) => false,
    }
}

fn function_of(call: &Call) -> Function {
    match call {
        Call::Validate { .. } => Function::Validate,
        Call::Route { .. } => Function::Route,
        Call::Settle { .. } => Function::Settle,
    }
}

fn shown(said: &Said) -> Value {
    match said {
        Ok(answer) => answer.to_value(),
        Err(reason) => json!({ "fault": reason }),
    }
}

/// Compares what waits and ends trials that failed, until dropped; what was not compared then is not missed.
pub(crate) async fn run(engine: &Arc<Engine>) {
    loop {
        engine.trials.rung.notified().await;
        engine.compare_waiting().await;
    }
}

impl Engine {
    /// What a live trial came to on this host.
    pub fn comparison(&self, trial: &Trial) -> Comparison {
        self.trials.comparison(trial)
    }

    /// Takes note of what a plugin answered, for the trial that it takes part in.
    pub(super) fn observe(
        &self,
        tenant: &TenantId,
        plugin: &PluginEntry,
        call: &Call,
        answer: &Answer,
    ) {
        let live = self.registry.live.load();
        for trial in &live.trials {
            let takes_part = match trial.mode {
                Mode::Canary => trial.candidate.pin == plugin.pin,
                Mode::Shadow => trial.plugin.pin == plugin.pin && trial.includes(tenant),
            };
            if takes_part {
                self.note(trial, plugin, call, answer);
            }
        }
    }

    fn note(&self, trial: &Trial, plugin: &PluginEntry, call: &Call, answer: &Answer) {
        let said = check_answer(answer, call, plugin).map(|()| answer.clone());
        if trial.mode == Mode::Canary && said.as_ref().is_ok_and(turns_nothing_away) {
            self.trials.count(trial, |so_far| {
                so_far.asked += 1;
                so_far.same += 1;
            });
            return;
        }
        let question = Work::Question {
            trial: trial.clone(),
            call: call.clone(),
            said,
        };
        if !self.trials.leave(question) {
            self.trials.count(trial, |so_far| {
                so_far.asked += 1;
                so_far.skipped += 1;
            });
        }
    }

    /// Takes note that a candidate broke down on a question on which the version that decides does not.
    pub(super) fn broke_down(&self, plugin: &PluginEntry, call: &Call, fault: &Fault) {
        let live = self.registry.live.load();
        let Some(trial) = live.trial_of(&plugin.pin) else {
            return;
        };
        let sample = Sample {
            function: function_of(call),
            kind: "fault".to_owned(),
            was: Value::Null,
            now: json!({ "fault": fault.to_string() }),
        };
        self.trials.count(trial, |so_far| differ(so_far, sample));
    }

    /// Compares all that waits; how much that was.
    pub async fn compare_waiting(&self) -> usize {
        let mut done = 0;
        loop {
            // Taken in a statement of its own, so that nobody waits for the lock while a plugin runs.
            let work = lock(&self.trials.waiting).pop_front();
            match work {
                None => return done,
                Some(Work::Question { trial, call, said }) => {
                    self.compare_one(&trial, call, &said).await
                }
                Some(Work::Failed { trial, reason }) => self.end_trial(&trial, reason).await,
            }
            done += 1;
        }
    }

    async fn compare_one(&self, trial: &Trial, call: Call, said: &Said) {
        let skip = |so_far: &mut Comparison| {
            so_far.asked += 1;
            so_far.skipped += 1;
        };
        if !self.trials.affords(trial, self.ports.clock.now()) {
            return self.trials.count(trial, skip);
        }
        let function = function_of(&call);
        let other = match trial.mode {
            Mode::Canary => &trial.plugin,
            Mode::Shadow => &trial.candidate,
        };
        let call = with_config(call, &other.config);
        let answered = self
            .ports
            .runtime
            .call(&other.pin.digest, other.limits, call.clone());
        let other_said = match answered.await {
            Ok(answered) => {
                self.trials
                    .pay(trial, answered.fuel, self.ports.clock.now());
                check_answer(&answered.answer, &call, other).map(|()| answered.answer)
            }
            Err(Fault::Busy(_) | Fault::NotLoaded) => return self.trials.count(trial, skip),
            Err(fault) => {
                self.trials
                    .pay(trial, cost_of(&fault, other), self.ports.clock.now());
                Err(fault.to_string())
            }
        };
        let (was, now) = match trial.mode {
            Mode::Canary => (&other_said, said),
            Mode::Shadow => (said, &other_said),
        };
        if was.is_err() {
            // The version that decides gives nothing to compare with.
            return self.trials.count(trial, skip);
        }
        let (was, now) = (shown(was), shown(now));
        let kind = kind_of_difference(function, &was, &now);
        // How a canary words what both turn away is its own business.
        let counts =
            |kind: &String| trial.mode == Mode::Shadow || kind == "fault" || kind.contains("->");
        match kind.filter(counts) {
            None => self.trials.count(trial, |so_far| {
                so_far.asked += 1;
                so_far.same += 1;
            }),
            Some(kind) => {
                let sample = Sample {
                    function,
                    kind,
                    was,
                    now,
                };
                self.trials.count(trial, |so_far| differ(so_far, sample));
            }
        }
    }

    async fn end_trial(&self, trial: &Trial, reason: String) {
        // Whoever was quicker has ended it.
        if self
            .registry
            .live()
            .trial_of(&trial.candidate.pin)
            .is_none()
        {
            return;
        }
        let candidate = &trial.candidate.pin;
        if let Err(error) = self.quarantine(candidate, Cause::Canary, reason).await {
            tracing::warn!(%candidate, %error, "the canary is not ended yet; the next question tries again");
        }
    }
}

fn differ(so_far: &mut Comparison, sample: Sample) {
    so_far.asked += 1;
    *so_far.differ.entry(sample.kind.clone()).or_default() += 1;
    if so_far.samples.len() < SAMPLES {
        so_far.samples.push(sample);
    }
}
