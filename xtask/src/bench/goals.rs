//! The goals, what was measured, and how far apart the two are.

use serde_json::Value;

/// One row of the table.
struct Goal {
    what: &'static str,
    /// Where the number is, as a JSON Pointer into the results, and by what it is divided, if it is a ratio.
    at: &'static str,
    by: Option<&'static str>,
    limit: Limit,
    unit: &'static str,
}

#[derive(Clone, Copy)]
enum Limit {
    AtLeast(f64),
    Under(f64),
}

const GOALS: [Goal; 15] = [
    Goal::new(
        "three-step jobs/s, 64 in flight",
        "/cases/closed 64/jobs_per_second",
        Limit::AtLeast(2_400.0),
        "jobs/s",
    ),
    Goal::new(
        "`POST` to 202, 1 in flight, p50",
        "/cases/closed 1/times_ms/accept/p50",
        Limit::Under(1.0),
        "ms",
    ),
    Goal::new(
        "`POST` to 202, 1 in flight, p99",
        "/cases/closed 1/times_ms/accept/p99",
        Limit::Under(3.0),
        "ms",
    ),
    Goal::new(
        "submit to complete, 1 in flight, p50",
        "/cases/closed 1/times_ms/complete/p50",
        Limit::Under(5.0),
        "ms",
    ),
    Goal::new(
        "resident memory, idle",
        "/cases/closed 64/memory/idle_mb",
        Limit::Under(60.0),
        "MB",
    ),
    Goal::new(
        "resident memory after 100,000 jobs",
        "/cases/100,000 jobs/memory/resident_mb",
        Limit::Under(120.0),
        "MB",
    ),
    Goal::new(
        "processor time of the host per 1,000 jobs",
        "/cases/closed 64/host/cpu_seconds_per_1000_jobs",
        Limit::Under(0.6),
        "s",
    ),
    Goal::ratio(
        "throughput, empty ledger over one with 1,000,000 finished jobs",
        "/cases/small ledger/jobs_per_second",
        "/cases/grown ledger/jobs_per_second",
        Limit::Under(1.2),
    ),
    Goal::ratio(
        "complete p99, 1,000,000 finished jobs over empty",
        "/cases/grown ledger/times_ms/complete/p99",
        "/cases/small ledger/times_ms/complete/p99",
        Limit::Under(1.2),
    ),
    Goal::ratio(
        "plugin calls' share of the host's processor time",
        "/cases/closed 64/host_cpu_seconds_per_1000_jobs_by_thread/lucius-plugin",
        "/cases/closed 64/host/cpu_seconds_per_1000_jobs",
        Limit::Under(0.15),
    ),
    Goal::new(
        "start to ready, warm",
        "/cases/start, warm/ready_ms",
        Limit::Under(150.0),
        "ms",
    ),
    Goal::new(
        "start to ready, cold",
        "/cases/start, cold/ready_ms",
        Limit::Under(1_000.0),
        "ms",
    ),
    Goal::new(
        "start to first dispatch, 100,000 unfinished jobs",
        "/cases/recovery/first_dispatch_ms",
        Limit::Under(1_000.0),
        "ms",
    ),
    Goal::ratio(
        "throughput under ten times the load, over the best",
        "/cases/open, ten times the best rate/jobs_per_second",
        "/cases/100,000 jobs/jobs_per_second",
        Limit::AtLeast(0.9),
    ),
    Goal::ratio(
        "throughput right after the overload, over the best",
        "/cases/open, ten times the best rate/jobs_per_second_after",
        "/cases/100,000 jobs/jobs_per_second",
        Limit::AtLeast(0.9),
    ),
];

impl Goal {
    const fn new(what: &'static str, at: &'static str, limit: Limit, unit: &'static str) -> Self {
        let by = None;
        Self {
            what,
            at,
            by,
            limit,
            unit,
        }
    }

    const fn ratio(what: &'static str, at: &'static str, by: &'static str, limit: Limit) -> Self {
        let (by, unit) = (Some(by), "");
        Self {
            what,
            at,
            by,
            limit,
            unit,
        }
    }

    fn measured(&self, results: &Value) -> Option<f64> {
        let number = |pointer: &str| results.pointer(pointer)?.as_f64();
        let value = number(self.at)?;
        match self.by {
            Some(by) => Some(value / number(by)?),
            None => Some(value),
        }
    }

    fn row(&self, results: &Value) -> String {
        let unit = self.unit;
        let (goal, limit) = match self.limit {
            Limit::AtLeast(limit) => (format!("{} {unit} or more", short(limit)), limit),
            Limit::Under(limit) => (format!("under {} {unit}", short(limit)), limit),
        };
        let (measured, distance) = match self.measured(results) {
            None => ("not measured".to_owned(), "-".to_owned()),
            Some(value) => {
                let met = match self.limit {
                    Limit::AtLeast(limit) => value >= limit,
                    Limit::Under(limit) => value < limit,
                };
                let distance = if met {
                    "met".to_owned()
                } else {
                    format!("{} times the goal", short(value / limit))
                };
                (format!("{} {unit}", short(value)), distance)
            }
        };
        let cells = [self.what, goal.trim(), measured.trim(), &distance];
        format!("| {} |", cells.join(" | "))
    }
}

/// The table, in Markdown.
pub(super) fn table(results: &Value) -> String {
    let head = "| what | goal | measured | distance |\n|---|---|---|---|";
    let rows = GOALS.iter().map(|goal| goal.row(results));
    [head.to_owned()]
        .into_iter()
        .chain(rows)
        .collect::<Vec<_>>()
        .join("\n")
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
            "host_cpu_seconds_per_1000_jobs_by_thread": { "lucius-plugin": 0.25 },
        } } });
        let table = table(&results);
        assert!(
            table.contains("| 2,400 jobs/s or more | 1,200 jobs/s | 0.50 times the goal |"),
            "{table}"
        );
        assert!(table.contains("| under 0.60 s | 0.50 s | met |"), "{table}");
        assert!(
            table.contains("| under 0.15 | 0.50 | 3.33 times the goal |"),
            "{table}"
        );
        assert!(table.contains("| not measured | - |"), "{table}");
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.123, 12.34, 567.8, 12_345.6].map(short);
        assert_eq!(shown, ["0.12", "12.3", "568", "12,346"]);
    }
}
