//! The goals, what was measured, and how far apart the two are. The goals themselves are data: `goals.json`.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

/// One row of the table.
#[derive(Deserialize)]
struct Goal {
    what: String,
    /// What it should be; nothing where the number only tells where time goes.
    #[serde(flatten)]
    limit: Option<Limit>,
    #[serde(default)]
    unit: String,
    /// Where the number is, as a JSON Pointer into the results, and by what it is divided, if it is a ratio.
    at: String,
    by: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
    Under(f64),
}

impl Goal {
    fn measured(&self, results: &Value) -> Option<f64> {
        let number = |pointer: &str| results.pointer(pointer)?.as_f64();
        let value = number(&self.at)?;
        match &self.by {
            Some(by) => Some(value / number(by)?),
            None => Some(value),
        }
    }

    fn row(&self, results: &Value) -> String {
        let unit = &self.unit;
        let amount = |value| format!("{} {unit}", short(value)).trim_end().to_owned();
        let goal = match self.limit {
            Some(Limit::AtLeast(limit)) => format!("{} or more", amount(limit)),
            Some(Limit::AtMost(limit)) => format!("{} or less", amount(limit)),
            Some(Limit::Under(limit)) => format!("under {}", amount(limit)),
            None => "-".to_owned(),
        };
        let value = self.measured(results);
        let measured = value.map_or_else(|| "not measured".to_owned(), amount);
        let distance = match (value, self.limit) {
            (Some(value), Some(limit)) => limit.distance(value),
            (None, _) | (_, None) => "-".to_owned(),
        };
        format!("| {} | {goal} | {measured} | {distance} |", self.what)
    }
}

impl Limit {
    /// How far away a number is.
    fn distance(self, value: f64) -> String {
        let (met, limit) = match self {
            Self::AtLeast(limit) => (value >= limit, limit),
            Self::AtMost(limit) => (value <= limit, limit),
            Self::Under(limit) => (value < limit, limit),
        };
        match met {
            true => "met".to_owned(),
            false => format!("{} times the goal", short(value / limit)),
        }
    }
}

/// The table of the host's goals, in Markdown.
///
/// # Errors
/// The goals cannot be read.
pub(super) fn table(results: &Value) -> Result<String> {
    table_of(include_str!("goals.json"), results)
}

/// A table of any list of goals.
///
/// # Errors
/// It is no list of goals.
pub(super) fn table_of(goals: &str, results: &Value) -> Result<String> {
    let goals: Vec<Goal> = serde_json::from_str(goals).context("it is not a list of goals")?;
    let mut lines = vec!["| what | goal | measured | distance |\n|---|---|---|---|".to_owned()];
    lines.extend(goals.iter().map(|goal| goal.row(results)));
    Ok(lines.join("\n"))
}

/// Three digits or so.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => {
            let digits = format!("{value:.0}");
            let at = digits.len().saturating_sub(3);
            match digits.split_at(at) {
                ("", rest) => rest.to_owned(),
                (thousands, rest) => format!("{thousands},{rest}"),
            }
        }
        middling if middling >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_says_how_far_away_a_goal_is() {
        let results = json!({ "cases": { "closed 64": {
            "jobs_per_second": 1200.0, "host": { "cpu_seconds_per_1000_jobs": 0.5 },
        } }, "plugin_share": 0.5, "azure": { "table_requests": 25, "bus_requests": 13 } });
        let table = table(&results).expect("the goals are there");
        assert!(
            table.contains("| 2,400 jobs/s or more | 1,200 jobs/s | 0.50 times the goal |"),
            "{table}"
        );
        assert!(table.contains("| under 0.60 s | 0.50 s | met |"), "{table}");
        assert!(
            table.contains("| under 0.15 | 0.50 | 3.33 times the goal |"),
            "{table}"
        );
        assert!(
            table.contains("| 25.0 requests or less | 25.0 requests | met |"),
            "{table}"
        );
        assert!(table.contains("| 12.0 requests or less | 13.0 requests | 1.08 times the goal |"));
        assert!(table.contains("| not measured | - |"), "{table}");
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.123, 12.34, 567.8, 12_345.6].map(short);
        assert_eq!(shown, ["0.12", "12.3", "568", "12,346"]);
    }
}
