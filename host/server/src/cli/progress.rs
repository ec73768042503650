//! Progress on a terminal: one bar a job, redrawn in place. Where the output is no terminal, a line for each change.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::output::{self, text};

/// How long a whole bar is, so that a percent of one step of many still moves it.
const WHOLE: u64 = 10_000;

/// The bars of some jobs.
pub(super) struct Bars {
    all: MultiProgress,
    style: ProgressStyle,
    bars: BTreeMap<String, ProgressBar>,
    /// What was said last of a job, where there are no bars.
    said: BTreeMap<String, String>,
}

impl Bars {
    pub(super) fn new() -> Self {
        let style = ProgressStyle::with_template("{prefix}  {bar:24}  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Self {
            all: MultiProgress::with_draw_target(ProgressDrawTarget::stdout()),
            style,
            bars: BTreeMap::new(),
            said: BTreeMap::new(),
        }
    }

    /// True when bars are drawn.
    pub(super) fn are_drawn(&self) -> bool {
        !self.all.is_hidden()
    }

    /// Prints a line above the bars.
    pub(super) fn line(&self, line: &str) {
        if !self.are_drawn() || self.all.println(line).is_err() {
            output::line(line);
        }
    }

    /// Shows how far a job is.
    pub(super) fn show(&mut self, job: &Value, steps: &Value) {
        let (id, (done, note)) = (text(job, "jobId"), standing(job, steps));
        if !self.are_drawn() {
            let line = format!("{id}  {:>3}%  {note}", done * 100 / WHOLE);
            if self.said.insert(id, line.clone()) != Some(line.clone()) {
                output::line(line);
            }
            return;
        }
        let bar = self.bars.entry(id.clone()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(WHOLE));
            bar.set_style(self.style.clone());
            bar.set_prefix(id);
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        bar.set_position(done);
        if is_over(job) {
            bar.finish_with_message(note);
        } else {
            bar.set_message(note);
        }
    }

    /// Leaves the bars as they are.
    pub(super) fn end(&self) {
        for bar in self.bars.values() {
            if !bar.is_finished() {
                bar.abandon();
            }
        }
    }
}

/// True when a job's state is one that does not change by itself any more.
pub(super) fn is_over(job: &Value) -> bool {
    matches!(
        job["state"].as_str(),
        Some("SUCCEEDED" | "FAILED_FINAL" | "CANCELLED")
    )
}

/// How far a job is, of [`WHOLE`], and what it does.
fn standing(job: &Value, steps: &Value) -> (u64, String) {
    let state = text(job, "state");
    let steps = steps["steps"].as_array().map(Vec::as_slice);
    let steps = steps.unwrap_or_default();
    let share = WHOLE / u64::try_from(steps.len().max(1)).unwrap_or(1);
    let is_done = |step: &&Value| matches!(step["state"].as_str(), Some("SUCCEEDED" | "SKIPPED"));
    let done = steps.iter().take_while(is_done).count();
    let current = steps.get(done);
    let percent = current.and_then(|step| step["progress"]["percent"].as_f64());
    let whole_percent = percent.map_or(0, |it| {
        #[expect(clippy::as_conversions, reason = "clamped to 0 to 100, so it fits")]
        let whole = it.clamp(0.0, 100.0) as u64;
        whole
    });
    if state == "SUCCEEDED" {
        return (WHOLE, state);
    }
    let position = share * u64::try_from(done).unwrap_or(0) + share * whole_percent / 100;
    let Some(step) = current else {
        return (position, state);
    };
    let mut note = format!(
        "{}/{} {} {}",
        done + 1,
        steps.len(),
        text(step, "step_id"),
        text(step, "state")
    );
    if step["attempt_no"].as_u64() > Some(1) {
        note += &format!(" #{}", text(step, "attempt_no"));
    }
    if let Some(percent) = percent {
        note += &format!(" {percent:.0}%");
    }
    if let Some(message) = step["progress"]["message"].as_str() {
        note += &format!(" {message}");
    }
    if let Some(code) = step["last_error_code"].as_str() {
        note += &format!(" ({code})");
    }
    (position, format!("{state}  {note}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_stands_where_its_steps_stand() {
        let job = json!({ "jobId": "j", "state": "IN_PROGRESS" });
        let steps = json!({ "steps": [
            { "step_id": "ocr", "state": "SUCCEEDED", "attempt_no": 1 },
            { "step_id": "sis", "state": "IN_PROGRESS", "attempt_no": 2, "last_error_code": "LEASE_EXPIRED",
              "progress": { "percent": 50.0, "message": "page 1 of 2" } },
        ] });
        assert_eq!(
            standing(&job, &steps),
            (
                7_500,
                "IN_PROGRESS  2/2 sis IN_PROGRESS #2 50% page 1 of 2 (LEASE_EXPIRED)".to_owned()
            )
        );
        let over = json!({ "jobId": "j", "state": "SUCCEEDED" });
        assert_eq!(standing(&over, &steps), (WHOLE, "SUCCEEDED".to_owned()));
        assert_eq!(standing(&job, &json!({})), (0, "IN_PROGRESS".to_owned()));
    }
}
