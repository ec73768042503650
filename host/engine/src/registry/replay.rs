//! The replay gate: what a candidate would have decided where the version before it did.
//!
//! Plugins are pure functions and every decision is on record, so a candidate can be asked the very questions that
//! were asked before, with its own config and within its own limits. What it says is compared and thrown away; no job
//! is touched. What differs is counted by kind and shown with samples, and an operator can say how much of it is too
//! much.

use std::collections::BTreeMap;
use std::fmt;

use futures_util::{StreamExt as _, stream};
use lucius_domain::id::{JobId, StepId};
use lucius_domain::plugin::{Function, Pin};
use lucius_ports::ledger;
use lucius_ports::plugin::Call;
use serde::Serialize;
use serde_json::{Value, json};

use super::PluginEntry;
use crate::Engine;
use crate::decisions::{Asked, Manifests};
use crate::plugins::check_answer;

/// How many questions are put at once. The candidate has its own lane in the sandbox, so the live plugins keep theirs.
const AT_ONCE: usize = 4;
/// How many differences are shown.
const SAMPLES: usize = 5;

/// What replaying a plugin's past decisions came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Replay {
    /// The plugin that decided, `<id>@<version>`.
    pub from: String,
    /// The candidate.
    pub to: String,
    /// Decisions that were put to the candidate again.
    pub replayed: u64,
    /// Those on which it agrees.
    pub same: u64,
    /// Those on which it does not, by how: `accept -> reject`, `route`, `dispatch -> skip`, `fault`, ...
    pub differ: BTreeMap<String, u64>,
    /// Decisions whose question cannot be made again.
    pub skipped: u64,
    /// A few of the differences.
    pub samples: Vec<Difference>,
}

/// One decision on which a candidate does not agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Whose.
    pub job: JobId,
    /// About which step.
    pub step_id: StepId,
    /// Which function.
    pub function: Function,
    /// How it differs.
    pub kind: String,
    /// What was said.
    pub was: Value,
    /// What the candidate says; `{"fault": ...}` when it broke down.
    pub now: Value,
}

impl Replay {
    /// How many differ.
    pub fn differing(&self) -> u64 {
        self.differ.values().sum()
    }

    fn count(&mut self, difference: Option<Difference>) {
        self.replayed += 1;
        let Some(difference) = difference else {
            self.same += 1;
            return;
        };
        *self.differ.entry(difference.kind.clone()).or_default() += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push(difference);
        }
    }
}

impl fmt::Display for Replay {
    /// `ocr 1.4.0 -> 1.5.0: 5,000 replayed, 4,988 same, 12 differ (9 route, 3 accept -> reject)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from.split_once('@'), self.to.split_once('@')) {
            (Some((id, from)), Some((same_id, to))) if id == same_id => {
                write!(f, "{id} {from} -> {to}: ")?;
            }
            _ => write!(f, "{} -> {}: ", self.from, self.to)?,
        }
        let (replayed, same, differ) = (self.replayed, self.same, self.differing());
        write!(
            f,
            "{} replayed, {} same, {} differ{}",
            grouped(replayed),
            grouped(same),
            grouped(differ),
            kinds(&self.differ)
        )?;
        if self.skipped > 0 {
            write!(f, "; {} cannot be replayed", grouped(self.skipped))?;
        }
        Ok(())
    }
}

/// ` (9 route, 3 accept -> reject)`, the most frequent first; nothing when nothing differs.
pub(super) fn kinds(differ: &BTreeMap<String, u64>) -> String {
    if differ.is_empty() {
        return String::new();
    }
    let mut kinds: Vec<_> = differ.iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let kinds: Vec<String> = kinds
        .into_iter()
        .map(|(kind, count)| format!("{} {kind}", grouped(*count)))
        .collect();
    format!(" ({})", kinds.join(", "))
}

