//! Watches a job from outside and tells of each change, with the time since the job was submitted.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::api::{Api, Job, Step};

/// How often the job is looked at. A process border has no signal to wait for but the live events, and those end
/// with the host that is going to be killed.
const LOOK_EVERY: Duration = Duration::from_millis(4);
/// After so long without any change something is wrong.
const CHANGE_WITHIN: Duration = Duration::from_secs(180);

/// One change that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// Since the job was submitted.
    pub(super) after: Duration,
    /// The step, or `host`.
    pub(super) who: String,
    /// What happened.
    pub(super) what: String,
}

/// Everything that was seen, told as it happens.
#[derive(Debug)]
pub(super) struct Timeline {
    start: Instant,
    pub(super) changes: Vec<Change>,
    last: Vec<String>,
}

impl Timeline {
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
            changes: Vec::new(),
            last: Vec::new(),
        }
    }

    /// Notes and tells one change.
    pub(super) fn tell(&mut self, who: &str, what: impl Into<String>) {
        let change = Change {
            after: self.start.elapsed(),
            who: who.to_owned(),
            what: what.into(),
        };
        println!(
            "  {:>7.2} s  {:<10} {}",
            change.after.as_secs_f64(),
            change.who,
            change.what
        );
        self.changes.push(change);
    }

    /// Tells which steps are not as they were; true when any is not.
    fn tell_changes(&mut self, steps: &[Step]) -> bool {
        let seen: Vec<String> = steps.iter().map(describe).collect();
        let before = std::mem::replace(&mut self.last, seen.clone());
        let mut changed = false;
        for (index, (step, now)) in steps.iter().zip(&seen).enumerate() {
            if before.get(index) != Some(now) && step.state != "PENDING" {
                self.tell(&step.step_id, now.clone());
                changed = true;
            }
        }
        changed
    }
}

/// Looks at the job's steps until `enough` of them says so.
pub(super) fn until(
    api: &Api,
    job: &str,
    timeline: &mut Timeline,
    mut enough: impl FnMut(&[Step]) -> bool,
) -> Result<Vec<Step>> {
    let mut quiet_since = Instant::now();
    loop {
        let steps = api.steps(job)?;
        let done = enough(&steps);
        if timeline.tell_changes(&steps) {
            quiet_since = Instant::now();
        }
        if done {
            return Ok(steps);
        }
        if quiet_since.elapsed() > CHANGE_WITHIN {
            bail!("job {job} has not changed for {CHANGE_WITHIN:?}");
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Looks until the job has ended.
pub(super) fn to_the_end(
    api: &Api,
    job: &str,
    timeline: &mut Timeline,
) -> Result<(Job, Vec<Step>)> {
    loop {
        until(api, job, timeline, |steps| {
            steps.iter().all(is_over) || steps.iter().any(has_failed)
        })?;
        let state = api.job(job)?;
        if matches!(
            state.state.as_str(),
            "SUCCEEDED" | "FAILED_FINAL" | "CANCELLED"
        ) {
            return Ok((state, api.steps(job)?));
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn describe(step: &Step) -> String {
    let error = step
        .last_error_code
        .as_deref()
        .map(|code| format!("  {code}"))
        .unwrap_or_default();
    format!(
        "{:<14} attempt {}  {}{error}",
        step.state, step.attempt_no, step.service
    )
}

fn is_over(step: &Step) -> bool {
    matches!(step.state.as_str(), "SUCCEEDED" | "SKIPPED") || has_failed(step)
}

fn has_failed(step: &Step) -> bool {
    matches!(step.state.as_str(), "FAILED_FINAL" | "CANCELLED")
}