/// `5000` as `5,000`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Engine {
    /// Puts the last `limit` decisions of a plugin to a candidate that the runtime has admitted.
    pub(super) async fn replay(
        &self,
        from: &Pin,
        to: &PluginEntry,
        limit: usize,
    ) -> Result<Replay, ledger::Error> {
        let mut replay = Replay {
            from: from.to_string(),
            to: to.pin.to_string(),
            ..Replay::default()
        };
        let mut manifests = Manifests::default();
        // A job with a plugin has at least one decision of it, so this many jobs are enough.
        for id in self.ports.pins.jobs_of(&from.id, limit).await? {
            let asked = self.decisions_with(id, &mut manifests).await?;
            let of_plugin = asked.into_iter().flatten();
            let mut of_plugin: Vec<Asked> = of_plugin
                .filter(|it| it.decision.plugin.id == from.id)
                .collect();
            let room = limit.saturating_sub(usize::try_from(replay.replayed).unwrap_or(usize::MAX));
            if room == 0 {
                break;
            }
            of_plugin.truncate(room);
            self.replay_job(id, of_plugin, to, &mut replay).await;
        }
        Ok(replay)
    }

    /// Puts the decisions of one job to a candidate.
    pub(crate) async fn replay_job(
        &self,
        id: JobId,
        asked: Vec<Asked>,
        to: &PluginEntry,
        replay: &mut Replay,
    ) {
        let mut compared = stream::iter(asked)
            .map(|asked| self.compare(id, asked, to))
            .buffered(AT_ONCE);
        while let Some(compared) = compared.next().await {
            match compared {
                Some(difference) => replay.count(difference),
                None => replay.skipped += 1,
            }
        }
    }

    /// How the candidate differs on one decision, if it does; nothing when it cannot be asked.
    async fn compare(
        &self,
        job: JobId,
        asked: Asked,
        to: &PluginEntry,
    ) -> Option<Option<Difference>> {
        let call = with_config(asked.call?, &to.config);
        let answered = self
            .ports
            .runtime
            .call(&to.pin.digest, to.limits, call.clone())
            .await;
        let function = asked.decision.function;
        let now = match answered {
            Ok(answered) => match check_answer(&answered.answer, &call, to) {
                Ok(()) => answered.answer.to_value(),
                Err(reason) => json!({ "fault": reason }),
            },
            Err(fault) => json!({ "fault": fault.to_string() }),
        };
        let Some(kind) = kind_of_difference(function, &asked.answer, &now) else {
            return Some(None);
        };
        Some(Some(Difference {
            job,
            step_id: asked.step_id,
            function,
            kind,
            was: asked.answer,
            now,
        }))
    }
}

/// The same question with the candidate's config.
pub(super) fn with_config(call: Call, config: &Value) -> Call {
    match call {
        Call::Validate { payload, .. } => Call::Validate {
            payload,
            config: config.clone(),
        },
        Call::Route { mut context } => {
            context.config = config.clone();
            Call::Route { context }
        }
        Call::Settle {
            mut context,
            report,
        } => {
            context.config = config.clone();
            Call::Settle { context, report }
        }
    }
}

/// Names how two answers differ; nothing when they do not.
pub(super) fn kind_of_difference(function: Function, was: &Value, now: &Value) -> Option<String> {
    if was == now {
        return None;
    }
    if now.get("fault").is_some() {
        return Some("fault".to_owned());
    }
    let word = |answer: &Value| match function {
        Function::Validate if answer["valid"] == true => "accept".to_owned(),
        Function::Validate => "reject".to_owned(),
        Function::Route => answer["route"].as_str().unwrap_or_default().to_owned(),
        Function::Settle => answer["settle"].as_str().unwrap_or_default().to_owned(),
    };
    let (was, now) = (word(was), word(now));
    Some(match function {
        Function::Validate if was == now => "payload".to_owned(),
        Function::Route | Function::Settle if was == now => function.as_str().to_owned(),
        Function::Validate | Function::Route | Function::Settle => format!("{was} -> {now}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_reads_as_one_line() {
        let mut replay = Replay {
            from: "ocr@1.4.0".to_owned(),
            to: "ocr@1.5.0".to_owned(),
            replayed: 5_000,
            same: 4_988,
            ..Replay::default()
        };
        replay.differ.insert("accept -> reject".to_owned(), 3);
        replay.differ.insert("route".to_owned(), 9);
        assert_eq!(
            replay.to_string(),
            "ocr 1.4.0 -> 1.5.0: 5,000 replayed, 4,988 same, 12 differ (9 route, 3 accept -> reject)"
        );
        assert_eq!(
            Replay {
                from: "ocr@1.0.0".to_owned(),
                to: "reader@1.0.0".to_owned(),
                skipped: 2,
                ..Replay::default()
            }
            .to_string(),
            "ocr@1.0.0 -> reader@1.0.0: 0 replayed, 0 same, 0 differ; 2 cannot be replayed"
        );
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(999), "999");
    }

    #[test]
    fn differences_are_named_by_what_they_mean() {
        let valid = |payload: Value| json!({ "valid": true, "payload": payload });
        let invalid = json!({ "valid": false, "violations": [] });
        let kind = kind_of_difference;
        let validate = Function::Validate;
        assert_eq!(kind(validate, &valid(json!(1)), &valid(json!(1))), None);
        let named = [
            kind(validate, &valid(json!(1)), &valid(json!(2))),
            kind(validate, &valid(json!(1)), &invalid),
            kind(
                Function::Route,
                &json!({ "route": "dispatch", "service": "a" }),
                &json!({ "route": "dispatch", "service": "b" }),
            ),
            kind(
                Function::Route,
                &json!({ "route": "dispatch" }),
                &json!({ "route": "skip" }),
            ),
            kind(
                Function::Settle,
                &json!({ "settle": "accept" }),
                &json!({ "fault": "trapped" }),
            ),
        ];
        let named: Vec<_> = named.iter().map(Option::as_deref).collect();
        assert_eq!(
            named,
            [
                Some("payload"),
                Some("accept -> reject"),
                Some("route"),
                Some("dispatch -> skip"),
                Some("fault"),
            ]
        );
    }
}
